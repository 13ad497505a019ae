//! A gateway as a process, and what talks to it: the command line, and HTTP without any library.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

const GATEWAY: &str = env!("CARGO_BIN_EXE_datamesh-gateway");

/// `datamesh-admin` is another package's: `make test` builds it first; a test run on its own builds what is missing.
fn admin_binary() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let path = Path::new(GATEWAY).with_file_name("datamesh-admin");
        if path.exists() {
            return path;
        }
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--ignore-rust-version", "-p", "datamesh-admin"]);
        if GATEWAY.contains("/release/") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "datamesh-admin does not build");
        path
    })
}

/// A running `datamesh-gateway`, killed when dropped.
pub struct Gateway {
    child: Child,
    stdout: Option<BufReader<std::process::ChildStdout>>,
    /// What it printed before it was ready.
    pub said: Vec<String>,
}

impl Gateway {
    pub fn spawn(arguments: &[&str]) -> Self {
        let mut child = Command::new(GATEWAY)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout: Some(stdout), said: Vec::new() }
    }

    pub fn dev(data_dir: &Path) -> Self {
        let data_dir = data_dir.to_str().unwrap();
        let mut gateway = Self::spawn(&[
            "dev",
            "--data-dir",
            data_dir,
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ]);
        gateway.await_ready();
        gateway
    }

    /// One that `serve`s from a folder, without a mesh. `admin` goes into its `[admin]` section.
    pub fn on_one_disk(data_dir: &Path, admin: &str) -> Self {
        let disk = format!("type = \"local\"\ndir = \"{}/disk\"\ncapacity = \"1 GiB\"", data_dir.display());
        Self::on_backend(data_dir, &disk, admin)
    }

    /// One that `serve`s from that backend, without a mesh.
    pub fn on_backend(data_dir: &Path, backend: &str, admin: &str) -> Self {
        let text = format!(
            r#"
data_dir = "{}"
[s3]
listen = "127.0.0.1:0"
[storage.backends.disk]
{backend}
[storage.classes]
STANDARD = "disk"
[admin]
listen = "127.0.0.1:0"
{admin}
"#,
            data_dir.display()
        );
        let file = data_dir.with_extension("toml");
        fs::write(&file, text).unwrap();
        let mut gateway = Self::spawn(&["serve", "--config", file.to_str().unwrap()]);
        gateway.await_ready();
        gateway
    }

    fn await_ready(&mut self) {
        let lines = self.stdout.as_mut().unwrap().lines().map(Result::unwrap);
        let seen: Vec<_> = lines.take_while(|line| line != "ready").collect();
        if self.child.try_wait().unwrap().is_some() {
            let mut errors = String::new();
            self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
            panic!("the gateway ended before it was ready: {seen:?} {errors}");
        }
        self.said = seen;
        // Somebody must go on reading, or it would block on a full pipe.
        let stderr = self.child.stderr.take().unwrap();
        std::thread::spawn(move || BufReader::new(stderr).lines().for_each(drop));
        let stdout = self.stdout.take().unwrap();
        std::thread::spawn(move || stdout.lines().for_each(drop));
    }

    pub fn terminate(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a gateway that must not start: its exit code and its one line.
pub fn refused(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(GATEWAY).args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("datamesh-gateway: ")).collect();
    assert_eq!(lines.len(), 1, "one line says why: {text}");
    (output.status.code().unwrap(), lines[0].to_owned())
}

pub fn admin(data_dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(admin_binary());
    command.args(arguments).arg("--data-dir").arg(data_dir).stdin(Stdio::null());
    command.output().unwrap()
}

pub fn admin_json(data_dir: &Path, arguments: &[&str]) -> Value {
    let arguments: Vec<_> = arguments.iter().chain(&["--output", "json"]).copied().collect();
    let output = admin(data_dir, &arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

pub fn code(data_dir: &Path, arguments: &[&str]) -> Option<i32> {
    admin(data_dir, arguments).status.code()
}

pub fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

pub fn admin_access(data_dir: &Path) -> (String, String) {
    let access: Value = serde_json::from_slice(&fs::read(data_dir.join("admin.json")).unwrap()).unwrap();
    let text = |name: &str| access[name].as_str().unwrap().to_owned();
    (text("endpoint").trim_start_matches("http://").to_owned(), text("token"))
}

/// One HTTP request over a connection of its own: the status and everything that came back.
pub fn http(address: &str, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let len = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer[9..12].parse().unwrap(), answer)
}

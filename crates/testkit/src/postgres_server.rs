//! A PostgreSQL server for the tests of one process.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use tempfile::TempDir;
use tokio_postgres::NoTls;

/// Runs the server and waits for the end of its input, which comes when the test process ends, however it ends.
/// Then it stops the server and removes its folder.
const SUPERVISOR: &str = r#"
folder=$1; shift
"$@" >"$folder/log" 2>&1 &
server=$!
cat >/dev/null
kill -QUIT "$server"
wait "$server"
rm -rf "$folder"
"#;

/// How often to look whether the server has come up, every 20 ms.
const START_ATTEMPTS: u32 = 1_500;

/// A running server.
pub(crate) struct PostgresServer {
    /// A URL up to and including the host, and the parameters after the database's name.
    base: String,
    parameters: String,
    /// Its input is open as long as this process lives: see [`SUPERVISOR`].
    _supervisor: Option<Child>,
}

impl PostgresServer {
    /// The server of this process, started when first asked for.
    pub(crate) fn shared() -> &'static Self {
        static SERVER: OnceLock<PostgresServer> = OnceLock::new();
        SERVER
            .get_or_init(|| std::env::var("DATAMESH_TEST_POSTGRES").map_or_else(|_| start(), |url| at(&url)))
    }

    /// The URL of a database on it.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("{}/{database}{}", self.base, self.parameters)
    }

    pub(crate) async fn create_database(&self, name: &str) {
        self.administer(&format!("CREATE DATABASE {name} TEMPLATE template0")).await;
    }

    pub(crate) async fn drop_database(&self, name: &str) {
        self.administer(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
    }

    async fn administer(&self, sql: &str) {
        let (client, connection) = tokio_postgres::connect(&self.url("postgres"), NoTls)
            .await
            .expect("the test server accepts connections");
        let driver = tokio::spawn(connection);
        client.batch_execute(sql).await.expect("the test server's user may create and drop databases");
        drop(client);
        // How the connection closes is of no interest once the statement is through.
        let _ = driver.await;
    }
}

/// A server somebody else runs.
fn at(url: &str) -> PostgresServer {
    let (address, parameters) =
        url.split_once('?').map_or((url, String::new()), |(a, p)| (a, format!("?{p}")));
    let authority = address.find("://").map_or(0, |scheme| scheme + 3);
    let end = address[authority..].find('/').map_or(address.len(), |slash| authority + slash);
    PostgresServer { base: address[..end].to_owned(), parameters, _supervisor: None }
}

fn start() -> PostgresServer {
    let programs = programs().expect(
        "no PostgreSQL in /usr/lib/postgresql: install it, set DATAMESH_TEST_POSTGRES to the URL of a server, \
         or set DATAMESH_SKIP_POSTGRES=1",
    );
    let folder =
        TempDir::with_prefix("datamesh-postgres-").expect("the temporary folder can be written").keep();
    give_to_postgres(&folder);
    let data = folder.join("data");
    let init = as_postgres(&programs.join("initdb"))
        .args(["--username=datamesh", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "-D"])
        .arg(&data)
        .current_dir(&folder)
        .output()
        .expect("initdb starts");
    assert!(init.status.success(), "initdb failed: {}", String::from_utf8_lossy(&init.stderr));

    let server = as_postgres(&programs.join("postgres"));
    let supervisor = Command::new("sh")
        .args(["-c", SUPERVISOR, "sh"])
        .arg(&folder)
        .arg(server.get_program())
        .args(server.get_args())
        .arg("-D")
        .arg(&data)
        .arg("-k")
        .arg(&folder)
        .args(["-c", "listen_addresses=", "-c", "max_connections=300", "-c", "fsync=off"])
        .current_dir(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh starts");
    wait_for(&folder);
    let mut base = String::from("postgres://datamesh@");
    for byte in folder.as_os_str().as_encoded_bytes() {
        write!(base, "%{byte:02x}").expect("a String takes everything");
    }
    PostgresServer { base, parameters: String::new(), _supervisor: Some(supervisor) }
}

/// The newest version installed.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let installed = versions.flatten().filter(|version| version.path().join("bin/initdb").is_file());
    let number = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().parse::<u32>().unwrap_or(0);
    installed.max_by_key(number).map(|version| version.path().join("bin"))
}

/// PostgreSQL refuses to run as root, so root runs it as the user its package creates.
fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

fn give_to_postgres(folder: &Path) {
    if is_root() {
        let status = Command::new("chown").arg("postgres:").arg(folder).status().expect("chown starts");
        assert!(status.success(), "the user postgres is missing");
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn wait_for(folder: &Path) {
    for _ in 0..START_ATTEMPTS {
        // The server writes "ready" into its pid file's last line once it accepts connections.
        let state = fs::read_to_string(folder.join("data/postmaster.pid")).unwrap_or_default();
        if state.lines().last().is_some_and(|line| line.trim() == "ready") {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
    panic!("the test server did not start: {log}");
}

//! A `datamesh-gateway` of its own for one test: free ports, a temporary directory, killed when dropped.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// The path of one of the workspace's binaries, beside the running test.
pub fn binary(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe().context("the test's own path")?;
    let dir = test.parent().and_then(Path::parent).context("the target directory")?;
    let path = dir.join(name);
    if !path.exists() {
        bail!("{} is missing: run `make test`, which builds the binaries first", path.display());
    }
    Ok(path)
}

/// What `credentials.env` holds.
#[derive(Debug, Clone)]
pub struct Credentials {
    variables: BTreeMap<String, String>,
}

impl Credentials {
    /// Reads the file as a shell that sources it would.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let variables = text
            .lines()
            .filter_map(|line| line.trim().trim_start_matches("export ").split_once('='))
            .map(|(name, value)| (name.to_owned(), value.trim_matches(['"', '\'']).to_owned()))
            .collect();
        Ok(Self { variables })
    }

    /// The variables, to be set in a client's environment.
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// One variable; its absence fails the test with its name.
    pub fn get(&self, name: &str) -> &str {
        match self.variables.get(name) {
            Some(value) => value,
            None => panic!("credentials.env lacks {name}"),
        }
    }

    /// `http://host:port` of the S3 endpoint.
    pub fn endpoint(&self) -> &str {
        self.get("AWS_ENDPOINT_URL")
    }

    /// `host:port` of the S3 endpoint.
    pub fn host(&self) -> &str {
        self.endpoint().trim_start_matches("http://").trim_end_matches('/')
    }
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    /// What it printed before it was ready.
    said: Vec<String>,
    data_dir: PathBuf,
    arguments: Vec<String>,
    /// Where its log goes, if not to the test's.
    log: Option<PathBuf>,
    // Removes the data when the test is over.
    _temporary: Option<TempDir>,
}

impl Gateway {
    /// Starts a gateway with eight nodes in a temporary directory and waits until it serves.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// Like [`Self::start`], with more arguments for `dev`.
    pub fn start_with(arguments: &[&str]) -> Result<Self> {
        Self::dev(arguments, false)
    }

    /// Like [`Self::start`], with a log of that level, which the test can read.
    pub fn start_logging(level: &str) -> Result<Self> {
        Self::dev(&["--log", level], true)
    }

    fn dev(arguments: &[&str], is_log_kept: bool) -> Result<Self> {
        let temporary = tempfile::tempdir()?;
        let data_dir = temporary.path().join("data");
        let log = is_log_kept.then(|| temporary.path().join("gateway.log"));
        let dev = ["dev", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data-dir"];
        let folder = data_dir.to_str().context("a temporary path is text")?;
        let arguments = [&dev[..], &[folder], arguments].concat();
        Self::spawned(temporary, data_dir.clone(), &arguments, log)
    }

    /// Starts a gateway that serves by `config`, which says everything but `data_dir`, and waits until it does.
    pub fn serve(config: &str) -> Result<Self> {
        let temporary = tempfile::tempdir()?;
        let (data_dir, file) = (temporary.path().join("data"), temporary.path().join("gateway.toml"));
        fs::write(&file, format!("data_dir = '{}'\n{config}", data_dir.display()))?;
        let file = file.to_str().context("a temporary path is text")?.to_owned();
        Self::spawned(temporary, data_dir, &["serve", "--config", &file], None)
    }

    fn spawned(
        temporary: TempDir,
        data_dir: PathBuf,
        arguments: &[&str],
        log: Option<PathBuf>,
    ) -> Result<Self> {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let (child, said) = spawn(&arguments, log.as_deref())?;
        Ok(Self { child, said, data_dir, arguments, log, _temporary: Some(temporary) })
    }

    /// What it has logged, of one that was started by [`Self::start_logging`].
    pub fn log(&self) -> Result<Vec<u8>> {
        Ok(fs::read(self.log.as_ref().context("it logs to the test's own output")?)?)
    }

    /// Its data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The credentials it wrote.
    pub fn credentials(&self) -> Result<Credentials> {
        Credentials::read(&self.data_dir.join("credentials.env"))
    }

    /// Those of a user, from what `user create` or `key create` printed.
    pub fn credentials_of(&self, user: &serde_json::Value) -> Result<Credentials> {
        let field = |name: &str| user[name].as_str().with_context(|| format!("{name} in {user}"));
        let variables = [
            ("AWS_ACCESS_KEY_ID", field("access_key_id")?),
            ("AWS_SECRET_ACCESS_KEY", field("secret_access_key")?),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", self.s3_endpoint()?),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(Credentials { variables: variables.into() })
    }

    /// `http://host:port` of the web sites, if `--website-listen` was given.
    pub fn website_endpoint(&self) -> Option<&str> {
        self.said.iter().find_map(|line| line.strip_prefix("web sites on "))
    }

    /// `http://host:port` of the S3 endpoint.
    pub fn s3_endpoint(&self) -> Result<&str> {
        let line = self.said.iter().find_map(|line| line.strip_prefix("S3 on "));
        let (endpoint, _) = line.and_then(|line| line.split_once(',')).context("where S3 is")?;
        Ok(endpoint)
    }

    /// Resident memory in bytes, now.
    pub fn memory_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
        let kib: u64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
        Ok(kib * 1024)
    }

    /// Kills the process as `kill -9` does.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks the process to drain and waits for its end.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        anyhow::ensure!(status.success(), "kill -TERM failed");
        Ok(self.child.wait()?)
    }

    /// Starts the process again on the same data.
    pub fn restart(&mut self) -> Result<()> {
        (self.child, self.said) = spawn(&self.arguments, self.log.as_deref())?;
        Ok(())
    }

    /// Runs `datamesh-admin` with `--output json` and gives its exit code and what it printed.
    pub fn admin(&self, arguments: &[&str]) -> Result<(i32, serde_json::Value)> {
        crate::cluster::admin(&self.data_dir, arguments)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Already dead is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The process, once it is ready, and what it printed before.
fn spawn(arguments: &[String], log: Option<&Path>) -> Result<(Child, Vec<String>)> {
    let stderr = match log {
        Some(log) => fs::OpenOptions::new().create(true).append(true).open(log)?.into(),
        None => Stdio::inherit(),
    };
    let mut child = Command::new(binary("datamesh-gateway")?)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .context("starting datamesh-gateway")?;
    let stdout = child.stdout.take().context("the gateway's output")?;
    let mut lines = BufReader::new(stdout).lines();
    let mut said = Vec::new();
    for line in &mut lines {
        let line = line?;
        if line == "ready" {
            // Somebody must go on reading, or the gateway would block on a full pipe.
            std::thread::spawn(move || lines.for_each(drop));
            return Ok((child, said));
        }
        said.push(line);
    }
    let status = child.wait()?;
    bail!("the gateway ended before it was ready: {status}")
}

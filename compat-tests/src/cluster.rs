//! `deploy/local-cluster`: the gateway and its nodes as separate processes, to be killed and wiped.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::{Credentials, binary};

/// A running cluster, taken down when dropped.
#[derive(Debug)]
pub struct LocalCluster {
    data_dir: PathBuf,
    /// The gateway's database; `None`: SQLite in its folder.
    database: Option<String>,
    _temporary: TempDir,
}

impl LocalCluster {
    /// Starts a gateway and `nodes` nodes and waits until they serve.
    pub fn up(nodes: usize) -> Result<Self> {
        Self::up_with(nodes, None)
    }

    /// Like [`Self::up`], with the catalog in the database at this URL.
    pub fn up_on(nodes: usize, database: &str) -> Result<Self> {
        Self::up_with(nodes, Some(database.to_owned()))
    }

    fn up_with(nodes: usize, database: Option<String>) -> Result<Self> {
        let temporary = tempfile::tempdir()?;
        let cluster = Self { data_dir: temporary.path().join("cluster"), database, _temporary: temporary };
        cluster.script(&["up", "--nodes", &nodes.to_string()])?;
        Ok(cluster)
    }

    /// Kills node `number` (from 1) as `kill -9` does.
    pub fn kill(&self, number: usize) -> Result<()> {
        self.script(&["kill", &number.to_string()])
    }

    /// Starts node `number` again.
    pub fn start(&self, number: usize) -> Result<()> {
        self.script(&["start", &number.to_string()])
    }

    /// Empties the disk of the dead node `number`.
    pub fn wipe(&self, number: usize) -> Result<()> {
        self.script(&["wipe", &number.to_string()])
    }

    /// Kills the gateway as `kill -9` does.
    pub fn kill_gateway(&self) -> Result<()> {
        self.script(&["kill", "gateway"])
    }

    /// Starts the gateway again.
    pub fn start_gateway(&self) -> Result<()> {
        self.script(&["start", "gateway"])
    }

    /// The directory of everything the cluster keeps.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The credentials of its first account.
    pub fn credentials(&self) -> Result<Credentials> {
        Credentials::read(&self.data_dir.join("credentials.env"))
    }

    /// Runs `datamesh-admin` with `--output json` and gives its exit code and what it printed.
    pub fn admin(&self, arguments: &[&str]) -> Result<(i32, serde_json::Value)> {
        admin(&self.data_dir, arguments)
    }

    /// Runs one repair pass after another until a pass has nothing left to do.
    pub fn repair_until_complete(&self) -> Result<()> {
        for _ in 0..20 {
            let (code, _) = self.admin(&["repair", "run"])?;
            anyhow::ensure!(code == 0, "repair run ended with {code}");
            let (code, _) = self.admin(&["doctor"])?;
            if code == 0 {
                return Ok(());
            }
        }
        bail!("the cluster is not whole after twenty repair passes: {:?}", self.admin(&["doctor"])?)
    }

    fn script(&self, arguments: &[&str]) -> Result<()> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/local-cluster");
        let gateway = binary("datamesh-gateway")?;
        let binaries = gateway.parent().context("the binaries' directory")?;
        let output = Command::new(script)
            .args(arguments)
            .arg("--data-dir")
            .arg(&self.data_dir)
            .env("DATAMESH_BIN_DIR", binaries)
            .envs(self.database.iter().map(|url| ("DATAMESH_DATABASE_URL", url)))
            .stdin(Stdio::null())
            .output()
            .context("starting deploy/local-cluster")?;
        if !output.status.success() {
            bail!(
                "local-cluster {} failed with {}\n{}{}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        if let Err(error) = self.script(&["down"]) {
            eprintln!("{error:#}");
        }
    }
}

pub(crate) fn admin(data_dir: &Path, arguments: &[&str]) -> Result<(i32, serde_json::Value)> {
    let output = Command::new(binary("datamesh-admin")?)
        .args(arguments)
        .args(["--output", "json", "--data-dir"])
        .arg(data_dir)
        .stdin(Stdio::null())
        .output()
        .context("starting datamesh-admin")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let value = serde_json::from_str(&text).unwrap_or(serde_json::Value::Null);
    if !output.status.success() && value.is_null() {
        bail!(
            "datamesh-admin {} failed: {text}{}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok((output.status.code().unwrap_or(-1), value))
}

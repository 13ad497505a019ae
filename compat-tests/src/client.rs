//! Runs a client program with the gateway's credentials and fails with everything it said.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::Credentials;

/// A file of `compat-tests/clients`.
pub fn client_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

/// A path among the clients that `scripts/install test` installs.
pub fn installed(path: &str) -> Result<PathBuf> {
    let clients = std::env::var_os("DATAMESH_CLIENTS")
        .context("DATAMESH_CLIENTS is not set; `make test` installs the clients and sets it")?;
    Ok(Path::new(&clients).join(path))
}

/// An environment for client programs: the gateway's credentials and a home of their own.
#[derive(Debug)]
pub struct Client {
    variables: Vec<(String, String)>,
    home: TempDir,
}

impl Client {
    /// An environment with `credentials`.
    pub fn new(credentials: &Credentials) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let mut variables: Vec<(String, String)> =
            credentials.variables().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        variables.push(("HOME".into(), home.path().display().to_string()));
        variables.push(("AWS_EC2_METADATA_DISABLED".into(), "true".into()));
        variables.push(("AWS_DEFAULT_REGION".into(), credentials.get("AWS_REGION").into()));
        // Nothing is written beside the sources.
        variables.push(("PYTHONDONTWRITEBYTECODE".into(), "1".into()));
        if let Ok(modules) = installed("node/node_modules") {
            variables.push(("NODE_PATH".into(), modules.display().to_string()));
        }
        if let Some(cache) = std::env::var_os("DATAMESH_GO_CACHE") {
            let cache = Path::new(&cache);
            variables.push(("GOMODCACHE".into(), cache.join("mod").display().to_string()));
            variables.push(("GOCACHE".into(), cache.join("build").display().to_string()));
        }
        Ok(Self { variables, home })
    }

    /// Sets one more variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A directory that lives as long as the client: its home.
    pub fn dir(&self) -> &Path {
        self.home.path()
    }

    /// Runs `program` and gives its standard output; a failure names the command and all that it printed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self.output(program, arguments)?;
        if !output.status.success() {
            bail!(
                "{program} {} failed with {}\n{}{}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `program` and gives whatever came of it.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Result<Output> {
        Command::new(program)
            .args(arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("starting {program}; `make test` installs the clients"))
    }
}

//! A bucket mounted by s3fs, unmounted when dropped.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::{Client, Credentials, write_file};

/// How long s3fs may take to write what it holds back and end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A mounted bucket.
#[derive(Debug)]
pub struct Mount {
    at: PathBuf,
}

impl Mount {
    /// Why this machine cannot mount anything, if it cannot.
    pub fn obstacle() -> Option<String> {
        match std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse") {
            Ok(_) => None,
            Err(error) => Some(format!("/dev/fuse cannot be opened: {error}")),
        }
    }

    /// Mounts `bucket` in a new directory under the client's.
    pub fn new(client: &Client, credentials: &Credentials, bucket: &str) -> Result<Self> {
        let keys = client.dir().join("s3fs-keys");
        let text =
            format!("{}:{}", credentials.get("AWS_ACCESS_KEY_ID"), credentials.get("AWS_SECRET_ACCESS_KEY"));
        write_file(&keys, text.as_bytes())?;
        client.run("chmod", &["600", "s3fs-keys"])?;
        let at = client.dir().join(format!("mounted {bucket}"));
        std::fs::create_dir_all(&at)?;
        let options = format!(
            "passwd_file={},url={},use_path_request_style,endpoint={},multipart_size=5",
            keys.display(),
            credentials.endpoint(),
            credentials.get("AWS_REGION")
        );
        let directory = at.to_str().context("temporary paths are UTF-8")?;
        client.run("s3fs", &[bucket, directory, "-o", &options])?;
        ensure!(is_mounted(&at)?, "s3fs ended without an error and without a mount");
        Ok(Self { at })
    }

    /// Where the bucket's objects are files.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Unmounts and waits until s3fs has let go.
    pub fn unmount(self) -> Result<()> {
        let begun = Instant::now();
        while is_mounted(&self.at)? {
            let output = fusermount(&self.at)?;
            let text = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success() || begun.elapsed() < PATIENCE, "fusermount failed: {text}");
        }
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // After `unmount` there is nothing left to do, and a test that fails should not hide why.
        if is_mounted(&self.at).unwrap_or(false) {
            let _ = fusermount(&self.at);
        }
    }
}

fn fusermount(at: &Path) -> Result<std::process::Output> {
    Command::new("fusermount").arg("-u").arg(at).stdin(Stdio::null()).output().context("starting fusermount")
}

/// Whether something is mounted at `path`; `/proc/mounts` writes a space as `\040`.
fn is_mounted(path: &Path) -> Result<bool> {
    let escaped = path.display().to_string().replace(' ', "\\040");
    let mounts = std::fs::read_to_string("/proc/mounts")?;
    Ok(mounts.lines().any(|line| line.split(' ').nth(1) == Some(&escaped)))
}

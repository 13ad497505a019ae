//! Real clients store and fetch through a gateway with eight mesh nodes; each checks what it got back.

mod aws_cli;
mod backups;
mod mounts;
mod rclone;
mod s3cmd;
mod sdks;
mod throttled;

use std::path::Path;

use anyhow::{Result, ensure};
use datamesh_compat_tests::Gateway;

fn path_text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

/// A clean doctor: every chunk has its shards, every reference its chunk, every quota is what is stored.
fn ensure_healthy(gateway: &Gateway) -> Result<()> {
    let (code, report) = gateway.admin(&["doctor"])?;
    ensure!(code == 0, "doctor found damage: {report:#}");
    Ok(())
}

//! rclone.

use std::fs;

use anyhow::{Result, ensure};
use datamesh_compat_tests::{Client, Credentials, Gateway, source_tree, unique_bytes, write_file};

use crate::{ensure_healthy, path_text};

/// A client whose remote `mesh:` is the gateway.
fn rclone(credentials: &Credentials) -> Result<Client> {
    Ok(Client::new(credentials)?
        .with("RCLONE_CONFIG_MESH_TYPE", "s3")
        .with("RCLONE_CONFIG_MESH_PROVIDER", "Other")
        .with("RCLONE_CONFIG_MESH_ENV_AUTH", "true")
        .with("RCLONE_CONFIG_MESH_ENDPOINT", credentials.endpoint()))
}

#[test]
fn rclone_syncs_and_checks_a_tree() -> Result<()> {
    let gateway = Gateway::start()?;
    let client = rclone(&gateway.credentials()?)?;
    let tree = client.dir().join("tree");
    source_tree(&tree, 60, 0)?;
    write_file(&tree.join("large"), &unique_bytes(9, 12 << 20))?;
    let copy = [
        "--s3-upload-cutoff",
        "6M",
        "--s3-chunk-size",
        "5M",
        "sync",
        path_text(&tree),
        "mesh:rclone-bucket/tree",
    ];
    client.run("rclone", &copy)?;
    client.run("rclone", &["check", "--download", path_text(&tree), "mesh:rclone-bucket/tree"])?;
    source_tree(&tree, 60, 1)?;
    fs::remove_file(tree.join("large"))?;
    client.run("rclone", &copy)?;
    client.run("rclone", &["check", "--download", path_text(&tree), "mesh:rclone-bucket/tree"])?;
    client.run("rclone", &["copy", path_text(&tree), "mesh:rclone-bucket/copied"])?;
    client.run("rclone", &["check", "--download", path_text(&tree), "mesh:rclone-bucket/copied"])?;
    let copied =
        client.output("rclone", &["copy", "-v", "mesh:rclone-bucket/tree", "mesh:rclone-bucket/copy"])?;
    let told = String::from_utf8_lossy(&copied.stderr);
    let by_server = told.matches("Copied (server-side copy)").count();
    ensure!(
        copied.status.success() && by_server >= 60,
        "{by_server} of 60 were copied by the gateway: {told}"
    );
    client.run("rclone", &["check", "--download", "mesh:rclone-bucket/tree", "mesh:rclone-bucket/copy"])?;
    client.run("rclone", &["purge", "mesh:rclone-bucket"])?;
    ensure_healthy(&gateway)
}

#[test]
fn rclone_syncs_both_ways_and_sees_old_versions() -> Result<()> {
    let gateway = Gateway::start()?;
    let client = rclone(&gateway.credentials()?)?;
    let tree = client.dir().join("tree");
    source_tree(&tree, 20, 0)?;
    client.run("rclone", &["mkdir", "mesh:rclone-both"])?;
    let bisync = ["bisync", "tree", "mesh:rclone-both/tree", "--workdir", "state"];
    client.run("rclone", &[&bisync[..], &["--resync"]].concat())?;
    write_file(&tree.join("from here"), b"here")?;
    let there = unique_bytes(5, 700_000);
    write_file(&client.dir().join("there"), &there)?;
    client.run("rclone", &["copyto", "there", "mesh:rclone-both/tree/from there"])?;
    client.run("rclone", &bisync)?;
    ensure!(fs::read(tree.join("from there"))? == there, "what the other side got came back different");
    ensure!(client.run("rclone", &["cat", "mesh:rclone-both/tree/from here"])? == "here");
    fs::remove_file(tree.join("from there"))?;
    client.run("rclone", &bisync)?;
    client.run("rclone", &["check", "--download", "tree", "mesh:rclone-both/tree"])?;

    client.run("rclone", &["backend", "versioning", "mesh:rclone-both", "Enabled"])?;
    write_file(&client.dir().join("next"), b"next")?;
    client.run("rclone", &["copyto", "there", "mesh:rclone-both/v/file"])?;
    client.run("rclone", &["copyto", "next", "mesh:rclone-both/v/file"])?;
    ensure!(client.run("rclone", &["cat", "mesh:rclone-both/v/file"])? == "next");
    let names = client.run("rclone", &["lsf", "--s3-versions", "mesh:rclone-both/v"])?;
    let old: Vec<&str> = names.lines().filter(|name| *name != "file").collect();
    ensure!(old.len() == 1 && names.lines().count() == 2, "two versions: {names}");
    client.run("rclone", &["copyto", "--s3-versions", &format!("mesh:rclone-both/v/{}", old[0]), "older"])?;
    ensure!(fs::read(client.dir().join("older"))? == there, "the older version came back different");
    client.run("rclone", &["delete", "mesh:rclone-both/v"])?;
    ensure!(client.run("rclone", &["lsf", "mesh:rclone-both/v"])?.is_empty());
    client.run("rclone", &["backend", "cleanup-hidden", "mesh:rclone-both"])?;
    client.run("rclone", &["purge", "mesh:rclone-both"])?;
    ensure_healthy(&gateway)
}

//! Backup tools: restic and duplicity.

use anyhow::{Result, ensure};
use datamesh_compat_tests::{Client, Gateway, source_tree};

use crate::ensure_healthy;

#[test]
fn restic_backs_up_checks_and_restores() -> Result<()> {
    let gateway = Gateway::start()?;
    let credentials = gateway.credentials()?;
    let client = Client::new(&credentials)?
        .with("RESTIC_REPOSITORY", &format!("s3:{}/restic-bucket/repo", credentials.endpoint()))
        .with("RESTIC_PASSWORD", "a passphrase");
    let tree = client.dir().join("tree");
    source_tree(&tree, 80, 0)?;
    client.run("restic", &["init"])?;
    client.run("restic", &["backup", "tree"])?;
    source_tree(&tree, 80, 1)?;
    client.run("restic", &["backup", "tree"])?;
    client.run("restic", &["check", "--read-data"])?;
    client.run("restic", &["restore", "latest", "--target", "restored"])?;
    client.run("diff", &["-r", "tree", "restored/tree"])?;
    client.run("restic", &["forget", "--keep-last", "1", "--prune"])?;
    client.run("restic", &["check", "--read-data"])?;
    ensure_healthy(&gateway)
}

#[test]
fn duplicity_backs_up_verifies_and_restores_both_generations() -> Result<()> {
    let gateway = Gateway::start()?;
    let credentials = gateway.credentials()?;
    let client = Client::new(&credentials)?.with("PASSPHRASE", "a passphrase");
    let tree = client.dir().join("tree");
    source_tree(&tree, 40, 0)?;
    client.run("cp", &["-r", "tree", "first"])?;
    client.run("aws", &["s3", "mb", "s3://duplicity-bucket"])?;
    let (url, endpoint) = ("boto3+s3://duplicity-bucket/backup", credentials.endpoint());
    let duplicity = |arguments: &[&str]| {
        let options = ["--s3-endpoint-url", endpoint, "--archive-dir", "archive", "--volsize", "4"];
        client.run("duplicity", &[arguments, &options].concat())
    };
    duplicity(&["full", "tree", url])?;
    source_tree(&tree, 40, 1)?;
    let told = duplicity(&["incremental", "tree", url])?;
    ensure!(told.contains("Errors 0"), "{told}");
    // Without what it remembers: everything comes from the bucket.
    client.run("rm", &["-r", "archive"])?;
    duplicity(&["verify", "--compare-data", url, "tree"])?;
    duplicity(&["restore", url, "restored"])?;
    client.run("diff", &["-r", "tree", "restored"])?;
    let status = duplicity(&["collection-status", url])?;
    let full = status.lines().find(|line| line.trim_start().starts_with("Full")).unwrap_or_default();
    ensure!(!full.is_empty() && status.contains("Incremental"), "{status}");
    client.run("aws", &["s3", "rb", "--force", "s3://duplicity-bucket"])?;
    ensure_healthy(&gateway)
}

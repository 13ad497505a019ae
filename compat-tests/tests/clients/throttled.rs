//! Clients of accounts whose plans allow little: they are slowed down, and nothing fails.

use anyhow::{Context, Result, ensure};
use datamesh_compat_tests::{Client, Gateway, client_file, unique_bytes, write_file};

use crate::{ensure_healthy, path_text};

/// The environment of a new account on that plan.
fn account(gateway: &Gateway, plan: &str) -> Result<Client> {
    let (code, user) = gateway.admin(&["user", "create", "ann@example.org", "--plan", plan])?;
    ensure!(code == 0, "{user}");
    let text = |name: &str| user[name].as_str().with_context(|| format!("{name} of {user}"));
    let client = Client::new(&gateway.credentials()?)?;
    Ok(client
        .with("AWS_ACCESS_KEY_ID", text("access_key_id")?)
        .with("AWS_SECRET_ACCESS_KEY", text("secret_access_key")?))
}

/// Files to sync: three times the burst of the free plan. `DATAMESH_SYNC_FILES` asks for more.
fn sync_files() -> Result<u64> {
    std::env::var("DATAMESH_SYNC_FILES").map_or(Ok(300), |files| Ok(files.parse()?))
}

#[test]
fn aws_cli_syncs_more_files_than_the_free_plan_lets_through_at_once() -> Result<()> {
    let gateway = Gateway::start()?;
    let client = account(&gateway, "free")?;
    let files = sync_files()?;
    // The plan stores a thousand objects; its rates are what this is about.
    let (code, answer) =
        gateway.admin(&["quota", "set", "ann@example.org", "--objects", &(files + 1).to_string()])?;
    ensure!(code == 0, "{answer}");
    for number in 0..files {
        write_file(&client.dir().join(format!("up/{number:04}")), &unique_bytes(number, 500))?;
    }
    client.run("aws", &["s3", "mb", "s3://free"])?;
    client.run("aws", &["s3", "sync", "up", "s3://free/", "--only-show-errors"])?;
    client.run("aws", &["s3", "sync", "s3://free/", "down", "--only-show-errors"])?;
    for number in 0..files {
        let got = std::fs::read(client.dir().join(format!("down/{number:04}")))?;
        ensure!(got == unique_bytes(number, 500), "file {number} came back different");
    }
    ensure_healthy(&gateway)
}

#[test]
fn boto3_that_is_told_to_slow_down_backs_off_and_completes() -> Result<()> {
    let gateway = Gateway::start()?;
    let client = account(&gateway, "unlimited")?;
    let (code, answer) =
        gateway.admin(&["quota", "set", "ann@example.org", "--requests", "40", "--burst", "20"])?;
    ensure!(code == 0, "{answer}");
    client.run("python3", &[path_text(&client_file("boto3_throttled.py"))])?;
    ensure_healthy(&gateway)
}

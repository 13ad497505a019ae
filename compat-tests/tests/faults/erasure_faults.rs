//! An erasure that is killed again and again goes on until everything of the account is gone, and nothing else.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::primitives::ByteStream;
use datamesh_compat_tests::{Gateway, binary, unique_bytes};

use crate::ledger::{Content, Ledger, client};

const BUCKET: &str = "bucket-leaving";
const OBJECTS: u64 = 600;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_survives_kill_nine_and_takes_nothing_else() -> Result<()> {
    let mut gateway = Gateway::start()?;
    let mut staying = Ledger::create(&gateway.credentials()?, "bucket-staying").await?;
    for number in 0..20 {
        staying.put(&format!("{number}"), Content { seed: number, len: 200_000 }).await?;
    }
    let (_, user) = gateway.admin(&["user", "create", "leaving@example.org", "--plan", "unlimited"])?;
    let id = user["user_id"].as_str().context("user create prints user_id")?.to_owned();
    let s3 = client(&gateway.credentials_of(&user)?);
    s3.create_bucket().bucket(BUCKET).send().await?;
    for number in 0..OBJECTS {
        // The same bytes as the others', now and then: their chunks are of another domain.
        let len = if number % 50 == 0 { 200_000 } else { 3_000 };
        let body = ByteStream::from(unique_bytes(number % 20, len));
        s3.put_object().bucket(BUCKET).key(format!("{number:03}")).body(body).send().await?;
    }
    let (code, report) =
        gateway.admin(&["privacy", "erase", &id, "--due", "1s", "--yes", "--reason", "asked"])?;
    ensure!(code == 0, "privacy erase: {report}");

    let deadline = Instant::now() + Duration::from_mins(3);
    let mut kills = 0_u64;
    loop {
        let mut run = Command::new(binary("datamesh-admin")?)
            .args(["privacy", "run", "--yes", "--data-dir"])
            .arg(gateway.data_dir())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        // Longer from kill to kill, so that it gets further, and to its end in the end.
        tokio::time::sleep(Duration::from_millis(30 + 15 * kills)).await;
        gateway.kill()?;
        run.wait()?;
        gateway.restart()?;
        let (_, shown) = gateway.admin(&["user", "show", &id])?;
        if shown["status"] == "erased" {
            break;
        }
        kills += 1;
        ensure!(Instant::now() < deadline, "the erasure did not end after {kills} kills: {shown}");
    }
    ensure!(kills > 0, "it was over before it could be killed");

    let (_, erasures) = gateway.admin(&["privacy", "list"])?;
    ensure!(erasures["erasures"][0]["status"] == "done", "{erasures}");
    staying.reconnect(&gateway.credentials()?);
    staying.verify().await?;
    let gone = staying.client().head_bucket().bucket(BUCKET).send().await;
    let status = gone.err().and_then(|error| Some(error.raw_response()?.status().as_u16()));
    ensure!(status == Some(404), "the bucket answers {status:?}");
    for check in [&["doctor"][..], &["quota", "reconcile"], &["usage", "verify"], &["audit", "verify"]] {
        let (code, report) = gateway.admin(check)?;
        ensure!(code == 0, "{check:?}: {report}");
    }
    Ok(())
}

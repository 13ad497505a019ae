//! F15 with two gateways on one PostgreSQL: one of them dies in the middle of the race.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use datamesh_compat_tests::{Gateway, unique_bytes};
use datamesh_testkit::for_each_database;

use crate::ledger::client;

const BUCKET: &str = "bucket-race";
/// Small enough to be kept in the database, which is all that the two gateways share.
const OBJECT_LEN: u64 = 8_000;
const OBJECTS_MAX: u64 = 40;
const RACERS: u64 = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f15_a_gateway_that_dies_in_the_race_gives_back_what_it_held() {
    for_each_database(|database| async move {
        if database.url.starts_with("postgres") {
            race(&database.url).await.expect("the limit holds");
        }
    })
    .await;
}

fn serve(database: &str, folder: &Path, disk: &str) -> Result<Gateway> {
    let folder = folder.display();
    Gateway::serve(&format!(
        r#"
[s3]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[database]
url = "{database}"
[keys]
kek_file = "{folder}/kek"
[accounts]
reservation_ttl = "2s"
[jobs]
expiry_interval = "500ms"
[storage.backends.disk]
type = "local"
dir = "{folder}/{disk}"
capacity = "1 GiB"
[storage.classes]
STANDARD = "disk"
"#
    ))
}

fn bytes_of_quota(gateway: &Gateway, user: &str) -> Result<(u64, u64)> {
    let (code, quota) = gateway.admin(&["quota", "show", user])?;
    ensure!(code == 0, "quota show: {quota}");
    let field = |name: &str| quota["bytes"][name].as_u64().context("quota show prints bytes");
    Ok((field("used")?, field("reserved")?))
}

/// An upload that begins and never ends: whoever takes it holds quota for it.
async fn stalled_upload(s3: &Client) -> Result<TcpStream> {
    let presigned = s3
        .put_object()
        .bucket(BUCKET)
        .key("stalled")
        .content_length(OBJECT_LEN.cast_signed())
        .presigned(PresigningConfig::expires_in(Duration::from_hours(1))?)
        .await?;
    let uri = presigned.uri().strip_prefix("http://").context("plain HTTP")?;
    let (host, path) = uri.split_once('/').context("a path")?;
    let mut connection = TcpStream::connect(host)?;
    let head =
        format!("PUT /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {OBJECT_LEN}\r\n\r\nfirst bytes");
    connection.write_all(head.as_bytes())?;
    Ok(connection)
}

/// Waits until `quota show` satisfies `condition`.
async fn await_quota(gateway: &Gateway, account: &str, condition: impl Fn(u64, u64) -> bool) -> Result<u64> {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let (used, reserved) = bytes_of_quota(gateway, account)?;
        if condition(used, reserved) {
            return Ok(used);
        }
        ensure!(Instant::now() < deadline, "{used} bytes used and {reserved} reserved for a minute");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn put(s3: Client, key: String, seed: u64) -> Result<bool> {
    let body = ByteStream::from(unique_bytes(seed, OBJECT_LEN as usize));
    match s3.put_object().bucket(BUCKET).key(key).body(body).send().await {
        Ok(_) => Ok(true),
        Err(error) => match error.raw_response().map(|response| response.status().as_u16()) {
            Some(403 | 503) | None => Ok(false),
            Some(_) => Err(error.into()),
        },
    }
}

async fn race(database: &str) -> Result<()> {
    let shared = tempfile::tempdir()?;
    let first = serve(database, shared.path(), "first")?;
    let mut second = serve(database, shared.path(), "second")?;
    let (_, made) = first.admin(&["user", "create", "race@example.org", "--plan", "unlimited"])?;
    let user_id = made["user_id"].as_str().context("user create prints user_id")?.to_owned();
    let limit = OBJECTS_MAX * OBJECT_LEN;
    let (code, report) = first.admin(&["quota", "set", &user_id, "--bytes", &limit.to_string()])?;
    ensure!(code == 0, "quota set: {report}");
    let s3 = client(&first.credentials_of(&made)?);
    s3.create_bucket().bucket(BUCKET).send().await?;

    for round in 0..5_u64 {
        let other = client(&second.credentials_of(&made)?);
        let stalled = stalled_upload(&other).await?;
        await_quota(&first, &user_id, |_, reserved| reserved >= OBJECT_LEN).await?;

        let answered = Arc::new(AtomicUsize::new(0));
        let racers: Vec<_> = (0..RACERS)
            .map(|racer| {
                let s3 = if racer % 2 == 0 { s3.clone() } else { other.clone() };
                let upload = put(s3, format!("{racer:02}"), round * RACERS + racer);
                let answered = Arc::clone(&answered);
                tokio::spawn(async move {
                    let outcome = upload.await;
                    answered.fetch_add(1, Ordering::Relaxed);
                    outcome
                })
            })
            .collect();
        // The moment depends on progress, not on a clock, and differs from round to round.
        while answered.load(Ordering::Relaxed) < 2 + 9 * round as usize {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        second.kill()?;
        for racer in racers {
            racer.await??;
        }
        drop(stalled);

        let used = await_quota(&first, &user_id, |_, reserved| reserved == 0).await?;
        let listing = s3.list_objects_v2().bucket(BUCKET).send().await?;
        let stored: i64 = listing.contents().iter().filter_map(aws_sdk_s3::types::Object::size).sum();
        ensure!(stored.cast_unsigned() == used, "{stored} bytes are stored, {used} are counted");
        ensure!(used <= limit, "{used} bytes are stored under a limit of {limit}");
        // All that is left can be used again, and not a byte more.
        for object in used / OBJECT_LEN..=OBJECTS_MAX {
            let fits = put(s3.clone(), format!("rest/{object}"), object).await?;
            ensure!(fits == (object < OBJECTS_MAX), "object {object} of {OBJECTS_MAX}");
        }
        for object in s3.list_objects_v2().bucket(BUCKET).send().await?.contents() {
            s3.delete_object().bucket(BUCKET).key(object.key().unwrap_or_default()).send().await?;
        }
        second.restart()?;
    }
    let (code, report) = first.admin(&["quota", "reconcile"])?;
    ensure!(code == 0 && report["drift"] == 0, "quota reconcile: {report}");
    let (code, report) = first.admin(&["usage", "verify"])?;
    ensure!(code == 0 && report["drift"] == 0, "usage verify: {report}");
    Ok(())
}

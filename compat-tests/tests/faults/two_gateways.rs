//! F15 with two gateways on one PostgreSQL: one of them dies in the middle of the race for the last mebibyte.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use datamesh_compat_tests::{Gateway, unique_bytes};
use datamesh_db::{Db, DbConfig};
use datamesh_testkit::for_each_database;

use crate::ledger::client;
use crate::shared_database::{rounds, serve};

const BUCKET: &str = "bucket-race";
/// Stored before the races.
const FILLER: &str = "filler";
const MIB: u64 = 1 << 20;
const OBJECT_LEN: u64 = 32 << 10;
/// How many of them are a mebibyte: half of the racers.
const OBJECTS_MAX: u64 = MIB / OBJECT_LEN;
const RACERS: u64 = 64;
/// What is stored before, and the last mebibyte.
const LIMIT: u64 = 2 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f15_a_gateway_that_dies_in_the_race_gives_back_what_it_held() {
    for_each_database(|database| async move {
        if database.url.starts_with("postgres") {
            race(&database).await.expect("the limit holds");
        }
    })
    .await;
}

/// Looks at all books over and over until it is told to stop; how often it did.
///
/// # Errors
/// A limit was exceeded at one of those instants, or a book counted less than nothing.
async fn watch(db: Db, stop: Arc<AtomicBool>) -> Result<u64> {
    const BOOKS: &str = "SELECT used, reserved, maximum FROM quota WHERE dimension IN (1, 2)";
    let mut looks = 0;
    while !stop.load(Ordering::Relaxed) {
        for row in db.rows(BOOKS, [].into()).await? {
            let (used, reserved, maximum) = (row.int(0)?, row.int(1)?, row.opt_int(2)?);
            ensure!(used >= 0 && reserved >= 0, "{used} used and {reserved} reserved");
            let fits = maximum.is_none_or(|maximum| used + reserved <= maximum);
            ensure!(fits, "{used} used and {reserved} reserved under {maximum:?}");
        }
        looks += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(looks)
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

async fn put(s3: Client, key: String, seed: u64, len: u64) -> Result<bool> {
    let body = ByteStream::from(unique_bytes(seed, len as usize));
    match s3.put_object().bucket(BUCKET).key(key).body(body).send().await {
        Ok(_) => Ok(true),
        Err(error) => match error.raw_response().map(|response| response.status().as_u16()) {
            Some(403 | 503) | None => Ok(false),
            Some(_) => Err(error.into()),
        },
    }
}

async fn race(database: &DbConfig) -> Result<()> {
    let shared = tempfile::tempdir()?;
    let first = serve(&database.url, shared.path(), "first")?;
    let mut second = serve(&database.url, shared.path(), "second")?;
    let (_, made) = first.admin(&["user", "create", "race@example.org", "--plan", "unlimited"])?;
    let user_id = made["user_id"].as_str().context("user create prints user_id")?.to_owned();
    let (code, report) = first.admin(&["quota", "set", &user_id, "--bytes", &LIMIT.to_string()])?;
    ensure!(code == 0, "quota set: {report}");
    let s3 = client(&first.credentials_of(&made)?);
    s3.create_bucket().bucket(BUCKET).send().await?;
    ensure!(put(s3.clone(), FILLER.to_owned(), 0, LIMIT - MIB).await?, "there is room for the first");

    let stop = Arc::new(AtomicBool::new(false));
    let watching = tokio::spawn(watch(Db::open(database).await?, Arc::clone(&stop)));
    for round in 0..rounds(5) {
        let other = client(&second.credentials_of(&made)?);
        let stalled = stalled_upload(&other).await?;
        await_quota(&first, &user_id, |_, reserved| reserved >= OBJECT_LEN).await?;
        race_until_killed([&s3, &other], &mut second, round).await?;
        drop(stalled);
        check_rest(&first, &s3, &user_id).await?;
        second.restart()?;
    }
    stop.store(true, Ordering::Relaxed);
    ensure!(watching.await?? > 0, "nobody looked");
    for check in [&["quota", "reconcile"], &["usage", "verify"]] {
        let (code, report) = first.admin(check)?;
        ensure!(code == 0 && report["drift"] == 0, "{check:?}: {report}");
    }
    Ok(())
}

/// Uploads through both gateways at once, until the second one is killed.
async fn race_until_killed(clients: [&Client; 2], second: &mut Gateway, round: u64) -> Result<()> {
    let answered = Arc::new(AtomicUsize::new(0));
    let racers: Vec<_> = (0..RACERS)
        .map(|racer| {
            let s3 = clients[(racer % 2) as usize].clone();
            let upload = put(s3, format!("{racer:02}"), round * RACERS + racer, OBJECT_LEN);
            let answered = Arc::clone(&answered);
            tokio::spawn(async move {
                let outcome = upload.await;
                answered.fetch_add(1, Ordering::Relaxed);
                outcome
            })
        })
        .collect();
    // The moment depends on progress, not on a clock, and differs from round to round.
    while answered.load(Ordering::Relaxed) < 2 + 9 * (round % 6) as usize {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    second.kill()?;
    for racer in racers {
        racer.await??;
    }
    Ok(())
}

/// Once what the dead gateway held has expired, what is counted is what is stored, and all that is left can be used again,
/// and not a byte more. Makes room for the next race.
async fn check_rest(first: &Gateway, s3: &Client, user_id: &str) -> Result<()> {
    let used = await_quota(first, user_id, |_, reserved| reserved == 0).await?;
    let listing = s3.list_objects_v2().bucket(BUCKET).send().await?;
    let stored: i64 = listing.contents().iter().filter_map(aws_sdk_s3::types::Object::size).sum();
    ensure!(stored.cast_unsigned() == used, "{stored} bytes are stored, {used} are counted");
    ensure!(used <= LIMIT, "{used} bytes are stored under a limit of {LIMIT}");
    for object in (used - (LIMIT - MIB)) / OBJECT_LEN..=OBJECTS_MAX {
        let fits = put(s3.clone(), format!("rest/{object}"), object, OBJECT_LEN).await?;
        ensure!(fits == (object < OBJECTS_MAX), "object {object} of {OBJECTS_MAX}");
    }
    for object in s3.list_objects_v2().bucket(BUCKET).send().await?.contents() {
        let key = object.key().unwrap_or_default();
        if key != FILLER {
            s3.delete_object().bucket(BUCKET).key(key).send().await?;
        }
    }
    Ok(())
}

//! F1, F12 and F15 on one gateway with its nodes in the same process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use aws_sdk_s3::primitives::ByteStream;
use datamesh_compat_tests::{Gateway, unique_bytes};

use crate::ledger::{Content, Ledger, client};

const SIZES: [usize; 5] = [0, 4_000, 300_000, 1_500_000, 6_000_000];

fn ensure_healthy(gateway: &Gateway) -> Result<()> {
    let (code, report) = gateway.admin(&["doctor"])?;
    ensure!(code == 0, "doctor found damage: {report:#}");
    let (code, report) = gateway.admin(&["usage", "verify"])?;
    ensure!(code == 0 && report["drift"] == 0, "usage is not what was stored: {report:#}");
    Ok(())
}

/// F1: the gateway and its nodes die together at an arbitrary moment of many concurrent writes, again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f1_whatever_was_acknowledged_survives_kill_nine() -> Result<()> {
    let mut gateway = Gateway::start()?;
    let mut ledger = Arc::new(Ledger::create(&gateway.credentials()?, "bucket-f1").await?);
    for round in 0..5_u64 {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let writers: Vec<_> = (0..6)
            .map(|writer| {
                tokio::spawn(write_until(ledger.clone(), round, writer, stop.clone(), acknowledged.clone()))
            })
            .collect();
        // The moment depends on progress, not on a clock, and differs from round to round.
        while acknowledged.load(Ordering::Relaxed) < 7 + 9 * round as usize {
            tokio::time::sleep(Duration::from_millis(1 + round)).await;
        }
        gateway.kill()?;
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.await??;
        }
        gateway.restart()?;
        let ledger = Arc::get_mut(&mut ledger).expect("the writers are gone");
        ledger.reconnect(&gateway.credentials()?);
        ledger.verify().await?;
    }
    let (code, _) = gateway.admin(&["repair", "run"])?;
    ensure!(code == 0, "repair run ended with {code}");
    ensure_healthy(&gateway)?;
    ensure!(gateway.terminate()?.success(), "SIGTERM drains and exits with 0");
    Ok(())
}

async fn write_until(
    ledger: Arc<Ledger>,
    round: u64,
    writer: u64,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
) -> Result<()> {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        // Few keys, so that writes overwrite; every third deletes.
        let key = format!("{writer}/{}", number % 5);
        let content = Content {
            seed: round * 1_000_000 + writer * 10_000 + number,
            len: SIZES[(number % SIZES.len() as u64) as usize] + writer as usize,
        };
        let outcome =
            if number % 3 == 2 { ledger.delete(&key).await } else { ledger.put(&key, content).await };
        match outcome {
            Ok(()) => _ = acknowledged.fetch_add(1, Ordering::Relaxed),
            // The process is dead; nothing else may fail.
            Err(error) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                ensure!(
                    stop.load(Ordering::Relaxed) || acknowledged.load(Ordering::Relaxed) > 0,
                    "{error:#}"
                );
            }
        }
    }
    Ok(())
}

/// F12: the same bytes are written and deleted under many keys while garbage collection runs without any grace.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f12_shared_chunks_are_readable_or_cleanly_absent_under_garbage_collection() -> Result<()> {
    let gateway = Arc::new(Gateway::start()?);
    let ledger = Arc::new(Ledger::create(&gateway.credentials()?, "bucket-f12").await?);
    let done = Arc::new(AtomicBool::new(false));
    let collector = std::thread::spawn({
        let (gateway, done) = (gateway.clone(), done.clone());
        move || -> Result<usize> {
            let mut passes = 0;
            while !done.load(Ordering::Relaxed) {
                let (code, report) = gateway.admin(&["gc", "run", "--grace", "0s"])?;
                ensure!(code == 0, "gc run ended with {code}: {report}");
                passes += 1;
            }
            Ok(passes)
        }
    });
    let writers: Vec<_> =
        (0..4_u64).map(|writer| tokio::spawn(share_and_delete(ledger.clone(), writer))).collect();
    for writer in writers {
        writer.await??;
    }
    done.store(true, Ordering::Relaxed);
    let passes = collector.join().expect("the collector doesn't panic")?;
    ensure!(passes > 0, "no garbage collection ran beside the writers");
    ledger.verify().await?;
    ensure_healthy(&gateway)
}

async fn share_and_delete(ledger: Arc<Ledger>, writer: u64) -> Result<()> {
    for number in 0..60_u64 {
        let key = format!("{writer}/{}", number % 4);
        // Three contents for all writers: nearly every write is a dedup hit that races a delete.
        let content = Content { seed: number % 3, len: 700_000 };
        if number % 2 == 0 {
            // A write whose chunks went away under it is refused as a whole and may be repeated.
            while ledger.put(&key, content).await.is_err() {}
        } else {
            ledger.delete(&key).await?;
        }
    }
    ledger.put(&format!("{writer}/last"), Content { seed: writer % 3, len: 700_000 }).await
}

/// F15: sixty-four writers race for the last mebibyte of a quota; then the holders of reservations are killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f15_a_quota_is_never_exceeded_and_survives_its_holders() -> Result<()> {
    let mut gateway = Gateway::start()?;
    let (_, user) = gateway.admin(&["user", "create", "race@example.org", "--plan", "free"])?;
    let user_id = user["user_id"].as_str().expect("user create prints user_id").to_owned();
    let limit: u64 = 3 << 20;
    let set = ["user", "limits", user_id.as_str(), "--bytes", &limit.to_string(), "--objects", "1000"];
    let (code, report) = gateway.admin(&set)?;
    ensure!(code == 0, "setting limits: {report}");
    let ledger = Ledger::create(&gateway.credentials_of(&user)?, "bucket-f15").await?;
    ledger.put("first", Content { seed: 1, len: 2 << 20 }).await?;

    let s3 = ledger.client().clone();
    let size = 100_000;
    let racers: Vec<_> = (0..64_u64)
        .map(|racer| {
            let body = ByteStream::from(unique_bytes(100 + racer, size));
            tokio::spawn(
                s3.put_object().bucket("bucket-f15").key(format!("race/{racer:02}")).body(body).send(),
            )
        })
        .collect();
    let mut accepted = 0;
    for racer in racers {
        match racer.await? {
            Ok(_) => accepted += 1,
            Err(error) => {
                let status = error.raw_response().map(|response| response.status().as_u16());
                ensure!(status == Some(403) || status == Some(503), "{error:?}");
            }
        }
    }
    let room = (limit - (2 << 20)) / size as u64;
    ensure!(accepted <= room, "{accepted} of {size} bytes each went into a room for {room}");
    ensure!(accepted > 0, "nobody got any of the room");
    let listing = s3.list_objects_v2().bucket("bucket-f15").send().await?;
    let stored: i64 = listing.contents().iter().filter_map(aws_sdk_s3::types::Object::size).sum();
    ensure!(stored as u64 <= limit, "{stored} bytes stored under a limit of {limit}");

    // Deleting is always allowed and makes room at once.
    s3.delete_object().bucket("bucket-f15").key("first").send().await?;
    gateway.kill()?;
    gateway.restart()?;
    let s3 = client(&gateway.credentials_of(&user)?);
    let body = ByteStream::from(unique_bytes(7, 1 << 20));
    s3.put_object().bucket("bucket-f15").key("after").body(body).send().await?;
    ensure_healthy(&gateway)
}

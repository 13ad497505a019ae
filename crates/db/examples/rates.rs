//! How many transactions a database takes: small writes under 16 callers, and point reads by one.
//!
//! `cargo run --release -p datamesh-db --example rates -- sqlite:/tmp/rates.sqlite`

use std::time::{Duration, Instant};

use datamesh_db::{Db, DbConfig, DbError, Migration, Tx};

const SCHEMA: &[Migration] = &[Migration {
    version: 1,
    sqlite: "CREATE TABLE item (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
             CREATE TABLE total (id BIGINT PRIMARY KEY, items BIGINT NOT NULL);",
    postgres: "CREATE TABLE item (key BYTEA PRIMARY KEY, value BYTEA NOT NULL);
               CREATE TABLE total (id BIGINT PRIMARY KEY, items BIGINT NOT NULL);",
}];
const CALLERS: u64 = 16;
const RUN: Duration = Duration::from_secs(5);

/// Five statements, as a small PUT has.
async fn put(tx: &mut Tx, caller: u64, number: u64) -> Result<(), DbError> {
    let key = blake_like(caller, number);
    tx.query_opt("SELECT value FROM item WHERE key = $1", &[(&key).into()]).await?;
    tx.query_opt("SELECT items FROM total WHERE id = $1", &[caller.into()]).await?;
    tx.execute("INSERT INTO item (key, value) VALUES ($1, $2)", &[(&key).into(), vec![7; 300].into()])
        .await?;
    let other = blake_like(caller, number.wrapping_add(1 << 40));
    tx.execute("INSERT INTO item (key, value) VALUES ($1, $2)", &[(&other).into(), vec![8; 100].into()])
        .await?;
    tx.execute(
        "INSERT INTO total (id, items) VALUES ($1, 1) ON CONFLICT (id) DO UPDATE SET items = total.items + 1",
        &[caller.into()],
    )
    .await?;
    Ok(())
}

/// Keys spread over the whole index, as hashes are.
fn blake_like(caller: u64, number: u64) -> [u8; 16] {
    let mixed = (number ^ (caller << 48)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut key = [0; 16];
    key[..8].copy_from_slice(&mixed.to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

async fn writes(db: &Db) -> u64 {
    let end = Instant::now() + RUN;
    let callers = (0..CALLERS).map(|caller| {
        let db = db.clone();
        tokio::spawn(async move {
            let mut done = 0;
            while Instant::now() < end {
                db.write::<(), DbError, _>(move |tx| Box::pin(put(tx, caller, done)))
                    .await
                    .expect("the write commits");
                done += 1;
            }
            done
        })
    });
    let mut done = 0;
    for caller in callers.collect::<Vec<_>>() {
        done += caller.await.expect("a caller does not panic");
    }
    done
}

async fn reads(db: &Db) -> u64 {
    let end = Instant::now() + RUN;
    let mut done = 0;
    while Instant::now() < end {
        let key = blake_like(done % CALLERS, done % 1_000);
        let read = db.read::<_, DbError, _>(move |tx| {
            Box::pin(
                async move { tx.query_opt("SELECT value FROM item WHERE key = $1", &[(&key).into()]).await },
            )
        });
        read.await.expect("the read runs");
        done += 1;
    }
    done
}

#[tokio::main]
async fn main() -> Result<(), DbError> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "sqlite:/tmp/datamesh-rates.sqlite".to_owned());
    let db = Db::open(&DbConfig::new(url).create()).await?;
    db.migrate("rates", SCHEMA).await?;
    let before = cpu_ms();
    let written = writes(&db).await;
    report("writes, 16 callers, 5 statements each", written, cpu_ms() - before);
    let before = cpu_ms();
    let read = reads(&db).await;
    report("point reads, 1 caller", read, cpu_ms() - before);
    Ok(())
}

fn report(what: &str, done: u64, cpu_ms: u64) {
    println!("{what}: {}/s, {} us of CPU each", done / RUN.as_secs(), cpu_ms * 1_000 / done.max(1));
}

/// User and system time of this process, from Linux's clock ticks of 10 ms.
fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10
}

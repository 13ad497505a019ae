//! F1 as bills see it: gateways are killed while they store, delete and roll up, and usage is metered exactly once.
//!
//! The recount shares nothing with the rollups: it takes the events one by one, holds them against what the clients did and
//! were told, and adds them up for itself.

mod recount;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use datamesh_compat_tests::Gateway;
use datamesh_db::{Db, DbConfig};
use datamesh_testkit::for_each_database;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::ledger::client;
use crate::shared_database::{rounds, serve};
use recount::{Change, Recount};
use writer::Writer;

const USER: &str = "metered@example.org";
const WRITERS: u64 = 4;
const HOUR_MS: i128 = 3_600_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn f1_usage_is_metered_exactly_once_by_gateways_that_are_killed() {
    for_each_database(|database| async move {
        meter(&database).await.expect("what is metered is what was stored");
    })
    .await;
}

/// SQLite has one gateway. On PostgreSQL a second one rolls up beside the first, and they are killed in turn.
async fn meter(database: &DbConfig) -> Result<()> {
    let shared = tempfile::tempdir()?;
    let disks = if database.url.starts_with("postgres") { &["first", "second"][..] } else { &["first"] };
    let mut gateways = Vec::new();
    for disk in disks {
        gateways.push(serve(&database.url, shared.path(), disk)?);
    }
    let (code, made) = gateways[0].admin(&["user", "create", USER, "--plan", "unlimited"])?;
    ensure!(code == 0, "user create: {made}");
    let begun = OffsetDateTime::now_utc();
    let mut writers = Vec::new();
    for number in 0..WRITERS {
        let s3 = client(&gateways[0].credentials_of(&made)?);
        writers.push(Writer::create(&s3, number).await?);
    }
    for round in 0..rounds(5) {
        writers = write_until_killed(&mut gateways, &made, writers, round).await?;
    }
    let s3 = client(&gateways[0].credentials_of(&made)?);
    for writer in &mut writers {
        writer.finish(&s3).await?;
    }
    let months = BTreeSet::from([month_of(begun), month_of(OffsetDateTime::now_utc())]);
    let mut told = Vec::new();
    for month in &months {
        told.push(Told::ask(&gateways[0], month)?);
    }
    for check in [&["usage", "verify"], &["quota", "reconcile"]] {
        let (code, report) = gateways[0].admin(check)?;
        ensure!(code == 0 && report["drift"] == 0, "{check:?}: {report}");
    }
    for gateway in &mut gateways {
        ensure!(gateway.terminate()?.success(), "SIGTERM drains and exits with 0");
    }
    let recount = Recount::new(events(database).await?);
    for writer in &writers {
        writer.check(recount.changes_of(&told, writer.bucket())?)?;
    }
    told.iter().try_for_each(|told| told.check(&recount))
}

/// Writes through all gateways, and kills one of them while it is asked to roll up.
async fn write_until_killed(
    gateways: &mut [Gateway],
    user: &Value,
    writers: Vec<Writer>,
    round: u64,
) -> Result<Vec<Writer>> {
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let mut writing = Vec::new();
    for (number, mut writer) in writers.into_iter().enumerate() {
        let s3 = client(&gateways[number % gateways.len()].credentials_of(user)?);
        let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
        writing.push(tokio::spawn(async move {
            writer.write_until(&s3, &stop, &answered).await;
            writer
        }));
    }
    // The moment depends on progress, not on a clock, and differs from round to round.
    while answered.load(Ordering::Relaxed) < 40 + 11 * (round % 7) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let victims = gateways.len() as u64;
    let victim = &mut gateways[(round % victims) as usize];
    let asked = begin_roll_up(victim)?;
    tokio::time::sleep(Duration::from_millis(round % 5)).await;
    victim.kill()?;
    drop(asked);
    stop.store(true, Ordering::Relaxed);
    let mut writers = Vec::new();
    for writer in writing {
        writers.push(writer.await?);
    }
    victim.restart()?;
    Ok(writers)
}

/// Asks for the usage of the month, which rolls up what there is, and does not wait for the answer.
fn begin_roll_up(gateway: &Gateway) -> Result<TcpStream> {
    let access: Value = serde_json::from_slice(&std::fs::read(gateway.data_dir().join("admin.json"))?)?;
    let text = |name: &str| access[name].as_str().with_context(|| format!("{name} in admin.json"));
    let address = text("endpoint")?.trim_start_matches("http://").to_owned();
    let mut connection = TcpStream::connect(&address)?;
    let request = format!(
        "GET /v1/users/{USER}/usage HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\n\r\n",
        text("token")?
    );
    connection.write_all(request.as_bytes())?;
    Ok(connection)
}

/// Everything that was ever metered of what is stored, once each: an event that is delivered again has the same name.
async fn events(database: &DbConfig) -> Result<Vec<Change>> {
    const EVENTS: &str = "SELECT at_ms, source, sequence, bucket, bytes, objects FROM usage_history
        WHERE bytes <> 0 OR objects <> 0
        UNION SELECT at_ms, source, sequence, bucket, bytes, objects FROM usage_event
        WHERE bytes <> 0 OR objects <> 0
        ORDER BY 1, 2, 3";
    let db = Db::open(database).await?;
    let rows = db.rows(EVENTS, [].into()).await?;
    let change = |row: &datamesh_db::Row| -> Result<Change> {
        Ok(Change { at_ms: row.int(0)?, bucket: row.int(3)?, by: [row.int(4)?, row.int(5)?] })
    };
    rows.iter().map(change).collect()
}

fn month_of(at: OffsetDateTime) -> String {
    format!("{:04}-{:02}", at.year(), u8::from(at.month()))
}

fn milliseconds(text: &Value) -> Result<i128> {
    let text = text.as_str().context("a time")?;
    Ok(OffsetDateTime::parse(text, &Rfc3339)?.unix_timestamp_nanos() / 1_000_000)
}

fn amount(text: &Value) -> Result<i128> {
    Ok(text.as_str().context("an amount")?.parse()?)
}

/// What `usage` tells of a month.
pub struct Told {
    month: String,
    show: Value,
    hours: Vec<Value>,
}

impl Told {
    fn ask(gateway: &Gateway, month: &str) -> Result<Self> {
        let (code, show) = gateway.admin(&["usage", "show", USER, "--period", month])?;
        ensure!(code == 0, "usage show: {show}");
        let export = ["usage", "export", USER, "--period", month, "--format", "json"];
        let (code, hours) = gateway.admin(&export)?;
        ensure!(code == 0, "usage export: {hours}");
        let hours = hours.as_array().context("an array of hours")?.clone();
        Ok(Self { month: month.to_owned(), show, hours })
    }

    fn buckets(&self) -> &[Value] {
        self.show["buckets"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The number of a bucket, if it was used in this month.
    pub fn number_of(&self, bucket: &str) -> Option<i64> {
        self.buckets().iter().find(|shown| shown["bucket"] == bucket)?["number"].as_i64()
    }

    /// Compares the month and each of its hours with the recount, to the byte and the millisecond.
    fn check(&self, recount: &Recount) -> Result<()> {
        let (from, until) = (milliseconds(&self.show["from"])?, milliseconds(&self.show["until"])?);
        for shown in self.buckets() {
            let bucket = shown["number"].as_i64().context("a bucket's number")?;
            let told = [amount(&shown["byte_milliseconds"])?, amount(&shown["object_milliseconds"])?];
            let counted = recount.integral(bucket, from, until);
            ensure!(told == counted, "{} of bucket {bucket}: {told:?} for {counted:?}", self.month);
            let hours = self.hours_of(bucket)?;
            let mut start = from;
            while start < until {
                let end = until.min(start + HOUR_MS);
                let counted = recount.integral(bucket, start, end);
                let told = hours.get(&start).copied().unwrap_or_default();
                ensure!(told == counted, "hour {start} of bucket {bucket}: {told:?} for {counted:?}");
                start += HOUR_MS;
            }
        }
        Ok(())
    }

    /// What a bucket stored over time, by the start of each hour that is told.
    fn hours_of(&self, bucket: i64) -> Result<BTreeMap<i128, [i128; 2]>> {
        let is_stored = |hour: &&Value| hour["number"] == bucket && hour["access_key_id"] == "";
        let told = |hour: &Value| {
            let sums = [amount(&hour["byte_milliseconds"])?, amount(&hour["object_milliseconds"])?];
            Ok((milliseconds(&hour["start"])?, sums))
        };
        self.hours.iter().filter(is_stored).map(told).collect()
    }
}

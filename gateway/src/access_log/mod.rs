//! Server access logging: a line for each request to a bucket that wants it, gathered into objects of another bucket.
//!
//! As in S3, delivery is best effort: lines wait in memory for the next flush, those of a gateway that dies are
//! lost, and beyond 16 MiB they are dropped and counted.

mod line;
mod target;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datamesh_catalog::{Bucket, Catalog, ConfigKind};
use tokio_util::sync::CancellationToken;

pub use line::Asked;
pub use target::{KeyFormat, Logging};

use crate::s3::{S3Gateway, now_ms};
use crate::watched::{REFRESH_INTERVAL, WatchedBuckets};

/// How much of all buckets' lines may wait, in bytes.
const PENDING_LEN_MAX: usize = 16 << 20;
/// The most of one object of lines.
const OBJECT_LEN_MAX: usize = 4 << 20;

/// A bucket whose requests are logged.
#[derive(Debug)]
pub struct Source {
    /// Its name.
    pub bucket: String,
    /// The account that owns it.
    pub owner: String,
    /// Its region.
    pub region: String,
    /// Where to.
    pub logging: Logging,
}

impl Source {
    /// A bucket with its configuration.
    pub fn new(bucket: &Bucket, logging: Logging) -> Self {
        Self {
            bucket: bucket.name.clone(),
            owner: bucket.account.to_string(),
            region: bucket.region.clone(),
            logging,
        }
    }

    /// A key in the target bucket such as lines get that are delivered now.
    pub fn key_at(&self, now_ms: u64) -> String {
        self.logging.key(self, now_ms, "0")
    }
}

/// The log of one gateway. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AccessLog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    sources: WatchedBuckets<Source>,
    pending: Mutex<Pending>,
}

impl Default for AccessLog {
    fn default() -> Self {
        let sources = WatchedBuckets::new(ConfigKind::Logging);
        Self { inner: Arc::new(Inner { sources, pending: Mutex::default() }) }
    }
}

#[derive(Debug, Default)]
struct Pending {
    by_source: HashMap<String, (Arc<Source>, String)>,
    len: usize,
}

impl AccessLog {
    /// The bucket of that name, if its requests are logged.
    pub fn source(&self, bucket: &str) -> Option<Arc<Source>> {
        self.inner.sources.get(bucket)
    }

    /// Adds a line, which ends in a line break.
    pub fn add(&self, source: &Arc<Source>, line: &str) {
        let mut pending = self.inner.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.len + line.len() > PENDING_LEN_MAX {
            metrics::counter!("datamesh_access_log_lines_dropped").increment(1);
            return;
        }
        pending.len += line.len();
        let (_, lines) = pending
            .by_source
            .entry(source.bucket.clone())
            .or_insert_with(|| (Arc::clone(source), String::new()));
        lines.push_str(line);
    }

    /// Reads anew which buckets are logged.
    pub async fn refresh(&self, catalog: &Catalog) {
        self.inner.sources.refresh(catalog, Source::new).await;
    }

    /// Writes what waits to the target buckets. What can't be written is dropped and counted: its bucket is gone,
    /// or full, or nobody's who may be written for.
    pub async fn flush(&self, gateway: &S3Gateway) {
        let pending = {
            let mut pending = self.inner.pending.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *pending)
        };
        for (source, lines) in pending.by_source.into_values() {
            for object in objects(&lines) {
                let written = source.logging.write(gateway, &source, object, now_ms()).await;
                if let Err(error) = written {
                    let dropped = object.lines().count() as u64;
                    metrics::counter!("datamesh_access_log_lines_dropped").increment(dropped);
                    let target = source.logging.bucket.as_str();
                    tracing::warn!(bucket = source.bucket, target, %error, "could not write an access log");
                }
            }
        }
    }

    /// Refreshes and flushes until `stop`, and flushes a last time.
    pub async fn run(self, gateway: S3Gateway, interval: Duration, stop: CancellationToken) {
        let mut refresh = tokio::time::interval(REFRESH_INTERVAL);
        let mut flush = tokio::time::interval(interval);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = refresh.tick() => self.refresh(&gateway.catalog).await,
                _ = flush.tick() => self.flush(&gateway).await,
            }
        }
        self.flush(&gateway).await;
    }
}

/// Cuts lines into objects of a bounded length, between lines.
fn objects(lines: &str) -> impl Iterator<Item = &str> {
    let mut rest = lines;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let bound = rest.floor_char_boundary(OBJECT_LEN_MAX.min(rest.len()));
        let end = if bound == rest.len() {
            bound
        } else {
            // A line longer than an object has one of its own.
            let last = rest[..bound].rfind('\n');
            last.or_else(|| rest[bound..].find('\n').map(|at| bound + at)).map_or(rest.len(), |at| at + 1)
        };
        let (object, left) = rest.split_at(end);
        rest = left;
        Some(object)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_between_lines_and_none_is_lost() {
        let line = format!("{}\n", "x".repeat(1000));
        let lines = line.repeat(10_000);
        let cut: Vec<&str> = objects(&lines).collect();
        assert_eq!(cut.concat(), lines);
        assert!(cut.len() > 1);
        assert!(cut.iter().all(|object| object.len() <= OBJECT_LEN_MAX && object.ends_with('\n')));
        let long = format!("{}\nshort\n", "y".repeat(OBJECT_LEN_MAX + 1));
        assert_eq!(objects(&long).map(str::len).collect::<Vec<_>>(), [OBJECT_LEN_MAX + 2, 6]);
        assert_eq!(objects("").count(), 0);
    }
}

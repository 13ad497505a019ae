//! A client that keeps a list of what it tried, in a bucket that nobody else writes to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use datamesh_compat_tests::unique_bytes;

use super::recount::Change;

/// Few, so that writes replace and deletions find something.
const KEYS: u64 = 5;
/// A prime, so that sizes repeat late: a change of what is stored tells which attempt it was. Small enough to be kept in
/// the database, where every gateway finds it.
const SIZES: u64 = 7_919;
const STRIDE: u64 = 2_657;

/// An attempt to put an object of that many bytes, or to delete it.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    key: u64,
    size: Option<u64>,
    /// Without an answer it may have happened.
    answered: bool,
}

/// Sizes by key.
type Objects = BTreeMap<u64, u64>;

#[derive(Debug)]
pub struct Writer {
    bucket: String,
    attempts: Vec<Attempt>,
    /// What was listed, and after how many attempts.
    listed: Option<(usize, Objects)>,
}

impl Writer {
    /// Creates its bucket.
    pub async fn create(s3: &Client, number: u64) -> Result<Self> {
        let bucket = format!("bucket-metered-{number}");
        s3.create_bucket().bucket(&bucket).send().await.context("creating a bucket")?;
        Ok(Self { bucket, attempts: Vec::new(), listed: None })
    }

    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// Puts, replaces and deletes, one after the other, and counts the answers.
    pub async fn write_until(&mut self, s3: &Client, stop: &AtomicBool, answered: &AtomicU64) {
        while !stop.load(Ordering::Relaxed) {
            let number = self.attempts.len() as u64;
            let size = (number % 4 != 3).then_some(1 + number * STRIDE % SIZES);
            if self.attempt(s3, number % KEYS, size).await {
                answered.fetch_add(1, Ordering::Relaxed);
            } else {
                // Its gateway is dead, or dying.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Lists what there is, and deletes all of it.
    pub async fn finish(&mut self, s3: &Client) -> Result<()> {
        let listing = s3.list_objects_v2().bucket(&self.bucket).send().await.context("listing")?;
        let mut objects = Objects::new();
        for object in listing.contents() {
            let key = object.key().context("a key")?.parse()?;
            objects.insert(key, object.size().context("a size")?.cast_unsigned());
        }
        self.listed = Some((self.attempts.len(), objects));
        for key in 0..KEYS {
            ensure!(self.attempt(s3, key, None).await, "an object could not be deleted");
        }
        Ok(())
    }

    /// Whether there was an answer that it has happened.
    async fn attempt(&mut self, s3: &Client, key: u64, size: Option<u64>) -> bool {
        let (bucket, name) = (&self.bucket, key.to_string());
        let answered = match size {
            Some(size) => {
                let body = ByteStream::from(unique_bytes(size, size as usize));
                s3.put_object().bucket(bucket).key(name).body(body).send().await.is_ok()
            }
            None => s3.delete_object().bucket(bucket).key(name).send().await.is_ok(),
        };
        self.attempts.push(Attempt { key, size, answered });
        answered
    }

    /// Holds what was metered of its bucket against the attempts: each that was answered is one change, each that was not is
    /// one or none, and there are no others.
    pub fn check<'a>(&self, changes: impl Iterator<Item = &'a Change>) -> Result<()> {
        let changes: Vec<_> = changes.map(|change| change.by).collect();
        self.explain(0, &changes, Objects::new())
    }

    /// Explains the changes by the attempts from one on, which find these objects.
    fn explain(&self, from: usize, mut changes: &[[i64; 2]], mut objects: Objects) -> Result<()> {
        for (number, attempt) in self.attempts.iter().enumerate().skip(from) {
            self.check_listing(number, &objects)?;
            let old = objects.get(&attempt.key).copied();
            let [old_bytes, new_bytes] = [old, attempt.size].map(|size| size.unwrap_or(0).cast_signed());
            let by = [new_bytes - old_bytes, i64::from(attempt.size.is_some()) - i64::from(old.is_some())];
            let rest = match changes {
                _ if by == [0, 0] => changes,
                [next, rest @ ..] if *next == by => rest,
                _ => {
                    let next = changes.first();
                    ensure!(!attempt.answered, "{}: {attempt:?} is not {next:?}", self.bucket);
                    continue;
                }
            };
            // The same change may be that of a later attempt.
            if !attempt.answered && by != [0, 0] && self.explain(number + 1, changes, objects.clone()).is_ok()
            {
                return Ok(());
            }
            changes = rest;
            match attempt.size {
                Some(size) => _ = objects.insert(attempt.key, size),
                None => _ = objects.remove(&attempt.key),
            }
        }
        let more = changes.first();
        ensure!(more.is_none(), "{}: nobody has done {more:?}", self.bucket);
        ensure!(objects.is_empty(), "{}: all was deleted but {objects:?}", self.bucket);
        Ok(())
    }

    fn check_listing(&self, number: usize, objects: &Objects) -> Result<()> {
        let listed = self.listed.as_ref().filter(|(after, _)| *after == number);
        ensure!(
            listed.is_none_or(|(_, listed)| listed == objects),
            "{}: {listed:?} was listed, {objects:?} were metered",
            self.bucket
        );
        Ok(())
    }
}

//! What is stored over time, added up change by change.

use anyhow::{Context, Result};

use super::Told;

/// A change of what a bucket stores.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    pub bucket: i64,
    /// Bytes and objects.
    pub by: [i64; 2],
}

pub struct Recount {
    /// In the order that they were made.
    changes: Vec<Change>,
}

impl Recount {
    pub fn new(changes: Vec<Change>) -> Self {
        Self { changes }
    }

    /// Those of a bucket, whose number one of the months tells.
    pub fn changes_of(&self, told: &[Told], bucket: &str) -> Result<impl Iterator<Item = &Change>> {
        let number = told.iter().find_map(|told| told.number_of(bucket));
        let number = number.with_context(|| format!("nothing is told of {bucket}"))?;
        Ok(self.changes.iter().filter(move |change| change.bucket == number))
    }

    /// Bytes times milliseconds and objects times milliseconds of a bucket between two moments.
    pub fn integral(&self, bucket: i64, from_ms: i128, until_ms: i128) -> [i128; 2] {
        let is_before = |change: &&Change| change.bucket == bucket && i128::from(change.at_ms) < until_ms;
        let changes = self.changes.iter().filter(is_before);
        changes.fold([0, 0], |sums, change| {
            let left = until_ms - i128::from(change.at_ms).max(from_ms);
            [0, 1].map(|index| sums[index] + i128::from(change.by[index]) * left)
        })
    }
}

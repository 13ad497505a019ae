//! Buckets, remembered from one commit that changes a bucket to the next: nearly every request begins with one.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use datamesh_db::{TableVersion, TableWatch};

use crate::Bucket;

/// How many buckets are remembered at most.
const BUCKETS_MAX: usize = 10_000;

/// See above. On PostgreSQL nothing is remembered.
pub(crate) struct BucketMemory {
    watch: TableWatch,
    known: RwLock<Known>,
}

/// The buckets of one version of their table.
#[derive(Default)]
struct Known {
    version: Option<TableVersion>,
    buckets: HashMap<String, Arc<Bucket>>,
}

impl BucketMemory {
    /// `watch` is that of the table of buckets.
    pub(crate) fn new(watch: TableWatch) -> Self {
        Self { watch, known: RwLock::default() }
    }

    /// The version whose buckets are remembered now.
    pub(crate) fn version(&self) -> Option<TableVersion> {
        self.watch.version()
    }

    /// The bucket of that name in `version`, if it is remembered.
    pub(crate) fn get(&self, version: TableVersion, name: &str) -> Option<Arc<Bucket>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.buckets.get(name).filter(|_| known.version == Some(version)).cloned()
    }

    /// Remembers a bucket that was read after `before` was the version, unless it may be a later one's.
    pub(crate) fn remember(&self, before: Option<TableVersion>, bucket: &Bucket) {
        if before.is_none() || self.version() != before {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.version != before || known.buckets.len() >= BUCKETS_MAX {
            known.buckets.clear();
            known.version = before;
        }
        known.buckets.insert(bucket.name.clone(), Arc::new(bucket.clone()));
    }
}

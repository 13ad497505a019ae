//! Buckets that every request is held against: whatever has a configuration of one kind, kept in memory and read anew
//! every few seconds. A bucket without one costs its requests a look into a map, and nothing while there is none at
//! all.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use datamesh_catalog::{Bucket, BucketId, Catalog, ConfigKind};
use datamesh_node::one_line;
use serde::de::DeserializeOwned;

use crate::jobs::{JobError, configuration};

/// How soon every gateway knows of a changed configuration.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(5);
/// Buckets per query.
const PAGE: usize = 1000;

/// Buckets with a configuration of one kind, by name.
#[derive(Debug)]
pub struct WatchedBuckets<T> {
    kind: ConfigKind,
    buckets: RwLock<Arc<HashMap<String, Arc<T>>>>,
}

impl<T> WatchedBuckets<T> {
    /// Knows of no bucket before [`Self::refresh`].
    pub fn new(kind: ConfigKind) -> Self {
        Self { kind, buckets: RwLock::default() }
    }

    /// What is known of the bucket of that name, if it has such a configuration.
    pub fn get(&self, bucket: &str) -> Option<Arc<T>> {
        let buckets = self.buckets.read().unwrap_or_else(PoisonError::into_inner);
        if buckets.is_empty() { None } else { buckets.get(bucket).cloned() }
    }

    /// Reads all such configurations anew; `make` says what is to be kept of each. A failure is logged, and what was
    /// known stays.
    pub async fn refresh<D: DeserializeOwned>(&self, catalog: &Catalog, make: impl Fn(&Bucket, D) -> T) {
        match self.read(catalog, make).await {
            Ok(known) => *self.buckets.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known),
            Err(error) => {
                tracing::warn!(kind = ?self.kind, error = %one_line(&error), "could not read configurations");
            }
        }
    }

    async fn read<D: DeserializeOwned>(
        &self,
        catalog: &Catalog,
        make: impl Fn(&Bucket, D) -> T,
    ) -> Result<HashMap<String, Arc<T>>, JobError> {
        let mut known = HashMap::new();
        let mut after = BucketId(0);
        loop {
            let buckets = catalog.buckets_configured(self.kind, after, PAGE).await?;
            let Some(last) = buckets.last() else { return Ok(known) };
            after = last.id;
            for bucket in buckets {
                if let Some(document) = configuration(catalog, &bucket, self.kind).await? {
                    let kept = Arc::new(make(&bucket, document));
                    known.insert(bucket.name, kept);
                }
            }
        }
    }
}

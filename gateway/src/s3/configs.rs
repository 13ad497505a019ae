//! Buckets' configurations, as the operations use them.
//!
//! A feature that a bucket does not use costs nothing: its bit in the bucket's row says so. What is used is kept,
//! parsed, for the epoch it was read at; a bucket's every change makes a new epoch, so nothing kept is ever stale.

use std::any::Any;
use std::sync::Arc;

use datamesh_catalog::{Bucket, BucketId, ConfigKind};
use moka::sync::Cache;
use s3s::{S3Result, s3_error};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{S3Gateway, errors};

/// How many documents are kept. Policies, the largest, have 20 KiB at most.
const DOCUMENTS_MAX: u64 = 10_000;

type Document = Arc<dyn Any + Send + Sync>;

/// Parsed configurations, shared by all requests.
#[derive(Clone)]
pub struct ConfigCache {
    documents: Cache<(BucketId, ConfigKind, u64), Document>,
}

impl Default for ConfigCache {
    fn default() -> Self {
        Self { documents: Cache::new(DOCUMENTS_MAX) }
    }
}

impl S3Gateway {
    /// A bucket's configuration; `None` when there is none, without any lookup.
    ///
    /// `T` is what [`S3Gateway::set_config`] stored for that kind: one type for each.
    pub(crate) async fn config<T>(&self, bucket: &Bucket, kind: ConfigKind) -> S3Result<Option<Arc<T>>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        if !bucket.configured.contains(kind) {
            return Ok(None);
        }
        Box::pin(self.configured(bucket, kind)).await
    }

    async fn configured<T>(&self, bucket: &Bucket, kind: ConfigKind) -> S3Result<Option<Arc<T>>>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        let place = (bucket.id, kind, bucket.config_epoch);
        if let Some(kept) = self.configs.documents.get(&place) {
            let kept = kept.downcast().map_err(|_| s3_error!(InternalError))?;
            return Ok(Some(kept));
        }
        let stored = self.catalog.bucket_config(bucket.id, kind).await.map_err(errors::catalog)?;
        // Removed since the bucket was looked up.
        let Some(stored) = stored else { return Ok(None) };
        let parsed: T = serde_json::from_str(&stored).map_err(|error| s3_error!(error, InternalError))?;
        let parsed = Arc::new(parsed);
        self.configs.documents.insert(place, Arc::clone(&parsed) as Document);
        Ok(Some(parsed))
    }

    /// Sets or removes a bucket's configuration.
    pub(super) async fn set_config<T: Serialize>(
        &self,
        bucket: &Bucket,
        kind: ConfigKind,
        config: Option<&T>,
    ) -> S3Result<()> {
        let document = config.map(encode).transpose()?;
        self.catalog.set_bucket_config(bucket.id, kind, document).await.map_err(errors::catalog)
    }
}

/// A configuration as it is stored.
pub(super) fn encode<T: Serialize>(config: &T) -> S3Result<String> {
    serde_json::to_string(config).map_err(|error| s3_error!(error, InternalError))
}

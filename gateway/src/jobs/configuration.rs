//! What jobs read of the buckets' configurations.

use datamesh_catalog::{Bucket, Catalog, ConfigKind};
use serde::de::DeserializeOwned;

use super::JobError;

/// A bucket's configuration of a kind, if it has one.
///
/// # Errors
/// Those of the catalog, and [`JobError::Configuration`] for a document that is none of this kind.
pub(crate) async fn configuration<T: DeserializeOwned>(
    catalog: &Catalog,
    bucket: &Bucket,
    kind: ConfigKind,
) -> Result<Option<T>, JobError> {
    if !bucket.configured.contains(kind) {
        return Ok(None);
    }
    let stored = catalog.bucket_config(bucket.id, kind).await?;
    let parsed = stored.map(|stored| serde_json::from_str(&stored)).transpose();
    parsed.map_err(|source| JobError::Configuration { bucket: bucket.name.clone(), source })
}

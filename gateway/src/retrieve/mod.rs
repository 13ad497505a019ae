//! Reading: a range of a version becomes a body, its chunks fetched ahead and in order.
//!
//! Only the chunks that the range touches are fetched. Several are under way at once, bounded by number and by
//! bytes; each is opened (authenticated, decrypted, decompressed) off the async threads. No byte leaves
//! before its chunk has been verified. An error after the first byte fails the body, which costs the client its
//! connection: a short answer never looks complete.

mod body;
mod error;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datamesh_backend::Backend;
use datamesh_catalog::{Catalog, PlannedChunk, StoredContent, Version};
use datamesh_pipeline::{DomainKey, open};
use tokio::task::spawn_blocking;

pub use body::ObjectBody;
pub use error::RetrieveError;

/// The limits of reading.
#[derive(Debug, Clone)]
pub struct RetrieveConfig {
    /// Chunks of one request that are fetched at the same time.
    pub chunks_in_flight: usize,
    /// Their plaintext and what waits for the client, in bytes; one chunk may always be there.
    pub in_flight_bytes: usize,
}

impl Default for RetrieveConfig {
    fn default() -> Self {
        Self { chunks_in_flight: 8, in_flight_bytes: 8 << 20 }
    }
}

/// Opening a chunk up to this size costs less than handing it to another thread and back.
const OPEN_HERE_MAX: usize = 64 << 10;

/// The backends by the names that the catalog stores.
pub type Backends = Arc<BTreeMap<String, Arc<dyn Backend>>>;

/// Reads versions.
#[derive(Clone)]
pub struct Retrieve {
    catalog: Catalog,
    backends: Backends,
    config: Arc<RetrieveConfig>,
}

impl Retrieve {
    /// A reader over `catalog` and `backends`.
    pub fn new(catalog: Catalog, backends: Backends, config: RetrieveConfig) -> Self {
        Self { catalog, backends, config: Arc::new(config) }
    }

    /// A body with exactly the bytes of `range` of the version. Returns once the first chunk is verified, so that a
    /// version that cannot be read fails with an error rather than in the middle of an answer.
    pub async fn body(
        &self,
        version: &Version,
        range: Range<u64>,
        key: &DomainKey,
    ) -> Result<ObjectBody, RetrieveError> {
        match &version.content {
            StoredContent::Empty => Ok(ObjectBody::whole(Bytes::new())),
            StoredContent::Inline { chunk, sealed } => {
                let plaintext = open(key, chunk, sealed.clone())?;
                let len = plaintext.len() as u64;
                if range.end > len || version.size != len {
                    return Err(RetrieveError::Length { expected: version.size, found: len });
                }
                Ok(ObjectBody::whole(plaintext.slice(range.start as usize..range.end as usize)))
            }
            StoredContent::Manifest(_) | StoredContent::Parts { .. } => {
                let plan = self.catalog.read_plan(version, range.clone());
                let mut body = ObjectBody::planned(self.clone(), plan, range, key.clone());
                Box::pin(body.prime()).await?;
                Ok(body)
            }
        }
    }

    async fn fetch(&self, chunk: &PlannedChunk, key: DomainKey) -> Result<Bytes, RetrieveError> {
        let unknown = || RetrieveError::UnknownBackend { backend: chunk.backend.clone() };
        let backend = self.backends.get(&chunk.backend).ok_or_else(unknown)?;
        let sealed = Vec::from(backend.get(&chunk.location).await?);
        let id = chunk.chunk;
        let plaintext = if sealed.len() <= OPEN_HERE_MAX {
            open(&key, &id, sealed)?
        } else {
            spawn_blocking(move || open(&key, &id, sealed)).await??
        };
        if plaintext.len() != chunk.plain_len as usize {
            let (expected, found) = (u64::from(chunk.plain_len), plaintext.len() as u64);
            return Err(RetrieveError::Length { expected, found });
        }
        Ok(plaintext)
    }
}

//! Sealed chunks in memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use datamesh_types::{GroupId, Location, SealedId};

use crate::contract::checked_len;
use crate::{Backend, BackendError, Placed, Presence, StoredChunk};

#[derive(Debug, Default)]
struct Chunks {
    by_id: BTreeMap<SealedId, Chunk>,
    bytes: u64,
}

#[derive(Debug)]
struct Chunk {
    sealed: Bytes,
    stored_at_ms: i64,
}

/// Keeps chunks in memory. Nothing survives the process; clones share the chunks.
#[derive(Debug, Clone)]
pub struct MemoryBackend {
    chunks: Arc<Mutex<Chunks>>,
    capacity_bytes: u64,
}

impl Default for MemoryBackend {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryBackend {
    /// An empty one without a limit.
    pub fn new() -> Self {
        Self::with_capacity(u64::MAX)
    }

    /// An empty one that is full at `capacity_bytes`.
    pub fn with_capacity(capacity_bytes: u64) -> Self {
        Self { chunks: Arc::default(), capacity_bytes }
    }

    fn lock(&self) -> MutexGuard<'_, Chunks> {
        self.chunks.lock().expect("no holder of this lock panics")
    }
}

#[async_trait]
impl Backend for MemoryBackend {
    async fn put(&self, id: SealedId, sealed: Bytes) -> Result<Placed, BackendError> {
        let sealed_len = checked_len(&sealed)?;
        let stored_at_ms = now_ms();
        let mut chunks = self.lock();
        match chunks.by_id.get(&id) {
            Some(known) if known.sealed != sealed => return Err(BackendError::Conflict { sealed: id }),
            Some(_) => {}
            None if chunks.bytes.saturating_add(sealed.len() as u64) > self.capacity_bytes => {
                return Err(BackendError::Full);
            }
            None => {
                chunks.bytes += sealed.len() as u64;
                chunks.by_id.insert(id, Chunk { sealed, stored_at_ms });
            }
        }
        let location = Location { group: GroupId::NONE, sealed: id, sealed_len };
        Ok(Placed { location, missing: Vec::new() })
    }

    async fn get(&self, location: &Location) -> Result<Bytes, BackendError> {
        let sealed = location.sealed;
        let chunks = self.lock();
        let chunk = chunks.by_id.get(&sealed).ok_or(BackendError::NotFound { sealed })?;
        if chunk.sealed.len() == location.sealed_len as usize {
            Ok(chunk.sealed.clone())
        } else {
            Err(BackendError::Corrupt { sealed })
        }
    }

    async fn delete(&self, locations: &[Location]) -> Vec<Result<(), BackendError>> {
        let mut chunks = self.lock();
        for location in locations {
            if let Some(chunk) = chunks.by_id.remove(&location.sealed) {
                chunks.bytes -= chunk.sealed.len() as u64;
            }
        }
        locations.iter().map(|_| Ok(())).collect()
    }

    async fn presence(&self, location: &Location) -> Result<Presence, BackendError> {
        let good = usize::from(self.lock().by_id.contains_key(&location.sealed));
        Ok(Presence { good, unknown: 0, total: 1, needed: 1 })
    }

    async fn list(
        &self,
        after: Option<(GroupId, SealedId)>,
        limit: usize,
    ) -> Result<Vec<StoredChunk>, BackendError> {
        let lower = after.map_or(Bound::Unbounded, |(_, sealed)| Bound::Excluded(sealed));
        let chunks = self.lock();
        let page = chunks.by_id.range((lower, Bound::Unbounded));
        let stored = page.map(|(id, chunk)| StoredChunk {
            group: GroupId::NONE,
            sealed: *id,
            stored_at_ms: chunk.stored_at_ms,
        });
        Ok(stored.take(limit).collect())
    }
}

/// Milliseconds since the Unix epoch; only the age of orphans is judged by it.
fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_millis() as i64)
}

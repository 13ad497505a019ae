//! Sealed chunks on one disk of this machine.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use datamesh_shard_store::{ShardStore, StoreError};
use datamesh_types::{GroupId, Location, SealedId, ShardHealth, ShardId};

use crate::{Backend, BackendError, Placed, Presence, StoredChunk};

/// Keeps each chunk as one shard of a shard store: durable, checksummed, no redundancy.
#[derive(Clone)]
pub struct LocalBackend {
    store: ShardStore,
}

impl fmt::Debug for LocalBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalBackend").finish_non_exhaustive()
    }
}

impl LocalBackend {
    /// A backend over an open store, which no node should serve at the same time.
    pub fn new(store: ShardStore) -> Self {
        Self { store }
    }

    /// The store behind it.
    pub fn store(&self) -> &ShardStore {
        &self.store
    }
}

/// A chunk is the only shard of its own, in no group.
fn shard_of(sealed: SealedId) -> ShardId {
    ShardId { group: GroupId::NONE, sealed, index: 0 }
}

fn refused(sealed: SealedId, error: StoreError) -> BackendError {
    match error {
        StoreError::NotFound { .. } => BackendError::NotFound { sealed },
        StoreError::Corrupt { .. } => BackendError::Corrupt { sealed },
        StoreError::Conflict { .. } => BackendError::Conflict { sealed },
        StoreError::Full { .. } | StoreError::ReadOnly { .. } => BackendError::Full,
        StoreError::TooLarge { len, .. } => BackendError::InvalidLength { bytes: len },
        other => BackendError::Unavailable { source: Box::new(other) },
    }
}

#[async_trait]
impl Backend for LocalBackend {
    async fn put(&self, id: SealedId, sealed: Bytes) -> Result<Placed, BackendError> {
        let sealed_len = crate::contract::checked_len(&sealed)?;
        self.store.put(shard_of(id), sealed).await.map_err(|error| refused(id, error))?;
        let location = Location { group: GroupId::NONE, sealed: id, sealed_len };
        Ok(Placed { location, missing: Vec::new() })
    }

    async fn get(&self, location: &Location) -> Result<Bytes, BackendError> {
        let sealed = location.sealed;
        let bytes = self.store.get(shard_of(sealed)).await.map_err(|error| refused(sealed, error))?;
        if bytes.len() == location.sealed_len as usize {
            Ok(bytes)
        } else {
            Err(BackendError::Corrupt { sealed })
        }
    }

    async fn delete(&self, locations: &[Location]) -> Vec<Result<(), BackendError>> {
        let ids: Vec<ShardId> = locations.iter().map(|location| shard_of(location.sealed)).collect();
        let Err(error) = self.store.delete(&ids).await else {
            return locations.iter().map(|_| Ok(())).collect();
        };
        let failed = |location: &Location| Err(refused(location.sealed, error.clone()));
        locations.iter().map(failed).collect()
    }

    async fn presence(&self, location: &Location) -> Result<Presence, BackendError> {
        let sealed = location.sealed;
        let health = self.store.verify(shard_of(sealed)).await.map_err(|error| refused(sealed, error))?;
        Ok(Presence { good: usize::from(health == ShardHealth::Good), unknown: 0, total: 1, needed: 1 })
    }

    async fn list(
        &self,
        after: Option<(GroupId, SealedId)>,
        limit: usize,
    ) -> Result<Vec<StoredChunk>, BackendError> {
        let after = after.map(|(group, sealed)| ShardId { group, sealed, index: u8::MAX });
        let page = self
            .store
            .list(Some(GroupId::NONE), after, limit)
            .await
            .map_err(|error| BackendError::Unavailable { source: Box::new(error) })?;
        let stored = page.into_iter().map(|stat| StoredChunk {
            group: stat.id.group,
            sealed: stat.id.sealed,
            stored_at_ms: stat.stored_at_ms,
        });
        Ok(stored.collect())
    }
}

//! The shard store as the mesh serves it to peers.
//!
//! Answers carry no text: what only this node's operator may know is logged here.

use async_trait::async_trait;
use bytes::Bytes;
use datamesh_mesh::{NodeUsage, ShardError, ShardService};
use datamesh_shard_store::{ShardHealth, ShardStat, ShardStore, StoreError, StoreUsage};
use datamesh_types::{GroupId, NodeId, ShardId};

/// The most shards that one listing returns.
const LIST_MAX: u32 = 10_000;

/// Serves a shard store to the peers that the mesh admits.
#[derive(Clone)]
pub struct StoreService {
    store: ShardStore,
}

impl StoreService {
    /// Serves `store`.
    pub fn new(store: ShardStore) -> Self {
        Self { store }
    }
}

/// What a peer gets to know of an error. Those that mean a broken disk are logged.
fn answer(error: &StoreError) -> ShardError {
    match error {
        StoreError::NotFound { .. } => ShardError::NotFound,
        StoreError::Corrupt { id } => {
            tracing::warn!(shard = %id, "a shard is damaged on disk");
            ShardError::Corrupt
        }
        StoreError::Conflict { id } => {
            tracing::warn!(shard = %id, "refused other bytes for a shard that is stored");
            ShardError::Conflict
        }
        StoreError::Full { .. } => ShardError::Full,
        StoreError::ReadOnly { .. } => ShardError::ReadOnly,
        StoreError::TooLarge { .. } => ShardError::Refused,
        other => {
            tracing::error!(error = %other, cause = ?std::error::Error::source(other), "the shard store failed");
            ShardError::Failed
        }
    }
}

/// A store's usage in the mesh's words.
pub(crate) fn node_usage(usage: StoreUsage) -> NodeUsage {
    NodeUsage {
        capacity_bytes: usage.capacity_bytes,
        used_bytes: usage.used_bytes,
        live_bytes: usage.live_bytes,
        shards: usage.shards,
        read_only: usage.read_only,
    }
}

#[async_trait]
impl ShardService for StoreService {
    async fn put(&self, _from: NodeId, id: ShardId, data: Bytes) -> Result<(), ShardError> {
        self.store.put(id, data).await.map_err(|error| answer(&error))
    }

    async fn get(&self, _from: NodeId, id: ShardId) -> Result<Bytes, ShardError> {
        self.store.get(id).await.map_err(|error| answer(&error))
    }

    async fn get_range(
        &self,
        _from: NodeId,
        id: ShardId,
        offset: u32,
        len: u32,
    ) -> Result<Bytes, ShardError> {
        self.store.get_range(id, offset, len).await.map_err(|error| answer(&error))
    }

    async fn delete(&self, _from: NodeId, ids: &[ShardId]) -> Result<(), ShardError> {
        self.store.delete(ids).await.map(drop).map_err(|error| answer(&error))
    }

    async fn list(
        &self,
        _from: NodeId,
        group: Option<GroupId>,
        after: Option<ShardId>,
        limit: u32,
    ) -> Result<Vec<ShardStat>, ShardError> {
        let limit = limit.min(LIST_MAX) as usize;
        self.store.list(group, after, limit).await.map_err(|error| answer(&error))
    }

    async fn stat(&self, _from: NodeId, id: ShardId) -> Result<Option<ShardStat>, ShardError> {
        self.store.stat(id).await.map_err(|error| answer(&error))
    }

    async fn verify(&self, _from: NodeId, id: ShardId) -> Result<ShardHealth, ShardError> {
        self.store.verify(id).await.map_err(|error| answer(&error))
    }

    async fn usage(&self, _from: NodeId) -> Result<NodeUsage, ShardError> {
        Ok(node_usage(self.store.usage()))
    }
}

//! What a node offers the mesh.

use async_trait::async_trait;
use bytes::Bytes;
use datamesh_types::{GroupId, NodeId, ShardHealth, ShardId, ShardStat};
use serde::{Deserialize, Serialize};

use crate::ShardError;

/// How full a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeUsage {
    /// What the node offers, in bytes.
    pub capacity_bytes: u64,
    /// What its files occupy, in bytes.
    pub used_bytes: u64,
    /// What of it is shards that were not deleted, in bytes.
    pub live_bytes: u64,
    /// How many shards it holds.
    pub shards: u64,
    /// Whether it refuses writes, for example after a failed fsync.
    pub read_only: bool,
}

/// The storage behind a node: the mesh calls it for requests of peers that the network map admits.
///
/// The mesh has already checked that `from` is an active member, and for [`put`](Self::put) and
/// [`delete`](Self::delete) that it is a gateway. Calls run concurrently, up to a bound of the mesh, and are
/// dropped when the peer's connection goes: an implementation that must finish spawns its own task.
#[async_trait]
pub trait ShardService: Send + Sync + 'static {
    /// Stores a shard and returns once it is durable. The same id with the same bytes is no error.
    async fn put(&self, from: NodeId, id: ShardId, data: Bytes) -> Result<(), ShardError>;

    /// The whole shard, verified.
    async fn get(&self, from: NodeId, id: ShardId) -> Result<Bytes, ShardError>;

    /// `len` bytes from `offset`, fewer at the shard's end, verified.
    async fn get_range(&self, from: NodeId, id: ShardId, offset: u32, len: u32) -> Result<Bytes, ShardError>;

    /// Deletes shards; those that are not there are no error.
    async fn delete(&self, from: NodeId, ids: &[ShardId]) -> Result<(), ShardError>;

    /// Up to `limit` shards in order of their ids, of one group or of all, after `after`.
    async fn list(
        &self,
        from: NodeId,
        group: Option<GroupId>,
        after: Option<ShardId>,
        limit: u32,
    ) -> Result<Vec<ShardStat>, ShardError>;

    /// What is known of a shard without reading it; `None` when it is not there.
    async fn stat(&self, from: NodeId, id: ShardId) -> Result<Option<ShardStat>, ShardError>;

    /// Reads the shard back and checks it.
    async fn verify(&self, from: NodeId, id: ShardId) -> Result<ShardHealth, ShardError>;

    /// How full the node is.
    async fn usage(&self, from: NodeId) -> Result<NodeUsage, ShardError>;
}

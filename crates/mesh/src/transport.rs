//! What the mesh offers those who place shards.

use async_trait::async_trait;
use bytes::Bytes;
use datamesh_types::{GroupId, NodeId, ShardHealth, ShardId, ShardStat};

use crate::{NodeUsage, TransportError};

/// Calls to the storage of peers.
///
/// Every call ends within the transport's request timeout, whatever the peer does, and is cancelled by dropping
/// it; whether the peer carried it out is then unknown. Calls may be repeated. There is no retry inside: who
/// calls knows whether another node would do.
#[async_trait]
pub trait ShardTransport: Send + Sync + 'static {
    /// Stores a shard; returns once the peer has it on stable storage.
    async fn put_shard(&self, node: NodeId, id: ShardId, data: Bytes) -> Result<(), TransportError>;

    /// Fetches a whole shard. The peer has checked it against its own checksum; the caller should check it too.
    async fn get_shard(&self, node: NodeId, id: ShardId) -> Result<Bytes, TransportError>;

    /// Deletes shards; those that are not there are no error.
    async fn delete_shards(&self, node: NodeId, ids: &[ShardId]) -> Result<(), TransportError>;

    /// Up to `limit` shards in order of their ids, of one group or of all, after `after`. A page may be shorter
    /// than `limit`; only an empty one is the last.
    async fn list_shards(
        &self,
        node: NodeId,
        group: Option<GroupId>,
        after: Option<ShardId>,
        limit: u32,
    ) -> Result<Vec<ShardStat>, TransportError>;

    /// Has the peer read the shard back and check it.
    async fn verify_shard(&self, node: NodeId, id: ShardId) -> Result<ShardHealth, TransportError>;

    /// How full the peer is.
    async fn node_usage(&self, node: NodeId) -> Result<NodeUsage, TransportError>;

    /// Whether a call to the node can be sent right now.
    fn connected(&self, node: NodeId) -> bool;
}

//! Calls to nodes: bounded in number and time, repeated where that makes sense, and remembered.

use std::sync::Arc;

use bytes::Bytes;
use datamesh_mesh::{ShardTransport, TransportError};
use datamesh_types::{GroupId, Location, NodeId, ShardHealth, ShardId, ShardStat};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::ClusterConfig;
use crate::health::Nodes;

/// One shard of a chunk.
pub(crate) fn shard_id(location: &Location, index: u8) -> ShardId {
    ShardId { group: location.group, sealed: location.sealed, index }
}

/// What a failed call says about the shard and the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The node says that it has no such shard.
    Missing,
    /// The node says that its bytes are damaged, or the tag says so.
    Corrupt,
    /// The node takes no more shards.
    NoRoom,
    /// The node holds other bytes under this id.
    Conflict,
    /// Nobody knows: no connection, no answer, or the node's storage failed. Nothing follows for the shard.
    Unreachable,
    /// Not tried: too many calls to the node are under way, and there was no need to wait for it.
    Skipped,
}

fn failure(error: &TransportError) -> Failure {
    match error {
        TransportError::NotFound { .. } => Failure::Missing,
        TransportError::Corrupt { .. } => Failure::Corrupt,
        TransportError::Full { .. } | TransportError::ReadOnly { .. } => Failure::NoRoom,
        TransportError::Conflict { .. } => Failure::Conflict,
        TransportError::NotConnected { .. }
        | TransportError::Timeout { .. }
        | TransportError::ConnectionLost { .. }
        | TransportError::Refused { .. }
        | TransportError::Busy { .. }
        | TransportError::Failed { .. }
        | TransportError::TooLarge { .. }
        | TransportError::Protocol { .. }
        | TransportError::Closed => Failure::Unreachable,
    }
}

/// Whether the same call may succeed in a moment.
fn passing(error: &TransportError) -> bool {
    matches!(
        error,
        TransportError::Timeout { .. } | TransportError::ConnectionLost { .. } | TransportError::Busy { .. }
    )
}

/// The transport with bounds, retries and memory.
#[derive(Clone)]
pub(crate) struct Calls {
    pub(crate) transport: Arc<dyn ShardTransport>,
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) config: Arc<ClusterConfig>,
}

impl Calls {
    pub(crate) fn connected(&self, node: NodeId) -> bool {
        self.transport.connected(node)
    }

    /// Stores a shard. Once `acknowledged` is cancelled it doesn't start any more, so that what waits for a stalled
    /// node holds no memory.
    pub(crate) async fn put(
        &self,
        node: NodeId,
        id: ShardId,
        data: Bytes,
        acknowledged: CancellationToken,
    ) -> Result<(), Failure> {
        let health = self.nodes.get(node);
        let started = Instant::now();
        let _permit = tokio::select! {
            permit = health.writes.clone().acquire_owned() => permit.expect("the semaphore is never closed"),
            () = acknowledged.cancelled() => return Err(Failure::Skipped),
        };
        let bytes = data.len();
        let result = self.repeat(node, || self.transport.put_shard(node, id, data.clone())).await;
        match result {
            Ok(()) if started.elapsed() <= self.config.write_straggler_timeout.duration() => {
                health.written_in_time(started.elapsed(), bytes);
            }
            Err(Failure::NoRoom) => health.without_room(),
            Ok(()) | Err(_) => health.late(&self.config),
        }
        result
    }

    /// Fetches a shard, once. Its tag is not checked yet.
    pub(crate) async fn get(&self, node: NodeId, id: ShardId) -> Result<Bytes, TransportError> {
        let health = self.nodes.get(node);
        let _permit = health.reads.acquire().await.expect("the semaphore is never closed");
        let started = Instant::now();
        let result = self.limited(node, self.transport.get_shard(node, id)).await;
        match &result {
            Ok(_) => health.read_answered(started.elapsed(), &self.config),
            Err(error) if failure(error) == Failure::Unreachable => health.late(&self.config),
            Err(_) => {}
        }
        result
    }

    /// Fetches a shard, with the configured number of tries.
    pub(crate) async fn get_repeatedly(&self, node: NodeId, id: ShardId) -> Result<Bytes, Failure> {
        self.repeat(node, || self.transport.get_shard(node, id)).await
    }

    pub(crate) async fn delete(&self, node: NodeId, ids: &[ShardId]) -> Result<(), Failure> {
        self.repeat(node, || self.transport.delete_shards(node, ids)).await
    }

    pub(crate) async fn list(
        &self,
        node: NodeId,
        group: Option<GroupId>,
        after: Option<ShardId>,
        limit: usize,
    ) -> Result<Vec<ShardStat>, Failure> {
        self.repeat(node, || self.transport.list_shards(node, group, after, limit as u32)).await
    }

    pub(crate) async fn verify(&self, node: NodeId, id: ShardId) -> Result<ShardHealth, Failure> {
        self.repeat(node, || self.transport.verify_shard(node, id)).await
    }

    /// Asks how full the node is and remembers it.
    pub(crate) async fn refresh_usage(&self, node: NodeId) {
        if let Ok(usage) = self.limited(node, self.transport.node_usage(node)).await {
            self.nodes.get(node).set_usage(usage);
        }
    }

    async fn limited<T>(
        &self,
        node: NodeId,
        call: impl Future<Output = Result<T, TransportError>>,
    ) -> Result<T, TransportError> {
        let after = self.config.request_timeout.duration();
        timeout(after, call).await.unwrap_or(Err(TransportError::Timeout { node, after }))
    }

    async fn repeat<T, F>(&self, node: NodeId, call: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, TransportError>>,
    {
        let mut pause = self.config.retry_pause.duration();
        let mut tries_left = self.config.tries.max(1);
        loop {
            tries_left -= 1;
            match self.limited(node, call()).await {
                Ok(value) => return Ok(value),
                Err(error) if tries_left > 0 && passing(&error) => sleep(pause).await,
                Err(error) => return Err(failure(&error)),
            }
            pause *= 2;
        }
    }
}

impl From<&TransportError> for Failure {
    fn from(error: &TransportError) -> Self {
        failure(error)
    }
}

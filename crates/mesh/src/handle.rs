//! Starting a host, and the handle that the rest of the process holds.

use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use datamesh_types::{GroupId, NodeId, ShardHealth, ShardId, ShardStat};
use tokio::sync::{mpsc, oneshot, watch};

use crate::host::{self, Command, Shared};
use crate::{
    MeshConfig, MeshError, NetworkMap, NodeStatus, NodeUsage, ShardService, ShardTransport, SignedMap,
    TransportError,
};

/// A libp2p host.
#[derive(Debug)]
pub struct Mesh;

impl Mesh {
    /// Starts a host on the current tokio runtime and returns once it listens on every address.
    ///
    /// With a `service` it serves shards to members; without, it is a client only (a gateway).
    pub async fn start(
        config: MeshConfig,
        service: Option<Arc<dyn ShardService>>,
    ) -> Result<MeshHandle, MeshError> {
        let (shared, commands) = host::start(config, service).await?;
        Ok(MeshHandle { shared, commands })
    }
}

/// What is known of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    /// The peer.
    pub node: NodeId,
    /// Whether there is a connection.
    pub connected: bool,
    /// The address of the connection in use.
    pub address: Option<String>,
    /// Round-trip time in microseconds, by the last ping.
    pub ping_us: Option<u64>,
    /// The last status that the peer has gossiped.
    pub status: Option<NodeStatus>,
}

/// A running host, cheap to clone. The host runs until [`MeshHandle::shutdown`] or until the last handle goes.
#[derive(Debug, Clone)]
pub struct MeshHandle {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
}

impl MeshHandle {
    /// This host's own id.
    pub fn node_id(&self) -> NodeId {
        self.shared.node
    }

    /// The map in force.
    pub fn map(&self) -> Arc<NetworkMap> {
        Arc::clone(&self.shared.members.current().map)
    }

    /// The map in force, as signed; the caller keeps it on disk for the next start.
    pub fn signed_map(&self) -> Arc<SignedMap> {
        Arc::clone(&self.shared.members.current().signed)
    }

    /// Follows the map from now on, whether it comes from [`Self::update_map`] or from a peer.
    pub fn map_changes(&self) -> watch::Receiver<Arc<NetworkMap>> {
        self.shared.members.maps()
    }

    /// Puts a newer map in force and passes it on to the peers. When it returns, this host admits by the new map.
    ///
    /// # Errors
    /// [`MeshError::Map`] when the map is not signed well, not newer, or of another network.
    pub async fn update_map(&self, map: SignedMap) -> Result<(), MeshError> {
        if self.commands.is_closed() {
            return Err(MeshError::Closed);
        }
        self.shared.members.offer(map)?;
        let (done, followed) = oneshot::channel();
        self.commands.send(Command::FollowMap { done }).await.map_err(|_| MeshError::Closed)?;
        followed.await.map_err(|_| MeshError::Closed)
    }

    /// Every other member of the map that was not removed, with what is known of it.
    pub fn peers(&self) -> Vec<PeerInfo> {
        let members = self.shared.members.current();
        let views = self.shared.peers.read().unwrap_or_else(PoisonError::into_inner);
        let others = members.map.members.iter().filter(|member| member.admitted());
        others
            .filter(|member| member.node != self.shared.node)
            .map(|member| {
                let view = views.get(&member.node).cloned().unwrap_or_default();
                PeerInfo {
                    node: member.node,
                    connected: view.connected,
                    address: view.address,
                    ping_us: view.ping_us,
                    status: view.status,
                }
            })
            .collect()
    }

    /// The multiaddrs listened on, with the true ports.
    pub fn listen_addresses(&self) -> Vec<String> {
        self.shared.listening.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns once calls to the storage node `node` can be sent. Waits for ever if that never happens: wrap it
    /// in a timeout. Cancel-safe.
    pub async fn wait_connected(&self, node: NodeId) {
        let mut ready = self.shared.ready.subscribe();
        while !self.connected(node) {
            // The sender lives as long as this handle.
            let _ = ready.changed().await;
        }
    }

    /// Stores a small record (4 KiB, a key of 256 bytes) in the DHT, on the nodes nearest to the key.
    pub async fn put_record(&self, key: Bytes, value: Bytes) -> Result<(), MeshError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::PutRecord { key, value, reply }, answer).await
    }

    /// A record from the DHT. A hint, never an authority.
    pub async fn get_record(&self, key: Bytes) -> Result<Option<Bytes>, MeshError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Command::GetRecord { key, reply }, answer).await
    }

    async fn ask<T>(
        &self,
        command: Command,
        answer: oneshot::Receiver<Result<T, MeshError>>,
    ) -> Result<T, MeshError> {
        self.commands.send(command).await.map_err(|_| MeshError::Closed)?;
        answer.await.unwrap_or(Err(MeshError::Closed))
    }

    /// Like [`ShardTransport::get_shard`], for `len` bytes from `offset`.
    pub async fn get_shard_range(
        &self,
        node: NodeId,
        id: ShardId,
        offset: u32,
        len: u32,
    ) -> Result<Bytes, TransportError> {
        self.shared.links.get_range(node, id, offset, len).await
    }

    /// What the peer knows of a shard without reading it.
    pub async fn stat_shard(&self, node: NodeId, id: ShardId) -> Result<Option<ShardStat>, TransportError> {
        self.shared.links.stat(node, id).await
    }

    /// Closes every connection and ends the host; returns when it has, or at once if it had already.
    pub async fn shutdown(&self) {
        let (done, ended) = oneshot::channel();
        if self.commands.send(Command::Shutdown { done }).await.is_ok() {
            // An error means that somebody else's shutdown came first.
            let _ = ended.await;
        }
    }
}

#[async_trait]
impl ShardTransport for MeshHandle {
    async fn put_shard(&self, node: NodeId, id: ShardId, data: Bytes) -> Result<(), TransportError> {
        self.shared.links.put(node, id, data).await
    }

    async fn get_shard(&self, node: NodeId, id: ShardId) -> Result<Bytes, TransportError> {
        self.shared.links.get_shard(node, id).await
    }

    async fn delete_shards(&self, node: NodeId, ids: &[ShardId]) -> Result<(), TransportError> {
        self.shared.links.delete(node, ids).await
    }

    async fn list_shards(
        &self,
        node: NodeId,
        group: Option<GroupId>,
        after: Option<ShardId>,
        limit: u32,
    ) -> Result<Vec<ShardStat>, TransportError> {
        self.shared.links.list(node, group, after, limit).await
    }

    async fn verify_shard(&self, node: NodeId, id: ShardId) -> Result<ShardHealth, TransportError> {
        self.shared.links.verify(node, id).await
    }

    async fn node_usage(&self, node: NodeId) -> Result<NodeUsage, TransportError> {
        self.shared.links.usage(node).await
    }

    fn connected(&self, node: NodeId) -> bool {
        self.shared.links.connected(node)
    }
}

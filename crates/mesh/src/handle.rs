//! Starting a host, and the handle that the rest of the process holds.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use datamesh_types::{GroupId, NodeId, ShardHealth, ShardId, ShardStat};
use tokio::sync::watch;

use crate::{
    MeshConfig, MeshError, NetworkMap, NodeUsage, ShardService, ShardTransport, SignedMap, TransportError,
};

/// A libp2p host.
#[derive(Debug)]
pub struct Mesh;

impl Mesh {
    /// Starts a host on the current tokio runtime and returns once it listens on every address.
    ///
    /// With a `service` it serves shards to members; without, it is a client only (a gateway).
    pub async fn start(
        _config: MeshConfig,
        _service: Option<Arc<dyn ShardService>>,
    ) -> Result<MeshHandle, MeshError> {
        todo!()
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

/// What nodes tell everybody, by gossip.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NodeStatus {
    /// How full it is.
    pub usage: NodeUsage,
    /// The version of the software.
    pub version: String,
    /// The epoch of the map it has.
    pub map_epoch: u64,
    /// A number that increases with each status of one node: an older one never replaces a newer one.
    pub sequence: u64,
}

/// A running host, cheap to clone. The host runs until [`MeshHandle::shutdown`] or until the last handle goes.
#[derive(Debug, Clone)]
pub struct MeshHandle;

impl MeshHandle {
    /// This host's own id.
    pub fn node_id(&self) -> NodeId {
        todo!()
    }

    /// The map in force.
    pub fn map(&self) -> Arc<NetworkMap> {
        todo!()
    }

    /// The map in force, as signed; the caller keeps it on disk for the next start.
    pub fn signed_map(&self) -> Arc<SignedMap> {
        todo!()
    }

    /// Follows the map, whether it comes from [`Self::update_map`] or from a peer.
    pub fn map_changes(&self) -> watch::Receiver<Arc<NetworkMap>> {
        todo!()
    }

    /// Puts a newer map in force and passes it on to the peers.
    ///
    /// # Errors
    /// [`MeshError::Map`] when the map is not signed well, not newer, or of another network.
    pub async fn update_map(&self, _map: SignedMap) -> Result<(), MeshError> {
        todo!()
    }

    /// Every other member of the map, with what is known of it.
    pub fn peers(&self) -> Vec<PeerInfo> {
        todo!()
    }

    /// The multiaddrs listened on, with the true ports.
    pub fn listen_addresses(&self) -> Vec<String> {
        todo!()
    }

    /// Returns once there is a connection to `node`. Waits for ever if none comes: wrap it in a timeout.
    pub async fn wait_connected(&self, _node: NodeId) {
        todo!()
    }

    /// Stores a small record in the DHT, on the nodes nearest to the key.
    pub async fn put_record(&self, _key: Bytes, _value: Bytes) -> Result<(), MeshError> {
        todo!()
    }

    /// A record from the DHT. A hint, never an authority.
    pub async fn get_record(&self, _key: Bytes) -> Result<Option<Bytes>, MeshError> {
        todo!()
    }

    /// Like [`ShardTransport::get_shard`], for `len` bytes from `offset`.
    pub async fn get_shard_range(
        &self,
        _node: NodeId,
        _id: ShardId,
        _offset: u32,
        _len: u32,
    ) -> Result<Bytes, TransportError> {
        todo!()
    }

    /// What the peer knows of a shard without reading it.
    pub async fn stat_shard(&self, _node: NodeId, _id: ShardId) -> Result<Option<ShardStat>, TransportError> {
        todo!()
    }

    /// Closes every connection and ends the host; returns when it has.
    pub async fn shutdown(&self) {
        todo!()
    }
}

#[async_trait]
impl ShardTransport for MeshHandle {
    async fn put_shard(&self, _node: NodeId, _id: ShardId, _data: Bytes) -> Result<(), TransportError> {
        todo!()
    }

    async fn get_shard(&self, _node: NodeId, _id: ShardId) -> Result<Bytes, TransportError> {
        todo!()
    }

    async fn delete_shards(&self, _node: NodeId, _ids: &[ShardId]) -> Result<(), TransportError> {
        todo!()
    }

    async fn list_shards(
        &self,
        _node: NodeId,
        _group: Option<GroupId>,
        _after: Option<ShardId>,
        _limit: u32,
    ) -> Result<Vec<ShardStat>, TransportError> {
        todo!()
    }

    async fn verify_shard(&self, _node: NodeId, _id: ShardId) -> Result<ShardHealth, TransportError> {
        todo!()
    }

    async fn node_usage(&self, _node: NodeId) -> Result<NodeUsage, TransportError> {
        todo!()
    }

    fn connected(&self, _node: NodeId) -> bool {
        todo!()
    }
}

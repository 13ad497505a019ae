//! What can go wrong in the mesh. [`MeshError`] is about running a host, [`MapError`] about network maps,
//! [`TransportError`] about one call to a peer and [`ShardError`] what a peer's storage answers.

use std::path::PathBuf;
use std::time::Duration;

use datamesh_types::NodeId;

/// A host cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// An address in the configuration is no multiaddr, or of a kind the mesh doesn't speak.
    #[error(
        "{field}: {address:?} is not a usable address, expected for example /ip4/0.0.0.0/tcp/4001: {reason}"
    )]
    Address {
        /// The configuration field.
        field: &'static str,
        /// What was given.
        address: String,
        /// Why it is refused.
        reason: &'static str,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The multiaddr asked for.
        address: String,
        /// What the operating system or the transport said.
        reason: String,
    },
    /// The network map is refused.
    #[error(transparent)]
    Map(#[from] MapError),
    /// A key file cannot be read, written, or holds something else.
    #[error("key file {path}: {reason}")]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
        /// The cause, when it is the file system's.
        source: Option<std::io::Error>,
    },
    /// The DHT's records cannot be opened.
    #[error("DHT records in {path}: {source}")]
    Records {
        /// The RocksDB folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The TLS identity or configuration of a transport cannot be made.
    #[error("the {transport} transport cannot be set up: {reason}")]
    Transport {
        /// `tls`, `quic`, `gossipsub` or `mdns`.
        transport: &'static str,
        /// What the library said.
        reason: String,
    },
    /// A record cannot be put into the DHT or fetched from it.
    #[error("DHT: {reason}")]
    Dht {
        /// Why.
        reason: &'static str,
    },
    /// The host was shut down.
    #[error("the mesh host is shut down")]
    Closed,
}

/// A network map is refused. The map in force stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// Larger than [`crate::SIGNED_MAP_BYTES_MAX`], or not the JSON of a map.
    #[error("the network map cannot be read: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
    /// Fewer trusted operators than required have signed exactly these bytes.
    #[error("the network map has {valid} valid signatures of trusted operators, {required} are required")]
    Unsigned {
        /// Distinct trusted operators whose signature is valid.
        valid: usize,
        /// How many there must be.
        required: usize,
    },
    /// Not newer than the map in force.
    #[error("the network map has epoch {offered}, the one in force has {current}")]
    NotNewer {
        /// The epoch of the refused map.
        offered: u64,
        /// The epoch of the map in force.
        current: u64,
    },
    /// Of another network.
    #[error("the network map is of network {offered:?}, this host belongs to {expected:?}")]
    OtherNetwork {
        /// The network of the refused map.
        offered: String,
        /// The network of this host.
        expected: String,
    },
}

/// A call to a peer failed. Unless stated otherwise, whether the peer carried it out is unknown; every call may
/// be repeated, since shards are immutable and deletes idempotent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// There is no connection to the node; nothing was sent.
    #[error("not connected to node {node}")]
    NotConnected {
        /// The peer.
        node: NodeId,
    },
    /// No answer in time.
    #[error("node {node} did not answer within {after:?}")]
    Timeout {
        /// The peer.
        node: NodeId,
        /// How long was waited.
        after: Duration,
    },
    /// The connection broke while the call was under way.
    #[error("the connection to node {node} was lost during the call")]
    ConnectionLost {
        /// The peer.
        node: NodeId,
    },
    /// The peer has no such shard.
    #[error("node {node} has no such shard")]
    NotFound {
        /// The peer.
        node: NodeId,
    },
    /// The peer has the shard, and its bytes fail the peer's own checksum.
    #[error("the shard on node {node} is corrupt")]
    Corrupt {
        /// The peer.
        node: NodeId,
    },
    /// The peer has no room.
    #[error("node {node} is full")]
    Full {
        /// The peer.
        node: NodeId,
    },
    /// The peer takes no writes.
    #[error("node {node} is read-only")]
    ReadOnly {
        /// The peer.
        node: NodeId,
    },
    /// The peer holds other bytes under this id.
    #[error("node {node} has other bytes under this shard id")]
    Conflict {
        /// The peer.
        node: NodeId,
    },
    /// The peer doesn't serve this caller, or not this kind of request; or the node is no member of the map.
    #[error("node {node} refused the request")]
    Refused {
        /// The peer.
        node: NodeId,
    },
    /// A queue is full, here or there; nothing was done.
    #[error("node {node} is busy")]
    Busy {
        /// The peer.
        node: NodeId,
    },
    /// The peer's storage failed in another way; its own log says how.
    #[error("the storage of node {node} failed")]
    Failed {
        /// The peer.
        node: NodeId,
    },
    /// The request is larger than a frame may be; nothing was sent.
    #[error("a request of {bytes} bytes is larger than the {max} bytes of a frame")]
    TooLarge {
        /// Size of the request.
        bytes: usize,
        /// The largest size.
        max: usize,
    },
    /// The peer broke the protocol.
    #[error("node {node} broke the shard protocol: {reason}")]
    Protocol {
        /// The peer.
        node: NodeId,
        /// Which rule it broke.
        reason: &'static str,
    },
    /// This host was shut down.
    #[error("the mesh host is shut down")]
    Closed,
}

/// What a node's storage answers. It travels to the caller as the [`TransportError`] of the same name, so it
/// carries no text: what only the node's operator may know goes into the node's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// There is no such shard.
    #[error("no such shard")]
    NotFound,
    /// The shard's bytes fail their checksum.
    #[error("the shard is corrupt")]
    Corrupt,
    /// There is no room.
    #[error("the store is full")]
    Full,
    /// The store takes no writes.
    #[error("the store is read-only")]
    ReadOnly,
    /// There are other bytes under this id.
    #[error("other bytes are stored under this shard id")]
    Conflict,
    /// The caller may not do this.
    #[error("refused")]
    Refused,
    /// Too much is under way already; nothing was done.
    #[error("busy")]
    Busy,
    /// Anything else; logged on the node.
    #[error("the storage failed")]
    Failed,
}

//! Settings of a host, with every default.

use std::path::PathBuf;
use std::time::Duration;

use crate::{NodeKey, OperatorId, SignedMap};

/// Which transport a host dials first when a member can be reached over both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransportPreference {
    /// TCP with TLS 1.3: four times less CPU for bulk.
    #[default]
    Tcp,
    /// QUIC: better on lossy links and through NATs.
    Quic,
}

/// A peer to join through, known before any map.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootstrapPeer {
    /// Multiaddr with `/p2p/<peer id>` or without; without, whoever answers there must be a member.
    pub address: String,
    /// Lower is tried earlier.
    #[serde(default)]
    pub priority: u32,
    /// Peers of the host's own region are tried earlier among equals.
    #[serde(default)]
    pub region: String,
}

/// Bounds of what peers can make a host hold. See [`MeshLimits::default`] for the values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshLimits {
    /// The largest frame, hence the largest shard plus its header, in bytes.
    pub frame_bytes_max: usize,
    /// Streams a host opens for bulk to one peer.
    pub bulk_streams_per_peer: usize,
    /// Requests under way to one peer; more wait, up to `queued_per_peer`.
    pub requests_per_peer: usize,
    /// Requests that wait for one peer; more are refused with `Busy`.
    pub queued_per_peer: usize,
    /// Bytes of bulk under way to one peer. What is under way keeps small calls waiting: 8 MiB are 4 ms.
    pub bulk_bytes_per_peer: usize,
    /// Requests served at once for one stream of a peer; more are read only when one is done.
    pub served_per_stream: usize,
    /// Bytes of request and response bodies a host holds for all peers it serves.
    pub served_bytes_max: usize,
    /// Established connections.
    pub connections_max: u32,
    /// Connections being set up, in each direction.
    pub pending_connections_max: u32,
    /// How long a call may take, from the call to the whole answer.
    pub request_timeout: Duration,
    /// How long dialling and the security handshake may take.
    pub connect_timeout: Duration,
    /// Memory of this process above which new connections are refused; `None` for no such limit.
    pub memory_bytes_max: Option<usize>,
}

impl Default for MeshLimits {
    fn default() -> Self {
        Self {
            frame_bytes_max: 8 << 20,
            bulk_streams_per_peer: 2,
            requests_per_peer: 64,
            queued_per_peer: 1024,
            bulk_bytes_per_peer: 8 << 20,
            served_per_stream: 32,
            served_bytes_max: 256 << 20,
            connections_max: 4096,
            pending_connections_max: 256,
            request_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            memory_bytes_max: None,
        }
    }
}

/// Everything a host needs to start.
#[derive(Debug, Clone)]
pub struct MeshConfig {
    /// The host's identity.
    pub key: NodeKey,
    /// Multiaddrs to listen on, for example `/ip4/0.0.0.0/tcp/4001` and `/ip4/0.0.0.0/udp/4001/quic-v1`. Port 0
    /// takes a free port. May be empty for a host that only dials.
    pub listen: Vec<String>,
    /// The map to start from.
    pub map: SignedMap,
    /// Operators whose signatures of maps count.
    pub trusted_operators: Vec<OperatorId>,
    /// How many of them must have signed a map.
    pub signatures_required: usize,
    /// Peers to join through, beside the members' addresses.
    pub bootstrap: Vec<BootstrapPeer>,
    /// The host's region, to prefer near bootstrap peers.
    pub region: String,
    /// RocksDB folder for the DHT's records; `None` keeps them in memory only.
    pub dht_dir: Option<PathBuf>,
    /// Whether to find peers of the local network by mDNS.
    pub mdns: bool,
    /// How often a node tells everybody how full it is.
    pub status_interval: Duration,
    /// What to dial first.
    pub transport: TransportPreference,
    /// Bounds.
    pub limits: MeshLimits,
}

impl MeshConfig {
    /// A host with these keys and this map and every other setting at its default: listening nowhere, TCP
    /// first, one signature required, no mDNS, records in memory.
    pub fn new(key: NodeKey, map: SignedMap, trusted_operators: Vec<OperatorId>) -> Self {
        Self {
            key,
            listen: Vec::new(),
            map,
            trusted_operators,
            signatures_required: 1,
            bootstrap: Vec::new(),
            region: String::new(),
            dht_dir: None,
            mdns: false,
            status_interval: Duration::from_secs(30),
            transport: TransportPreference::default(),
            limits: MeshLimits::default(),
        }
    }
}

//! Peers and messages: hosts, the signed network map, shard transfer. The only crate that names libp2p.
//!
//! The mesh knows nodes and shards. It does not know chunks, buckets, users or what a shard is a piece of, and it
//! does not decide where a shard goes.

mod config;
mod error;
mod handle;
mod key;

mod map;
mod net;

mod service;
mod transport;

pub use config::{BootstrapPeer, MeshConfig, MeshLimits, TransportPreference};
pub use error::{MapError, MeshError, ShardError, TransportError};
pub use handle::{Mesh, MeshHandle, NodeStatus, PeerInfo};
pub use key::{NodeKey, OperatorId, OperatorKey};
pub use map::{MapSignature, Member, MemberState, NetworkMap, Roles, SIGNED_MAP_BYTES_MAX, SignedMap};
pub use service::{NodeUsage, ShardService};
pub use transport::ShardTransport;

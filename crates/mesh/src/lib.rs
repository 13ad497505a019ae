//! Peers and messages: hosts, the signed network map, shard transfer. The only crate that names libp2p.
//!
//! The mesh knows nodes and shards. It does not know chunks, buckets, users or what a shard is a piece of, and it
//! does not decide where a shard goes.

mod behaviour;
mod config;
mod connector;
mod control;
mod error;
mod handle;
mod host;
mod key;
mod map;
mod members;
mod net;
mod records;
mod service;
mod shards;
mod status;
mod transport;

pub use config::{BootstrapPeer, MeshConfig, MeshLimits, TransportPreference};
pub use error::{MapError, MeshError, ShardError, TransportError};
pub use handle::{Mesh, MeshHandle, PeerInfo};
pub use key::{NodeKey, OperatorId, OperatorKey};
pub use map::{MapSignature, Member, MemberState, NetworkMap, Roles, SIGNED_MAP_BYTES_MAX, SignedMap};
pub use service::{NodeUsage, ShardService};
pub use status::NodeStatus;
pub use transport::ShardTransport;

//! Placement groups, quorum writes, hedged and degraded reads, repair: the pipeline over the mesh.
//!
//! A [`Cluster`] codes a sealed chunk into n shards and keeps them on the n nodes of a placement group. It keeps
//! no state of its own that matters: groups and chunks are in the [`GroupDirectory`], shards on the nodes; what
//! it remembers (how fast nodes answer, which shards looked wrong) only makes it faster.
//!
//! Invariants:
//! - no byte leaves [`Cluster::get`] that was not checked against the keyed tag of its shard;
//! - a write is acknowledged only with a quorum of shards on stable storage, on distinct nodes;
//! - a node that does not answer is never taken for one that has lost its shard;
//! - a shard counts as restored, and a node as replaced, only after what was written was read back.

mod calls;
mod cluster;
mod config;
mod delete;
mod directory;
mod error;
mod groups;
mod health;
mod placement;
mod read;
mod repair;
mod score;
mod status;
mod suspects;
mod write;

pub use cluster::{Cluster, Placed, ShardPresence, StoredChunk};
pub use config::{ClusterConfig, ProfileSetting};
pub use directory::{DirectoryError, GroupChunk, GroupDirectory, GroupRecord, GroupState};
pub use error::ClusterError;
pub use repair::{
    GroupRepair, OrphanPolicy, RepairProgress, RepairReport, RepairRequest, RepairScope, ReplacePolicy,
    Replacement, ScanDepth,
};
pub use status::{ClusterStatus, GroupStatus, NodeStatus};

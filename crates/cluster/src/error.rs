//! What can go wrong when sealed chunks are placed, read, deleted or repaired.

use datamesh_types::{GroupId, Profile, SealedId};

use crate::DirectoryError;

/// An operation of the cluster failed. Nothing is half done unless a variant says so.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No node has any shard of the chunk. It was deleted, or was never there.
    #[error("no node holds a shard of sealed chunk {sealed}")]
    NotFound {
        /// The chunk.
        sealed: SealedId,
    },
    /// Too few good shards are left, by the definite answers of the nodes: waiting won't bring the chunk back.
    #[error("sealed chunk {sealed} is lost: {readable} of the {needed} shards that rebuild it are good")]
    Lost {
        /// The chunk.
        sealed: SealedId,
        /// Good shards found.
        readable: usize,
        /// Shards that are needed: k.
        needed: usize,
    },
    /// Too few nodes answered to read the chunk. It may well be readable later.
    #[error(
        "sealed chunk {sealed} cannot be read now: {readable} of {needed} shards were read, \
         {unreachable} nodes did not answer"
    )]
    Unreachable {
        /// The chunk.
        sealed: SealedId,
        /// Good shards read.
        readable: usize,
        /// Shards that are needed: k.
        needed: usize,
        /// Nodes that might hold further shards and did not answer.
        unreachable: usize,
    },
    /// No open group took the write at quorum. What was written is being deleted again.
    #[error("no placement group took the write: at best {stored} shards were stored, {quorum} are required")]
    NoQuorum {
        /// The most shards that one group stored.
        stored: usize,
        /// The write quorum of the profile.
        quorum: usize,
    },
    /// No open group took the write, because too many nodes are full or read-only.
    #[error("the nodes are full: {full} of a group's nodes refused a shard")]
    Full {
        /// Nodes that answered that they take no more.
        full: usize,
    },
    /// There is no open placement group.
    #[error("there is no open placement group")]
    NoOpenGroup,
    /// The location names a group that the directory does not know.
    #[error("placement group {group} is unknown")]
    UnknownGroup {
        /// The group.
        group: GroupId,
    },
    /// The network map has fewer active storage nodes than the profile has shards.
    #[error("profile {profile} needs {needed} storage nodes, the network map has {active} active ones", needed = profile.total())]
    TooFewNodes {
        /// The profile.
        profile: Profile,
        /// Active storage nodes.
        active: usize,
    },
    /// A sealed chunk that cannot be coded: empty, or longer than a location can say.
    #[error("a sealed chunk of {bytes} bytes cannot be stored")]
    InvalidLength {
        /// Its length.
        bytes: usize,
    },
    /// A delete did not reach every node; it has to be tried again.
    #[error("{nodes} nodes did not confirm the deletion of sealed chunk {sealed}")]
    NotDeleted {
        /// The chunk.
        sealed: SealedId,
        /// Nodes that may still hold a shard.
        nodes: usize,
    },
    /// A repair pass is under way already.
    #[error("a repair pass is already running")]
    RepairRunning,
    /// The directory of groups failed.
    #[error("the directory of placement groups failed")]
    Directory(#[from] DirectoryError),
    /// The erasure code failed on shards whose tags are right: a defect, or a location with a wrong length.
    #[error("sealed chunk {sealed} cannot be coded")]
    Coding {
        /// The chunk.
        sealed: SealedId,
        /// The cause.
        source: datamesh_pipeline::PipelineError,
    },
}

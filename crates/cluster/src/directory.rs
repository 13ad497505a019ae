//! What the cluster needs to know about groups and chunks, and does not keep itself.

use async_trait::async_trait;
use datamesh_types::{GroupId, Location, NodeId, Profile, SealedId};
use serde::{Deserialize, Serialize};

/// What may be done with a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupState {
    /// Takes writes.
    Open,
    /// Reads, deletes and repair only: a member is gone or being replaced, or the profile is no longer wanted.
    Sealed,
    /// Holds nothing any more. Kept so that its number is never used again.
    Retired,
}

/// A placement group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// Its number, from 1.
    pub id: GroupId,
    /// How its chunks are coded. Never changes.
    pub profile: Profile,
    /// The node of each shard index; as many as the profile has shards, all different.
    pub nodes: Vec<NodeId>,
    /// What may be done with it.
    pub state: GroupState,
    /// Increases with each change of the record.
    pub epoch: u64,
}

/// A chunk that the catalog counts in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupChunk {
    /// Where it is.
    pub location: Location,
    /// Shard indices that are recorded as missing, ascending.
    pub missing: Vec<u8>,
}

/// The directory failed.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The group was changed by somebody else since it was read; read it again.
    #[error("placement group {group} was changed meanwhile")]
    Conflict {
        /// The group.
        group: GroupId,
    },
    /// There is no such group.
    #[error("there is no placement group {group}")]
    UnknownGroup {
        /// The group.
        group: GroupId,
    },
    /// The store behind the directory failed.
    #[error("the catalog failed")]
    Store {
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Groups and the chunks in them. The gateway implements it over the catalog.
///
/// Every method is atomic and durable when it returns. A chunk is in the directory from the commit that first
/// references it until its deletion is handed to the backend; chunks whose references are all gone but which may
/// still be revived are included.
#[async_trait]
pub trait GroupDirectory: Send + Sync + 'static {
    /// Every group, in order of the id, retired ones included.
    async fn groups(&self) -> Result<Vec<GroupRecord>, DirectoryError>;

    /// Makes an open group with a number that was never used.
    async fn create_group(&self, profile: Profile, nodes: Vec<NodeId>)
    -> Result<GroupRecord, DirectoryError>;

    /// Puts node `to` in the place of `from` at `index`, in one update, and returns the new record.
    ///
    /// # Errors
    /// [`DirectoryError::Conflict`] when the group's epoch is no longer `expected_epoch` or its node at `index`
    /// is not `from`; nothing is changed then.
    async fn switch_member(
        &self,
        group: GroupId,
        index: u8,
        from: NodeId,
        to: NodeId,
        expected_epoch: u64,
    ) -> Result<GroupRecord, DirectoryError>;

    /// Sets the state and returns the new record. Setting the state that it has changes nothing.
    async fn set_state(&self, group: GroupId, state: GroupState) -> Result<GroupRecord, DirectoryError>;

    /// Up to `limit` chunks of a group with a sealed id above `after`, ascending. Fewer than `limit` are the last.
    async fn chunks_in_group(
        &self,
        group: GroupId,
        after: Option<SealedId>,
        limit: usize,
    ) -> Result<Vec<GroupChunk>, DirectoryError>;

    /// Up to `limit` chunks of any group with shards recorded as missing, oldest first if that is known.
    ///
    /// Chunks that cannot be repaired now stay in front, so a full scan, not this, is what finds everything.
    async fn chunks_missing_shards(&self, limit: usize) -> Result<Vec<GroupChunk>, DirectoryError>;

    /// The shard at `index` was written, read back and verified: it is no longer missing. Unknown chunks are
    /// ignored.
    async fn shard_restored(&self, sealed: SealedId, index: u8) -> Result<(), DirectoryError>;

    /// Fewer than k good shards of the chunk are left. It is to be listed for the operators; nothing is deleted.
    /// Chunks that the directory does not know are ignored: they were deleted meanwhile.
    async fn chunk_lost(&self, sealed: SealedId, readable_shards: usize) -> Result<(), DirectoryError>;
}

//! Placement groups, and the state of the chunks in them.

use datamesh_types::{GroupId, Location, NodeId, Profile, SealedId};

use crate::{Catalog, CatalogError, GarbageId};

/// What a placement group is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupState {
    /// Takes new chunks.
    Open,
    /// Reads and repair only.
    Sealed,
    /// Holds nothing any more.
    Retired,
}

/// An ordered set of nodes that hold the shards of every chunk in the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacementGroup {
    /// Its number, from 1.
    pub id: GroupId,
    /// Its profile; `nodes` has as many members as the profile has shards.
    pub profile: Profile,
    /// The node of each shard index.
    pub nodes: Vec<NodeId>,
    /// What it is used for.
    pub state: GroupState,
    /// Counts its changes, from 1.
    pub epoch: u64,
}

/// A chunk of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupChunk {
    /// Where it is.
    pub location: Location,
    /// Indexes of the shards it lacks.
    pub missing: Vec<u8>,
}

/// A chunk that too few good shards are left of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostChunk {
    /// Where it is.
    pub location: Location,
    /// The backend.
    pub backend: String,
    /// How many shards were readable.
    pub readable_shards: usize,
    /// When it was first found lost.
    pub found_at_ms: u64,
}

impl Catalog {
    /// All placement groups, by number.
    pub async fn groups(&self) -> Result<Vec<PlacementGroup>, CatalogError> {
        todo!()
    }

    /// Adds an open group. `nodes` has one member per shard of `profile`.
    pub async fn create_group(
        &self,
        profile: Profile,
        nodes: Vec<NodeId>,
    ) -> Result<PlacementGroup, CatalogError> {
        let _ = (profile, nodes);
        todo!()
    }

    /// Replaces the member at `index`, in one update.
    ///
    /// # Errors
    /// [`CatalogError::GroupChanged`] unless the group has `expected_epoch` and `from` at `index`,
    /// [`CatalogError::NoSuchGroup`].
    pub async fn switch_member(
        &self,
        group: GroupId,
        index: u8,
        from: NodeId,
        to: NodeId,
        expected_epoch: u64,
    ) -> Result<PlacementGroup, CatalogError> {
        let _ = (group, index, from, to, expected_epoch);
        todo!()
    }

    /// Changes what a group is used for.
    ///
    /// # Errors
    /// [`CatalogError::GroupChanged`] unless the group has `expected_epoch`, [`CatalogError::NoSuchGroup`].
    pub async fn set_group_state(
        &self,
        group: GroupId,
        state: GroupState,
        expected_epoch: u64,
    ) -> Result<PlacementGroup, CatalogError> {
        let _ = (group, state, expected_epoch);
        todo!()
    }

    /// Up to `limit` chunks of a group, by sealed id, after `after`. Garbage is not among them.
    pub async fn chunks_in_group(
        &self,
        group: GroupId,
        after: Option<SealedId>,
        limit: usize,
    ) -> Result<Vec<GroupChunk>, CatalogError> {
        let _ = (group, after, limit);
        todo!()
    }

    /// Up to `limit` chunks that lack shards, after the chunk `after` of the page before, in no telling order.
    pub async fn chunks_missing_shards(
        &self,
        after: Option<SealedId>,
        limit: usize,
    ) -> Result<Vec<GroupChunk>, CatalogError> {
        let _ = (after, limit);
        todo!()
    }

    /// Records that a chunk lacks these shards. Unknown chunks are ignored: they were deleted meanwhile.
    pub async fn shards_missing(&self, sealed: SealedId, indexes: &[u8]) -> Result<(), CatalogError> {
        let _ = (sealed, indexes);
        todo!()
    }

    /// Records that a chunk has this shard again. Unknown chunks are ignored.
    pub async fn shard_restored(&self, sealed: SealedId, index: u8) -> Result<(), CatalogError> {
        let _ = (sealed, index);
        todo!()
    }

    /// Records that a chunk cannot be read. It stops counting as known, so that its next write heals it; nothing is
    /// deleted. Unknown chunks are ignored.
    pub async fn chunk_lost(
        &self,
        sealed: SealedId,
        readable_shards: usize,
        now_ms: u64,
    ) -> Result<(), CatalogError> {
        let _ = (sealed, readable_shards, now_ms);
        todo!()
    }

    /// Records that a lost chunk can be read again.
    pub async fn chunk_found(&self, sealed: SealedId) -> Result<(), CatalogError> {
        let _ = sealed;
        todo!()
    }

    /// Up to `limit` lost chunks, by sealed id, after `after`.
    pub async fn lost_chunks(
        &self,
        after: Option<SealedId>,
        limit: usize,
    ) -> Result<Vec<LostChunk>, CatalogError> {
        let _ = (after, limit);
        todo!()
    }

    /// How many garbage rows, chunks with missing shards, and lost chunks there are: for gauges.
    pub async fn backlog(&self) -> Result<Backlog, CatalogError> {
        let _ = GarbageId(0);
        todo!()
    }
}

/// Work that waits for background jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Sealed chunks that backends have yet to delete.
    pub garbage: u64,
    /// Chunks that lack shards.
    pub incomplete_chunks: u64,
    /// Chunks that cannot be read.
    pub lost_chunks: u64,
}

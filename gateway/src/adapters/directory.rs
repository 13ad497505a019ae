//! The catalog as the cluster's directory of placement groups.

use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use datamesh_catalog::{Catalog, CatalogError, GroupState as CatalogState, PlacementGroup};
use datamesh_cluster::{DirectoryError, GroupChunk, GroupDirectory, GroupRecord, GroupState};
use datamesh_types::{GroupId, NodeId, Profile, SealedId};

/// How often a state change is tried against concurrent changes of the same group.
const TRIES: usize = 8;

/// Placement groups and their chunks, from the catalog.
#[derive(Clone)]
pub struct CatalogDirectory {
    catalog: Catalog,
}

impl CatalogDirectory {
    /// The directory in `catalog`.
    pub fn new(catalog: Catalog) -> Self {
        Self { catalog }
    }

    async fn group(&self, group: GroupId) -> Result<PlacementGroup, DirectoryError> {
        let groups = self.catalog.groups().await.map_err(refused)?;
        groups.into_iter().find(|record| record.id == group).ok_or(DirectoryError::UnknownGroup { group })
    }
}

fn refused(error: CatalogError) -> DirectoryError {
    match error {
        CatalogError::NoSuchGroup { group } => DirectoryError::UnknownGroup { group },
        CatalogError::GroupChanged { group, .. } => DirectoryError::Conflict { group },
        other => DirectoryError::Store { source: Box::new(other) },
    }
}

fn record(group: PlacementGroup) -> GroupRecord {
    let state = match group.state {
        CatalogState::Open => GroupState::Open,
        CatalogState::Sealed => GroupState::Sealed,
        CatalogState::Retired => GroupState::Retired,
    };
    GroupRecord { id: group.id, profile: group.profile, nodes: group.nodes, state, epoch: group.epoch }
}

fn catalog_state(state: GroupState) -> CatalogState {
    match state {
        GroupState::Open => CatalogState::Open,
        GroupState::Sealed => CatalogState::Sealed,
        GroupState::Retired => CatalogState::Retired,
    }
}

fn chunk(chunk: datamesh_catalog::GroupChunk) -> GroupChunk {
    GroupChunk { location: chunk.location, missing: chunk.missing }
}

#[async_trait]
impl GroupDirectory for CatalogDirectory {
    async fn groups(&self) -> Result<Vec<GroupRecord>, DirectoryError> {
        let groups = self.catalog.groups().await.map_err(refused)?;
        Ok(groups.into_iter().map(record).collect())
    }

    async fn create_group(
        &self,
        profile: Profile,
        nodes: Vec<NodeId>,
    ) -> Result<GroupRecord, DirectoryError> {
        self.catalog.create_group(profile, nodes).await.map(record).map_err(refused)
    }

    async fn switch_member(
        &self,
        group: GroupId,
        index: u8,
        from: NodeId,
        to: NodeId,
        expected_epoch: u64,
    ) -> Result<GroupRecord, DirectoryError> {
        let switched = self.catalog.switch_member(group, index, from, to, expected_epoch).await;
        switched.map(record).map_err(refused)
    }

    async fn set_state(&self, group: GroupId, state: GroupState) -> Result<GroupRecord, DirectoryError> {
        for _ in 0..TRIES {
            let current = self.group(group).await?;
            if current.state == catalog_state(state) {
                return Ok(record(current));
            }
            match self.catalog.set_group_state(group, catalog_state(state), current.epoch).await {
                Err(CatalogError::GroupChanged { .. }) => {}
                result => return result.map(record).map_err(refused),
            }
        }
        Err(DirectoryError::Conflict { group })
    }

    async fn chunks_in_group(
        &self,
        group: GroupId,
        after: Option<SealedId>,
        limit: usize,
    ) -> Result<Vec<GroupChunk>, DirectoryError> {
        let chunks = self.catalog.chunks_in_group(group, after, limit).await.map_err(refused)?;
        Ok(chunks.into_iter().map(chunk).collect())
    }

    async fn chunks_missing_shards(&self, limit: usize) -> Result<Vec<GroupChunk>, DirectoryError> {
        let chunks = self.catalog.chunks_missing_shards(None, limit).await.map_err(refused)?;
        Ok(chunks.into_iter().map(chunk).collect())
    }

    async fn shard_restored(&self, sealed: SealedId, index: u8) -> Result<(), DirectoryError> {
        self.catalog.shard_restored(sealed, index).await.map_err(refused)
    }

    async fn chunk_lost(&self, sealed: SealedId, readable_shards: usize) -> Result<(), DirectoryError> {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        tracing::error!(%sealed, readable_shards, "a chunk is lost: too few good shards are left");
        self.catalog.chunk_lost(sealed, readable_shards, now_ms).await.map_err(refused)
    }
}

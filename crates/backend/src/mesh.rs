//! Sealed chunks on the mesh.

use async_trait::async_trait;
use bytes::Bytes;
use datamesh_cluster::{Cluster, ClusterError};
use datamesh_types::{GroupId, Location, SealedId, ShardHealth};

use crate::contract::checked_len;
use crate::{Backend, BackendError, Placed, Presence, StoredChunk};

/// Keeps chunks erasure-coded on the nodes of a [`Cluster`].
#[derive(Debug, Clone)]
pub struct MeshBackend {
    cluster: Cluster,
}

impl MeshBackend {
    /// A backend over `cluster`.
    pub fn new(cluster: Cluster) -> Self {
        Self { cluster }
    }

    /// The cluster behind it.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }
}

impl From<ClusterError> for BackendError {
    fn from(error: ClusterError) -> Self {
        match error {
            ClusterError::NotFound { sealed } => Self::NotFound { sealed },
            ClusterError::Lost { sealed, readable, needed } => Self::Lost { sealed, good: readable, needed },
            ClusterError::Full { .. } => Self::Full,
            ClusterError::InvalidLength { bytes } => Self::InvalidLength { bytes },
            other @ (ClusterError::Unreachable { .. }
            | ClusterError::NoQuorum { .. }
            | ClusterError::NoOpenGroup
            | ClusterError::UnknownGroup { .. }
            | ClusterError::TooFewNodes { .. }
            | ClusterError::NotDeleted { .. }
            | ClusterError::RepairRunning
            | ClusterError::Directory(_)
            | ClusterError::Coding { .. }) => Self::Unavailable { source: Box::new(other) },
        }
    }
}

#[async_trait]
impl Backend for MeshBackend {
    async fn put(&self, id: SealedId, sealed: Bytes) -> Result<Placed, BackendError> {
        checked_len(&sealed)?;
        Ok(self.cluster.put(id, sealed).await?)
    }

    async fn get(&self, location: &Location) -> Result<Bytes, BackendError> {
        Ok(self.cluster.get(location).await?)
    }

    async fn delete(&self, locations: &[Location]) -> Vec<Result<(), BackendError>> {
        let results = self.cluster.delete(locations).await;
        results.into_iter().map(|result| result.map_err(BackendError::from)).collect()
    }

    async fn presence(&self, location: &Location) -> Result<Presence, BackendError> {
        let profile = self.cluster.profile_of(location.group).await?;
        let shards = self.cluster.presence(location).await?;
        Ok(Presence {
            good: shards.iter().filter(|shard| shard.health == Some(ShardHealth::Good)).count(),
            unknown: shards.iter().filter(|shard| shard.health.is_none()).count(),
            total: profile.total(),
            needed: profile.data(),
        })
    }

    async fn list(
        &self,
        after: Option<(GroupId, SealedId)>,
        limit: usize,
    ) -> Result<Vec<StoredChunk>, BackendError> {
        Ok(self.cluster.list_stored(after, limit).await?)
    }
}

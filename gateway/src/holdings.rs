//! Everything that holds chunks: the backends, and which of them is the mesh.

use std::sync::Arc;

use datamesh_backend::Backend;
use datamesh_cluster::Cluster;
use datamesh_types::GroupId;

use crate::retrieve::Backends;

/// The backends of one gateway. Cheap to clone.
#[derive(Clone)]
pub struct Holdings {
    /// All of them, by name.
    pub backends: Backends,
    /// The name and the cluster of the one on the mesh.
    pub mesh: Option<(String, Cluster)>,
}

impl Holdings {
    /// The cluster behind the mesh backend.
    pub fn cluster(&self) -> Option<&Cluster> {
        self.mesh.as_ref().map(|(_, cluster)| cluster)
    }

    /// The backends that a chunk of this group can be in: only the mesh has groups.
    pub fn backends_of(&self, group: GroupId) -> impl Iterator<Item = &Arc<dyn Backend>> {
        let wants_mesh = group != GroupId::NONE;
        self.backends
            .iter()
            .filter(move |(name, _)| self.is_mesh(name) == wants_mesh)
            .map(|(_, backend)| backend)
    }

    /// Whether the backend of that name is the one on the mesh.
    pub fn is_mesh(&self, name: &str) -> bool {
        self.mesh.as_ref().is_some_and(|(mesh, _)| mesh == name)
    }
}

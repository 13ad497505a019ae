//! The sweep for orphans: chunks in a backend that no row of the catalog names, left by a gateway that died between
//! writing and committing. Only old ones: a young one may be about to be committed.

use datamesh_backend::{Backend, StoredChunk};
use datamesh_types::Location;

use super::{JobError, Jobs, now_ms};

const PAGE: usize = 1000;

impl Jobs {
    pub(super) async fn leased_sweep(&self) -> Result<(), JobError> {
        self.under_lease("sweep", self.sweep()).await?;
        if self.inner.holdings.mesh.is_some() { self.leased_mesh_sweep().await } else { Ok(()) }
    }

    /// Deletes the orphans of the backends that are not on the mesh. Those of the mesh are repair's to find.
    async fn sweep(&self) -> Result<u64, JobError> {
        let mut deleted = 0;
        let holdings = &self.inner.holdings;
        for (name, backend) in holdings.backends.iter().filter(|(name, _)| !holdings.is_mesh(name)) {
            let orphans = self.sweep_backend(backend.as_ref()).await?;
            if orphans > 0 {
                tracing::info!(backend = %name, orphans, "deleted orphans");
            }
            deleted += orphans;
        }
        Ok(deleted)
    }

    async fn sweep_backend(&self, backend: &dyn Backend) -> Result<u64, JobError> {
        let age_ms = self.inner.config.orphan_age.duration().as_millis() as i64;
        let mut deleted = 0;
        let mut after = None;
        loop {
            let page = backend.list(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(deleted) };
            after = Some((last.group, last.sealed));
            let old = |stored: &&StoredChunk| stored.stored_at_ms.saturating_add(age_ms) < now_ms() as i64;
            // Only group and id matter to a deletion.
            let location =
                |stored: &StoredChunk| Location { group: stored.group, sealed: stored.sealed, sealed_len: 0 };
            let candidates: Vec<_> = page.iter().filter(old).map(location).collect();
            let orphans = self.inner.catalog.unknown_locations(&candidates).await?;
            let results = backend.delete(&orphans).await;
            deleted += results.iter().filter(|result| result.is_ok()).count() as u64;
        }
    }
}

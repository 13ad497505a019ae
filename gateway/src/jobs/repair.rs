//! Repair: what is recorded as short is completed soon, everything else is looked at now and then.

use datamesh_cluster::{ClusterError, OrphanPolicy, RepairReport, RepairRequest};

use super::{JobError, Jobs};

/// All kinds of repair share one lease: there is one repairer in the network.
const LEASE: &str = "repair";
/// Lost chunks per step.
const PAGE: usize = 256;

impl Jobs {
    /// Runs one pass for an operator. Waits for a pass that is running.
    ///
    /// # Errors
    /// [`JobError::Elsewhere`] when another gateway is at it; [`JobError::NoMesh`].
    pub async fn repair(&self, request: RepairRequest) -> Result<RepairReport, JobError> {
        let _turn = self.inner.repairing.lock().await;
        self.when_leased(LEASE, self.pass(request)).await
    }

    pub(super) async fn leased_repair(&self, full: bool) -> Result<(), JobError> {
        let _turn = self.inner.repairing.lock().await;
        let request = if full { RepairRequest::FULL } else { RepairRequest::default() };
        self.under_lease(LEASE, self.pass(request)).await.map(drop)
    }

    /// A full pass that also deletes the mesh's orphans.
    pub(super) async fn leased_mesh_sweep(&self) -> Result<(), JobError> {
        let _turn = self.inner.repairing.lock().await;
        let orphans = OrphanPolicy::Delete(self.inner.config.orphan_age.duration());
        let request = RepairRequest { orphans, ..RepairRequest::FULL };
        self.under_lease(LEASE, self.pass(request)).await.map(drop)
    }

    async fn pass(&self, request: RepairRequest) -> Result<RepairReport, JobError> {
        let cluster = self.inner.holdings.cluster().ok_or(JobError::NoMesh)?;
        match cluster.ensure_groups().await {
            // There are too few nodes for new groups; the old ones need repair all the more.
            Ok(_) | Err(ClusterError::TooFewNodes { .. } | ClusterError::NoOpenGroup) => {}
            Err(error) => return Err(error.into()),
        }
        let report = cluster.repair_pass(request).await?;
        if report.shards_found > 0 {
            let RepairReport { shards_found, shards_restored, shards_short, chunks_lost, .. } = &report;
            tracing::info!(shards_found, shards_restored, shards_short, chunks_lost, "repaired");
        }
        metrics::counter!("datamesh_repair_shards_restored").increment(report.shards_restored);
        metrics::counter!("datamesh_repair_bytes_written").increment(report.bytes_written);
        self.recheck_lost().await?;
        Ok(report)
    }

    /// A node that came back may have brought the shards of a lost chunk.
    async fn recheck_lost(&self) -> Result<(), JobError> {
        let mut after = None;
        loop {
            let page = self.inner.catalog.lost_chunks(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.location.sealed);
            for lost in &page {
                let Some(backend) = self.inner.holdings.backends.get(&lost.backend) else { continue };
                if backend.presence(&lost.location).await.is_ok_and(|presence| presence.readable()) {
                    tracing::info!(sealed = %lost.location.sealed, "a lost chunk can be read again");
                    self.inner.catalog.chunk_found(lost.location.sealed).await?;
                }
            }
        }
    }

    /// Asks the nodes how full they are. Every gateway does so for itself: placement needs it.
    pub(super) async fn refresh_usage(&self) -> Result<(), JobError> {
        self.inner.holdings.cluster().ok_or(JobError::NoMesh)?.refresh_usage().await;
        Ok(())
    }
}

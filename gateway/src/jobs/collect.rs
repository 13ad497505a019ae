//! Garbage collection: what nothing refers to leaves the catalog, then the backends.

use std::collections::BTreeMap;
use std::time::Duration;

use datamesh_catalog::Garbage;
use serde::Serialize;

use super::{JobError, Jobs, now_ms};

/// Rows per transaction of the catalog.
const STEP: usize = 1000;
/// Chunks per call to a backend.
const BATCH: usize = 256;

/// What a collection did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct GarbageReport {
    /// Pending manifests that had expired.
    pub manifests_expired: u64,
    /// Chunks that left the catalog.
    pub chunks_collected: u64,
    /// Chunks that backends deleted, those of earlier collections included.
    pub chunks_deleted: u64,
    /// Chunks that a backend did not confirm as deleted; they are tried again.
    pub chunks_remaining: u64,
}

impl Jobs {
    /// Collects what has been unreferenced for `grace`, or as long as the configuration says.
    pub async fn collect(&self, grace: Option<Duration>) -> Result<GarbageReport, JobError> {
        let _turn = self.inner.collecting.lock().await;
        let mut report = GarbageReport::default();
        let grace = grace.unwrap_or_else(|| self.inner.config.gc_grace.duration());
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        loop {
            let step = self.inner.catalog.collect_garbage(now_ms(), grace_ms, STEP).await?;
            report.manifests_expired += step.manifests_expired;
            report.chunks_collected += step.chunks;
            if !step.more {
                break;
            }
        }
        let mut after = None;
        loop {
            let batch = self.inner.catalog.garbage_batch(after, BATCH).await?;
            let Some(last) = batch.last() else { break };
            after = Some(last.id);
            self.delete(&batch, &mut report).await?;
        }
        metrics::counter!("datamesh_gc_chunks_deleted").increment(report.chunks_deleted);
        Ok(report)
    }

    pub(super) async fn leased_collect(&self) -> Result<(), JobError> {
        self.under_lease("collect", self.collect(None)).await.map(drop)
    }

    async fn delete(&self, batch: &[Garbage], report: &mut GarbageReport) -> Result<(), JobError> {
        let mut by_backend = BTreeMap::<&str, Vec<&Garbage>>::new();
        for garbage in batch {
            by_backend.entry(garbage.backend.as_str()).or_default().push(garbage);
        }
        for (name, garbage) in by_backend {
            let Some(backend) = self.inner.holdings.backends.get(name) else {
                tracing::warn!(backend = name, "garbage of a backend that is no longer configured is kept");
                report.chunks_remaining += garbage.len() as u64;
                continue;
            };
            let locations: Vec<_> = garbage.iter().map(|garbage| garbage.location).collect();
            let results = backend.delete(&locations).await;
            let deleted: Vec<_> = garbage
                .iter()
                .zip(&results)
                .filter(|(_, result)| result.is_ok())
                .map(|(garbage, _)| garbage.id)
                .collect();
            report.chunks_deleted += deleted.len() as u64;
            report.chunks_remaining += (garbage.len() - deleted.len()) as u64;
            self.inner.catalog.garbage_deleted(&deleted).await?;
        }
        Ok(())
    }
}

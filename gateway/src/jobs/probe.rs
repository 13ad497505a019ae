//! Probes: whether an object could be written and read, for the windows of service levels in which nobody asked.
//!
//! A probe reads the catalog, and puts a canary through the backend of STANDARD: a chunk of random bytes under a fresh id is
//! stored, read back and deleted. No row names it, so nothing of anybody's is touched, and what a probe that was cut off
//! leaves is swept with the other orphans.

use std::time::Duration;

use bytes::Bytes;
use datamesh_types::SealedId;

use super::{JobError, Jobs};

/// A probe that takes longer has failed: no client waits for so long.
const TIME_MAX: Duration = Duration::from_secs(10);
const CLASS: &str = "STANDARD";
const CANARY_LEN: usize = 256;

impl Jobs {
    pub(super) async fn leased_probe(&self) -> Result<(), JobError> {
        let probe = async {
            let probed = tokio::time::timeout(TIME_MAX, self.probe()).await;
            let is_good = match probed {
                Ok(Ok(is_good)) => is_good,
                Ok(Err(error)) => {
                    tracing::warn!(error = %datamesh_node::one_line(&error), "a probe failed");
                    false
                }
                Err(_) => {
                    tracing::warn!("a probe had no end in time");
                    false
                }
            };
            self.inner.accounts.record_probe(is_good).await?;
            Ok(is_good)
        };
        if let Some(is_good) = self.under_lease("probe", probe).await? {
            let result = if is_good { "good" } else { "bad" };
            metrics::counter!("datamesh_probes_total", "result" => result).increment(1);
        }
        Ok(())
    }

    /// Whether what was written is read back.
    async fn probe(&self) -> Result<bool, JobError> {
        self.inner.catalog.groups().await?;
        let placement = self.inner.gateway.classes.placement(CLASS);
        let unknown = || JobError::UnknownBackend { name: CLASS.to_owned() };
        let (_, backend) = placement.ok_or_else(unknown)?;
        let canary = Bytes::from_owner(rand::random::<[u8; CANARY_LEN]>());
        let placed = backend.put(SealedId::random(), canary.clone()).await?;
        let read = backend.get(&placed.location).await;
        for deleted in backend.delete(&[placed.location]).await {
            deleted?;
        }
        Ok(read? == canary)
    }
}

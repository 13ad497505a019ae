//! Erasing accounts whose time has come.

use super::{JobError, Jobs};
use crate::privacy::{ErasurePass, ErasureReport};

impl Jobs {
    pub(super) async fn leased_erase(&self) -> Result<(), JobError> {
        self.under_lease("erase", self.erase()).await.map(drop)
    }

    /// Carries out what is due now: waits for a pass that another gateway runs.
    pub async fn erase_now(&self) -> Result<ErasureReport, JobError> {
        Box::pin(self.when_leased("erase", self.erase())).await
    }

    async fn erase(&self) -> Result<ErasureReport, JobError> {
        let (accounts, catalog) = (self.inner.accounts.clone(), self.inner.catalog.clone());
        let report = ErasurePass { accounts, catalog }.run().await?;
        metrics::gauge!("datamesh_erasures_stopped").set((report.stopped + report.failed) as f64);
        Ok(report)
    }
}

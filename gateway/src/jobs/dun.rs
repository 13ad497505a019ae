//! Taking the steps that are due against accounts whose invoices are overdue.

use datamesh_accounts::DunningPolicy;

use super::{JobError, Jobs};

impl Jobs {
    pub(super) async fn leased_dun(&self) -> Result<(), JobError> {
        let config = &self.inner.config;
        let policy = DunningPolicy {
            freeze_writes_after: config.freeze_writes_after.duration(),
            freeze_after: config.freeze_after.duration(),
            delete_after: config.deletion_after.duration(),
        };
        let taken = self.under_lease("dun", async { Ok(self.inner.accounts.dun(policy).await?) }).await?;
        metrics::counter!("datamesh_dunning_steps_total").increment(taken.unwrap_or(0));
        Ok(())
    }
}

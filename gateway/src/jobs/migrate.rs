//! Moving cohorts of accounts between plan versions when their time has come.

use datamesh_accounts::MigrationRun;

use super::{JobError, Jobs};
use crate::admin_api::Administrator;

impl Jobs {
    pub(super) async fn leased_migrate(&self) -> Result<(), JobError> {
        self.under_lease("migrate", self.migrate()).await.map(drop)
    }

    /// Carries out what is due now: waits for a run that another gateway makes.
    pub async fn migrate_now(&self) -> Result<MigrationRun, JobError> {
        Box::pin(self.when_leased("migrate", self.migrate())).await
    }

    async fn migrate(&self) -> Result<MigrationRun, JobError> {
        let run = self.inner.accounts.run_due_migrations(Administrator::GATEWAY).await?;
        if run != MigrationRun::default() {
            tracing::info!(migrations = run.done, accounts = run.moved, "moved accounts between plans");
        }
        metrics::counter!("datamesh_plan_moves_total").increment(run.moved);
        Ok(run)
    }
}

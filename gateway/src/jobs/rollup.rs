//! Rolling up events of usage.

use super::{JobError, Jobs};

impl Jobs {
    pub(super) async fn leased_roll_up(&self) -> Result<(), JobError> {
        let rolled = self.under_lease("rollup", async { Ok(self.inner.accounts.roll_up().await?) }).await?;
        metrics::counter!("datamesh_usage_events_rolled_up_total").increment(rolled.unwrap_or(0));
        Ok(())
    }
}

//! Making invoices of the months that are over.

use super::{JobError, Jobs};

impl Jobs {
    pub(super) async fn leased_bill(&self) -> Result<(), JobError> {
        let config = &self.inner.config;
        if !config.automatic_invoices {
            return Ok(());
        }
        let grace = config.invoice_grace.duration();
        let billed = async { Ok(self.inner.accounts.bill_months(grace).await?) };
        let Some(turn) = self.under_lease("bill", billed).await? else { return Ok(()) };
        for (account, error) in &turn.failed {
            tracing::error!(%account, %error, "an invoice could not be made");
        }
        if turn.drafted + turn.finalized > 0 {
            tracing::info!(drafted = turn.drafted, finalized = turn.finalized, "invoices were made");
        }
        metrics::counter!("datamesh_invoices_final_total").increment(turn.finalized);
        metrics::gauge!("datamesh_invoices_failed").set(turn.failed.len() as f64);
        Ok(())
    }
}

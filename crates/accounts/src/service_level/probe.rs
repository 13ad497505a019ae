//! Probes: whether anything could have been served, for the windows in which nobody asked.

use datamesh_billing::WINDOW_MS;

use crate::metering::Mark;
use crate::{Accounts, AccountsError};

impl Accounts {
    /// Records that somebody tried just now, and whether it went well. Windows count from that of the first probe on.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn record_probe(&self, is_good: bool) -> Result<(), AccountsError> {
        const ADD: &str = "INSERT INTO sla_probe (start_ms, good, bad) VALUES ($1, $2, $3)
            ON CONFLICT (start_ms) DO UPDATE
            SET good = sla_probe.good + excluded.good, bad = sla_probe.bad + excluded.bad";
        let now_ms = self.now_ms();
        let start_ms = now_ms - now_ms % WINDOW_MS;
        self.db()
            .write::<_, AccountsError, _>(move |tx| {
                Box::pin(async move {
                    tx.execute(ADD, &[start_ms.into(), is_good.into(), (!is_good).into()]).await?;
                    if Mark::WindowsCountFrom.read(tx).await?.is_none() {
                        Mark::WindowsCountFrom.advance(tx, start_ms).await?;
                    }
                    Ok(())
                })
            })
            .await
    }
}

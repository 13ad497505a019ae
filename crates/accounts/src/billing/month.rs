//! Months that are over: drafts are made of them at once, and become final after a grace in which operators can look.
//!
//! Every step can be taken twice, by several gateways at once, and be cut off anywhere: drafts replace drafts, an invoice
//! becomes final once, and a month is closed only when nothing of it is left to do.

use std::time::Duration;

use datamesh_billing::BillingError;
use datamesh_db::Tx;
use datamesh_types::AccountId;

use super::invoice::{InvoiceStatus, SETTLED_AFTER};
use crate::{Accounts, AccountsError, Month};

/// Invoices per query.
const PAGE: usize = 100;

/// What a turn did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BillingTurn {
    /// How many drafts were made.
    pub drafted: u64,
    /// How many invoices became final.
    pub finalized: u64,
    /// Accounts whose invoice could not be made. Their month stays open, and is tried again.
    pub failed: Vec<(AccountId, BillingError)>,
}

impl Accounts {
    /// Bills every month that is over and not closed: makes drafts, and makes them final when `grace` has passed since the
    /// month's end. The first turn of a database begins with the last month; older ones are left to operators.
    ///
    /// # Errors
    /// Those of the database; what was done before stays done.
    pub async fn bill_months(&self, grace: Duration) -> Result<BillingTurn, AccountsError> {
        let this_month = Month::of(self.now_ms());
        let open = self.db().write(move |tx| Box::pin(open_months(tx, this_month))).await?;
        let mut turn = BillingTurn::default();
        for (month, is_drafted) in open {
            self.bill_month(month, is_drafted, grace, &mut turn).await?;
        }
        Ok(turn)
    }

    async fn bill_month(
        &self,
        month: Month,
        is_drafted: bool,
        grace: Duration,
        turn: &mut BillingTurn,
    ) -> Result<(), AccountsError> {
        const DRAFTED: &str = "UPDATE billed_month SET drafted_at_ms = $2 WHERE month = $1";
        const CLOSED: &str = "UPDATE billed_month SET closed_at_ms = $2 WHERE month = $1";
        let now_ms = self.now_ms();
        let since_end = Duration::from_millis(now_ms.saturating_sub(month.next().start_ms()));
        if since_end < SETTLED_AFTER {
            return Ok(());
        }
        let failed_before = turn.failed.len();
        if !is_drafted {
            let run = self.run_invoices(month).await?;
            turn.drafted += run.made.len() as u64;
            turn.failed.extend(run.failed);
            if turn.failed.len() == failed_before {
                self.mark_month(DRAFTED, month, now_ms).await?;
            }
        }
        if since_end < grace {
            return Ok(());
        }
        self.finalize_month(month, turn).await?;
        if turn.failed.len() == failed_before {
            self.mark_month(CLOSED, month, now_ms).await?;
        }
        Ok(())
    }

    /// Makes all drafts of a month final.
    async fn finalize_month(&self, month: Month, turn: &mut BillingTurn) -> Result<(), AccountsError> {
        const DRAFTS: &str = "SELECT id, account FROM invoice WHERE status = $1 AND month = $2 AND id > $3
            ORDER BY id LIMIT $4";
        let mut after = String::new();
        loop {
            let params = [InvoiceStatus::Draft.number().into(), month.0.into(), (&after).into(), PAGE.into()];
            let rows = self.db().rows(DRAFTS, params.into()).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            last.text(0)?.clone_into(&mut after);
            for row in &rows {
                match self.finalize_invoice(row.text(0)?).await {
                    Ok(_) => turn.finalized += 1,
                    Err(AccountsError::Billing(error)) => {
                        let account = AccountId(row.bytes(1)?);
                        if !turn.failed.iter().any(|(failed, _)| *failed == account) {
                            turn.failed.push((account, error));
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }

    async fn mark_month(&self, sql: &'static str, month: Month, now_ms: u64) -> Result<(), AccountsError> {
        self.db().execute(sql, [month.0.into(), now_ms.into()].into()).await?;
        Ok(())
    }
}

/// The months that are over and not closed, oldest first, each with whether all its drafts were made.
async fn open_months(tx: &mut Tx, this_month: Month) -> Result<Vec<(Month, bool)>, AccountsError> {
    const NEWEST: &str = "SELECT MAX(month) FROM billed_month";
    const ADD: &str = "INSERT INTO billed_month (month) VALUES ($1) ON CONFLICT (month) DO NOTHING";
    const OPEN: &str =
        "SELECT month, drafted_at_ms FROM billed_month WHERE closed_at_ms IS NULL ORDER BY month";
    let damaged = || AccountsError::Damaged { name: "billed_month".to_owned() };
    let newest = tx.query_opt(NEWEST, &[]).await?.map(|row| row.opt_int(0)).transpose()?.flatten();
    let mut month = match newest {
        Some(newest) => Month(u32::try_from(newest).map_err(|_| damaged())?).next(),
        None => this_month.previous(),
    };
    while month < this_month {
        tx.execute(ADD, &[month.0.into()]).await?;
        month = month.next();
    }
    let rows = tx.query(OPEN, &[]).await?;
    let open = rows.iter().map(|row| {
        let month = Month(u32::try_from(row.int(0)?).map_err(|_| damaged())?);
        Ok((month, row.opt_int(1)?.is_some()))
    });
    open.collect()
}

//! Forgetting: events that are rolled up, hours that are in their month, and what else only grows.

use std::sync::Arc;
use std::time::Duration;

use datamesh_billing::WINDOW_MS;
use datamesh_db::Value;

use super::opening::Mark;
use super::span::Grain;
use crate::{Accounts, AccountsError, Month};

/// Rows per transaction.
const STEP: usize = 1_000;

/// How long what is how old is kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Events that are rolled up. Until then delivering one again changes nothing, and rollups are checked against
    /// events.
    pub events: Duration,
    /// Rollups by hour, whole months of them. Those by month are kept for good.
    pub hours: Duration,
    /// Warnings of limits.
    pub warnings: Duration,
    /// Windows of service levels, and their probes.
    pub windows: Duration,
}

/// How many rows are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Purged {
    /// Events.
    pub events: u64,
    /// Rollups by hour.
    pub hours: u64,
    /// Warnings of limits.
    pub warnings: u64,
    /// Shares of rates that gateways don't hold any more.
    pub shares: u64,
    /// Rows of books of months before the last.
    pub books: u64,
    /// Windows of service levels, and their probes.
    pub windows: u64,
}

impl Accounts {
    /// Removes what has been kept for long enough, in transactions of bounded size.
    ///
    /// # Errors
    /// Those of the database; what was removed before stays so.
    pub async fn purge(&self, retention: Retention) -> Result<Purged, AccountsError> {
        const EVENTS: &str = "DELETE FROM usage_history WHERE (source, sequence) IN
            (SELECT source, sequence FROM usage_history WHERE at_ms < $1 LIMIT $2)";
        const HOURS: &str = "DELETE FROM usage_rollup
            WHERE (grain, account, start_ms, bucket, access_key) IN
                (SELECT grain, account, start_ms, bucket, access_key FROM usage_rollup
                 WHERE grain = 0 AND start_ms < $1 LIMIT $2)";
        const WARNINGS: &str = "DELETE FROM quota_event WHERE id IN
            (SELECT id FROM quota_event WHERE at_ms < $1 LIMIT $2)";
        const SHARES: &str = "DELETE FROM rate_share WHERE (owner, gateway) IN
            (SELECT owner, gateway FROM rate_share WHERE expires_at_ms <= $1 LIMIT $2)";
        const BOOKS: &str = "DELETE FROM quota WHERE (owner, dimension) IN
            (SELECT owner, dimension FROM quota
             WHERE owner >= $1 AND owner < $2 AND dimension IN (3, 4) AND reserved = 0 LIMIT $3)";
        const WINDOWS: &str = "DELETE FROM sla_window WHERE (account, start_ms, source) IN
            (SELECT account, start_ms, source FROM sla_window WHERE start_ms < $1 LIMIT $2)";
        const PROBES: &str = "DELETE FROM sla_probe WHERE start_ms IN
            (SELECT start_ms FROM sla_probe WHERE start_ms < $1 LIMIT $2)";
        let now_ms = self.now_ms();
        let before = |age: Duration| now_ms.saturating_sub(age.as_millis() as u64);
        let (hour, _) = Grain::Hour.span(before(retention.events));
        let (month, _) = Grain::Month.span(before(retention.hours));
        let windows = before(retention.windows) / WINDOW_MS * WINDOW_MS;
        self.db()
            .write::<_, AccountsError, _>(move |tx| {
                Box::pin(async move {
                    Mark::EventsKeptFrom.advance(tx, hour).await?;
                    Mark::HoursKeptFrom.advance(tx, month).await?;
                    // What is forgotten must not look as if nobody had been there. Without a probe nothing counts at all.
                    if Mark::WindowsCountFrom.read(tx).await?.is_some() {
                        Mark::WindowsCountFrom.advance(tx, windows).await?;
                    }
                    Ok(())
                })
            })
            .await?;
        let book = |month: Month| Value::from([b"month/".as_slice(), &month.0.to_be_bytes()].concat());
        let last_month = Month::of(Month::of(now_ms).start_ms().saturating_sub(1));
        Ok(Purged {
            events: self.delete_all(EVENTS, vec![hour.into()]).await?,
            hours: self.delete_all(HOURS, vec![month.into()]).await?,
            warnings: self.delete_all(WARNINGS, vec![before(retention.warnings).into()]).await?,
            shares: self.delete_all(SHARES, vec![now_ms.into()]).await?,
            books: self.delete_all(BOOKS, vec![book(Month(0)), book(last_month)]).await?,
            windows: self.delete_all(WINDOWS, vec![windows.into()]).await?
                + self.delete_all(PROBES, vec![windows.into()]).await?,
        })
    }

    /// Runs a statement, whose last parameter is how many rows it may remove, until it removes none.
    async fn delete_all(&self, sql: &'static str, mut params: Vec<Value>) -> Result<u64, AccountsError> {
        params.push(STEP.into());
        let params: Arc<[Value]> = params.into();
        let mut deleted = 0;
        loop {
            let step = self.db().execute(sql, Arc::clone(&params)).await?;
            deleted += step;
            if step < STEP as u64 {
                return Ok(deleted);
            }
        }
    }
}

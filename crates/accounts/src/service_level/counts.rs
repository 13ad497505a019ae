//! Requests and faults of accounts in windows: counted in memory, written every few seconds.
//!
//! What is written of a window is all that this gateway has counted in it, under the gateway's own name: writing it again
//! changes nothing. A gateway that is killed loses what it has counted since the last time ([`crate::FLUSH_EVERY`]).

use std::collections::HashMap;
use std::sync::Arc;

use datamesh_billing::WINDOW_MS;
use datamesh_types::AccountId;

use crate::{Accounts, AccountsError};

/// Windows per transaction.
const STEP: usize = 100;

/// What one gateway has counted and may still count more of.
#[derive(Debug, Default)]
pub(crate) struct WindowCounts(HashMap<(AccountId, u64), Count>);

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    requests: u64,
    faults: u64,
    /// Requests that are written.
    written: u64,
}

/// What is to be written of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unwritten {
    account: AccountId,
    start_ms: u64,
    requests: u64,
    faults: u64,
}

impl WindowCounts {
    /// A request is over.
    pub(crate) fn add(&mut self, account: AccountId, now_ms: u64, is_fault: bool) {
        let count = self.0.entry((account, now_ms - now_ms % WINDOW_MS)).or_default();
        count.requests += 1;
        count.faults += u64::from(is_fault);
    }

    /// What is not written yet. Windows that are over and written are forgotten.
    pub(crate) fn unwritten(&mut self, now_ms: u64) -> Vec<Unwritten> {
        let open_from_ms = now_ms.saturating_sub(2 * WINDOW_MS);
        self.0.retain(|(_, start_ms), count| count.written < count.requests || *start_ms > open_from_ms);
        let unwritten = self.0.iter().filter(|(_, count)| count.written < count.requests);
        let describe = |(&(account, start_ms), count): (&(AccountId, u64), &Count)| Unwritten {
            account,
            start_ms,
            requests: count.requests,
            faults: count.faults,
        };
        unwritten.map(describe).collect()
    }

    fn written(&mut self, written: &[Unwritten]) {
        for window in written {
            if let Some(count) = self.0.get_mut(&(window.account, window.start_ms)) {
                count.written = count.written.max(window.requests);
            }
        }
    }
}

impl Accounts {
    /// Writes what was counted of windows since the last time. What could not be written is kept for the next time.
    ///
    /// # Errors
    /// Those of the database.
    pub(crate) async fn write_windows(&self) -> Result<(), AccountsError> {
        // A window that a clock was set back into begins anew: what is there is more.
        const WRITE: &str = "INSERT INTO sla_window (account, start_ms, source, requests, faults)
            VALUES ($1, $2, $3, $4, $5) ON CONFLICT (account, start_ms, source) DO UPDATE
            SET requests = excluded.requests, faults = excluded.faults
            WHERE excluded.requests > sla_window.requests";
        let unwritten = self.traffic().windows(|windows| windows.unwritten(self.now_ms()));
        let source = self.gateway_id();
        for step in unwritten.chunks(STEP) {
            let rows = Arc::<[Unwritten]>::from(step);
            self.db()
                .write::<_, AccountsError, _>(move |tx| {
                    let rows = Arc::clone(&rows);
                    Box::pin(async move {
                        for row in &*rows {
                            let params = [
                                row.account.into(),
                                row.start_ms.into(),
                                (&source).into(),
                                row.requests.into(),
                                row.faults.into(),
                            ];
                            tx.execute(WRITE, &params).await?;
                        }
                        Ok(())
                    })
                })
                .await?;
            self.traffic().windows(|windows| windows.written(step));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: AccountId = AccountId([1; 16]);
    const OTHER: AccountId = AccountId([2; 16]);

    fn told(counts: &mut WindowCounts, now_ms: u64) -> Vec<(AccountId, u64, u64, u64)> {
        let mut told: Vec<_> = counts
            .unwritten(now_ms)
            .iter()
            .map(|window| (window.account, window.start_ms, window.requests, window.faults))
            .collect();
        told.sort_unstable();
        told
    }

    #[test]
    fn a_window_is_told_as_a_whole_until_it_is_written_and_again_when_there_is_more() {
        let mut counts = WindowCounts::default();
        counts.add(ONE, 299_999, true);
        counts.add(ONE, 300_000, false);
        counts.add(OTHER, 300_001, false);
        counts.add(ONE, 599_999, true);
        let all = [(ONE, 0, 1, 1), (ONE, 300_000, 2, 1), (OTHER, 300_000, 1, 0)];
        assert_eq!(told(&mut counts, 600_000), all);
        assert_eq!(told(&mut counts, 600_000), all, "nothing was written");
        let written = counts.unwritten(600_000);
        counts.add(OTHER, 300_002, true);
        counts.written(&written);
        assert_eq!(told(&mut counts, 600_000), [(OTHER, 300_000, 2, 1)], "what came meanwhile is not lost");
        let written = counts.unwritten(600_000);
        counts.written(&written);
        assert_eq!((told(&mut counts, 900_000), counts.0.len()), (vec![], 0), "what is over is forgotten");
    }
}

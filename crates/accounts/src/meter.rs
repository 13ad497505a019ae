//! Metering: what an owner receives and sends in a month, against its limit if it has one.
//!
//! Bytes are taken in memory, of what the gateway leased of the month's quota, and recorded every few seconds. A gateway
//! that is killed loses what it had not recorded ([`FLUSH_EVERY`]); what it leased comes free when that expires.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use datamesh_db::DbError;
use tracing::warn;

use crate::controls::Controls;
use crate::owner::{Book, Month, Owner};
use crate::quota::{self, Amount, Held};
use crate::reservation::Share;
use crate::subscription::limits_of;
use crate::{Accounts, AccountsError, warning};

/// How often meters are recorded: what a killed gateway loses at most.
pub const FLUSH_EVERY: Duration = Duration::from_secs(5);

/// The meter of one owner in this gateway.
#[derive(Default)]
pub(crate) struct Meter {
    /// What is taken from: requests wait for it, so it is never held while something is recorded.
    held: tokio::sync::Mutex<Option<(Month, Share)>>,
    /// What was moved, by the month that it was taken in.
    moved: Mutex<BTreeMap<Month, Amount>>,
    /// What is being recorded. Locked before `held`.
    recording: tokio::sync::Mutex<Vec<Batch>>,
}

/// What was moved between two recordings, and what was held for it.
struct Batch {
    month: Month,
    share: Option<Share>,
    moved: Amount,
}

impl Meter {
    fn moved(&self) -> MutexGuard<'_, BTreeMap<Month, Amount>> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing is left to record.
    pub(crate) fn is_idle(&self) -> bool {
        self.moved().values().all(|moved| moved.is_zero())
            && self.held.try_lock().is_ok_and(|held| held.is_none())
            && self.recording.try_lock().is_ok_and(|recording| recording.is_empty())
    }

    /// Takes bytes to receive (first) and to send (second) of a month's quota.
    ///
    /// # Errors
    /// [`AccountsError::QuotaExceeded`].
    pub(crate) async fn take(
        &self,
        accounts: &Accounts,
        owner: &Owner,
        (month, amount): (Month, Amount),
    ) -> Result<(), AccountsError> {
        let mut held = self.held.lock().await;
        while held.as_ref().is_some_and(|(of, _)| *of != month) {
            drop(held);
            Box::pin(self.flush(accounts, owner)).await?;
            held = self.held.lock().await;
        }
        if let Some((_, share)) = &*held {
            share.extend(amount).await?;
        } else {
            let book = Book::Moved(owner.clone(), month);
            *held = Some((month, Box::pin(Share::take(accounts, &book, amount)).await?));
        }
        self.add(month, amount);
        Ok(())
    }

    /// Some of what was taken in a month was not moved after all.
    pub(crate) fn give(&self, month: Month, amount: Amount) {
        self.add(month, Amount::ZERO.minus(amount));
    }

    fn add(&self, month: Month, amount: Amount) {
        let mut moved = self.moved();
        let sum = moved.entry(month).or_default();
        *sum = sum.plus(amount);
    }

    /// Records what was moved since the last time. What could not be recorded is kept for the next time.
    pub(crate) async fn flush(&self, accounts: &Accounts, owner: &Owner) -> Result<(), AccountsError> {
        let mut recording = self.recording.lock().await;
        let now_ms = accounts.now_ms();
        {
            let mut taken = self.held.lock().await.take();
            let moved = std::mem::take(&mut *self.moved());
            for (month, moved) in moved.into_iter().filter(|(_, moved)| !moved.is_zero()) {
                let share = taken.take_if(|(of, _)| *of == month).map(|(_, share)| share);
                recording.push(Batch { month, share, moved });
            }
        }
        while let Some(batch) = recording.pop() {
            let book = Book::Moved(owner.clone(), batch.month);
            let held = batch.share.as_ref().map_or_else(Held::default, Share::held);
            let moved = batch.moved;
            let recorded = accounts
                .db()
                .write(move |tx| {
                    let book = book.clone();
                    Box::pin(async move { record(tx, &book, moved, held, now_ms).await })
                })
                .await;
            match recorded {
                Ok(paid) => drop(batch.share.inspect(|share| share.paid(paid))),
                // Recording it again could count it twice, and what it held may be paid.
                Err(AccountsError::Db(error @ DbError::OutcomeUnknown { .. })) => {
                    drop(batch.share.inspect(Share::forfeit));
                    return Err(error.into());
                }
                Err(error) => {
                    recording.push(batch);
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

async fn record(
    tx: &mut datamesh_db::Tx,
    book: &Book,
    moved: Amount,
    held: Held,
    now_ms: u64,
) -> Result<Amount, AccountsError> {
    if quota::find(tx, book).await?.is_none() {
        let limits = limits_of(tx, book.owner()).await?;
        quota::set_limits(tx, book, &limits, Amount::ZERO).await?;
    }
    let settled = quota::record_moved(tx, book, moved, held).await?;
    warning::record(tx, &settled.warnings, now_ms).await?;
    Ok(settled.paid[0])
}

impl Accounts {
    /// Records what this gateway has metered. It happens on its own every [`FLUSH_EVERY`]; call it before the end.
    pub async fn flush_meters(&self) {
        for controls in self.controls().all() {
            self.flush_controls(&controls).await;
        }
        if let Err(error) = self.deliver_traffic().await {
            warn!(%error, "usage could not be recorded; the next attempt follows");
        }
        if let Err(error) = self.write_windows().await {
            warn!(%error, "requests and faults could not be recorded; the next attempt follows");
        }
        self.controls().prune(self.elapsed());
    }

    /// Records what this gateway has metered of one owner, for an answer about it.
    pub async fn flush_meter(&self, owner: &Owner) {
        if let Some(controls) = self.controls().known(owner) {
            self.flush_controls(&controls).await;
        }
    }

    async fn flush_controls(&self, controls: &Controls) {
        if let Err(error) = controls.meter.flush(self, &controls.owner).await {
            warn!(%error, owner = %controls.owner, "metered traffic could not be recorded");
        }
    }
}

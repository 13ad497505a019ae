//! Reservations: quota taken before a body is read, replaced by the true amount in the commit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datamesh_db::{CommitHook, DbError, Tx, TxFuture, UsageChange};
use datamesh_types::AccountId;
use tracing::warn;

use crate::hold;
use crate::lease::Lease;
use crate::owner::{Book, Owner};
use crate::quota::{self, Amount, Held};
use crate::warning::{self, Warning};
use crate::{Accounts, AccountsError};

/// What a reservation or a meter holds of one book. Dropping it gives back what was not paid.
pub(crate) struct Share {
    accounts: Accounts,
    lease: Arc<Lease>,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// The gateway's row that the amount is in; `None` while the book has no limits.
    row: Option<[u8; 16]>,
    held: Amount,
    /// What the commit took of it.
    paid: Amount,
}

impl Share {
    /// Takes `amount` of a book.
    ///
    /// # Errors
    /// [`AccountsError::QuotaExceeded`].
    pub(crate) async fn take(
        accounts: &Accounts,
        book: &Book,
        amount: Amount,
    ) -> Result<Self, AccountsError> {
        let lease = accounts.leases().of(book, accounts.elapsed());
        let row = accounts.acquire(&lease, amount, None).await?.unwrap_or_default();
        let held = if row.is_some() { amount } else { Amount::ZERO };
        let state = State { row, held, paid: Amount::ZERO };
        Ok(Self { accounts: accounts.clone(), lease, state: Mutex::new(state) })
    }

    /// Takes more.
    ///
    /// # Errors
    /// [`AccountsError::QuotaExceeded`]; what was held before stays held.
    pub(crate) async fn extend(&self, more: Amount) -> Result<(), AccountsError> {
        let state = *self.state();
        if state.row.is_some() && self.accounts.acquire(&self.lease, more, state.row).await?.is_some() {
            let mut state = self.state();
            state.held = state.held.plus(more);
            return Ok(());
        }
        // There was no limit, or the row has expired: everything is taken anew.
        let all = state.held.plus(more);
        let row = self.accounts.acquire(&self.lease, all, None).await?.unwrap_or_default();
        let mut state = self.state();
        state.row = row;
        state.held = if row.is_some() { all } else { Amount::ZERO };
        Ok(())
    }

    /// Gives back `less` of what is held, which stays held but for that.
    pub(crate) fn lower(&self, less: Amount) {
        let mut state = self.state();
        let Some(row) = state.row else { return };
        state.held = state.held.minus(less);
        let scarce = self.lease.put_back(row, less);
        drop(state);
        if scarce {
            self.give_back_soon();
        }
    }

    /// Tells the database what the gateway does not need any more, where others may be waiting for it.
    fn give_back_soon(&self) {
        let (accounts, lease) = (self.accounts.clone(), Arc::clone(&self.lease));
        self.accounts.runtime().spawn(async move {
            if let Err(error) = accounts.give_back_free(&lease).await {
                warn!(%error, "quota could not be given back; it comes free when its reservation ends");
            }
        });
    }

    pub(crate) fn held(&self) -> Held {
        let state = self.state();
        Held { row: state.row, amount: state.held }
    }

    pub(crate) fn paid(&self, paid: Amount) {
        self.state().paid = paid;
    }

    /// Nobody knows what a commit took of it: all of it counts as paid. What was not comes free when its row ends.
    pub(crate) fn forfeit(&self) {
        let mut state = self.state();
        state.paid = state.held;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let state = *self.state();
        let Some(row) = state.row else { return };
        if self.lease.give_back(row, state.held.minus(state.paid)) {
            self.give_back_soon();
        }
    }
}

/// Quota held for one upload, of its account and of its bucket.
///
/// As a [`CommitHook`] it settles: the commit's true change replaces what was held. It serves one commit. Dropping
/// it gives back what was not used; when its gateway dies, that happens at the reservation's expiry.
pub struct Reservation {
    account: AccountId,
    of_account: Share,
    of_bucket: Option<(i64, Share)>,
    warnings: Mutex<Vec<Warning>>,
}

impl Accounts {
    /// Takes `bytes` and `objects` of the account's quota.
    ///
    /// # Errors
    /// [`AccountsError::QuotaExceeded`] when they don't fit beside what is stored and what others hold.
    pub async fn reserve(
        &self,
        account: AccountId,
        bytes: u64,
        objects: u64,
    ) -> Result<Reservation, AccountsError> {
        let book = Book::Stored(Owner::Account(account));
        Ok(Reservation {
            account,
            of_account: Share::take(self, &book, Amount::new(bytes, objects)).await?,
            of_bucket: None,
            warnings: Mutex::default(),
        })
    }

    /// Takes them of the quota of the account and of its bucket.
    ///
    /// # Errors
    /// As [`Accounts::reserve`]; nothing is held then.
    pub async fn reserve_in(
        &self,
        account: AccountId,
        bucket: i64,
        bytes: u64,
        objects: u64,
    ) -> Result<Reservation, AccountsError> {
        let reservation = self.reserve(account, bytes, objects).await?;
        let book = Book::Stored(Owner::Bucket(bucket));
        let of_bucket = Share::take(self, &book, Amount::new(bytes, objects)).await?;
        Ok(Reservation { of_bucket: Some((bucket, of_bucket)), ..reservation })
    }

    /// A hook for commits that only delete: it records the change, which is always allowed when nothing grows.
    pub fn release_hook(&self) -> Arc<dyn CommitHook> {
        Arc::new(Release { accounts: self.clone() })
    }

    /// The same for deletions that an error of `guard`, which is asked about the account in their transaction, refuses.
    pub(crate) fn guarded_release_hook<G>(&self, guard: G) -> Arc<dyn CommitHook>
    where
        G: for<'t> Fn(&'t mut Tx, AccountId) -> TxFuture<'t, (), DbError> + Send + Sync + 'static,
    {
        Arc::new(GuardedRelease { guard, release: Release { accounts: self.clone() } })
    }
}

impl Reservation {
    /// Whose quota it holds.
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// Takes `bytes` more, for a body whose length was not known.
    ///
    /// # Errors
    /// [`AccountsError::QuotaExceeded`]; what was held before stays held.
    pub async fn extend(&self, bytes: u64) -> Result<(), AccountsError> {
        let more = Amount::new(bytes, 0);
        self.of_account.extend(more).await?;
        let Some((_, of_bucket)) = &self.of_bucket else { return Ok(()) };
        // Kept, it would be in the way of the smaller step that is tried next.
        of_bucket.extend(more).await.inspect_err(|_| self.of_account.lower(more))
    }

    /// What the commit found to be close to a limit.
    pub fn warnings(&self) -> Vec<Warning> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl CommitHook for Reservation {
    fn run<'t>(&'t self, tx: &'t mut Tx, change: &'t UsageChange) -> TxFuture<'t, (), DbError> {
        Box::pin(async move {
            let of_account = Some(&self.of_account).filter(|_| change.account == self.account);
            let of_bucket = self.of_bucket.as_ref().filter(|(bucket, _)| *bucket == change.bucket);
            let shares = [of_account, of_bucket.map(|(_, share)| share)];
            let held = shares.map(|share| share.map_or_else(Held::default, Share::held));
            let accounts = &self.of_account.accounts;
            let now_ms = accounts.now_ms();
            // What adds no object may replace one, or a part of one.
            if change.objects < 1 {
                hold::refuse_replacing(tx, change.account, now_ms).await.map_err(refused)?;
            }
            let event = accounts.storage_event(now_ms);
            let settled = quota::settle(tx, change, held, event).await.map_err(refused)?;
            warning::record(tx, &settled.warnings, now_ms).await.map_err(refused)?;
            for (share, paid) in shares.into_iter().zip(settled.paid) {
                if let Some(share) = share {
                    share.paid(paid);
                }
            }
            *self.warnings.lock().unwrap_or_else(PoisonError::into_inner) = settled.warnings;
            Ok(())
        })
    }
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reservation")
            .field("account", &self.account)
            .field("held", &self.of_account.held())
            .finish_non_exhaustive()
    }
}

/// See [`Accounts::release_hook`].
struct Release {
    accounts: Accounts,
}

impl CommitHook for Release {
    fn run<'t>(&'t self, tx: &'t mut Tx, change: &'t UsageChange) -> TxFuture<'t, (), DbError> {
        Box::pin(async move {
            let now_ms = self.accounts.now_ms();
            let event = self.accounts.storage_event(now_ms);
            let settled = quota::settle(tx, change, [Held::default(); 2], event).await.map_err(refused)?;
            warning::record(tx, &settled.warnings, now_ms).await.map_err(refused)
        })
    }
}

/// See [`Accounts::guarded_release_hook`].
struct GuardedRelease<G> {
    guard: G,
    release: Release,
}

impl<G> CommitHook for GuardedRelease<G>
where
    G: for<'t> Fn(&'t mut Tx, AccountId) -> TxFuture<'t, (), DbError> + Send + Sync + 'static,
{
    fn run<'t>(&'t self, tx: &'t mut Tx, change: &'t UsageChange) -> TxFuture<'t, (), DbError> {
        Box::pin(async move {
            (self.guard)(tx, change.account).await?;
            self.release.run(tx, change).await
        })
    }
}

/// Why a hook refuses its commit.
pub(crate) fn refused(error: AccountsError) -> DbError {
    match error {
        AccountsError::Db(error) => error,
        other => DbError::Rejected { source: Box::new(other) },
    }
}

#[cfg(test)]
mod tests {
    use datamesh_testkit::for_each_engine;

    use super::*;
    use crate::Dimension;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_ends_on_a_thread_of_the_database_comes_back() {
        for_each_engine(|db| async move {
            let accounts = Accounts::in_scratch(db).await;
            let owner = Owner::Account(accounts.create_user("a@example.org", "A", "free").await.unwrap().id);
            let standing = async || {
                let standings = accounts.allowance(&owner).await.unwrap().standings;
                standings.into_iter().find(|(counted, _)| *counted == Dimension::Bytes).unwrap().1
            };
            // So much that nothing is leased in advance.
            let all = standing().await.limit.unwrap();
            let book = Book::Stored(owner.clone());
            let share = Share::take(&accounts, &book, Amount::new(all, 1)).await.unwrap();
            assert_eq!(standing().await.reserved, all);
            std::thread::spawn(move || drop(share)).join().unwrap();
            for _ in 0..10_000 {
                if standing().await.reserved == 0 {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            panic!("nobody gave back what was held");
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_commit_of_unknown_outcome_may_have_taken_is_not_given_back() {
        for_each_engine(|db| async move {
            let accounts = Accounts::in_scratch(db).await;
            let account = accounts.create_user("a@example.org", "A", "free").await.unwrap().id;
            let book = Book::Stored(Owner::Account(account));
            let share = Share::take(&accounts, &book, Amount::new(100, 1)).await.unwrap();
            let lease = Arc::clone(&share.lease);
            // What the gateway leased beyond that.
            let _ = lease.take_free();
            share.forfeit();
            drop(share);
            assert_eq!(lease.take_free(), None, "memory knows no more of the row than the database has");
        })
        .await;
    }
}

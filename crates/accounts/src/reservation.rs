//! Reservations: quota taken before a body is read, replaced by the true amount in the commit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use datamesh_db::{CommitHook, DbError, Tx, TxFuture, UsageChange};
use datamesh_types::AccountId;
use tracing::warn;

use crate::lease::{Lease, Taken};
use crate::quota::{self, Amount};
use crate::{Accounts, AccountsConfig, AccountsError};

/// How long an account without limits is taken for one without asking again.
const UNLIMITED_FOR: Duration = Duration::from_secs(5);
/// A row that expires sooner than this is not used any more: clocks differ, and transactions take time.
const MARGIN: Duration = Duration::from_secs(10);
/// Leases are only taken while this many of them would fit.
const ROOMY_LEASES: i64 = 4;

/// Quota held for one upload.
///
/// As a [`CommitHook`] it settles: the commit's true change replaces what was held. It serves one commit. Dropping
/// it gives back what was not used; when its gateway dies, that happens at the reservation's expiry.
pub struct Reservation {
    accounts: Accounts,
    lease: Arc<Lease>,
    hold: Mutex<Hold>,
}

#[derive(Debug, Clone, Copy)]
struct Hold {
    /// The gateway's row that the amount is in; `None` while the account has no limits.
    row: Option<[u8; 16]>,
    held: Amount,
    /// What the commit took of it.
    paid: Amount,
}

/// What the database did with a request for more.
enum Granted {
    Row { id: [u8; 16], amount: Amount, roomy: bool },
    Unlimited,
    RowLost,
}

#[derive(Debug, Clone, Copy)]
struct Request {
    account: AccountId,
    row: Option<[u8; 16]>,
    fresh_row: [u8; 16],
    missing: Amount,
    lease: Amount,
    expires_at_ms: u64,
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
        let lease = self.leases().of(account, self.elapsed());
        let amount = Amount::new(bytes, objects);
        let row = self.acquire(&lease, amount, None).await?.unwrap_or_default();
        let held = if row.is_some() { amount } else { Amount::default() };
        let state = Hold { row, held, paid: Amount::default() };
        Ok(Reservation { accounts: self.clone(), lease, hold: Mutex::new(state) })
    }

    /// A hook for commits that only delete: it records the change, which is always allowed when nothing grows.
    pub fn release_hook(&self) -> Arc<dyn CommitHook> {
        Arc::new(Release)
    }

    /// Takes `amount` from the gateway's row, or from the database. The row's id, or `Some(None)` when there are no
    /// limits. `None` when the row `held` is gone.
    async fn acquire(
        &self,
        lease: &Lease,
        amount: Amount,
        held: Option<[u8; 16]>,
    ) -> Result<Option<Option<[u8; 16]>>, AccountsError> {
        let take = || {
            let valid_until_ms = self.now_ms() + self.margin().as_millis() as u64;
            lease.take(amount, held, self.elapsed(), valid_until_ms, UNLIMITED_FOR)
        };
        match take() {
            Taken::Held(row) => return Ok(Some(Some(row))),
            Taken::Unlimited => return Ok(Some(None)),
            Taken::Short { .. } => {}
        }
        let _turn = lease.turn.lock().await;
        let mut expired_others = false;
        loop {
            let (row, missing) = match take() {
                Taken::Held(row) => return Ok(Some(Some(row))),
                Taken::Unlimited => return Ok(Some(None)),
                Taken::Short { row: None, .. } if held.is_some() => return Ok(None),
                Taken::Short { row, missing } => (row, missing),
            };
            match self.ask(lease.account, row, missing).await {
                Ok((Granted::Row { id, amount, roomy }, expires_at_ms)) => {
                    lease.grant(id, amount, expires_at_ms, roomy, self.elapsed());
                }
                Ok((Granted::Unlimited, _)) => lease.set_unlimited(Some(self.elapsed())),
                Ok((Granted::RowLost, _)) => drop(row.map(|id| lease.forget_row(id, true))),
                // Perhaps what is in the way belongs to a gateway that is gone.
                Err(AccountsError::QuotaExceeded { .. }) if !expired_others => {
                    expired_others = true;
                    self.expire_of(lease.account).await?;
                }
                Err(AccountsError::QuotaExceeded { dimension, limit, used, reserved, .. }) => {
                    // The caller knows what it asked for, not what of it was still missing.
                    let requested = amount.of(dimension);
                    return Err(AccountsError::QuotaExceeded { dimension, limit, used, reserved, requested });
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn ask(
        &self,
        account: AccountId,
        row: Option<[u8; 16]>,
        missing: Amount,
    ) -> Result<(Granted, u64), AccountsError> {
        let mut fresh_row = [0; 16];
        aws_lc_rs::rand::fill(&mut fresh_row).map_err(|_| AccountsError::Random)?;
        let config: &AccountsConfig = self.config();
        let request = Request {
            account,
            row,
            fresh_row,
            missing,
            lease: Amount::new(config.lease_bytes, config.lease_objects),
            expires_at_ms: self.expiry_ms(),
        };
        let granted = self.db().write(move |tx| Box::pin(grant(tx, request))).await?;
        Ok((granted, request.expires_at_ms))
    }

    fn expiry_ms(&self) -> u64 {
        self.now_ms() + self.config().reservation_ttl.as_millis() as u64
    }

    fn margin(&self) -> Duration {
        MARGIN.min(self.config().reservation_ttl / 4)
    }

    /// Frees what gateways hold that have not renewed it in time; how many they were.
    pub async fn expire_reservations(&self) -> Result<u64, AccountsError> {
        const OWNERS: &str =
            "SELECT DISTINCT owner FROM reservation WHERE expires_at_ms <= $1 ORDER BY owner LIMIT 1000";
        let now_ms = self.now_ms();
        let owners = self
            .db()
            .scan::<_, AccountsError, _>(move |tx| {
                Box::pin(async move { Ok(tx.query(OWNERS, &[now_ms.into()]).await?) })
            })
            .await?;
        let mut expired = 0;
        for owner in owners {
            expired += self.expire_of(AccountId(owner.bytes(0)?)).await?;
        }
        Ok(expired)
    }

    async fn expire_of(&self, account: AccountId) -> Result<u64, AccountsError> {
        let now_ms = self.now_ms();
        self.db()
            .write(move |tx| {
                Box::pin(async move {
                    let rows = tx
                        .query(
                            "DELETE FROM reservation WHERE owner = $1 AND expires_at_ms <= $2
                             RETURNING bytes, objects",
                            &[account.into(), now_ms.into()],
                        )
                        .await?;
                    free(tx, account, &rows).await?;
                    Ok(rows.len() as u64)
                })
            })
            .await
    }

    /// Keeps this gateway's reservations alive, and ends those that it has no use for.
    pub(crate) async fn renew_reservations(&self) -> Result<(), AccountsError> {
        let idle = self.config().reservation_ttl / 2;
        for lease in self.leases().all() {
            let _turn = lease.turn.lock().await;
            let Some(row) = lease.view() else { continue };
            let now = self.elapsed();
            let unused = now.saturating_sub(lease.used_at()) >= idle;
            // An old row may hold what memory has lost track of.
            let old = now.saturating_sub(row.since) >= self.config().reservation_ttl * 5;
            if row.holders == 0 && (unused || old) && lease.forget_row(row.id, false) {
                self.end_row(lease.account, row.id).await?;
            } else {
                self.renew_row(&lease, row.id).await?;
            }
        }
        self.leases().prune(self.elapsed(), idle);
        Ok(())
    }

    async fn renew_row(&self, lease: &Lease, id: [u8; 16]) -> Result<(), AccountsError> {
        let expires_at_ms = self.expiry_ms();
        let renewed = self
            .db()
            .write::<_, AccountsError, _>(move |tx| {
                Box::pin(async move {
                    let params = [(&id).into(), expires_at_ms.into()];
                    Ok(tx.execute("UPDATE reservation SET expires_at_ms = $2 WHERE id = $1", &params).await?)
                })
            })
            .await?;
        if renewed == 0 {
            lease.forget_row(id, true);
        } else {
            lease.renewed(id, expires_at_ms);
        }
        Ok(())
    }

    async fn end_row(&self, account: AccountId, id: [u8; 16]) -> Result<(), AccountsError> {
        self.db()
            .write(move |tx| {
                Box::pin(async move {
                    let rows = tx
                        .query(
                            "DELETE FROM reservation WHERE id = $1 RETURNING bytes, objects",
                            &[(&id).into()],
                        )
                        .await?;
                    free(tx, account, &rows).await
                })
            })
            .await
    }

    /// Gives the free part of a lease back to its account, where others may be waiting for it.
    async fn give_back_free(&self, lease: &Lease) -> Result<(), AccountsError> {
        let _turn = lease.turn.lock().await;
        let Some((id, free)) = lease.take_free() else { return Ok(()) };
        let account = lease.account;
        self.db()
            .write(move |tx| {
                Box::pin(async move {
                    if quota::shrink(tx, &id, free).await? {
                        let nothing = Amount::default();
                        quota::adjust(tx, account, nothing, nothing.minus(free), nothing).await?;
                    }
                    Ok(())
                })
            })
            .await
    }
}

/// The transaction that reserves: more in the row that there is, or a new row.
async fn grant(tx: &mut Tx, request: Request) -> Result<Granted, AccountsError> {
    let quota = quota::load(tx, request.account).await?;
    if request.row.is_none() && quota.is_unlimited() {
        return Ok(Granted::Unlimited);
    }
    let lease = request.lease;
    let comfort = Amount {
        bytes: lease.bytes.saturating_mul(ROOMY_LEASES),
        objects: lease.objects.saturating_mul(ROOMY_LEASES),
    };
    let roomy = quota.room().covers(request.missing.plus(comfort));
    let amount = if roomy { request.missing.plus(lease) } else { request.missing };
    let id = request.row.unwrap_or(request.fresh_row);
    let expires = request.expires_at_ms.into();
    let (bytes, objects) = (amount.bytes.into(), amount.objects.into());
    if request.row.is_some() {
        const MORE: &str = "UPDATE reservation
            SET bytes = bytes + $2, objects = objects + $3, expires_at_ms = $4 WHERE id = $1";
        if tx.execute(MORE, &[(&id).into(), bytes, objects, expires]).await? == 0 {
            return Ok(Granted::RowLost);
        }
    } else {
        const NEW: &str = "INSERT INTO reservation (id, owner, bytes, objects, expires_at_ms)
            VALUES ($1, $2, $3, $4, $5)";
        tx.execute(NEW, &[(&id).into(), request.account.into(), bytes, objects, expires]).await?;
    }
    quota::adjust(tx, request.account, Amount::default(), amount, amount).await?;
    Ok(Granted::Row { id, amount, roomy })
}

/// Lowers what is reserved by what deleted rows held.
async fn free(tx: &mut Tx, account: AccountId, rows: &[datamesh_db::Row]) -> Result<(), AccountsError> {
    let mut freed = Amount::default();
    for row in rows {
        freed = freed.plus(Amount { bytes: row.int(0)?, objects: row.int(1)? });
    }
    if freed.is_zero() {
        return Ok(());
    }
    let nothing = Amount::default();
    quota::adjust(tx, account, nothing, nothing.minus(freed), nothing).await
}

impl Reservation {
    /// Whose quota it holds.
    pub fn account(&self) -> AccountId {
        self.lease.account
    }

    /// Takes `bytes` more, for a body whose length was not known.
    ///
    /// # Errors
    /// [`AccountsError::QuotaExceeded`]; what was held before stays held.
    pub async fn extend(&self, bytes: u64) -> Result<(), AccountsError> {
        let more = Amount::new(bytes, 0);
        let hold = *self.hold();
        if hold.row.is_some() && self.accounts.acquire(&self.lease, more, hold.row).await?.is_some() {
            let mut hold = self.hold();
            hold.held = hold.held.plus(more);
            return Ok(());
        }
        // There was no limit, or the row has expired: everything is taken anew.
        let all = hold.held.plus(more);
        let row = self.accounts.acquire(&self.lease, all, None).await?.unwrap_or_default();
        let mut hold = self.hold();
        hold.row = row;
        hold.held = if row.is_some() { all } else { Amount::default() };
        Ok(())
    }

    fn hold(&self) -> MutexGuard<'_, Hold> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CommitHook for Reservation {
    fn run<'t>(&'t self, tx: &'t mut Tx, change: &'t UsageChange) -> TxFuture<'t, (), DbError> {
        Box::pin(async move {
            let hold = *self.hold();
            let row = hold.row.as_ref().filter(|_| change.account == self.lease.account);
            let paid = quota::settle(tx, change, row, hold.held).await.map_err(refused)?;
            self.hold().paid = paid;
            Ok(())
        })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let hold = *self.hold();
        let Some(row) = hold.row else { return };
        let scarce = self.lease.give_back(row, hold.held.minus(hold.paid));
        if scarce && let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (accounts, lease) = (self.accounts.clone(), Arc::clone(&self.lease));
            runtime.spawn(async move {
                if let Err(error) = accounts.give_back_free(&lease).await {
                    warn!(%error, "quota could not be given back; it comes free when its reservation ends");
                }
            });
        }
    }
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reservation").field("account", &self.account()).field("hold", &*self.hold()).finish()
    }
}

/// See [`Accounts::release_hook`].
struct Release;

impl CommitHook for Release {
    fn run<'t>(&'t self, tx: &'t mut Tx, change: &'t UsageChange) -> TxFuture<'t, (), DbError> {
        Box::pin(async move {
            quota::settle(tx, change, None, Amount::default()).await.map(drop).map_err(refused)
        })
    }
}

fn refused(error: AccountsError) -> DbError {
    match error {
        AccountsError::Db(error) => error,
        other => DbError::Rejected { source: Box::new(other) },
    }
}

//! Taking quota for a gateway: in the database when its lease runs short, and back when it is not needed any more.

use std::sync::Arc;
use std::time::Duration;

use datamesh_db::{Row, Tx};

use crate::lease::{Lease, Taken};
use crate::owner::{Book, Owner};
use crate::quota::{self, Amount, Quota};
use crate::subscription::limits_of;
use crate::{Accounts, AccountsConfig, AccountsError};

/// How long a book without limits is taken for one without asking again.
const UNLIMITED_FOR: Duration = Duration::from_secs(5);
/// A row that expires sooner than this is not used any more: clocks differ, and transactions take time.
const MARGIN: Duration = Duration::from_secs(10);
/// Leases are only taken while this many of them would fit.
const ROOMY_LEASES: i64 = 4;
/// Where there is much room, a lease is this part of it: whoever may store a billion objects would otherwise ask for the
/// next few a hundred times a second.
const LEASED_PART: i64 = 1024;
/// But no more than so many ordinary ones.
const LEASES_MAX: i64 = 64;

/// What the database did with a request for more.
enum Granted {
    Row { id: [u8; 16], amount: Amount, roomy: bool },
    Unlimited,
    RowLost,
}

#[derive(Debug, Clone)]
struct Request {
    book: Book,
    row: Option<[u8; 16]>,
    fresh_row: [u8; 16],
    missing: Amount,
    lease: Amount,
    expires_at_ms: u64,
}

impl Accounts {
    /// Takes `amount` from the gateway's row, or from the database. The row's id, or `Some(None)` when there are no
    /// limits. `None` when the row `held` is gone.
    pub(crate) async fn acquire(
        &self,
        lease: &Lease,
        amount: Amount,
        held: Option<[u8; 16]>,
    ) -> Result<Option<Option<[u8; 16]>>, AccountsError> {
        match self.take_leased(lease, amount, held) {
            Taken::Held(row) => Ok(Some(Some(row))),
            Taken::Unlimited => Ok(Some(None)),
            Taken::Short { .. } => Box::pin(self.acquire_more(lease, amount, held)).await,
        }
    }

    fn take_leased(&self, lease: &Lease, amount: Amount, held: Option<[u8; 16]>) -> Taken {
        let valid_until_ms = self.now_ms() + self.margin().as_millis() as u64;
        lease.take(amount, held, self.elapsed(), valid_until_ms, UNLIMITED_FOR)
    }

    async fn acquire_more(
        &self,
        lease: &Lease,
        amount: Amount,
        held: Option<[u8; 16]>,
    ) -> Result<Option<Option<[u8; 16]>>, AccountsError> {
        let _turn = lease.turn.lock().await;
        let mut expired_others = false;
        loop {
            let (row, missing) = match self.take_leased(lease, amount, held) {
                Taken::Held(row) => return Ok(Some(Some(row))),
                Taken::Unlimited => return Ok(Some(None)),
                Taken::Short { row: None, .. } if held.is_some() => return Ok(None),
                Taken::Short { row, missing } => (row, missing),
            };
            match self.ask(&lease.book, row, missing).await {
                Ok((Granted::Row { id, amount, roomy }, expires_at_ms)) => {
                    lease.grant(id, amount, expires_at_ms, roomy, self.elapsed());
                }
                Ok((Granted::Unlimited, _)) => lease.set_unlimited(Some(self.elapsed())),
                Ok((Granted::RowLost, _)) => drop(row.map(|id| lease.forget_row(id, true))),
                // Perhaps what is in the way belongs to a gateway that is gone.
                Err(AccountsError::QuotaExceeded { .. }) if !expired_others => {
                    expired_others = true;
                    self.expire_of(lease.book.key()).await?;
                }
                Err(AccountsError::QuotaExceeded { owner, dimension, limit, used, reserved, .. }) => {
                    // The caller knows what it asked for, not what of it was still missing.
                    let index = usize::from(dimension.number() % 2 == 0);
                    let requested = amount.shown(index);
                    return Err(AccountsError::QuotaExceeded {
                        owner,
                        dimension,
                        limit,
                        used,
                        reserved,
                        requested,
                    });
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn ask(
        &self,
        book: &Book,
        row: Option<[u8; 16]>,
        missing: Amount,
    ) -> Result<(Granted, u64), AccountsError> {
        let mut fresh_row = [0; 16];
        aws_lc_rs::rand::fill(&mut fresh_row).map_err(|_| AccountsError::Random)?;
        let config: &AccountsConfig = self.config();
        let lease = match book {
            Book::Stored(_) => Amount::new(config.lease_bytes, config.lease_objects),
            Book::Moved(..) => Amount::new(config.lease_bytes, config.lease_bytes),
        };
        let expires_at_ms = self.expiry_ms();
        let request = Arc::new(Request { book: book.clone(), row, fresh_row, missing, lease, expires_at_ms });
        let granted = self
            .db()
            .write(move |tx| {
                let request = Arc::clone(&request);
                Box::pin(async move { grant(tx, &request).await })
            })
            .await?;
        Ok((granted, expires_at_ms))
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
        let owners = self.db().rows(OWNERS, [self.now_ms().into()].into()).await?;
        let mut expired = 0;
        for owner in owners {
            expired += self.expire_of(owner.blob(0)?.to_vec()).await?;
        }
        Ok(expired)
    }

    /// `key` names the book's rows.
    async fn expire_of(&self, key: Vec<u8>) -> Result<u64, AccountsError> {
        let now_ms = self.now_ms();
        self.db()
            .write(move |tx| {
                let key = key.clone();
                Box::pin(async move {
                    let rows = tx
                        .query(
                            "DELETE FROM reservation WHERE owner = $1 AND expires_at_ms <= $2
                             RETURNING bytes, objects",
                            &[(&key).into(), now_ms.into()],
                        )
                        .await?;
                    free(tx, &key, &rows).await?;
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
                self.end_row(lease.book.key(), row.id).await?;
            } else {
                self.renew_row(&lease, row.id).await?;
            }
        }
        self.leases().prune(self.elapsed(), idle);
        Ok(())
    }

    async fn renew_row(&self, lease: &Lease, id: [u8; 16]) -> Result<(), AccountsError> {
        const RENEW: &str = "UPDATE reservation SET expires_at_ms = $2 WHERE id = $1";
        let expires_at_ms = self.expiry_ms();
        let renewed = self.db().execute(RENEW, [(&id).into(), expires_at_ms.into()].into()).await?;
        if renewed == 0 {
            lease.forget_row(id, true);
        } else {
            lease.renewed(id, expires_at_ms);
        }
        Ok(())
    }

    async fn end_row(&self, key: Vec<u8>, id: [u8; 16]) -> Result<(), AccountsError> {
        self.db()
            .write(move |tx| {
                let key = key.clone();
                Box::pin(async move {
                    let rows = tx
                        .query(
                            "DELETE FROM reservation WHERE id = $1 RETURNING bytes, objects",
                            &[(&id).into()],
                        )
                        .await?;
                    free(tx, &key, &rows).await
                })
            })
            .await
    }

    /// Gives the free part of a lease back to its account, where others may be waiting for it.
    pub(crate) async fn give_back_free(&self, lease: &Lease) -> Result<(), AccountsError> {
        let _turn = lease.turn.lock().await;
        let Some((id, free)) = lease.take_free() else { return Ok(()) };
        let book = lease.book.clone();
        self.db()
            .write(move |tx| {
                let book = book.clone();
                Box::pin(async move {
                    if quota::shrink(tx, &id, free).await? {
                        quota::reserve(tx, &book, Amount::ZERO.minus(free)).await?;
                    }
                    Ok(())
                })
            })
            .await
    }
}

/// The transaction that reserves: more in the row that there is, or a new row.
async fn grant(tx: &mut Tx, request: &Request) -> Result<Granted, AccountsError> {
    let Some(quota) = book_of(tx, &request.book).await? else { return Ok(Granted::Unlimited) };
    if request.row.is_none() && quota.is_unlimited() {
        return Ok(Granted::Unlimited);
    }
    let (lease, room) = (request.lease, quota.room());
    let comfort = lease.each(lease, |lease, _| lease.saturating_mul(ROOMY_LEASES));
    let roomy = room.covers(request.missing.plus(comfort));
    let amount = if roomy { request.missing.plus(lease.each(room, lease_in)) } else { request.missing };
    let id = request.row.unwrap_or(request.fresh_row);
    let expires = request.expires_at_ms.into();
    let (first, second) = (amount.first.into(), amount.second.into());
    if request.row.is_some() {
        const MORE: &str = "UPDATE reservation
            SET bytes = bytes + $2, objects = objects + $3, expires_at_ms = $4 WHERE id = $1";
        if tx.execute(MORE, &[(&id).into(), first, second, expires]).await? == 0 {
            return Ok(Granted::RowLost);
        }
    } else {
        const NEW: &str = "INSERT INTO reservation (id, owner, bytes, objects, expires_at_ms)
            VALUES ($1, $2, $3, $4, $5)";
        tx.execute(NEW, &[(&id).into(), request.book.param(), first, second, expires]).await?;
    }
    if quota::reserve(tx, &request.book, amount).await? {
        return Ok(Granted::Row { id, amount, roomy });
    }
    // Whatever one of the rows took is undone with the transaction; it is told as it was.
    let quota = quota::find(tx, &request.book).await?.unwrap_or(quota);
    Err(quota.exceeded(request.book.owner(), amount))
}

/// How much to lease of what there is room for.
fn lease_in(ordinary: i64, room: i64) -> i64 {
    (room / LEASED_PART).clamp(ordinary, ordinary.saturating_mul(LEASES_MAX))
}

/// A book to write in. Only a bucket's or a key's may be missing: they have none as long as they have no limit.
///
/// # Errors
/// [`AccountsError::NoSuchAccount`].
async fn book_of(tx: &mut Tx, book: &Book) -> Result<Option<Quota>, AccountsError> {
    if let Some(quota) = quota::find(tx, book).await? {
        return Ok(Some(quota));
    }
    match book {
        Book::Stored(Owner::Account(account)) => Err(AccountsError::NoSuchAccount { account: *account }),
        Book::Stored(_) => Ok(None),
        Book::Moved(owner, _) => {
            let limits = limits_of(tx, owner).await?;
            if limits.limits_any(&book.dimensions()) {
                quota::set_limits(tx, book, &limits, Amount::ZERO).await?;
            }
            quota::find(tx, book).await
        }
    }
}

/// Lowers what is reserved by what deleted rows held.
async fn free(tx: &mut Tx, key: &[u8], rows: &[Row]) -> Result<(), AccountsError> {
    const FREE: &str = "UPDATE quota SET reserved = reserved
        - CASE dimension % 2 WHEN 1 THEN CAST($2 AS BIGINT) ELSE CAST($3 AS BIGINT) END WHERE owner = $1";
    let mut freed = Amount::ZERO;
    for row in rows {
        freed = freed.plus(Amount { first: row.int(0)?, second: row.int(1)? });
    }
    if !freed.is_zero() {
        tx.execute(FREE, &[key.into(), freed.first.into(), freed.second.into()]).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_grow_with_the_room_within_bounds() {
        assert_eq!(lease_in(64, 1_000), 64);
        assert_eq!(lease_in(64, 1_000_000), 976);
        assert_eq!(lease_in(64, i64::MAX), 4_096);
        assert_eq!(lease_in(0, i64::MAX), 0, "leases may be switched off");
        assert_eq!(lease_in(64, -5), 64);
    }
}

//! Reconciling: what is recorded as stored against what is stored, and what is recorded as reserved against reservations.

use std::collections::BTreeMap;
use std::sync::Arc;

use datamesh_db::{Engine, StoredCount, Tx};
use datamesh_types::AccountId;

use crate::named::named;
use crate::owner::{Book, Owner};
use crate::quota::{self, Amount};
use crate::{Accounts, AccountsError, Dimension};

/// What a book counts of a dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// What is stored.
    Used,
    /// What gateways hold for uploads.
    Reserved,
}

named!(Counter { Used = "used", Reserved = "reserved" });

/// A counter that is not what it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// Whose.
    pub owner: Owner,
    /// Of what.
    pub dimension: Dimension,
    /// Which.
    pub counter: Counter,
    /// What was recorded; it may be negative.
    pub recorded: i64,
    /// What is stored, or held.
    pub counted: i64,
}

/// What a reconciliation found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reconciliation {
    /// Accounts and buckets whose usage was looked at.
    pub owners_checked: u64,
    /// Every difference; anything here is a bug.
    pub drifts: Vec<Drift>,
}

/// What there is of an owner.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    stored: Amount,
    reserved: Amount,
}

impl Accounts {
    /// Compares all recorded usage with what is stored, in one snapshot, so that commits under way don't matter.
    /// `count` counts what every bucket stores.
    pub async fn reconcile(&self, count: Arc<dyn StoredCount>) -> Result<Reconciliation, AccountsError> {
        self.db()
            .scan(move |tx| {
                let count = Arc::clone(&count);
                Box::pin(async move {
                    let owners = books(tx).await?;
                    compare(tx, &*count, &owners).await
                })
            })
            .await
    }

    /// Records what there is where something else is recorded, and tells what that was. Commits wait while it counts: they
    /// come wholly before it, or wholly after it.
    pub async fn mend_usage(&self, count: Arc<dyn StoredCount>) -> Result<Reconciliation, AccountsError> {
        const USED: &str = "UPDATE quota SET used = $3 WHERE owner = $1 AND dimension = $2";
        const RESERVED: &str = "UPDATE quota SET reserved = $3 WHERE owner = $1 AND dimension = $2";
        self.write(move |tx| {
            let count = Arc::clone(&count);
            Box::pin(async move {
                let owners = locked_books(tx).await?;
                let found = compare(tx, &*count, &owners).await?;
                for drift in &found.drifts {
                    let sql = match drift.counter {
                        Counter::Used => USED,
                        Counter::Reserved => RESERVED,
                    };
                    let params =
                        [drift.owner.encode().into(), drift.dimension.number().into(), drift.counted.into()];
                    tx.execute(sql, &params).await?;
                }
                Ok(found)
            })
        })
        .await
    }
}

/// The keys of the books of what is stored.
async fn books(tx: &mut Tx) -> Result<Vec<Vec<u8>>, AccountsError> {
    const BOOKS: &str = "SELECT owner FROM quota WHERE dimension = 1 ORDER BY owner";
    let rows = tx.query(BOOKS, &[]).await?;
    rows.iter().map(|row| Ok(row.blob(0)?.to_vec())).collect()
}

/// The same, and nobody changes them until the transaction ends. A book that is made meanwhile is not among them: it
/// begins with a count of its own.
async fn locked_books(tx: &mut Tx) -> Result<Vec<Vec<u8>>, AccountsError> {
    const LOCK: &str = "SELECT owner, dimension FROM quota WHERE dimension IN (1, 2)
        ORDER BY owner, dimension FOR UPDATE";
    if tx.engine() == Engine::Sqlite {
        // There is one writer at a time.
        return books(tx).await;
    }
    let mut owners: Vec<_> = tx
        .query(LOCK, &[])
        .await?
        .iter()
        .map(|row| Ok(row.blob(0)?.to_vec()))
        .collect::<Result<_, AccountsError>>()?;
    owners.dedup();
    Ok(owners)
}

async fn compare(
    tx: &mut Tx,
    count: &dyn StoredCount,
    books: &[Vec<u8>],
) -> Result<Reconciliation, AccountsError> {
    let mut found = Reconciliation::default();
    for (owner, Count { stored, reserved }) in counts(tx, count).await? {
        // A bucket without limits has no book.
        if books.binary_search(&owner.encode()).is_err() {
            continue;
        }
        let Some(quota) = quota::find(tx, &Book::Stored(owner.clone())).await? else { continue };
        found.owners_checked += 1;
        for (counter, recorded, counted) in
            [(Counter::Used, quota.used(), stored), (Counter::Reserved, quota.reserved(), reserved)]
        {
            let pairs = [(recorded.first, counted.first), (recorded.second, counted.second)];
            for (dimension, (recorded, counted)) in
                [Dimension::Bytes, Dimension::Objects].into_iter().zip(pairs)
            {
                if recorded != counted {
                    found.drifts.push(Drift { owner: owner.clone(), dimension, counter, recorded, counted });
                }
            }
        }
    }
    Ok(found)
}

/// What is stored and reserved: of every account, and of every bucket.
async fn counts(tx: &mut Tx, count: &dyn StoredCount) -> Result<BTreeMap<Owner, Count>, AccountsError> {
    const ACCOUNTS: &str = "SELECT id FROM account ORDER BY id";
    const RESERVED: &str = "SELECT owner, CAST(SUM(bytes) AS BIGINT), CAST(SUM(objects) AS BIGINT)
        FROM reservation GROUP BY owner";
    let mut counts = BTreeMap::<Owner, Count>::new();
    for row in &tx.query(ACCOUNTS, &[]).await? {
        counts.insert(Owner::Account(AccountId(row.bytes(0)?)), Count::default());
    }
    for stored in count.count(tx, None).await? {
        let amount = Amount::new(stored.bytes, stored.objects);
        let of_account = &mut counts.entry(Owner::Account(stored.account)).or_default().stored;
        *of_account = of_account.plus(amount);
        counts.entry(Owner::Bucket(stored.bucket)).or_default().stored = amount;
    }
    let mut reserved = BTreeMap::<Vec<u8>, Amount>::new();
    for row in &tx.query(RESERVED, &[]).await? {
        reserved.insert(row.blob(0)?.to_vec(), Amount { first: row.int(1)?, second: row.int(2)? });
    }
    for (owner, count) in &mut counts {
        count.reserved = reserved.remove(&owner.encode()).unwrap_or_default();
    }
    Ok(counts)
}

//! Reconciling: what is recorded as stored against what is stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use datamesh_db::{StoredCount, Tx};
use datamesh_types::AccountId;

use crate::owner::{Book, Owner};
use crate::quota::{self, Amount};
use crate::{Accounts, AccountsError, Dimension};

/// A recorded usage that is not what is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// Whose.
    pub owner: Owner,
    /// Of what.
    pub dimension: Dimension,
    /// What was recorded.
    pub recorded: i64,
    /// What is stored.
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

impl Accounts {
    /// Compares all recorded usage with what is stored, in one snapshot, so that commits under way don't matter.
    /// `count` counts what every bucket stores.
    pub async fn reconcile(&self, count: Arc<dyn StoredCount>) -> Result<Reconciliation, AccountsError> {
        self.db()
            .scan(move |tx| {
                let count = Arc::clone(&count);
                Box::pin(async move { compare(tx, &*count).await })
            })
            .await
    }

    /// Records what is stored where something else is recorded, and tells what that was. Nobody may store anything
    /// meanwhile: between the count and the correction it would be lost.
    pub async fn mend_usage(&self, count: Arc<dyn StoredCount>) -> Result<Reconciliation, AccountsError> {
        const MEND: &str = "UPDATE quota SET used = $3 WHERE owner = $1 AND dimension = $2";
        self.write(move |tx| {
            let count = Arc::clone(&count);
            Box::pin(async move {
                let found = compare(tx, &*count).await?;
                for drift in &found.drifts {
                    let place = [drift.owner.encode().into(), drift.dimension.number().into()];
                    let [owner, dimension] = place;
                    tx.execute(MEND, &[owner, dimension, drift.counted.into()]).await?;
                }
                Ok(found)
            })
        })
        .await
    }
}

async fn compare(tx: &mut Tx, count: &dyn StoredCount) -> Result<Reconciliation, AccountsError> {
    const ACCOUNTS: &str = "SELECT id FROM account ORDER BY id";
    let mut counted = BTreeMap::<Owner, Amount>::new();
    for row in &tx.query(ACCOUNTS, &[]).await? {
        counted.insert(Owner::Account(AccountId(row.bytes(0)?)), Amount::ZERO);
    }
    for stored in count.count(tx, None).await? {
        let amount = Amount::new(stored.bytes, stored.objects);
        let of_account = counted.entry(Owner::Account(stored.account)).or_default();
        *of_account = of_account.plus(amount);
        counted.insert(Owner::Bucket(stored.bucket), amount);
    }
    let mut found = Reconciliation::default();
    for (owner, counted) in counted {
        // A bucket without limits has no book.
        let Some(quota) = quota::find(tx, &Book::Stored(owner.clone())).await? else { continue };
        found.owners_checked += 1;
        let used = quota.used();
        let pairs = [(used.first, counted.first), (used.second, counted.second)];
        for (dimension, (recorded, counted)) in [Dimension::Bytes, Dimension::Objects].into_iter().zip(pairs)
        {
            if recorded != counted {
                found.drifts.push(Drift { owner: owner.clone(), dimension, recorded, counted });
            }
        }
    }
    Ok(found)
}

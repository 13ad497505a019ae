//! Cohorts: who moves, and what the target's limits would mean for them.

use std::sync::Arc;

use datamesh_db::Value;
use datamesh_types::AccountId;

use super::PlanMigration;
use crate::owner::{Book, Month, Owner};
use crate::{Accounts, AccountsError, Dimension, LimitSet, plan};

/// Accounts over quota that are named.
const NAMED_MAX: usize = 100;

/// Who is to move. It is judged anew whenever it matters; erased accounts are in none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cohort {
    /// The plan that they subscribe to.
    pub plan: String,
    /// Its version. `None`: every version older than the target's, or every one when the target is another plan.
    pub version: Option<u64>,
    /// Only who came to their version before this moment, milliseconds since 1970.
    pub subscribed_before_ms: Option<u64>,
}

/// How a cohort stands now, as one snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CohortStanding {
    /// How many accounts are in it.
    pub accounts: u64,
    /// How many of them use more than a limit that the target enforces, and that no limit of their own replaces.
    pub over_quota: u64,
    /// The first 100 of those, in the order of their ids.
    pub named_over_quota: Vec<AccountId>,
}

/// Whether `subscription s` of `account a` is in the cohort whose condition is the first four parameters.
macro_rules! in_cohort {
    () => {
        "s.plan = $1 AND s.version BETWEEN $2 AND $3 AND s.since_ms < $4 AND a.status <> 'erased'"
    };
}
pub(super) use in_cohort;

/// Members that use more than the limits `$first` and `$second` of the two dimensions of `quota q`.
macro_rules! exceeding {
    ($odd:literal, $first:literal, $even:literal, $second:literal) => {
        concat!(
            in_cohort!(),
            " AND q.used > CASE q.dimension WHEN ",
            $odd,
            " THEN CAST(",
            $first,
            " AS BIGINT) WHEN ",
            $even,
            " THEN CAST(",
            $second,
            " AS BIGINT) END
            AND NOT EXISTS (SELECT 1 FROM own_limit o WHERE o.owner = s.account AND o.dimension = q.dimension)"
        )
    };
}

impl PlanMigration {
    /// The parameters of [`in_cohort`].
    pub(super) fn condition(&self) -> [Value; 4] {
        let versions = self.versions();
        let before_ms = self.cohort.subscribed_before_ms.unwrap_or(i64::MAX as u64);
        [(&self.cohort.plan).into(), (*versions.start()).into(), (*versions.end()).into(), before_ms.into()]
    }
}

/// The parameters of the query for who is over quota under `limits`.
fn over_quota(migration: &PlanMigration, limits: &LimitSet, month: Month) -> Vec<Value> {
    // Traffic of a month has the account's id behind the month's: see `Book::key`.
    let moved = |id| Book::Moved(Owner::Account(AccountId([id; 16])), month).param();
    let mut params = migration.condition().to_vec();
    params.extend([Dimension::Bytes, Dimension::Objects].map(|dimension| limits.hard(dimension).into()));
    params.extend([moved(0), moved(u8::MAX)]);
    params.extend([Dimension::Ingress, Dimension::Egress].map(|dimension| limits.hard(dimension).into()));
    params.push(NAMED_MAX.into());
    params
}

impl Accounts {
    /// Who would be moved by a migration now, and who of them would be over quota then. What is stored and what was
    /// moved in this month counts.
    ///
    /// # Errors
    /// [`AccountsError::UnknownPlan`] when the target is not there.
    pub async fn cohort_standing(&self, migration: &PlanMigration) -> Result<CohortStanding, AccountsError> {
        const COUNT: &str = concat!(
            "SELECT COUNT(*) FROM subscription s JOIN account a ON a.id = s.account WHERE ",
            in_cohort!()
        );
        const OVER_QUOTA: &str = concat!(
            "WITH exceeding AS (
                SELECT s.account AS account FROM subscription s JOIN account a ON a.id = s.account
                    JOIN quota q ON q.owner = s.account WHERE ",
            exceeding!("1", "$5", "2", "$6"),
            " UNION SELECT s.account AS account FROM quota q JOIN subscription s ON s.account = substr(q.owner, 12)
                    JOIN account a ON a.id = s.account WHERE q.owner BETWEEN $7 AND $8 AND ",
            exceeding!("3", "$9", "4", "$10"),
            ") SELECT account, COUNT(*) OVER () FROM exceeding ORDER BY account LIMIT $11"
        );
        let (migration, month) = (Arc::new(migration.clone()), Month::of(self.now_ms()));
        self.db()
            .scan(move |tx| {
                let migration = Arc::clone(&migration);
                Box::pin(async move {
                    let target = plan::one(tx, &migration.to_plan, migration.to_version).await?;
                    let counted = tx.query_opt(COUNT, &migration.condition()).await?;
                    let accounts = counted.map(|row| row.uint(0)).transpose()?.unwrap_or(0);
                    let rows = tx.query(OVER_QUOTA, &over_quota(&migration, &target.limits, month)).await?;
                    let over_quota = rows.first().map(|row| row.uint(1)).transpose()?.unwrap_or(0);
                    let named = rows.iter().map(|row| Ok(AccountId(row.bytes(0)?)));
                    let named_over_quota = named.collect::<Result<_, AccountsError>>()?;
                    Ok(CohortStanding { accounts, over_quota, named_over_quota })
                })
            })
            .await
    }
}

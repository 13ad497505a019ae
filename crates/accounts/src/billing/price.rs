//! Versions of prices. One never changes; what a month costs is what was in force when it began.

use std::collections::BTreeMap;
use std::sync::Arc;

use datamesh_billing::{PriceSheet, Prices};
use datamesh_db::{Row, Tx};

use crate::{Accounts, AccountsError, Month};

/// The prices that every database begins with; they have always been in force.
const SHIPPED: &str = include_str!("prices.toml");

/// One version of a plan's prices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceVersion {
    /// The plan.
    pub plan: String,
    /// The version, from 1.
    pub version: u64,
    /// The prices.
    pub prices: Prices,
    /// The first moment that it is in force, milliseconds since 1970: the beginning of a month.
    pub from_ms: u64,
    /// When it was made.
    pub created_at_ms: u64,
}

/// What applying a sheet did to one of its plans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedPrices {
    /// The version that is the newest now.
    pub version: PriceVersion,
    /// Whether it was made just now.
    pub is_new: bool,
}

fn from_row(row: &Row) -> Result<PriceVersion, AccountsError> {
    let plan = row.text(0)?.to_owned();
    let prices = serde_json::from_str(row.text(2)?);
    let prices = prices.map_err(|_| AccountsError::Damaged { name: format!("prices/{plan}") })?;
    Ok(PriceVersion {
        plan,
        version: row.uint(1)?,
        prices,
        from_ms: row.uint(3)?,
        created_at_ms: row.uint(4)?,
    })
}

/// The prices of a plan that were in force when a month began, if it has any.
pub(super) async fn in_force(
    tx: &mut Tx,
    plan: &str,
    month: Month,
) -> Result<Option<PriceVersion>, AccountsError> {
    const IN_FORCE: &str = "SELECT plan, version, body, from_ms, created_at_ms FROM price_version
        WHERE plan = $1 AND from_ms <= $2 ORDER BY version DESC LIMIT 1";
    let row = tx.query_opt(IN_FORCE, &[plan.into(), month.start_ms().into()]).await?;
    row.map(|row| from_row(&row)).transpose()
}

impl Accounts {
    /// All versions of all prices, by plan and version.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn prices(&self) -> Result<Vec<PriceVersion>, AccountsError> {
        const ALL: &str = "SELECT plan, version, body, from_ms, created_at_ms FROM price_version
            ORDER BY plan, version";
        let rows = self.db().rows(ALL, [].into()).await?;
        rows.iter().map(from_row).collect()
    }

    /// Makes a new version of the prices of every plan that `sheet` prices otherwise than its newest version, in force
    /// from the beginning of `from` on. All or nothing.
    ///
    /// # Errors
    /// [`AccountsError::InvalidPeriod`] for a month that is over; [`AccountsError::UnknownPlan`].
    pub async fn apply_prices(
        &self,
        sheet: &PriceSheet,
        from: Month,
    ) -> Result<Vec<AppliedPrices>, AccountsError> {
        let now_ms = self.now_ms();
        if from < Month::of(now_ms) {
            let reason = format!("prices cannot begin in {from}, which is over");
            return Err(AccountsError::InvalidPeriod { reason });
        }
        let sheet = Arc::new(sheet.0.clone());
        self.write(move |tx| {
            let sheet = Arc::clone(&sheet);
            Box::pin(async move { apply(tx, &sheet, from.start_ms(), now_ms).await })
        })
        .await
    }
}

async fn apply(
    tx: &mut Tx,
    sheet: &BTreeMap<String, Prices>,
    from_ms: u64,
    now_ms: u64,
) -> Result<Vec<AppliedPrices>, AccountsError> {
    const NEWEST: &str = "SELECT plan, version, body, from_ms, created_at_ms FROM price_version
        WHERE plan = $1 ORDER BY version DESC LIMIT 1";
    const INSERT: &str = "INSERT INTO price_version (plan, version, body, from_ms, created_at_ms)
        VALUES ($1, $2, $3, $4, $5)";
    tx.lock(b"prices").await?;
    let mut applied = Vec::new();
    for (plan, prices) in sheet {
        crate::plan::newest(tx, plan).await?;
        let newest = tx.query_opt(NEWEST, &[plan.into()]).await?;
        let newest = newest.map(|row| from_row(&row)).transpose()?;
        if let Some(version) = newest.clone().filter(|newest| newest.prices == *prices) {
            applied.push(AppliedPrices { version, is_new: false });
            continue;
        }
        // A later version never comes into force before an earlier one.
        let from_ms = newest.as_ref().map_or(from_ms, |newest| from_ms.max(newest.from_ms));
        let version = newest.map_or(1, |newest| newest.version + 1);
        let body = serde_json::to_string(prices)
            .map_err(|_| AccountsError::Damaged { name: format!("prices/{plan}") })?;
        let params = [plan.into(), version.into(), body.into(), from_ms.into(), now_ms.into()];
        tx.execute(INSERT, &params).await?;
        let version = PriceVersion {
            plan: plan.clone(),
            version,
            prices: prices.clone(),
            from_ms,
            created_at_ms: now_ms,
        };
        applied.push(AppliedPrices { version, is_new: true });
    }
    Ok(applied)
}

/// Gives a database that has no prices those that ship.
pub(super) async fn ship(accounts: &Accounts) -> Result<(), AccountsError> {
    const COUNT: &str = "SELECT COUNT(*) FROM price_version";
    let sheet = Arc::new(PriceSheet::parse(SHIPPED)?.0);
    let now_ms = accounts.now_ms();
    accounts
        .db()
        .write(move |tx| {
            let sheet = Arc::clone(&sheet);
            Box::pin(async move {
                tx.lock(b"prices").await?;
                let count = tx.query_opt(COUNT, &[]).await?.map_or(Ok(0), |row| row.int(0))?;
                if count == 0 {
                    apply(tx, &sheet, 0, now_ms).await?;
                }
                Ok(())
            })
        })
        .await
}

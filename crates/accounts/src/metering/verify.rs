//! Verifying: rollups against the events that they were made of, months against their hours, and all of it against
//! what is stored.

use std::collections::BTreeMap;
use std::sync::Arc;

use datamesh_db::{StoredCount, Tx, Value};
use datamesh_types::AccountId;

use super::event::{Event, Metered, event_columns};
use super::measures::{Measure, Measures, measure_columns};
use super::opening::Mark;
use super::span::Grain;
use crate::{Accounts, AccountsError};

/// Rows per query.
const PAGE: usize = 1_000;

/// A sum that is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageDrift {
    /// Whose.
    pub account: AccountId,
    /// The bucket's number in the catalog, or 0.
    pub bucket: i64,
    /// The access key, or empty.
    pub key: Arc<str>,
    /// The hour or month, with its start in milliseconds since 1970; `None` for all that was ever metered, against what
    /// is stored.
    pub span: Option<(Grain, u64)>,
    /// Of what.
    pub measure: Measure,
    /// What is recorded.
    pub recorded: i128,
    /// What it must be.
    pub counted: i128,
}

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// Accounts that were looked at.
    pub accounts_checked: u64,
    /// Rollups that were looked at.
    pub rollups_checked: u64,
    /// Every difference; anything here is a bug.
    pub drifts: Vec<UsageDrift>,
}

/// A bucket that stores something else than its events say.
pub(crate) struct Difference {
    pub(crate) account: AccountId,
    pub(crate) bucket: i64,
    /// Bytes and objects.
    pub(crate) stored: [i64; 2],
    pub(crate) metered: [i64; 2],
}

impl Accounts {
    /// Recomputes the rollups of one account, or of all, in one snapshot: hours from the events that are kept, months from
    /// the hours that are, and what is stored from `count`, which counts what every bucket stores.
    ///
    /// # Errors
    /// [`AccountsError::NotMetered`].
    pub async fn verify_usage(
        &self,
        account: Option<AccountId>,
        count: Arc<dyn StoredCount>,
    ) -> Result<Verification, AccountsError> {
        self.require_metering()?;
        self.db()
            .scan(move |tx| {
                let count = Arc::clone(&count);
                Box::pin(async move { verify(tx, account, &*count).await })
            })
            .await
    }
}

async fn verify(
    tx: &mut Tx,
    account: Option<AccountId>,
    count: &dyn StoredCount,
) -> Result<Verification, AccountsError> {
    const ACCOUNTS: &str = "SELECT id FROM account UNION
        SELECT account FROM usage_rollup WHERE grain = 1 ORDER BY 1";
    let accounts = if let Some(account) = account {
        vec![account]
    } else {
        let rows = tx.query(ACCOUNTS, &[]).await?;
        rows.iter().map(|row| Ok(AccountId(row.bytes(0)?))).collect::<Result<_, AccountsError>>()?
    };
    let mut found = Verification::default();
    let events_from = Mark::EventsKeptFrom.read(tx).await?.unwrap_or(0);
    let hours_from = Mark::HoursKeptFrom.read(tx).await?.unwrap_or(0);
    for account in accounts {
        found.accounts_checked += 1;
        let of_events = hours_of_events(tx, account, events_from).await?;
        let of_hours = check_hours(tx, account, (hours_from, events_from), of_events, &mut found).await?;
        check_months(tx, account, hours_from, of_hours, &mut found).await?;
    }
    for difference in differences(tx, count).await? {
        let Difference { account: of, bucket, stored, metered } = difference;
        if account.is_some_and(|account| account != of) {
            continue;
        }
        let measures = [(Measure::Bytes, 0), (Measure::Objects, 1)];
        for (measure, index) in measures.into_iter().filter(|(_, index)| stored[*index] != metered[*index]) {
            found.drifts.push(UsageDrift {
                account: of,
                bucket,
                key: "".into(),
                span: None,
                measure,
                recorded: metered[index].into(),
                counted: stored[index].into(),
            });
        }
    }
    Ok(found)
}

/// Buckets whose events, rolled up or not, don't add up to what they store.
pub(crate) async fn differences(
    tx: &mut Tx,
    count: &dyn StoredCount,
) -> Result<Vec<Difference>, AccountsError> {
    const METERED: &str =
        "SELECT account, bucket, CAST(SUM(bytes) AS BIGINT), CAST(SUM(objects) AS BIGINT) FROM (
            SELECT account, bucket, bytes, objects FROM usage_rollup WHERE grain = 1 AND access_key = ''
            UNION ALL SELECT account, bucket, bytes, objects FROM usage_event) AS metered
        GROUP BY account, bucket";
    let mut sums = BTreeMap::<(AccountId, i64), [[i64; 2]; 2]>::new();
    for row in &tx.query(METERED, &[]).await? {
        let metered = [row.int(2)?, row.int(3)?];
        sums.insert((AccountId(row.bytes(0)?), row.int(1)?), [[0, 0], metered]);
    }
    for stored in count.count(tx, None).await? {
        let sum = sums.entry((stored.account, stored.bucket)).or_default();
        sum[0] = [stored.bytes.cast_signed(), stored.objects.cast_signed()];
    }
    let differences = sums.into_iter().filter(|(_, [stored, metered])| stored != metered);
    Ok(differences
        .map(|((account, bucket), [stored, metered])| Difference { account, bucket, stored, metered })
        .collect())
}

/// Sums by span.
type Sums = BTreeMap<(u64, Metered), Measures>;

/// The hours as the events make them, from `events_from` on.
async fn hours_of_events(tx: &mut Tx, account: AccountId, events_from: u64) -> Result<Sums, AccountsError> {
    const HISTORY: &str = concat!(
        "SELECT source, sequence, ",
        event_columns!(),
        " FROM usage_history WHERE account = $1 AND at_ms >= $2 AND (at_ms, source, sequence) > ($2, $3, $4)
         ORDER BY at_ms, source, sequence LIMIT $5"
    );
    let mut sums = Sums::new();
    let mut after: [Value; 3] = [events_from.into(), Vec::new().into(), 0.into()];
    loop {
        let [at_ms, source, sequence] = after.clone();
        let rows = tx.query(HISTORY, &[account.into(), at_ms, source, sequence, PAGE.into()]).await?;
        let Some(last) = rows.last() else { return Ok(sums) };
        after = [last.uint(5)?.into(), last.blob(0)?.into(), last.uint(1)?.into()];
        for row in &rows {
            let event = Event::from_row(row, 2)?;
            let (start, measured) = event.measured(Grain::Hour);
            *sums.entry((start, event.metered)).or_default() += measured;
        }
    }
}

/// Compares the rollups by hour with what events make of them, and adds them up by month.
async fn check_hours(
    tx: &mut Tx,
    account: AccountId,
    (hours_from, events_from): (u64, u64),
    mut of_events: Sums,
    found: &mut Verification,
) -> Result<Sums, AccountsError> {
    const HOURS: &str = concat!(
        "SELECT start_ms, account, bucket, access_key, ",
        measure_columns!(),
        " FROM usage_rollup WHERE grain = 0 AND account = $1 AND start_ms >= $2
            AND (start_ms, bucket, access_key) > ($2, $3, $4)
         ORDER BY start_ms, bucket, access_key LIMIT $5"
    );
    let mut months = Sums::new();
    let mut after: [Value; 3] = [hours_from.into(), (-1).into(), "".into()];
    loop {
        let [start, bucket, key] = after.clone();
        let rows = tx.query(HOURS, &[account.into(), start, bucket, key, PAGE.into()]).await?;
        let Some(last) = rows.last() else { break };
        after = [last.uint(0)?.into(), last.int(2)?.into(), last.text(3)?.into()];
        for row in &rows {
            let (start, metered) = (row.uint(0)?, Metered::from_row(row, 1)?);
            let recorded = Measures::from_row(row, 4)?;
            found.rollups_checked += 1;
            let (_, hour_end) = Grain::Hour.span(start);
            let (month, month_end) = Grain::Month.span(start);
            let left = i128::from(month_end) - i128::from(hour_end);
            *months.entry((month, metered.clone())).or_default() += recorded.extended(left);
            if start >= events_from {
                let counted = of_events.remove(&(start, metered.clone())).unwrap_or_default();
                compare(found, (Grain::Hour, start), &metered, (recorded, counted));
            }
        }
    }
    for ((start, metered), counted) in of_events {
        if start >= hours_from {
            compare(found, (Grain::Hour, start), &metered, (Measures::default(), counted));
        }
    }
    Ok(months)
}

/// Compares the rollups by month with the sums of their hours.
async fn check_months(
    tx: &mut Tx,
    account: AccountId,
    hours_from: u64,
    mut of_hours: Sums,
    found: &mut Verification,
) -> Result<(), AccountsError> {
    const MONTHS: &str = concat!(
        "SELECT start_ms, account, bucket, access_key, ",
        measure_columns!(),
        " FROM usage_rollup WHERE grain = 1 AND account = $1 AND start_ms >= $2"
    );
    for row in &tx.query(MONTHS, &[account.into(), hours_from.into()]).await? {
        let (start, metered) = (row.uint(0)?, Metered::from_row(row, 1)?);
        found.rollups_checked += 1;
        let counted = of_hours.remove(&(start, metered.clone())).unwrap_or_default();
        compare(found, (Grain::Month, start), &metered, (Measures::from_row(row, 4)?, counted));
    }
    for ((start, metered), counted) in of_hours {
        compare(found, (Grain::Month, start), &metered, (Measures::default(), counted));
    }
    Ok(())
}

fn compare(
    found: &mut Verification,
    span: (Grain, u64),
    metered: &Metered,
    (recorded, counted): (Measures, Measures),
) {
    for ((measure, recorded), (_, counted)) in recorded.each().into_iter().zip(counted.each()) {
        if recorded != counted {
            found.drifts.push(UsageDrift {
                account: metered.account,
                bucket: metered.bucket,
                key: Arc::clone(&metered.key),
                span: Some(span),
                measure,
                recorded,
                counted,
            });
        }
    }
}

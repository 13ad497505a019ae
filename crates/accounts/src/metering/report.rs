//! What an account has used in a month, or in its hours.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datamesh_billing::Span;
use datamesh_db::Tx;
use datamesh_types::AccountId;

use super::event::Metered;
use super::measures::{Measures, Traffic, measure_columns};
use super::opening::{Mark, UnmeteredSpan};
use super::rollup::Freshness;
use super::span::{Grain, HOUR_MS};
use crate::{Accounts, AccountsError, Month};

/// What was used within a span, of one bucket by one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The bucket's number in the catalog, or 0 for requests that got into no bucket.
    pub bucket: i64,
    /// The access key that signed; empty for storage, and for what none of the account's keys signed.
    pub key: Arc<str>,
    /// Bytes that were stored at the end.
    pub bytes: i64,
    /// Objects that were stored at the end.
    pub objects: i64,
    /// Bytes times the milliseconds that they were stored.
    pub byte_ms: i128,
    /// Objects times the milliseconds that they were stored.
    pub object_ms: i128,
    /// Bytes and requests.
    pub traffic: Traffic,
}

/// An account's month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageReport {
    /// The month.
    pub month: Month,
    /// Where it begins, milliseconds since 1970.
    pub from_ms: u64,
    /// Until when it is told: its end, or now.
    pub until_ms: u64,
    /// The last time that nothing was metered, if some of it is in what is told.
    pub unmetered: Option<UnmeteredSpan>,
    /// By bucket, then by key.
    pub usages: Vec<Usage>,
}

/// One hour of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HourUsage {
    /// Where it begins, milliseconds since 1970.
    pub start_ms: u64,
    /// What was used.
    pub usage: Usage,
}

/// What was stored when a span began.
type Base = [i64; 2];

/// What was used between the start and `until` of a span that ends at `end`. What its rollup says is for the whole span,
/// as if nothing changed any more; `base` is what there was before.
fn usage(metered: &Metered, base: Base, own: Measures, (start, until, end): (u64, u64, u64)) -> Usage {
    let [bytes, objects] = [base[0] + own.bytes, base[1] + own.objects];
    let over = |own: i128, base: i64, level: i64| {
        own + i128::from(base) * i128::from(end - start) - i128::from(level) * i128::from(end - until)
    };
    Usage {
        bucket: metered.bucket,
        key: Arc::clone(&metered.key),
        bytes,
        objects,
        byte_ms: over(own.byte_ms, base[0], bytes),
        object_ms: over(own.object_ms, base[1], objects),
        traffic: own.traffic,
    }
}

impl Accounts {
    /// What an account has used in a month, up to now, as new as asked for.
    ///
    /// # Errors
    /// [`AccountsError::InvalidPeriod`] when the month has not begun, [`AccountsError::NotMetered`].
    pub async fn usage_of_month(
        &self,
        account: AccountId,
        month: Month,
        freshness: Freshness,
    ) -> Result<UsageReport, AccountsError> {
        self.require_metering()?;
        let (from_ms, end_ms) = (month.start_ms(), month.next().start_ms());
        let now_ms = self.now_ms();
        if from_ms > now_ms {
            let reason = format!("the month {month} has not begun");
            return Err(AccountsError::InvalidPeriod { reason });
        }
        self.roll_up_for(freshness).await?;
        let until_ms = now_ms.clamp(from_ms, end_ms);
        let (unmetered, usages) = self
            .db()
            .scan::<_, AccountsError, _>(move |tx| {
                Box::pin(async move {
                    let unmetered = UnmeteredSpan::last(tx).await?;
                    let mut found = Vec::new();
                    for (metered, (base, own)) in month_of(tx, account, from_ms).await? {
                        let usage = usage(&metered, base, own, (from_ms, until_ms, end_ms));
                        let is_used = own != Measures::default() || [usage.bytes, usage.objects] != [0, 0];
                        found.extend(is_used.then_some(usage));
                    }
                    Ok((unmetered, found))
                })
            })
            .await?;
        let unmetered = unmetered.filter(|span| span.from_ms < until_ms && span.until_ms > from_ms);
        Ok(UsageReport { month, from_ms, until_ms, unmetered, usages })
    }

    /// A month of one of the account's buckets, hour by hour up to now: what is stored in every hour in which there was
    /// anything, and traffic where there was any. Hours add up to what [`Accounts::usage_of_month`] says.
    ///
    /// # Errors
    /// [`AccountsError::InvalidPeriod`] when the month has not begun, or its hours are no longer kept.
    pub async fn usage_by_hour(
        &self,
        account: AccountId,
        month: Month,
        bucket: i64,
        freshness: Freshness,
    ) -> Result<Vec<HourUsage>, AccountsError> {
        let report = self.usage_of_month(account, month, freshness).await?;
        let (from_ms, until_ms, end_ms) = (report.from_ms, report.until_ms, month.next().start_ms());
        self.db()
            .scan(move |tx| {
                Box::pin(async move {
                    if Mark::HoursKeptFrom.read(tx).await?.is_some_and(|kept| from_ms < kept) {
                        let reason = format!("the hours of {month} are not kept any more, only their sum");
                        return Err(AccountsError::InvalidPeriod { reason });
                    }
                    let base = base_of(tx, account, from_ms).await?.remove(&bucket).unwrap_or_default();
                    let hours = hours_of(tx, account, bucket, (from_ms, end_ms)).await?;
                    Ok(every_hour(bucket, base, hours, (from_ms, until_ms)))
                })
            })
            .await
    }
}

/// What was used in a part of a month, of one bucket by one key.
type Parts = BTreeMap<(i64, Arc<str>), Usage>;

impl Accounts {
    /// What an account has used in each of some spans of a month that was told, which don't overlap: by whole hours, those
    /// that begin in the span. `None` when the month's hours are no longer kept.
    ///
    /// # Errors
    /// Those of the database.
    pub(crate) async fn usage_within(
        &self,
        account: AccountId,
        report: &UsageReport,
        spans: &[Span],
    ) -> Result<Option<Vec<Vec<Usage>>>, AccountsError> {
        let (from_ms, until_ms, end_ms) = (report.from_ms, report.until_ms, report.month.next().start_ms());
        let buckets: BTreeSet<i64> = report.usages.iter().map(|usage| usage.bucket).collect();
        let (buckets, spans): (Arc<[i64]>, Arc<[Span]>) = (buckets.into_iter().collect(), spans.into());
        self.db()
            .scan(move |tx| {
                let (buckets, spans) = (Arc::clone(&buckets), Arc::clone(&spans));
                Box::pin(async move {
                    if Mark::HoursKeptFrom.read(tx).await?.is_some_and(|kept| from_ms < kept) {
                        return Ok(None);
                    }
                    let mut parts = vec![Parts::new(); spans.len()];
                    let bases = base_of(tx, account, from_ms).await?;
                    for bucket in &*buckets {
                        let base = bases.get(bucket).copied().unwrap_or_default();
                        let hours = hours_of(tx, account, *bucket, (from_ms, end_ms)).await?;
                        for hour in every_hour(*bucket, base, hours, (from_ms, until_ms)) {
                            add_to(&mut parts, &spans, hour);
                        }
                    }
                    Ok(Some(parts.into_iter().map(|part| part.into_values().collect()).collect()))
                })
            })
            .await
    }
}

/// Adds an hour to what was used in the span that it begins in.
fn add_to(parts: &mut [Parts], spans: &[Span], HourUsage { start_ms, usage: hour }: HourUsage) {
    let of = spans.iter().position(|span| (span.from_ms..span.until_ms).contains(&start_ms));
    let Some(part) = of.and_then(|index| parts.get_mut(index)) else { return };
    let fresh = Usage { byte_ms: 0, object_ms: 0, traffic: Traffic::default(), ..hour.clone() };
    let usage = part.entry((hour.bucket, Arc::clone(&hour.key))).or_insert(fresh);
    (usage.bytes, usage.objects) = (hour.bytes, hour.objects);
    usage.byte_ms += hour.byte_ms;
    usage.object_ms += hour.object_ms;
    usage.traffic += hour.traffic;
}

/// What each bucket stored when a month began.
async fn base_of(
    tx: &mut Tx,
    account: AccountId,
    from_ms: u64,
) -> Result<BTreeMap<i64, Base>, AccountsError> {
    const BASE: &str =
        "SELECT bucket, CAST(SUM(bytes) AS BIGINT), CAST(SUM(objects) AS BIGINT) FROM usage_rollup
        WHERE grain = $1 AND account = $2 AND start_ms < $3 AND access_key = '' GROUP BY bucket";
    let params = [Grain::Month.number().into(), account.into(), from_ms.into()];
    let rows = tx.query(BASE, &params).await?;
    rows.iter().map(|row| Ok((row.int(0)?, [row.int(1)?, row.int(2)?]))).collect()
}

/// What each bucket stored when a month began, and the month's own sums.
async fn month_of(
    tx: &mut Tx,
    account: AccountId,
    from_ms: u64,
) -> Result<BTreeMap<Metered, (Base, Measures)>, AccountsError> {
    const MONTH: &str = concat!(
        "SELECT account, bucket, access_key, ",
        measure_columns!(),
        " FROM usage_rollup WHERE grain = $1 AND account = $2 AND start_ms = $3"
    );
    let mut found = BTreeMap::<Metered, (Base, Measures)>::new();
    for (bucket, base) in base_of(tx, account, from_ms).await? {
        found.insert(Metered { account, bucket, key: "".into() }, (base, Measures::default()));
    }
    let params = [Grain::Month.number().into(), account.into(), from_ms.into()];
    for row in &tx.query(MONTH, &params).await? {
        found.entry(Metered::from_row(row, 0)?).or_default().1 = Measures::from_row(row, 3)?;
    }
    Ok(found)
}

/// A bucket's sums by hour and key, between two moments.
async fn hours_of(
    tx: &mut Tx,
    account: AccountId,
    bucket: i64,
    (from_ms, end_ms): (u64, u64),
) -> Result<BTreeMap<u64, Vec<(Metered, Measures)>>, AccountsError> {
    const HOURS: &str = concat!(
        "SELECT start_ms, account, bucket, access_key, ",
        measure_columns!(),
        " FROM usage_rollup WHERE grain = $1 AND account = $2 AND start_ms >= $3 AND start_ms < $4 AND bucket = $5
         ORDER BY start_ms, access_key"
    );
    let params = [Grain::Hour.number().into(), account.into(), from_ms.into(), end_ms.into(), bucket.into()];
    let mut hours = BTreeMap::<u64, Vec<_>>::new();
    for row in &tx.query(HOURS, &params).await? {
        let sums = (Metered::from_row(row, 1)?, Measures::from_row(row, 4)?);
        hours.entry(row.uint(0)?).or_default().push(sums);
    }
    Ok(hours)
}

/// Fills the hours in which nothing changed.
fn every_hour(
    bucket: i64,
    mut base: Base,
    mut hours: BTreeMap<u64, Vec<(Metered, Measures)>>,
    (from_ms, until_ms): (u64, u64),
) -> Vec<HourUsage> {
    let mut found = Vec::new();
    // Events ahead of the clock belong to hours that are not over.
    let last = hours.last_key_value().map_or(0, |(start, _)| start + 1);
    let starts = (from_ms..until_ms.max(last)).step_by(HOUR_MS as usize);
    for start_ms in starts {
        let end = start_ms + HOUR_MS;
        let until = until_ms.clamp(start_ms, end);
        let mut sums = hours.remove(&start_ms).unwrap_or_default();
        if base != [0, 0] && sums.first().is_none_or(|(metered, _)| !metered.key.is_empty()) {
            let nobody = Metered { account: AccountId([0; 16]), bucket, key: "".into() };
            sums.insert(0, (nobody, Measures::default()));
        }
        for (metered, own) in sums {
            let before = if metered.key.is_empty() { base } else { [0, 0] };
            let usage = usage(&metered, before, own, (start_ms, until, end));
            if metered.key.is_empty() {
                base = [usage.bytes, usage.objects];
            }
            found.push(HourUsage { start_ms, usage });
        }
    }
    found
}

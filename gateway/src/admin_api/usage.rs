//! What accounts have used: by month, by hour, and whether it is right.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::Uri;
use datamesh_accounts::{
    Accounts, Freshness, HourUsage, Month, Traffic, UnmeteredSpan, Usage, UsageDrift, UsageReport,
};
use datamesh_catalog::Catalog;
use datamesh_types::AccountId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::accounts::find;
use super::error::{parse, parse_query};
use super::time::time_text;
use super::{AdminState, ApiError};
use crate::s3::now_ms;

/// Buckets per query.
const PAGE: usize = 1000;
const HOUR_MS: i128 = 3_600_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Show {
    /// A month such as 2026-11; the current one if it is left out.
    period: Option<String>,
    /// Only this bucket, by name.
    bucket: Option<String>,
    /// Only this access key.
    key: Option<String>,
}

fn month(period: Option<&str>) -> Result<Month, ApiError> {
    Ok(period.map_or_else(|| Ok(Month::of(now_ms())), str::parse)?)
}

/// What an account has used in a month: together, by bucket and by key.
pub(super) async fn show(
    State(state): State<AdminState>,
    Path(user): Path<String>,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    let user = find(&state.accounts, &user).await?;
    of_month(&state.accounts, &state.catalog, user.id, parse_query(&uri)?, Freshness::Current).await
}

/// What `account` has used, as it or an operator sees it.
pub(crate) async fn of_month(
    accounts: &Accounts,
    catalog: &Catalog,
    account: AccountId,
    asked: Show,
    freshness: Freshness,
) -> Result<Json<Value>, ApiError> {
    let month = month(asked.period.as_deref())?;
    let names = bucket_names(catalog, account).await?;
    let mut report = accounts.usage_of_month(account, month, freshness).await?;
    if let Some(bucket) = &asked.bucket {
        let number = names.iter().find_map(|(number, name)| (name == bucket).then_some(*number));
        let message = || format!("the account has no bucket {bucket:?}");
        let number = number.ok_or_else(|| ApiError::NotFound { message: message() })?;
        report.usages.retain(|usage| usage.bucket == number);
    }
    if let Some(key) = &asked.key {
        let keys = accounts.list_keys(account).await?;
        if !keys.iter().any(|known| known.access_key_id == *key) {
            return Err(ApiError::NotFound { message: format!("the account has no access key {key:?}") });
        }
        report.usages.retain(|usage| *usage.key == **key);
    }
    Ok(Json(describe(account, &report, &names)))
}

fn describe(account: AccountId, report: &UsageReport, names: &BTreeMap<i64, String>) -> Value {
    let mut total = Sum::default();
    let mut buckets = BTreeMap::<i64, Sum>::new();
    let mut keys = BTreeMap::<&str, Sum>::new();
    for usage in &report.usages {
        total.add(usage);
        buckets.entry(usage.bucket).or_default().add(usage);
        if !usage.key.is_empty() {
            keys.entry(&usage.key).or_default().add(usage);
        }
    }
    let bucket = |(number, sum): (i64, Sum)| {
        let mut described = sum.describe();
        described["number"] = number.into();
        described["bucket"] = json!(names.get(&number));
        described
    };
    let key = |(key, sum): (&str, Sum)| {
        let mut described = traffic(&sum.traffic);
        described["access_key_id"] = key.into();
        described
    };
    json!({
        "user_id": account, "period": report.month.to_string(), "from": time_text(report.from_ms),
        "until": time_text(report.until_ms), "unmetered": report.unmetered.map(unmetered), "complete": report.until_ms == report.month.next().start_ms(),
        "total": total.describe(),
        "buckets": buckets.into_iter().map(bucket).collect::<Vec<_>>(),
        "keys": keys.into_iter().map(key).collect::<Vec<_>>(),
    })
}

fn unmetered(span: UnmeteredSpan) -> Value {
    json!({ "from": time_text(span.from_ms), "until": time_text(span.until_ms) })
}

/// Usages added up.
#[derive(Default)]
struct Sum {
    stored: [i64; 2],
    byte_ms: i128,
    object_ms: i128,
    traffic: Traffic,
}

impl Sum {
    fn add(&mut self, usage: &Usage) {
        self.stored[0] += usage.bytes;
        self.stored[1] += usage.objects;
        self.byte_ms += usage.byte_ms;
        self.object_ms += usage.object_ms;
        self.traffic += usage.traffic;
    }

    /// Hours are rounded down. Milliseconds are texts: they have more digits than many readers of JSON keep.
    fn describe(&self) -> Value {
        let mut described = traffic(&self.traffic);
        described["bytes_stored"] = self.stored[0].into();
        described["objects_stored"] = self.stored[1].into();
        described["byte_hours"] = whole_hours(self.byte_ms);
        described["byte_milliseconds"] = self.byte_ms.to_string().into();
        described["object_hours"] = whole_hours(self.object_ms);
        described["object_milliseconds"] = self.object_ms.to_string().into();
        described
    }
}

fn whole_hours(milliseconds: i128) -> Value {
    let hours = milliseconds.div_euclid(HOUR_MS);
    i64::try_from(hours).map_or_else(|_| hours.to_string().into(), Value::from)
}

fn traffic(traffic: &Traffic) -> Value {
    json!({
        "ingress": traffic.ingress, "egress": traffic.egress,
        "requests": { "class_a": traffic.class_a, "class_b": traffic.class_b, "free": traffic.free },
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Hours {
    period: String,
    /// The bucket's number; 0 for requests that got into none.
    bucket: i64,
}

/// The hours of a month of one bucket.
pub(super) async fn hours(
    State(state): State<AdminState>,
    Path(user): Path<String>,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    let user = find(&state.accounts, &user).await?;
    by_hour(&state.accounts, user.id, parse_query(&uri)?, Freshness::Current).await
}

/// The hours of one of `account`'s buckets, as it or an operator sees them.
pub(crate) async fn by_hour(
    accounts: &Accounts,
    account: AccountId,
    asked: Hours,
    freshness: Freshness,
) -> Result<Json<Value>, ApiError> {
    let month = month(Some(&asked.period))?;
    let hours = accounts.usage_by_hour(account, month, asked.bucket, freshness).await?;
    let describe = |hour: &HourUsage| {
        let mut sum = Sum::default();
        sum.add(&hour.usage);
        let mut described = sum.describe();
        described["start"] = json!(time_text(hour.start_ms));
        described["access_key_id"] = (*hour.usage.key).into();
        described
    };
    Ok(Json(json!({ "hours": hours.iter().map(describe).collect::<Vec<_>>() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Verify {
    /// Only this account, by its id or e-mail address.
    #[serde(default)]
    user: Option<String>,
}

/// Recomputes usage from events and from what is stored.
pub(super) async fn verify(State(state): State<AdminState>, body: Bytes) -> Result<Json<Value>, ApiError> {
    let request: Verify = parse(&body)?;
    let account = match request.user {
        Some(user) => Some(find(&state.accounts, &user).await?.id),
        None => None,
    };
    let found = state.accounts.verify_usage(account, Catalog::stored_count()).await?;
    let describe = |drift: &UsageDrift| {
        json!({
            "user_id": drift.account, "bucket": drift.bucket, "access_key_id": *drift.key,
            "span": drift.span.map(|(grain, _)| grain.name()),
            "start": drift.span.and_then(|(_, start_ms)| time_text(start_ms)),
            "measure": drift.measure.name(), "recorded": drift.recorded.to_string(),
            "counted": drift.counted.to_string(),
        })
    };
    let drifts: Vec<_> = found.drifts.iter().map(describe).collect();
    Ok(Json(json!({
        "drift": drifts.len(), "accounts_checked": found.accounts_checked,
        "rollups_checked": found.rollups_checked, "drifts": drifts,
    })))
}

/// An account's buckets by number.
async fn bucket_names(catalog: &Catalog, account: AccountId) -> Result<BTreeMap<i64, String>, ApiError> {
    let mut names = BTreeMap::new();
    let mut after: Option<String> = None;
    loop {
        let page = catalog.list_buckets(account, after.as_deref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(names) };
        after = Some(last.name.clone());
        names.extend(page.into_iter().map(|bucket| (bucket.id.0, bucket.name)));
    }
}

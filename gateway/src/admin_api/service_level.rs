//! Service levels: how available a month was for an account, and in which windows it was not.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Uri;
use datamesh_accounts::{Month, SeenWindow, ServiceLevel};
use datamesh_billing::availability;
use serde::Deserialize;
use serde_json::{Value, json};

use super::accounts::find;
use super::error::parse_query;
use super::time::time_text;
use super::{AdminState, ApiError};
use crate::s3::now_ms;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Period {
    /// A month such as 2026-11; the current one if it is left out.
    period: Option<String>,
}

/// The month that a request asks about.
pub(crate) fn period_of(uri: &Uri) -> Result<Month, ApiError> {
    let Period { period } = parse_query(uri)?;
    Ok(period.map_or_else(|| Ok(Month::of(now_ms())), |period| period.parse())?)
}

async fn level_of(state: &AdminState, user: &str, uri: &Uri) -> Result<ServiceLevel, ApiError> {
    let month = period_of(uri)?;
    let user = find(&state.accounts, user).await?;
    Ok(state.accounts.service_level(user.id, month).await?)
}

/// The month as a whole.
pub(super) async fn show(
    State(state): State<AdminState>,
    Path(user): Path<String>,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(describe(&level_of(&state, &user, &uri).await?)))
}

/// A month as a whole, as its account or an operator sees it.
pub(crate) fn describe(level: &ServiceLevel) -> Value {
    let good = level.windows.iter().filter(|seen| seen.window.is_good()).count();
    let issued = level.issued.as_ref().map(|note| {
        json!({
            "id": note.id, "amount": note.amount, "reason": note.reason, "at": time_text(note.at_ms),
        })
    });
    json!({
        "period": level.month.to_string(), "windows": level.windows.len(), "windows_good": good,
        "availability_ppm": level.availability, "promised": level.promised, "missed": level.tier,
        "base": level.base, "credit": level.credit, "credit_note": issued,
    })
}

/// The windows in which something was wrong.
pub(super) async fn windows(
    State(state): State<AdminState>,
    Path(user): Path<String>,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    let level = level_of(&state, &user, &uri).await?;
    let bad = level.windows.iter().filter(|seen| !seen.window.is_good());
    let describe = |SeenWindow { start_ms, window }: &SeenWindow| {
        json!({
            "start": time_text(*start_ms), "requests": window.requests, "faults": window.faults,
            "probes_good": window.probes_good, "probes_bad": window.probes_bad,
            "availability_ppm": availability([*window]),
        })
    };
    Ok(Json(json!({ "period": level.month.to_string(), "windows": bad.map(describe).collect::<Vec<_>>() })))
}

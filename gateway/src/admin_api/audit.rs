//! The audit log: read, checked, exported.

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use datamesh_accounts::{AuditFilter, AuditVerdict};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};

use super::routes::{Route, table};
use super::time::{past, time_text};
use super::{AdminState, ApiError};

/// Entries in an answer, or in a step of an export.
const PAGE: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    /// Entries after this number.
    #[serde(default)]
    after: u64,
    /// Entries since then: a time such as 2027-01-31T12:00:00Z, or so long ago, such as 7d.
    #[serde(default)]
    since: Option<String>,
}

/// A page of entries, in order.
pub(super) async fn list(
    State(state): State<AdminState>,
    Query(filter): Query<Filter>,
) -> Result<Json<Value>, ApiError> {
    let since_ms = filter.since.as_deref().map_or(Ok(0), |text| past("since", text))?;
    let filter = AuditFilter { after: filter.after, since_ms };
    let entries = state.accounts.audit_entries(filter, PAGE).await?;
    let next = entries.last().filter(|_| entries.len() == PAGE).map(|entry| entry.sequence);
    let shown = entries.iter().map(|entry| {
        let mut shown = json!(entry);
        shown["at"] = time_text(entry.at_ms).into();
        shown
    });
    Ok(Json(json!({ "entries": shown.collect::<Vec<_>>(), "next_after": next })))
}

/// Every action, with what it does.
pub(super) async fn actions() -> Json<Value> {
    let describe = |route: &Route| {
        json!({
            "action": route.action, "method": route.method.as_str(), "path": route.path,
            "effect": route.effect.name(), "dry_run": route.effect.has_preview(),
            "needs_reason": route.needs_reason,
        })
    };
    Json(json!({ "actions": table().iter().map(describe).collect::<Vec<_>>() }))
}

/// Checks the log.
pub(super) async fn verify(State(state): State<AdminState>) -> Result<Json<Value>, ApiError> {
    Ok(Json(describe(&state.jobs.verify_audit().await?)))
}

/// The answer to a check.
pub(super) fn describe(verdict: &AuditVerdict) -> Value {
    let (first_bad, fault) = verdict.first_bad.unzip();
    json!({
        "intact": verdict.first_bad.is_none(), "entries": verdict.entries, "head": verdict.head,
        "public_key": verdict.public_key, "first_bad": first_bad, "fault": fault,
    })
}

/// A line with the head and the key that signed it, then a line for each entry. An export without its last entry was cut
/// off.
pub(super) async fn export(State(state): State<AdminState>) -> Result<Response, ApiError> {
    let head = state.accounts.audit_head().await?;
    let end = head.sequence;
    let first = json!({ "public_key": state.accounts.audit_public_key(), "head": head });
    let pages = stream::try_unfold(0, move |after| {
        let accounts = state.accounts.clone();
        async move {
            if after >= end {
                return Ok(None);
            }
            let page = accounts.audit_entries(AuditFilter { after, since_ms: 0 }, PAGE).await?;
            let last = page.last().map_or(end, |entry| entry.sequence);
            Ok::<_, ApiError>(Some((page, last)))
        }
    });
    let line = |value: Value| format!("{value}\n");
    let entries = pages
        .map_ok(move |page| {
            let lines = page.into_iter().filter(|entry| entry.sequence <= end);
            stream::iter(
                lines.map(|entry| Ok::<_, ApiError>(line(json!({ "entry": entry })))).collect::<Vec<_>>(),
            )
        })
        .try_flatten();
    let lines = stream::iter([Ok(line(first))]).chain(entries);
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

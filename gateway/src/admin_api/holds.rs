//! Holds: what an account may not do for a while.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use datamesh_accounts::{Hold, NewHold};
use datamesh_types::TimeSpan;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::accounts::{find, time_text};
use super::error::parse;
use super::{AdminState, ApiError};

/// The longest reason, in bytes.
const REASON_LEN_MAX: usize = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlaceHold {
    kind: String,
    scope: String,
    #[serde(default)]
    reason: String,
    /// A time such as 2027-01-31T12:00:00Z, or from now on such as 7d.
    #[serde(default)]
    until: Option<String>,
}

/// Places a hold.
pub(super) async fn place(
    State(state): State<AdminState>,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let request: PlaceHold = parse(&body)?;
    if request.reason.len() > REASON_LEN_MAX {
        return Err(ApiError::Invalid {
            message: format!("reason: expected at most {REASON_LEN_MAX} bytes"),
        });
    }
    let new = NewHold {
        kind: request.kind.parse()?,
        scope: request.scope.parse()?,
        reason: request.reason,
        until_ms: request.until.as_deref().map(until).transpose()?,
    };
    let user = find(&state.accounts, &user).await?;
    let hold = state.accounts.hold(user.id, new).await?;
    tracing::info!(account = %user.id, hold = hold.id, kind = %hold.kind, scope = %hold.scope, "an operator held an account");
    Ok((StatusCode::CREATED, Json(describe(&hold))))
}

pub(super) async fn list(
    State(state): State<AdminState>,
    Path(user): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let user = find(&state.accounts, &user).await?;
    let holds = state.accounts.holds(user.id).await?;
    Ok(Json(json!({ "user_id": user.id, "holds": holds.iter().map(describe).collect::<Vec<_>>() })))
}

/// Lifts a hold.
pub(super) async fn lift(
    State(state): State<AdminState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let hold = state.accounts.lift_hold(&id).await?;
    tracing::info!(account = %hold.account, hold = hold.id, "an operator lifted a hold");
    Ok(Json(describe(&hold)))
}

fn until(text: &str) -> Result<u64, ApiError> {
    if let Ok(span) = text.parse::<TimeSpan>() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        return Ok((now + span.duration()).as_millis() as u64);
    }
    let at = OffsetDateTime::parse(text, &Rfc3339).ok().map(|at| at.unix_timestamp_nanos() / 1_000_000);
    at.and_then(|at| u64::try_from(at).ok()).ok_or_else(|| ApiError::Invalid {
        message: format!("until: {text:?} is no time: expected one such as 2027-01-31T12:00:00Z or 7d"),
    })
}

fn describe(hold: &Hold) -> Value {
    json!({
        "hold_id": hold.id,
        "user_id": hold.account,
        "kind": hold.kind.name(),
        "scope": hold.scope.name(),
        "reason": hold.reason,
        "created": time_text(hold.created_at_ms),
        "until": hold.until_ms.and_then(time_text),
        "lifted": hold.lifted_at_ms.and_then(time_text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_ends_at_a_time_or_after_one() {
        assert_eq!(until("2027-01-31T12:00:00Z").unwrap(), 1_801_396_800_000);
        let day = until("1d").unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        assert!(day.abs_diff(now + 86_400_000) < 60_000);
        for wrong in ["", "tomorrow", "-1d", "2027-01-31", "1960-01-01T00:00:00Z"] {
            until(wrong).unwrap_err();
        }
    }
}

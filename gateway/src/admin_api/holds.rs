//! Holds: what an account may not do for a while.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use datamesh_accounts::{Hold, NewHold};
use serde::Deserialize;
use serde_json::{Value, json};

use super::accounts::find;
use super::error::parse;
use super::flags::REASON_LEN_MAX;
use super::guard::Acting;
use super::preview::changes;
use super::time::{future, time_text};
use super::{AdminState, ApiError};

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
    Acting(state): Acting,
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
        until_ms: request.until.as_deref().map(|text| future("until", text)).transpose()?,
    };
    let user = find(&state.accounts, &user).await?;
    let hold = state.accounts.hold(user.id, new).await?;
    if state.accounts.is_preview() {
        let mut placed = describe(&hold);
        // Each hold gets a random id, so this one's will be another.
        placed["hold_id"] = Value::Null;
        return Ok((StatusCode::OK, changes(&json!({ "hold": null }), &json!({ "hold": placed }))));
    }
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
pub(super) async fn lift(Acting(state): Acting, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let hold = state.accounts.lift_hold(&id).await?;
    if state.accounts.is_preview() {
        let before = Hold { lifted_at_ms: None, ..hold.clone() };
        return Ok(changes(&describe(&before), &describe(&hold)));
    }
    tracing::info!(account = %hold.account, hold = hold.id, "an operator lifted a hold");
    Ok(Json(describe(&hold)))
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

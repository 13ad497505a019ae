//! People whose plan needs more than an address: an operator decides.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use datamesh_accounts::VerificationCase;
use serde::Deserialize;
use serde_json::{Value, json};

use super::accounts::find;
use super::error::parse;
use super::guard::Acting;
use super::time::time_text;
use super::{AdminState, ApiError};

/// Cases in an answer.
const CASES_MAX: usize = 1_000;

/// The cases that nobody has decided, oldest first.
pub(super) async fn cases(State(state): State<AdminState>) -> Result<Json<Value>, ApiError> {
    let describe = |case: &VerificationCase| {
        json!({
            "case_id": case.id, "user_id": case.account, "level": case.level, "provider": case.provider,
            "opened": time_text(case.opened_at_ms),
        })
    };
    let cases = state.accounts.open_cases(CASES_MAX).await?;
    Ok(Json(json!({ "cases": cases.iter().map(describe).collect::<Vec<_>>() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Decide {
    approve: bool,
}

/// Decides the open case of an account.
pub(super) async fn decide(
    Acting(state): Acting,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let Decide { approve } = parse(&body)?;
    let user = find(&state.accounts, &user).await?;
    let status = state.accounts.decide_case(user.id, approve).await?;
    tracing::info!(account = %user.id, approve, %status, "an operator decided a verification");
    Ok(Json(json!({ "user_id": user.id, "approved": approve, "status": status })))
}

//! Exports and erasures of accounts.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use datamesh_accounts::{Accounts, Erasure, ErasureError, User};
use datamesh_catalog::Catalog;
use serde::Deserialize;
use serde_json::{Value, json};

use super::accounts::find;
use super::error::parse;
use super::guard::Acting;
use super::preview::changes;
use super::time::{future, time_text};
use super::{AdminState, ApiError};
use crate::privacy;

/// How long an erasure waits unless something else is said.
pub(crate) const ERASURE_DELAY: &str = "30d";
/// Erasures in an answer.
const ERASURES_MAX: usize = 1_000;
const ARCHIVE: &str = "application/gzip";

impl From<ErasureError> for ApiError {
    fn from(error: ErasureError) -> Self {
        let message = error.to_string();
        match error {
            ErasureError::Accounts(error) => error.into(),
            ErasureError::NotToCome => Self::Invalid { message },
            ErasureError::AlreadyOpen { .. }
            | ErasureError::Begun { .. }
            | ErasureError::Erased { .. }
            | ErasureError::Held { .. } => Self::Conflict { message },
            ErasureError::NotOpen { .. } => Self::NotFound { message },
        }
    }
}

/// Everything that is known about an account, as an archive.
pub(super) async fn export(
    State(state): State<AdminState>,
    Path(user): Path<String>,
) -> Result<Response, ApiError> {
    let user = find(&state.accounts, &user).await?;
    tracing::info!(account = %user.id, "an operator exports an account");
    Ok(archive(&state.accounts, &state.catalog, &user))
}

pub(crate) fn archive(accounts: &Accounts, catalog: &Catalog, user: &User) -> Response {
    let archive = Body::from_stream(privacy::export(accounts, catalog, user));
    ([(CONTENT_TYPE, ARCHIVE)], archive).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Erase {
    /// A time such as 2027-01-31T12:00:00Z, or from now on such as 7d.
    #[serde(default)]
    due: Option<String>,
}

/// Opens the erasure of an account.
pub(super) async fn erase(
    Acting(state): Acting,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let request: Erase = parse(&body)?;
    let due_at_ms = future("due", request.due.as_deref().unwrap_or(ERASURE_DELAY))?;
    let user = find(&state.accounts, &user).await?;
    let usage = state.accounts.usage(user.id).await?;
    let erasure = state.accounts.open_erasure(user.id, due_at_ms).await?;
    if state.accounts.is_preview() {
        let before = json!({
            "status": user.status, "erasure": null, "bytes": usage.bytes.used, "objects": usage.objects.used,
        });
        let mut opened = describe(&erasure);
        // Each erasure gets a random id, so this one's will be another.
        opened["erasure_id"] = Value::Null;
        let after = json!({ "status": "closing", "erasure": opened, "bytes": 0, "objects": 0 });
        return Ok((StatusCode::OK, changes(&before, &after)));
    }
    tracing::info!(account = %user.id, erasure = erasure.id, "an operator opened an erasure");
    Ok((StatusCode::CREATED, Json(describe(&erasure))))
}

/// Withdraws it.
pub(super) async fn withdraw(
    Acting(state): Acting,
    Path(user): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let user = find(&state.accounts, &user).await?;
    let erasure = state.accounts.withdraw_erasure(user.id).await?;
    if state.accounts.is_preview() {
        let before =
            Erasure { status: datamesh_accounts::ErasureStatus::Open, ended_at_ms: None, ..erasure.clone() };
        return Ok(changes(&describe(&before), &describe(&erasure)));
    }
    tracing::info!(account = %user.id, erasure = erasure.id, "an operator withdrew an erasure");
    Ok(Json(describe(&erasure)))
}

/// The erasures that there are and were, newest first.
pub(super) async fn list(State(state): State<AdminState>) -> Result<Json<Value>, ApiError> {
    let erasures = state.accounts.erasures(None, ERASURES_MAX).await?;
    Ok(Json(json!({ "erasures": erasures.iter().map(describe).collect::<Vec<_>>() })))
}

/// Carries out what is due.
pub(super) async fn run(State(state): State<AdminState>) -> Result<Json<privacy::ErasureReport>, ApiError> {
    Ok(Json(state.jobs.erase_now().await?))
}

pub(crate) fn describe(erasure: &Erasure) -> Value {
    json!({
        "erasure_id": erasure.id,
        "user_id": erasure.account,
        "status": erasure.status,
        "opened": time_text(erasure.opened_at_ms),
        "due": time_text(erasure.due_at_ms),
        "begun": erasure.begun_at_ms.and_then(time_text),
        "ended": erasure.ended_at_ms.and_then(time_text),
        "obstacle": erasure.obstacle,
    })
}

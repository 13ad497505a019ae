//! What people may ask about themselves: a copy of everything, and to be forgotten.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use datamesh_accounts::{Accounts, Act, Digest, IdentityError};
use serde_json::Value;

use super::AccountState;
use super::session::Owner;
use crate::admin_api::{Administrator, ApiError, ERASURE_DELAY, archive, describe_erasure, future};

/// Everything that is known about the session's account, as an archive.
pub(super) async fn export(State(state): State<AccountState>, owner: Owner) -> Result<Response, ApiError> {
    // An archive costs more than other answers: its bound is that of logins.
    state.limiter.admit_name(&format!("export/{}", owner.session.account))?;
    let user = state.accounts.user(owner.session.account).await?.ok_or(IdentityError::NoSession)?;
    tracing::info!(account = %user.id, "somebody exports their account");
    Ok(archive(&state.accounts, &state.catalog, &user))
}

/// Opens the erasure of the session's account.
pub(super) async fn erase(
    State(state): State<AccountState>,
    owner: Owner,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let due_at_ms = future("due", ERASURE_DELAY)?;
    let accounts = in_own_name(&state.accounts, "privacy.erase", &owner);
    let erasure = accounts.open_erasure(owner.session.account, due_at_ms).await?;
    tracing::info!(account = %erasure.account, erasure = erasure.id, "somebody asked to be erased");
    Ok((StatusCode::CREATED, Json(describe_erasure(&erasure))))
}

/// Withdraws it.
pub(super) async fn withdraw(
    State(state): State<AccountState>,
    owner: Owner,
) -> Result<Json<Value>, ApiError> {
    let accounts = in_own_name(&state.accounts, "privacy.withdraw", &owner);
    let erasure = accounts.withdraw_erasure(owner.session.account).await?;
    tracing::info!(account = %erasure.account, erasure = erasure.id, "somebody wants to stay");
    Ok(Json(describe_erasure(&erasure)))
}

/// The accounts, changed by the owner of one of them: the audit log tells, as of operators.
fn in_own_name(accounts: &Accounts, action: &str, owner: &Owner) -> Accounts {
    let target = format!("user:{}", owner.session.account);
    let act = Act::new(Administrator::OWNER, action, target, "", Digest::NONE, false);
    accounts.acting(Arc::new(act))
}

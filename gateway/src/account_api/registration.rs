//! Registering, and proving that one reads the mail of an address.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use datamesh_accounts::{NewRegistration, Secret};
use serde::Deserialize;
use serde_json::{Value, json};

use super::means::public_key;
use super::{AccountState, Stranger};
use crate::admin_api::{ApiError, parse};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Register {
    email: String,
    plan: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    password: Option<String>,
    /// Of an Ed25519 key, 64 hexadecimal digits.
    #[serde(default)]
    public_key: Option<String>,
}

/// The same answer whether the address has an account or not.
pub(super) async fn register(
    State(state): State<AccountState>,
    Stranger(peer): Stranger,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    state.limiter.admit_network(peer)?;
    let request: Register = parse(&body)?;
    let new = NewRegistration {
        email: request.email,
        name: request.name,
        plan: request.plan,
        password: request.password.map(Secret::new),
        public_key: request.public_key.as_deref().map(public_key).transpose()?,
    };
    state.accounts.register(new).await?;
    let message = "a message with a token is on its way to the address";
    Ok((StatusCode::ACCEPTED, Json(json!({ "status": "accepted", "message": message }))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Verify {
    token: String,
}

/// Makes the account.
pub(super) async fn verify(
    State(state): State<AccountState>,
    Stranger(peer): Stranger,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    state.limiter.admit_network(peer)?;
    let request: Verify = parse(&body)?;
    let user = state.accounts.verify_registration(&request.token).await?;
    tracing::info!(account = %user.id, plan = user.plan, status = %user.status, "somebody registered");
    Ok((StatusCode::CREATED, Json(json!({ "user_id": user.id, "plan": user.plan, "status": user.status }))))
}

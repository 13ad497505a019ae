//! What people log in with: a new password by letter, a changed one, a public key.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use datamesh_accounts::Secret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::session::{Owner, admitted_proof};
use super::{AccountState, Stranger};
use crate::admin_api::{ApiError, parse};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Forgotten {
    email: String,
}

/// The same answer whether the address has an account or not.
pub(super) async fn forget_password(
    State(state): State<AccountState>,
    Stranger(peer): Stranger,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    state.limiter.admit_network(peer)?;
    let request: Forgotten = parse(&body)?;
    state.accounts.forget_password(&request.email).await?;
    let message = "if the address has an account, a message with a token is on its way to it";
    Ok((StatusCode::ACCEPTED, Json(json!({ "status": "accepted", "message": message }))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reset {
    token: String,
    password: String,
}

/// Sets the password with the token of a letter.
pub(super) async fn reset_password(
    State(state): State<AccountState>,
    Stranger(peer): Stranger,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    state.limiter.admit_network(peer)?;
    let request: Reset = parse(&body)?;
    let account = state.accounts.reset_password(&request.token, Secret::new(request.password)).await?;
    tracing::info!(%account, "somebody set a password by letter");
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangePassword {
    /// The new one.
    password: String,
    #[serde(default)]
    current_password: Option<String>,
    #[serde(default)]
    challenge: Option<String>,
    /// Of the text for changes; 128 hexadecimal digits.
    #[serde(default)]
    signature: Option<String>,
}

/// Changes the password of the session's account.
pub(super) async fn change_password(
    State(state): State<AccountState>,
    owner: Owner,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let request: ChangePassword = parse(&body)?;
    let given = (request.current_password, request.challenge, request.signature);
    let proof = admitted_proof(&state, &owner.session.account.to_string(), given)?;
    state.accounts.change_password(&owner.session, proof, Secret::new(request.password)).await?;
    tracing::info!(account = %owner.session.account, "somebody changed a password");
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeKey {
    /// Of an Ed25519 key, 64 hexadecimal digits; `null`, which has to be said, removes it.
    #[serde(deserialize_with = "Option::deserialize")]
    public_key: Option<String>,
    #[serde(default)]
    current_password: Option<String>,
    #[serde(default)]
    challenge: Option<String>,
    #[serde(default)]
    signature: Option<String>,
}

/// Sets or removes the public key of the session's account.
pub(super) async fn change_public_key(
    State(state): State<AccountState>,
    owner: Owner,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let request: ChangeKey = parse(&body)?;
    let key = request.public_key.as_deref().map(public_key).transpose()?;
    let given = (request.current_password, request.challenge, request.signature);
    let proof = admitted_proof(&state, &owner.session.account.to_string(), given)?;
    state.accounts.change_public_key(&owner.session, proof, key).await?;
    tracing::info!(account = %owner.session.account, is_set = key.is_some(), "somebody changed a public key");
    Ok(StatusCode::NO_CONTENT)
}

/// A public key as requests have it.
pub(super) fn public_key(digits: &str) -> Result<[u8; 32], ApiError> {
    let mut key = [0; 32];
    let message = "public_key: expected the 64 hexadecimal digits of an Ed25519 key".to_owned();
    hex::decode_to_slice(digits, &mut key).map_err(|_| ApiError::Invalid { message })?;
    Ok(key)
}

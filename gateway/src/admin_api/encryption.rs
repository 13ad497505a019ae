//! Named keys, and the rotation of the key-encryption key. No route shows a key.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use datamesh_accounts::{KekKey, KekRole};
use serde::Deserialize;
use serde_json::{Value, json};

use super::accounts::find;
use super::error::parse;
use super::{AdminState, ApiError};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateNamedKey {
    name: String,
}

/// Makes a named key for an account's objects.
pub(super) async fn create_named_key(
    State(state): State<AdminState>,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let CreateNamedKey { name } = parse(&body)?;
    let user = find(&state.accounts, &user).await?;
    state.accounts.keyring().create_named_key(user.id, &name).await?;
    tracing::info!(account = %user.id, name, "an operator created a named key");
    Ok((StatusCode::CREATED, Json(json!({ "user_id": user.id, "name": name }))))
}

pub(super) async fn list_named_keys(
    State(state): State<AdminState>,
    Path(user): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let user = find(&state.accounts, &user).await?;
    let names = state.accounts.keyring().list_named_keys(user.id).await?;
    let keys: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
    Ok(Json(json!({ "user_id": user.id, "keys": keys })))
}

/// The key-encryption keys and what is sealed under them.
pub(super) async fn kek_keys(State(state): State<AdminState>) -> Result<Json<Value>, ApiError> {
    let keys = state.accounts.kek_keys().await?;
    Ok(Json(json!({ "keys": keys.iter().map(describe).collect::<Vec<_>>() })))
}

/// Adds a key to this gateway's file.
pub(super) async fn add_kek(State(state): State<AdminState>) -> Result<Json<Value>, ApiError> {
    let accounts = state.accounts;
    let added = tokio::task::spawn_blocking(move || accounts.add_kek()).await.map_err(ApiError::internal)?;
    Ok(Json(json!({ "id": added?.to_string() })))
}

/// Lets the added key seal, and seals anew what was sealed before.
pub(super) async fn rotate_kek(State(state): State<AdminState>) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({ "resealed": state.accounts.rotate_kek().await? })))
}

/// Takes the keys that sealed before out of this gateway's file.
pub(super) async fn retire_kek(State(state): State<AdminState>) -> Result<Json<Value>, ApiError> {
    let retired: Vec<String> = state.accounts.retire_kek().await?.iter().map(ToString::to_string).collect();
    Ok(Json(json!({ "retired": retired })))
}

fn describe(key: &KekKey) -> Value {
    let role = match key.role {
        Some(KekRole::Sealing) => "sealing",
        Some(KekRole::Next) => "next",
        Some(KekRole::Old) => "old",
        None => "missing",
    };
    // Secrets of the first format name no key.
    let id = key.id.map_or_else(|| "unnamed".to_owned(), |id| id.to_string());
    let role = if key.id.is_none() { "any" } else { role };
    json!({ "id": id, "role": role, "secrets": key.secrets })
}

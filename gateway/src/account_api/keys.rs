//! One's own access keys. A secret is in the answer that makes it, and in no other.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use datamesh_accounts::NewKey;
use datamesh_types::TimeSpan;
use serde::Deserialize;
use serde_json::{Value, json};

use super::AccountState;
use super::session::Owner;
use crate::admin_api::{ApiError, expiry, known_key, new_key, parse};

/// How long an old key works beside the new one.
const OVERLAP: TimeSpan = TimeSpan::seconds(3600);
const OVERLAP_MAX: TimeSpan = TimeSpan::seconds(7 * 24 * 3600);

pub(super) async fn list(State(state): State<AccountState>, owner: Owner) -> Result<Json<Value>, ApiError> {
    let keys = state.accounts.list_own_keys(&owner.session).await?;
    Ok(Json(json!({ "keys": keys.iter().map(known_key).collect::<Vec<_>>() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    #[serde(default)]
    policy: Option<Value>,
    /// When it ends by itself: 2027-01-31T12:00:00Z, or so long from now, such as 7d.
    #[serde(default)]
    expires_at: Option<String>,
}

pub(super) async fn create(
    State(state): State<AccountState>,
    owner: Owner,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let request: Create = parse(&body)?;
    let policy = request.policy.map(|policy| policy.to_string());
    let expires_at_ms = expiry(request.expires_at.as_deref())?;
    let new = NewKey { policy, expires_at_ms, ..NewKey::default() };
    let key = state.accounts.create_own_key(&owner.session, new).await?;
    Ok((StatusCode::CREATED, Json(new_key(&key))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotate {
    /// How long the old key works beside the new one.
    #[serde(default)]
    overlap: Option<TimeSpan>,
}

pub(super) async fn rotate(
    State(state): State<AccountState>,
    owner: Owner,
    Path(key): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let request: Rotate = parse(&body)?;
    let overlap = request.overlap.unwrap_or(OVERLAP);
    if overlap > OVERLAP_MAX {
        return Err(ApiError::Invalid { message: "overlap: expected at most 7d".to_owned() });
    }
    let key = state.accounts.rotate_own_key(&owner.session, &key, overlap.duration()).await?;
    Ok((StatusCode::CREATED, Json(new_key(&key))))
}

pub(super) async fn revoke(
    State(state): State<AccountState>,
    owner: Owner,
    Path(key): Path<String>,
) -> Result<Json<Value>, ApiError> {
    state.accounts.revoke_own_key(&owner.session, &key).await?;
    Ok(Json(json!({ "access_key_id": key, "status": "revoked" })))
}

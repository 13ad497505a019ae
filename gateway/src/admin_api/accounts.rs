//! Users, their keys and their limits. A secret is in the answer that makes it, and in no other.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use datamesh_accounts::{
    AccessKey, AccessKeyInfo, AccountUsage, Accounts, AccountsError, Dimension, KeyStatus, Limit,
    LimitChange, NewKey, Owner, User,
};
use datamesh_catalog::Catalog;
use datamesh_types::{AccountId, TimeSpan};
use serde::Deserialize;
use serde_json::{Value, json};

use super::abuse::describe_conduct;
use super::error::{parse, parse_query};
use super::guard::Acting;
use super::preview::changes as changes_of;
use super::time::{future, time_text};
use super::{AdminState, ApiError};

/// Users in an answer.
const PAGE: usize = 1000;
/// The longest name of a user, in bytes.
const NAME_LEN_MAX: usize = 256;

impl From<AccountsError> for ApiError {
    fn from(error: AccountsError) -> Self {
        let message = error.to_string();
        match error {
            AccountsError::EmailTaken
            | AccountsError::AccessKeyExists { .. }
            | AccountsError::KeyNameTaken { .. }
            | AccountsError::InvoiceState { .. }
            | AccountsError::PaymentConflict { .. }
            | AccountsError::NotMetered
            | AccountsError::KekInUse { .. } => Self::Conflict { message },
            AccountsError::NoSuchAccount { .. }
            | AccountsError::NoSuchAccessKey { .. }
            | AccountsError::NoSuchInvoice { .. }
            | AccountsError::NoSuchIntent { .. }
            | AccountsError::UnknownProvider { .. }
            | AccountsError::NoSuchCase { .. }
            | AccountsError::NoSuchHold { .. } => Self::NotFound { message },
            AccountsError::UnprovenNotice { .. } => Self::Unproven { message },
            AccountsError::InvalidEmail { .. }
            | AccountsError::UnknownPlan { .. }
            | AccountsError::InvalidPlans { .. }
            | AccountsError::UnknownDimension { .. }
            | AccountsError::InvalidLimit { .. }
            | AccountsError::InvalidHold { .. }
            | AccountsError::InvalidCase { .. }
            | AccountsError::InvalidPeriod { .. }
            | AccountsError::InvalidPayment { .. }
            | AccountsError::Billing(_)
            | AccountsError::InvalidAccessKeyId
            | AccountsError::InvalidPolicy(_)
            | AccountsError::InvalidSecret
            | AccountsError::InvalidKeyName => Self::Invalid { message },
            other => Self::internal(other),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateUser {
    email: String,
    plan: String,
    #[serde(default)]
    name: Option<String>,
}

/// Makes an account with a first key.
pub(super) async fn create_user(
    Acting(state): Acting,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let request: CreateUser = parse(&body)?;
    let name = request.name.unwrap_or_default();
    if name.len() > NAME_LEN_MAX {
        return Err(ApiError::Invalid { message: format!("name: expected at most {NAME_LEN_MAX} bytes") });
    }
    let user = state.accounts.create_user(&request.email, &name, &request.plan).await?;
    let key = state.accounts.create_key(user.id, None).await?;
    tracing::info!(account = %user.id, plan = user.plan, "an operator created an account");
    Ok((StatusCode::CREATED, Json(merge(describe(&user, None), new_key(&key)))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListUsers {
    /// Only accounts whose ids follow this one.
    #[serde(default)]
    after: Option<String>,
    /// At most so many; 1,000 at most, and if it is left out.
    #[serde(default)]
    limit: Option<usize>,
}

/// A page of accounts in the order of their ids, with what they use, and the id after which the next page begins.
pub(super) async fn list_users(State(state): State<AdminState>, uri: Uri) -> Result<Json<Value>, ApiError> {
    let ListUsers { after, limit } = parse_query(&uri)?;
    let invalid = |message: String| ApiError::Invalid { message };
    let after = after.map(|id| id.parse::<AccountId>()).transpose();
    let after = after.map_err(|error| invalid(format!("after: {error}")))?;
    let limit = limit.unwrap_or(PAGE);
    if !(1..=PAGE).contains(&limit) {
        return Err(invalid(format!("limit: expected 1 to {PAGE}")));
    }
    let page = state.accounts.list_users(after, limit).await?;
    let Some(last) = page.last() else { return Ok(Json(json!({ "users": [], "next_after": null }))) };
    let usage = state.accounts.usage_between(after, last.id).await?;
    let usage: BTreeMap<_, _> = usage.into_iter().map(|usage| (usage.account, usage)).collect();
    let users: Vec<_> = page.iter().map(|user| describe(user, usage.get(&user.id))).collect();
    let next_after = Some(last.id).filter(|_| page.len() == limit);
    Ok(Json(json!({ "users": users, "next_after": next_after })))
}

/// An account with what it uses and how it behaves.
pub(super) async fn show_user(
    State(state): State<AdminState>,
    Path(user): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let user = find(&state.accounts, &user).await?;
    let usage = state.accounts.usage(user.id).await?;
    let conduct = state.accounts.conduct(user.id).await?;
    Ok(Json(merge(describe(&user, Some(&usage)), describe_conduct(&conduct))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetLimits {
    #[serde(default)]
    bytes: Option<u64>,
    #[serde(default)]
    objects: Option<u64>,
}

/// Sets the limits that the body names; the others stay.
pub(super) async fn set_limits(
    Acting(state): Acting,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let request: SetLimits = parse(&body)?;
    let user = find(&state.accounts, &user).await?;
    let named = [(Dimension::Bytes, request.bytes), (Dimension::Objects, request.objects)];
    let changes: Vec<_> = named
        .into_iter()
        .filter_map(|(dimension, limit)| Some((dimension, LimitChange::Limit(Limit::enforced(limit?)))))
        .collect();
    let before = state.accounts.usage(user.id).await?;
    let limits =
        state.accounts.change_limits(&Owner::Account(user.id), &changes, Catalog::stored_count()).await?;
    if state.accounts.is_preview() {
        let maximum = |dimension| limits.get(dimension).map(|limit| limit.maximum);
        let mut after = before;
        after.bytes.limit = maximum(Dimension::Bytes);
        after.objects.limit = maximum(Dimension::Objects);
        return Ok(changes_of(&describe(&user, Some(&before)), &describe(&user, Some(&after))));
    }
    tracing::info!(account = %user.id, ?changes, "an operator set limits");
    let usage = state.accounts.usage(user.id).await?;
    Ok(Json(describe(&user, Some(&usage))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateKey {
    #[serde(default)]
    access_key_id: Option<String>,
    #[serde(default)]
    secret_access_key: Option<String>,
    #[serde(default)]
    policy: Option<Value>,
    /// When it ends by itself: 2027-01-31T12:00:00Z, or so long from now, such as 7d.
    #[serde(default)]
    expires_at: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetPolicy {
    /// The policy, or null for none.
    policy: Option<Value>,
}

/// Makes a key, or imports the one in the body.
pub(super) async fn create_key(
    Acting(state): Acting,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let request: CreateKey = parse(&body)?;
    let explicit = match (request.access_key_id, request.secret_access_key) {
        (Some(id), Some(secret)) => Some((id, secret)),
        (None, None) => None,
        _ => {
            let message = "access_key_id and secret_access_key: expected both or neither".to_owned();
            return Err(ApiError::Invalid { message });
        }
    };
    let user = find(&state.accounts, &user).await?;
    let policy = request.policy.map(|policy| policy.to_string());
    let expires_at_ms = expiry(request.expires_at.as_deref())?;
    let key = state.accounts.create_limited_key(user.id, NewKey { explicit, policy, expires_at_ms }).await?;
    tracing::info!(account = %user.id, access_key_id = %key.access_key_id, "an operator created an access key");
    Ok((StatusCode::CREATED, Json(new_key(&key))))
}

pub(super) async fn list_keys(
    State(state): State<AdminState>,
    Path(user): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let user = find(&state.accounts, &user).await?;
    let keys = state.accounts.list_keys(user.id).await?;
    Ok(Json(json!({ "user_id": user.id, "keys": keys.iter().map(known_key).collect::<Vec<_>>() })))
}

/// Replaces or removes the policy of a key.
pub(super) async fn set_key_policy(
    Acting(state): Acting,
    Path(access_key_id): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let request: SetPolicy = parse(&body)?;
    let limited = request.policy.is_some();
    let policy = request.policy.map(|policy| policy.to_string());
    state.accounts.set_key_policy(&access_key_id, policy).await?;
    tracing::info!(%access_key_id, limited, "an operator set the policy of an access key");
    Ok(Json(json!({ "access_key_id": access_key_id, "limited": limited })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RotateKey {
    /// How long the old key works beside the new one.
    overlap: TimeSpan,
}

/// Replaces a key by a new one.
pub(super) async fn rotate_key(
    Acting(state): Acting,
    Path(access_key_id): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let request: RotateKey = parse(&body)?;
    let key = state.accounts.rotate_key(&access_key_id, request.overlap.duration()).await?;
    tracing::info!(%access_key_id, new = %key.access_key_id, "an operator rotated an access key");
    Ok((StatusCode::CREATED, Json(new_key(&key))))
}

pub(super) async fn revoke_key(
    Acting(state): Acting,
    Path(access_key_id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    state.accounts.revoke_key(&access_key_id).await?;
    tracing::info!(%access_key_id, "an operator revoked an access key");
    Ok(Json(json!({ "access_key_id": access_key_id, "status": "revoked" })))
}

/// The account that a path names.
pub(super) async fn find(accounts: &Accounts, email_or_id: &str) -> Result<User, ApiError> {
    let user = accounts.find_user(email_or_id).await?;
    user.ok_or_else(|| ApiError::NotFound { message: format!("there is no account {email_or_id:?}") })
}

fn describe(user: &User, usage: Option<&AccountUsage>) -> Value {
    let mut described = json!({
        "user_id": user.id,
        "email": user.email,
        "name": user.name,
        "plan": user.plan,
        "status": user.status,
        "created": time_text(user.created_at_ms),
    });
    if let Some(usage) = usage {
        described["bytes_used"] = usage.bytes.used.into();
        described["bytes_reserved"] = usage.bytes.reserved.into();
        described["bytes_limit"] = usage.bytes.limit.into();
        described["objects_used"] = usage.objects.used.into();
        described["objects_reserved"] = usage.objects.reserved.into();
        described["objects_limit"] = usage.objects.limit.into();
    }
    described
}

pub(crate) fn new_key(key: &AccessKey) -> Value {
    json!({
        "user_id": key.account,
        "access_key_id": key.access_key_id,
        "secret_access_key": key.secret_access_key.expose(),
        "expires": key.expires_at_ms.and_then(time_text),
    })
}

/// When a key is to end by itself, as a request says it.
pub(crate) fn expiry(expires_at: Option<&str>) -> Result<Option<u64>, ApiError> {
    expires_at.map(|text| future("expires_at", text)).transpose()
}

pub(crate) fn known_key(key: &AccessKeyInfo) -> Value {
    let status = match key.status {
        KeyStatus::Active => "active",
        KeyStatus::Rotating => "rotating",
        KeyStatus::Revoked => "revoked",
    };
    let policy = key.policy.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    json!({
        "access_key_id": key.access_key_id,
        "status": status,
        "created": time_text(key.created_at_ms),
        "expires": key.expires_at_ms.and_then(time_text),
        "limited": policy.is_some(),
        "policy": policy,
    })
}

/// The fields of both objects.
fn merge(mut one: Value, other: Value) -> Value {
    if let (Value::Object(one), Value::Object(other)) = (&mut one, other) {
        one.extend(other);
    }
    one
}

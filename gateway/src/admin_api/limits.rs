//! Plans, limits, and what is counted against them.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use datamesh_accounts::{
    Accounts, Allowance, Dimension, Drift, LimitChange, Owner, PlanFile, PlanVersion, QuotaEvent,
    Reconciliation, User,
};
use datamesh_catalog::Catalog;
use datamesh_types::AccountId;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::accounts::find;
use super::affected::Affected;
use super::error::parse;
use super::guard::Acting;
use super::preview::changes;
use super::time::time_text;
use super::{AdminState, ApiError};

/// Events in an answer.
const EVENTS_MAX: usize = 100;

pub(super) async fn plans(State(state): State<AdminState>) -> Result<Json<Value>, ApiError> {
    let plans = state.accounts.plans().await?;
    Ok(Json(json!({ "plans": plans.iter().map(plan).collect::<Vec<_>>() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApplyPlans {
    /// The file's text, TOML.
    plans: String,
}

/// Makes new versions of the plans that a file changes.
pub(super) async fn apply_plans(Acting(state): Acting, body: Bytes) -> Result<Json<Value>, ApiError> {
    let request: ApplyPlans = parse(&body)?;
    let before = state.accounts.plans().await?;
    let applied = state.accounts.apply_plans(&PlanFile::parse(&request.plans)?).await?;
    if state.accounts.is_preview() {
        let newest = |name: &str| before.iter().rev().find(|plan| plan.name == name);
        let named =
            |name: &str, plan: Option<&PlanVersion>| (name.to_owned(), plan.map_or(Value::Null, content));
        let old = applied.iter().map(|applied| named(&applied.plan.name, newest(&applied.plan.name)));
        let new = applied.iter().map(|applied| named(&applied.plan.name, Some(&applied.plan)));
        let Json(mut preview) = changes(&Value::Object(old.collect()), &Value::Object(new.collect()));
        let changed = applied.iter().filter(|applied| applied.is_new);
        let changed = changed.map(|applied| applied.plan.name.as_str());
        preview["affected"] = Affected::of(&state.accounts, changed).await?.describe();
        return Ok(Json(preview));
    }
    let describe = |applied: &datamesh_accounts::AppliedPlan| {
        let mut described = plan(&applied.plan);
        described["new"] = applied.is_new.into();
        described
    };
    let plans: Vec<_> = applied.iter().map(describe).collect();
    tracing::info!(plans = plans.len(), "an operator applied plans");
    Ok(Json(json!({ "plans": plans })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Subscribe {
    plan: String,
    /// The newest one, if it is left out.
    #[serde(default)]
    version: Option<u64>,
}

/// Moves an account to a version of a plan.
pub(super) async fn subscribe(
    Acting(state): Acting,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let request: Subscribe = parse(&body)?;
    let user = find(&state.accounts, &user).await?;
    let before = state.accounts.allowance(&Owner::Account(user.id)).await?;
    let plan = state.accounts.subscribe(user.id, &request.plan, request.version).await?;
    if state.accounts.is_preview() {
        return Ok(changes(&describe(&before), &describe(&before.on_plan(plan))));
    }
    tracing::info!(account = %user.id, plan = plan.name, version = plan.version, "an operator changed a plan");
    Ok(Json(json!({ "user_id": user.id, "plan": plan.name, "version": plan.version })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeLimits {
    /// By dimension: `{"limit": {...}}`, `"unlimited"` or `"plan"`.
    limits: Map<String, Value>,
}

impl ChangeLimits {
    fn read(self) -> Result<Vec<(Dimension, LimitChange)>, ApiError> {
        let read = |(name, change): (String, Value)| {
            let change = serde_json::from_value(change);
            let invalid = |error| ApiError::Invalid { message: format!("{name}: {error}") };
            Ok((name.parse::<Dimension>()?, change.map_err(invalid)?))
        };
        self.limits.into_iter().map(read).collect()
    }
}

async fn change(state: &AdminState, owner: &Owner, body: &[u8]) -> Result<Json<Value>, ApiError> {
    let changed = parse::<ChangeLimits>(body)?.read()?;
    if changed.is_empty() {
        return Err(ApiError::Invalid { message: "limits: expected at least one".to_owned() });
    }
    let before = state.accounts.allowance(owner).await?;
    let limits = state.accounts.change_limits(owner, &changed, Catalog::stored_count()).await?;
    if state.accounts.is_preview() {
        return Ok(changes(&describe(&before), &describe(&before.with_own(limits, &changed))));
    }
    tracing::info!(%owner, ?changed, "an operator changed limits");
    show(state, owner).await
}

async fn show(state: &AdminState, owner: &Owner) -> Result<Json<Value>, ApiError> {
    // What this gateway has metered and not recorded yet belongs to the answer.
    state.accounts.flush_meter(owner).await;
    Ok(Json(describe(&state.accounts.allowance(owner).await?)))
}

/// The limits of `account` and what it has used of them, as it or an operator sees it.
pub(crate) async fn of_account(accounts: &Accounts, account: AccountId) -> Result<Json<Value>, ApiError> {
    let owner = Owner::Account(account);
    accounts.flush_meter(&owner).await;
    let mut shown = describe(&accounts.allowance(&owner).await?);
    shown["subscription"] = accounts.subscription_state(account).await?.name().into();
    Ok(Json(shown))
}

pub(super) async fn show_account(
    State(state): State<AdminState>,
    Path(user): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let user = find(&state.accounts, &user).await?;
    of_account(&state.accounts, user.id).await
}

pub(super) async fn change_account(
    Acting(state): Acting,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let user = find(&state.accounts, &user).await?;
    change(&state, &Owner::Account(user.id), &body).await
}

pub(super) async fn show_bucket(
    State(state): State<AdminState>,
    Path((user, bucket)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let user = find(&state.accounts, &user).await?;
    show(&state, &bucket_of(&state, &user, &bucket).await?).await
}

pub(super) async fn change_bucket(
    Acting(state): Acting,
    Path((user, bucket)): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let user = find(&state.accounts, &user).await?;
    change(&state, &bucket_of(&state, &user, &bucket).await?, &body).await
}

pub(super) async fn show_key(
    State(state): State<AdminState>,
    Path((user, key)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let user = find(&state.accounts, &user).await?;
    show(&state, &key_of(&state, &user, &key).await?).await
}

pub(super) async fn change_key(
    Acting(state): Acting,
    Path((user, key)): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let user = find(&state.accounts, &user).await?;
    change(&state, &key_of(&state, &user, &key).await?, &body).await
}

/// The last warnings of an account.
pub(super) async fn events(
    State(state): State<AdminState>,
    Path(user): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let user = find(&state.accounts, &user).await?;
    let events = state.accounts.quota_events(user.id, EVENTS_MAX).await?;
    let describe = |event: &QuotaEvent| {
        json!({
            "dimension": event.dimension.name(), "percent": event.percent, "used": event.used,
            "limit": event.limit, "at": time_text(event.at_ms),
        })
    };
    Ok(Json(json!({ "events": events.iter().map(describe).collect::<Vec<_>>() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reconcile {
    /// Records what there is where something else is recorded; commits wait meanwhile.
    #[serde(default)]
    mend: bool,
}

/// Compares recorded usage with what is stored.
pub(super) async fn reconcile(Acting(state): Acting, body: Bytes) -> Result<Json<Value>, ApiError> {
    let request: Reconcile = parse(&body)?;
    let count = Catalog::stored_count();
    let found: Reconciliation = if request.mend {
        state.accounts.mend_usage(count).await?
    } else {
        state.accounts.reconcile(count).await?
    };
    let describe = |drift: &Drift| {
        json!({
            "owner": drift.owner.to_string(), "dimension": drift.dimension.name(),
            "counter": drift.counter.name(), "recorded": drift.recorded, "counted": drift.counted,
        })
    };
    let drifts: Vec<_> = found.drifts.iter().map(describe).collect();
    Ok(Json(json!({ "drift": drifts.len(), "owners_checked": found.owners_checked, "drifts": drifts })))
}

async fn bucket_of(state: &AdminState, user: &User, name: &str) -> Result<Owner, ApiError> {
    let bucket = state.catalog.bucket(name).await?.filter(|bucket| bucket.account == user.id);
    let missing = || ApiError::NotFound { message: format!("the account has no bucket {name:?}") };
    Ok(Owner::Bucket(bucket.ok_or_else(missing)?.id.0))
}

async fn key_of(state: &AdminState, user: &User, id: &str) -> Result<Owner, ApiError> {
    let keys = state.accounts.list_keys(user.id).await?;
    if keys.iter().any(|key| key.access_key_id == id) {
        return Ok(Owner::Key(id.into()));
    }
    Err(ApiError::NotFound { message: format!("the account has no access key {id:?}") })
}

/// What a plan says, without when it began to.
fn content(plan: &PlanVersion) -> Value {
    json!({ "version": plan.version, "limits": plan.limits })
}

fn plan(plan: &PlanVersion) -> Value {
    json!({
        "plan": plan.name, "version": plan.version, "created": time_text(plan.created_at_ms),
        "limits": plan.limits,
    })
}

/// Every dimension by name; what is counted has `used` and `reserved`.
fn describe(allowance: &Allowance) -> Value {
    let mut described = Map::new();
    for dimension in Dimension::ALL {
        let limit = allowance.limits.get(dimension);
        let mut standing = json!({ "limit": limit.map(|limit| limit.maximum) });
        let counted = allowance.standings.iter().find(|(counted, _)| *counted == dimension);
        if let Some((_, counted)) = counted {
            standing["used"] = counted.used.into();
            standing["reserved"] = counted.reserved.into();
        } else if matches!(dimension, Dimension::Ingress | Dimension::Egress) {
            // Nothing was moved in this month yet.
            standing["used"] = 0.into();
            standing["reserved"] = 0.into();
        }
        if let Some(limit) = limit {
            standing["stage"] = json!(limit.stage);
            standing["own"] = allowance.own.contains(&dimension).into();
        }
        if let Some(burst) = limit.and_then(|limit| limit.burst) {
            standing["burst"] = burst.into();
        }
        described.insert(dimension.name().to_owned(), standing);
    }
    if let Some(plan) = &allowance.plan {
        described.insert("plan".to_owned(), json!({ "name": plan.name, "version": plan.version }));
    }
    Value::Object(described)
}

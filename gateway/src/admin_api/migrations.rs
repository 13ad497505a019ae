//! Migrations of cohorts of accounts between plan versions.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use datamesh_accounts::{
    Cohort, CohortStanding, MigrationRun, MigrationState, NewPlanMigration, PlanMigration, PlanMigrationError,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::parse;
use super::guard::Acting;
use super::preview::changes;
use super::time::{future, past, time_text};
use super::{AdminState, ApiError};

/// Migrations in an answer.
const MIGRATIONS_MAX: usize = 1_000;
/// The date of what is due at once.
const NOW: &str = "now";

impl From<PlanMigrationError> for ApiError {
    fn from(error: PlanMigrationError) -> Self {
        let message = error.to_string();
        match error {
            PlanMigrationError::Accounts(error) => error.into(),
            PlanMigrationError::SameVersion { .. }
            | PlanMigrationError::NoneOlder { .. }
            | PlanMigrationError::NotToCome => Self::Invalid { message },
            PlanMigrationError::Overlaps { .. }
            | PlanMigrationError::NotDue { .. }
            | PlanMigrationError::Ended { .. } => Self::Conflict { message },
            PlanMigrationError::NoSuchMigration { .. } => Self::NotFound { message },
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Schedule {
    from: String,
    #[serde(default)]
    from_version: Option<u64>,
    to: String,
    /// The newest one, if it is left out.
    #[serde(default)]
    to_version: Option<u64>,
    /// A time such as 2027-01-31T12:00:00Z, or so long ago such as 7d.
    #[serde(default)]
    subscribed_before: Option<String>,
    /// `now`, a time such as 2027-01-31T12:00:00Z, or from now on such as 7d.
    at: String,
}

/// Schedules a migration.
pub(super) async fn schedule(
    Acting(state): Acting,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let request: Schedule = parse(&body)?;
    let before = request.subscribed_before.as_deref();
    let new = NewPlanMigration {
        cohort: Cohort {
            plan: request.from,
            version: request.from_version,
            subscribed_before_ms: before.map(|text| past("subscribed_before", text)).transpose()?,
        },
        to_plan: request.to,
        to_version: request.to_version,
        due_at_ms: match request.at.as_str() {
            NOW => None,
            text => Some(future("at", text)?),
        },
    };
    let migration = state.accounts.schedule_migration(new).await?;
    let mut described = shown(&state, &migration).await?;
    if state.accounts.is_preview() {
        // Each migration gets a random id, so this one's will be another.
        described["migration_id"] = Value::Null;
        let (before, after) = (json!({ "migration": null }), json!({ "migration": described }));
        return Ok((StatusCode::OK, changes(&before, &after)));
    }
    tracing::info!(migration = migration.id, "an operator scheduled a plan migration");
    Ok((StatusCode::CREATED, Json(described)))
}

/// The last migrations, newest first.
pub(super) async fn list(State(state): State<AdminState>) -> Result<Json<Value>, ApiError> {
    let migrations = state.accounts.plan_migrations(MIGRATIONS_MAX).await?;
    Ok(Json(json!({ "migrations": migrations.iter().map(describe).collect::<Vec<_>>() })))
}

/// A migration with the accounts that are in its cohort now.
pub(super) async fn show(
    State(state): State<AdminState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let migration = state.accounts.plan_migration(&id).await?;
    Ok(Json(shown(&state, &migration).await?))
}

/// Gives a migration up.
pub(super) async fn cancel(Acting(state): Acting, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let migration = state.accounts.cancel_migration(&id).await?;
    if state.accounts.is_preview() {
        let before =
            PlanMigration { state: MigrationState::Scheduled, ended_at_ms: None, ..migration.clone() };
        return Ok(changes(&describe(&before), &describe(&migration)));
    }
    tracing::info!(migration = id, moved = migration.moved, "an operator cancelled a plan migration");
    Ok(Json(describe(&migration)))
}

/// Carries out what is due.
pub(super) async fn run(State(state): State<AdminState>) -> Result<Json<MigrationRun>, ApiError> {
    Ok(Json(state.jobs.migrate_now().await?))
}

fn describe(migration: &PlanMigration) -> Value {
    let Cohort { plan, version, subscribed_before_ms } = &migration.cohort;
    json!({
        "migration_id": migration.id,
        "from": plan,
        "from_version": version,
        "subscribed_before": subscribed_before_ms.and_then(time_text),
        "to": migration.to_plan,
        "to_version": migration.to_version,
        "scheduled": time_text(migration.scheduled_at_ms),
        "due": time_text(migration.due_at_ms),
        "state": migration.state.name(),
        "moved": migration.moved,
        "ended": migration.ended_at_ms.and_then(time_text),
    })
}

async fn shown(state: &AdminState, migration: &PlanMigration) -> Result<Value, ApiError> {
    // What this gateway has metered and not recorded yet counts against the target's limits.
    state.accounts.flush_meters().await;
    let CohortStanding { accounts, over_quota, named_over_quota } =
        state.accounts.cohort_standing(migration).await?;
    let mut shown = describe(migration);
    shown["cohort"] =
        json!({ "accounts": accounts, "over_quota": over_quota, "first_over_quota": named_over_quota });
    Ok(shown)
}

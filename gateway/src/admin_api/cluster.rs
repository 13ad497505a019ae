//! Nodes, placement groups, repair.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use datamesh_cluster::{Cluster, RepairReport, RepairRequest};
use serde_json::{Value, json};

use super::error::parse;
use super::{AdminState, ApiError};
use crate::jobs::JobError;

fn cluster(state: &AdminState) -> Result<&Cluster, ApiError> {
    Ok(state.holdings.cluster().ok_or(JobError::NoMesh)?)
}

pub(super) async fn nodes(State(state): State<AdminState>) -> Result<Json<Value>, ApiError> {
    let cluster = cluster(&state)?;
    cluster.refresh_usage().await;
    Ok(Json(json!({ "nodes": cluster.status().await?.nodes })))
}

pub(super) async fn groups(State(state): State<AdminState>) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!({ "groups": cluster(&state)?.status().await?.groups })))
}

pub(super) async fn repair_status(State(state): State<AdminState>) -> Result<Json<Value>, ApiError> {
    let status = cluster(&state)?.status().await?;
    let backlog = state.catalog.backlog().await?;
    Ok(Json(json!({
        "profile": status.profile,
        "groups": status.groups.len(),
        "groups_below_target": status.groups_below_target,
        "shards_missing": status.shards_missing,
        "incomplete_chunks": backlog.incomplete_chunks,
        "lost_chunks": backlog.lost_chunks,
        "running": status.repair,
        "last": status.last_repair,
    })))
}

/// Runs a pass and answers with its report. When the caller goes away, the pass ends.
pub(super) async fn repair(
    State(state): State<AdminState>,
    body: Bytes,
) -> Result<Json<RepairReport>, ApiError> {
    let request: RepairRequest = parse(&body)?;
    tracing::info!(?request, "an operator asked for repair");
    Ok(Json(state.jobs.repair(request).await?))
}

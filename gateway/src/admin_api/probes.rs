//! `/healthz`: the process lives. `/readyz`: it can serve reads and writes.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::AdminState;

/// A database that takes longer than this is not ready.
const CHECK_TIME_MAX: Duration = Duration::from_secs(5);

pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// 200 when the catalog answers and, with a mesh, some placement group can take a write at quorum; else 503.
pub(super) async fn readyz(State(state): State<AdminState>) -> (StatusCode, Json<Value>) {
    let problems = match tokio::time::timeout(CHECK_TIME_MAX, problems(&state)).await {
        Ok(problems) => problems,
        Err(_) => vec!["the catalog or the cluster did not answer in time"],
    };
    let status = if problems.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": problems.is_empty(), "problems": problems })))
}

async fn problems(state: &AdminState) -> Vec<&'static str> {
    if state.catalog.groups().await.is_err() {
        return vec!["the catalog does not answer"];
    }
    let Some(cluster) = state.holdings.cluster() else { return Vec::new() };
    let Ok(status) = cluster.status().await else { return vec!["the cluster's state is unknown"] };
    let writable = |group: &&datamesh_cluster::GroupStatus| {
        group.state == datamesh_cluster::GroupState::Open
            && group.profile.total() - group.down.len() >= group.profile.write_quorum()
    };
    match status.groups.iter().find(writable) {
        Some(_) => Vec::new(),
        None => vec!["no placement group can take a write at quorum"],
    }
}

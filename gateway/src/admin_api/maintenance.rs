//! Jobs on demand, and the doctor.

use std::convert::Infallible;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use datamesh_types::TimeSpan;
use futures::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::error::parse;
use super::{AdminState, ApiError};
use crate::doctor::Doctor;
use crate::jobs::{GarbageReport, LifecycleReport};
use crate::s3::now_ms;

/// Findings that wait for a slow reader.
const FINDINGS_QUEUED: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Collect {
    #[serde(default)]
    grace: Option<TimeSpan>,
}

pub(super) async fn collect(
    State(state): State<AdminState>,
    body: Bytes,
) -> Result<Json<GarbageReport>, ApiError> {
    let request: Collect = parse(&body)?;
    Ok(Json(state.jobs.collect(request.grace.map(TimeSpan::duration)).await?))
}

/// Applies the lifecycle rules.
pub(super) async fn age(State(state): State<AdminState>) -> Result<Json<LifecycleReport>, ApiError> {
    Ok(Json(state.jobs.age_now().await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Inventories {
    #[serde(default)]
    bucket: Option<String>,
    #[serde(default)]
    id: Option<String>,
}

/// Writes what is due, or the inventories of one bucket whether due or not.
pub(super) async fn write_inventories(
    State(state): State<AdminState>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let written = match parse(&body)? {
        Inventories { bucket: None, id: Some(_) } => {
            return Err(ApiError::Invalid { message: "an id needs a bucket".to_owned() });
        }
        Inventories { bucket: None, id: None } => state.jobs.write_due_inventories().await?,
        Inventories { bucket: Some(bucket), id } => {
            state.jobs.write_inventories_of(&bucket, id.as_deref(), now_ms()).await?
        }
    };
    Ok(Json(json!({ "written": written })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    #[serde(default)]
    quick: bool,
}

/// Answers with a line of JSON per finding and one for the report. A check that could not be completed has no report.
pub(super) async fn doctor(State(state): State<AdminState>, body: Bytes) -> Result<Response, ApiError> {
    let Check { quick } = parse(&body)?;
    let (sender, receiver) = mpsc::channel(FINDINGS_QUEUED);
    let doctor = Doctor::new(state.catalog, state.accounts, state.holdings, sender);
    // The check and the reader of its findings run in one stream: when the caller goes away, both end.
    let check = stream::once(async move {
        match doctor.run(quick).await {
            Ok(report) => Some(json!({ "report": report })),
            Err(error) => {
                tracing::error!(error = %datamesh_node::one_line(&error), "the doctor could not complete the check");
                None
            }
        }
    })
    .filter_map(async |line| line);
    let findings = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|finding| (json!({ "finding": finding }), receiver))
    });
    let lines = stream::select(findings, check).map(|line: Value| Ok::<_, Infallible>(format!("{line}\n")));
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

//! Cases of abuse.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use datamesh_accounts::{AbuseCase, AbuseStatus, Conduct};
use serde::Deserialize;
use serde_json::{Value, json};

use super::accounts::find;
use super::error::{parse, parse_query};
use super::guard::Acting;
use super::preview::changes;
use super::time::time_text;
use super::{AdminState, ApiError};

/// Cases in an answer.
const CASES_MAX: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Report {
    kind: String,
    evidence: String,
}

/// Opens a case.
pub(super) async fn report(
    Acting(state): Acting,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let request: Report = parse(&body)?;
    let kind = request.kind.parse()?;
    let user = find(&state.accounts, &user).await?;
    let case = state.accounts.report_abuse(user.id, kind, &request.evidence).await?;
    if state.accounts.is_preview() {
        let mut opened = describe(&case);
        // Each case gets a random id, so this one's will be another.
        opened["case_id"] = Value::Null;
        return Ok((StatusCode::OK, changes(&json!({ "case": null }), &json!({ "case": opened }))));
    }
    tracing::info!(account = %user.id, case = case.id, %kind, "an operator reported abuse");
    Ok((StatusCode::CREATED, Json(describe(&case))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decide {
    decision: String,
}

/// Decides a case, or decides it otherwise.
pub(super) async fn decide(
    Acting(state): Acting,
    Path(case): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let request: Decide = parse(&body)?;
    let is_upheld = match request.decision.parse()? {
        AbuseStatus::Upheld => true,
        AbuseStatus::Rejected => false,
        AbuseStatus::Open => {
            return Err(ApiError::Invalid { message: "decision: expected upheld or rejected".to_owned() });
        }
    };
    let shown = |case: &AbuseCase, conduct: &Conduct| {
        let mut shown = describe(case);
        shown["conduct"] = describe_conduct(conduct);
        shown
    };
    let mut before = None;
    if state.accounts.is_preview() {
        let case = state.accounts.abuse_case(&case).await?;
        before = Some(shown(&case, &state.accounts.conduct(case.account).await?));
    }
    let (decided, conduct) = state.accounts.decide_abuse(&case, is_upheld).await?;
    if let Some(before) = before {
        return Ok(changes(&before, &shown(&decided, &conduct)));
    }
    tracing::info!(account = %decided.account, case, status = %decided.status, "an operator decided a case of abuse");
    Ok(Json(shown(&decided, &conduct)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    user: Option<String>,
}

/// The cases of an account, or the last of all, newest first.
pub(super) async fn list(State(state): State<AdminState>, uri: Uri) -> Result<Json<Value>, ApiError> {
    let Filter { user } = parse_query(&uri)?;
    let account = match user {
        Some(user) => Some(find(&state.accounts, &user).await?.id),
        None => None,
    };
    let cases = state.accounts.abuse_cases(account, CASES_MAX).await?;
    Ok(Json(json!({ "cases": cases.iter().map(describe).collect::<Vec<_>>() })))
}

fn describe(case: &AbuseCase) -> Value {
    json!({
        "case_id": case.id,
        "user_id": case.account,
        "kind": case.kind,
        "status": case.status,
        "evidence": case.evidence,
        "penalty": case.penalty,
        "opened": time_text(case.opened_at_ms),
        "decided": case.decided_at_ms.and_then(time_text),
        "expires": case.expires_at_ms.and_then(time_text),
    })
}

pub(super) fn describe_conduct(conduct: &Conduct) -> Value {
    json!({
        "reputation": conduct.reputation, "cases": conduct.cases, "cases_open": conduct.open,
        "cases_counting": conduct.counting,
    })
}

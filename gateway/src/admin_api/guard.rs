//! What stands before every route: the token, the role, and the audit log.
//!
//! A change to the accounts takes its entry along in its transaction (see [`Accounts::acting`]); what else is done has an
//! entry before the answer, and before it begins if it is more than a change. A change runs to its end also when the
//! caller goes away.

use std::sync::Arc;
use std::time::Instant;

use axum::RequestPartsExt;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{HeaderName, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use datamesh_accounts::{Accounts, Act, Answer, Claim, Digest, NewEntry, Outcome};
use serde_json::json;

use super::denials::Denials;
use super::flags::Flags;
use super::routes::{Effect, Route};
use super::token::{Administrator, caller};
use super::{AdminState, ApiError, BODY_LEN_MAX};

/// Says that an answer is that of an earlier request.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// The longest answer that is remembered.
const ANSWER_LEN_MAX: usize = 4 << 20;
/// The longest name of a thing in an entry.
const NAME_LEN_MAX: usize = 128;
/// The action of a request for a path that doesn't exist.
const UNKNOWN: &str = "unknown";

/// The state of the guard.
#[derive(Clone)]
pub(super) struct Guard {
    state: AdminState,
    routes: Arc<[Matched]>,
    denials: Arc<Denials>,
}

/// What the guard needs to know of a route.
#[derive(Debug, Clone)]
struct Matched {
    method: Method,
    path: &'static str,
    action: &'static str,
    effect: Effect,
    needs_reason: bool,
}

/// The state of a handler that changes something: its accounts act in the caller's name.
pub(super) struct Acting(pub AdminState);

impl FromRequestParts<AdminState> for Acting {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Self, Self::Rejection> {
        let mut state = state.clone();
        if let Some(act) = parts.extensions.get::<Arc<Act>>() {
            state.accounts = state.accounts.acting(Arc::clone(act));
        }
        Ok(Self(state))
    }
}

impl Guard {
    pub fn new(state: AdminState, table: &[Route]) -> Self {
        let matched = |route: &Route| {
            let Route { path, action, effect, needs_reason, .. } = *route;
            Matched { method: route.method.clone(), path, action, effect, needs_reason }
        };
        Self { state, routes: table.iter().map(matched).collect(), denials: Arc::default() }
    }

    fn matched(&self, request: &Request) -> Option<&Matched> {
        let path = request.extensions().get::<MatchedPath>()?.as_str();
        // Axum answers HEAD where there is GET.
        let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
        self.routes.iter().find(|route| route.method == *method && route.path == path)
    }

    /// Tells of a denial, unless there were too many in this minute.
    async fn deny(&self, actor: &str, matched: Option<&Matched>) {
        let Some(untold) = self.denials.admit(Instant::now()) else { return };
        let reason = match untold {
            0 => String::new(),
            untold => format!("{untold} earlier denials have no entry"),
        };
        let entry = NewEntry {
            actor: actor.to_owned(),
            action: matched.map_or(UNKNOWN, |matched| matched.action).to_owned(),
            target: String::new(),
            reason,
            outcome: Outcome::Denied,
            request: Digest::NONE,
        };
        if let Err(error) = record(&self.state.accounts, entry).await {
            tracing::error!(error = %datamesh_node::one_line(&error), "a denial has no entry in the audit log");
        }
    }
}

/// Judges a request and carries it out.
pub(super) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let matched = guard.matched(&request);
    let Some(administrator) = caller(&guard.state.administrators, request.headers()) else {
        guard.deny(Administrator::NOBODY, matched).await;
        return ApiError::Unauthorized.into_response();
    };
    let Some(matched) = matched else { return next.run(request).await };
    if !administrator.role.may(matched.effect) {
        guard.deny(&administrator.name, Some(matched)).await;
        return ApiError::Forbidden.into_response();
    }
    if matched.effect == Effect::Read {
        return next.run(request).await;
    }
    match attempt(&guard.state.accounts, &administrator.name, matched, request).await {
        Ok(attempt) => attempt.carry_out(next).await.unwrap_or_else(IntoResponse::into_response),
        Err((act, error)) => conclude(&guard.state.accounts, &act, error.into_response()).await,
    }
}

/// A request to do something, read and with a name for the audit log.
struct Attempt {
    accounts: Accounts,
    act: Arc<Act>,
    actor: String,
    effect: Effect,
    digest: Digest,
    idempotency_key: Option<String>,
    request: Request,
}

async fn attempt(
    accounts: &Accounts,
    actor: &str,
    matched: &Matched,
    request: Request,
) -> Result<Attempt, (Act, ApiError)> {
    let Matched { action, effect, needs_reason, .. } = *matched;
    let (mut parts, body) = request.into_parts();
    let target = target(accounts, &mut parts).await;
    let unread = |error| (Act::new(actor, action, target.clone(), "", Digest::NONE, false), error);
    let flags = Flags::read(&parts.headers).map_err(unread)?;
    let body = to_bytes(body, BODY_LEN_MAX).await.map_err(|_| unread(ApiError::TooLarge))?;
    let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let preview = [u8::from(flags.is_preview)];
    let digest =
        accounts.request_digest(&[parts.method.as_str().as_bytes(), path.as_bytes(), &preview, &body]);
    let act = Act::new(actor, action, target, flags.reason, digest, flags.is_preview);
    if flags.is_preview && !effect.has_preview() {
        let message = format!("{action} cannot be tried out");
        return Err((act, ApiError::Invalid { message }));
    }
    if needs_reason && act.reason().trim().is_empty() {
        let message =
            format!("datamesh-reason: {action} needs a reason (--reason), which the audit log keeps");
        return Err((act, ApiError::Invalid { message }));
    }
    let act = Arc::new(act);
    parts.extensions.insert(Arc::clone(&act));
    Ok(Attempt {
        accounts: accounts.clone(),
        act,
        actor: actor.to_owned(),
        effect,
        digest,
        // A preview changes nothing, however often it is asked for, and neither does reading.
        idempotency_key: flags.idempotency_key.filter(|_| !flags.is_preview && effect != Effect::Disclosure),
        request: Request::from_parts(parts, Body::from(body)),
    })
}

impl Attempt {
    async fn carry_out(self, next: Next) -> Result<Response, ApiError> {
        if let Some(key) = &self.idempotency_key {
            let conflict = match self.accounts.claim_request(&self.actor, key, self.digest).await? {
                Claim::Granted => None,
                Claim::Answered(answer) => return Ok(replay(answer)),
                Claim::Taken => Some("the idempotency key belongs to another request"),
                Claim::Unfinished => Some(
                    "a request with this idempotency key is under way or was cut off: see what became of it \
                     before you use another key",
                ),
            };
            if let Some(message) = conflict {
                let error = ApiError::Conflict { message: message.to_owned() };
                return Ok(conclude(&self.accounts, &self.act, error.into_response()).await);
            }
        }
        if self.effect == Effect::Work {
            // When the caller goes away, what it asked for ends: the entry says that it began.
            self.accounts.record(self.act.entry(Outcome::Begun)).await?;
            return self.run(next).await;
        }
        tokio::spawn(self.run(next)).await.map_err(ApiError::internal)?
    }

    async fn run(self, next: Next) -> Result<Response, ApiError> {
        let response = next.run(self.request).await;
        let response = conclude(&self.accounts, &self.act, response).await;
        let Some(key) = &self.idempotency_key else { return Ok(response) };
        if response.status().is_server_error() && !self.act.is_recorded() {
            self.accounts.release_request(&self.actor, key).await?;
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        // An answer is in memory already, however long it is.
        let body = to_bytes(body, usize::MAX).await.map_err(ApiError::internal)?;
        self.accounts.answer_request(&self.actor, key, remembered(parts.status, &body)).await?;
        Ok(Response::from_parts(parts, Body::from(body)))
    }
}

/// Sees to it that the action has an entry with its outcome before it is answered.
async fn conclude(accounts: &Accounts, act: &Act, response: Response) -> Response {
    let outcome = match response.status() {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Outcome::Denied,
        status if status.is_client_error() => Outcome::Refused,
        status if status.is_server_error() => Outcome::Failed,
        _ if act.is_recorded() => return response,
        _ if act.is_preview() => Outcome::Previewed,
        _ => Outcome::Done,
    };
    match record(accounts, act.entry(outcome)).await {
        Ok(()) => response,
        Err(error) => error.into_response(),
    }
}

/// Appends an entry, also when the caller goes away meanwhile.
async fn record(accounts: &Accounts, entry: NewEntry) -> Result<(), ApiError> {
    let accounts = accounts.clone();
    let recorded = tokio::spawn(async move { accounts.record(entry).await });
    Ok(recorded.await.map_err(ApiError::internal)??)
}

/// What is remembered of an answer: all of it, or that it was too long. What was asked for is done either way, and who
/// repeats it has to learn that.
fn remembered(status: StatusCode, body: &Bytes) -> Answer {
    let body = if body.len() <= ANSWER_LEN_MAX {
        body.to_vec()
    } else {
        let message = format!(
            "it was done, and answered with {} bytes: more than the {ANSWER_LEN_MAX} that are remembered",
            body.len()
        );
        json!({ "message": message }).to_string().into_bytes()
    };
    Answer { status: status.as_u16(), body }
}

fn replay(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = [(CONTENT_TYPE, "application/json"), (REPLAYED, "true")];
    (status, headers, Bytes::from(answer.body)).into_response()
}

/// What a path names, such as `user:ID/bucket:NAME`. Accounts are named by id: an address would stay in the log for good.
async fn target(accounts: &Accounts, parts: &mut Parts) -> String {
    let Ok(params) = parts.extract::<RawPathParams>().await else { return String::new() };
    let mut named = Vec::new();
    for (kind, name) in &params {
        let name = match kind {
            "user" => {
                let user = accounts.find_user(name).await.ok().flatten();
                user.map_or_else(|| "unknown".to_owned(), |user| user.id.to_string())
            }
            _ => name.chars().filter(|character| !character.is_control()).take(NAME_LEN_MAX).collect(),
        };
        named.push(format!("{kind}:{name}"));
    }
    named.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_too_long_is_remembered_as_done() {
        let whole = Bytes::from(vec![b'x'; ANSWER_LEN_MAX]);
        assert_eq!(remembered(StatusCode::CREATED, &whole), Answer { status: 201, body: whole.to_vec() });
        let Answer { status, body } =
            remembered(StatusCode::OK, &Bytes::from(vec![b'x'; ANSWER_LEN_MAX + 1]));
        let told: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(status, 200);
        assert!(told["message"].as_str().unwrap().contains("4194305 bytes"), "{told}");
    }
}

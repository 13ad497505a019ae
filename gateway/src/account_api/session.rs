//! Logging in and out, and who one is.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use datamesh_accounts::{IdentityError, LoginSession, Proof, Secret};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{AccountState, Stranger};
use crate::admin_api::{ApiError, parse, time_text};

/// Whoever sends a session's token.
pub(super) struct Owner {
    pub session: LoginSession,
    token: Secret,
}

impl FromRequestParts<AccountState> for Owner {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AccountState) -> Result<Self, ApiError> {
        let Stranger(peer) = Stranger::from_request_parts(parts, state).await?;
        let value = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = value.and_then(|value| value.split_once(' '));
        let token = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token);
        let token = token.ok_or(IdentityError::NoSession)?;
        match state.accounts.login_session(token).await {
            Ok(session) => Ok(Self { session, token: Secret::new(token.to_owned()) }),
            Err(error) => {
                // Guesses are strangers' requests, too.
                state.limiter.admit_network(peer)?;
                Err(error.into())
            }
        }
    }
}

/// Something to sign. Nobody needs to say for whom.
pub(super) async fn challenge(
    State(state): State<AccountState>,
    Stranger(peer): Stranger,
) -> Result<Json<Value>, ApiError> {
    state.limiter.admit_network(peer)?;
    Ok(Json(json!({ "challenge": state.accounts.login_challenge()? })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    /// An address or an account's id.
    user: String,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    challenge: Option<String>,
    /// 128 hexadecimal digits.
    #[serde(default)]
    signature: Option<String>,
}

/// The proof that a body has.
pub(super) fn proof(
    password: Option<String>,
    challenge: Option<String>,
    signature: Option<String>,
) -> Result<Proof, ApiError> {
    let message = match (password, challenge, signature) {
        (Some(password), None, None) => return Ok(Proof::Password(Secret::new(password))),
        (None, Some(challenge), Some(signature)) => match hex::decode(signature) {
            Ok(signature) => return Ok(Proof::Signature { challenge, signature }),
            Err(_) => "signature: expected hexadecimal digits",
        },
        _ => "expected the password that there is, or a challenge and its signature",
    };
    Err(ApiError::Invalid { message: message.to_owned() })
}

/// Opens a session.
pub(super) async fn login(
    State(state): State<AccountState>,
    Stranger(peer): Stranger,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    state.limiter.admit_network(peer)?;
    let request: Login = parse(&body)?;
    let proof = proof(request.password, request.challenge, request.signature)?;
    state.limiter.admit_name(&request.user)?;
    let login = state.accounts.login(&request.user, proof).await?;
    Ok((
        StatusCode::CREATED,
        Json(json!({
            "user_id": login.account, "token": login.token.expose(), "expires": time_text(login.expires_at_ms),
        })),
    ))
}

/// Ends the session.
pub(super) async fn logout(State(state): State<AccountState>, owner: Owner) -> Result<StatusCode, ApiError> {
    state.accounts.logout(owner.token.expose()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The account of the session.
pub(super) async fn me(State(state): State<AccountState>, owner: Owner) -> Result<Json<Value>, ApiError> {
    let user = state.accounts.user(owner.session.account).await?.ok_or(IdentityError::NoSession)?;
    Ok(Json(json!({
        "user_id": user.id, "email": user.email, "name": user.name, "plan": user.plan,
        "status": user.status, "verified": owner.session.level, "created": time_text(user.created_at_ms),
    })))
}

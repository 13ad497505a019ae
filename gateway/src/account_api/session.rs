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

/// Whoever sends a session's token, as often as an account may.
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
            Ok(session) => {
                // Answers cost work, whoever has registered may ask for them, and an account may have many sessions.
                state.limiter.admit_account(session.account)?;
                Ok(Self { session, token: Secret::new(token.to_owned()) })
            }
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

/// The proof that a body has, once nobody tries `name` too often: also whoever found a session may not guess the password
/// with it.
pub(super) fn admitted_proof(
    state: &AccountState,
    name: &str,
    (password, challenge, signature): (Option<String>, Option<String>, Option<String>),
) -> Result<Proof, ApiError> {
    let proof = match (password, challenge, signature) {
        (Some(password), None, None) => Ok(Proof::Password(Secret::new(password))),
        (None, Some(challenge), Some(signature)) => match hex::decode(signature) {
            Ok(signature) => Ok(Proof::Signature { challenge, signature }),
            Err(_) => Err("signature: expected hexadecimal digits"),
        },
        _ => Err("expected the password that there is, or a challenge and its signature"),
    };
    let proof = proof.map_err(|message| ApiError::Invalid { message: message.to_owned() })?;
    state.limiter.admit_name(name)?;
    Ok(proof)
}

/// Opens a session.
pub(super) async fn login(
    State(state): State<AccountState>,
    Stranger(peer): Stranger,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    state.limiter.admit_network(peer)?;
    let request: Login = parse(&body)?;
    let given = (request.password, request.challenge, request.signature);
    let proof = admitted_proof(&state, &request.user, given)?;
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

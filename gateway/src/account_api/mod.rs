//! The listener for people: registration, login, what they log in with, their own access keys, and
//! what is known about them. REST under `/account/v1`.
//!
//! Strangers reach it, so it is apart from the admin listener, with the limits of the S3 one. Nothing here depends on
//! whether an address has an account: neither an answer nor the work for it.

mod keys;
mod limiter;
mod means;
mod privacy;
mod registration;
mod session;

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, post, put};
use axum::{Extension, Router};
use datamesh_accounts::{Accounts, IdentityError};
use datamesh_catalog::Catalog;
use http::{Request, Response};
use tower::ServiceExt;

use crate::admin_api::{ApiError, not_allowed, not_found};
use crate::http::{RequestTrace, Respond};

pub use limiter::{Limiter, Pace};

/// The largest body: addresses, passwords, policies.
const BODY_LEN_MAX: usize = 16 << 10;

/// What the routes work on.
#[derive(Clone)]
struct AccountState {
    accounts: Accounts,
    catalog: Catalog,
    limiter: Arc<Limiter>,
}

/// Who a request comes from.
#[derive(Clone, Copy)]
struct Stranger(IpAddr);

/// Answers people. Cheap to clone.
#[derive(Clone)]
pub struct AccountService {
    router: Router,
}

impl AccountService {
    /// A service that lets strangers do so much.
    pub fn new(accounts: Accounts, catalog: Catalog, limiter: Limiter) -> Self {
        let state = AccountState { accounts, catalog, limiter: Arc::new(limiter) };
        let router = Router::new()
            .route("/account/v1/registrations", post(registration::register))
            .route("/account/v1/verifications", post(registration::verify))
            .route("/account/v1/challenges", post(session::challenge))
            .route("/account/v1/sessions", post(session::login).delete(session::logout))
            .route("/account/v1/password/forgotten", post(means::forget_password))
            .route("/account/v1/password", post(means::reset_password).put(means::change_password))
            .route("/account/v1/public-key", put(means::change_public_key))
            .route("/account/v1/me", get(session::me))
            .route("/account/v1/privacy/export", get(privacy::export))
            .route("/account/v1/privacy/erasure", post(privacy::erase).delete(privacy::withdraw))
            .route("/account/v1/keys", get(keys::list).post(keys::create))
            .route("/account/v1/keys/{key}", delete(keys::revoke))
            .route("/account/v1/keys/{key}/rotate", post(keys::rotate))
            .fallback(not_found)
            .method_not_allowed_fallback(not_allowed)
            .layer(DefaultBodyLimit::max(BODY_LEN_MAX))
            .with_state(state);
        Self { router }
    }
}

#[async_trait]
impl Respond for AccountService {
    async fn respond(&self, request: Request<s3s::Body>) -> Result<Response<s3s::Body>, s3s::HttpError> {
        let peer = request.extensions().get::<Arc<RequestTrace>>().map(|trace| trace.peer().address);
        let router = match peer {
            Some(peer) => self.router.clone().layer(Extension(Stranger(peer))),
            // Every listener traces its requests; one that would not, would have no stranger to limit.
            None => Router::new().fallback(not_found),
        };
        let answered = router.oneshot(request.map(Body::new)).await;
        let Ok(response) = answered;
        Ok(response.map(s3s::Body::http_body_unsync))
    }
}

impl From<IdentityError> for ApiError {
    fn from(error: IdentityError) -> Self {
        let message = error.to_string();
        match error {
            IdentityError::Accounts(error) => error.into(),
            IdentityError::Invalid { .. } | IdentityError::PlanNotOpen { .. } | IdentityError::BadToken => {
                Self::Invalid { message }
            }
            IdentityError::BadLogin | IdentityError::NoSession => Self::Unproven { message },
            IdentityError::WrongStatus { .. }
            | IdentityError::TooManyKeys { .. }
            | IdentityError::LastProof => Self::Conflict { message },
            IdentityError::NoCase => Self::NotFound { message },
            IdentityError::Busy => Self::TooMany { retry_after: limiter::BUSY_FOR },
            IdentityError::Provider(error) => Self::internal(error),
        }
    }
}

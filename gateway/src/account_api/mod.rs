//! The listener for people: registration, login, what they log in with, their own access keys, their usage, limits and
//! invoices, and what is known about them. REST under `/account/v1`.
//!
//! Strangers reach it, so it is apart from the admin listener, with the limits of the S3 one. Nothing here depends on
//! whether an address has an account: neither an answer nor the work for it.

mod books;
mod keys;
mod limiter;
mod means;
mod privacy;
mod registration;
mod session;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::routing::{delete, get, post, put};
use datamesh_accounts::{Accounts, IdentityError};
use datamesh_catalog::Catalog;
use http::request::Parts;

use crate::adapters::RestService;
use crate::admin_api::{ApiError, not_found};
use crate::http::RequestTrace;

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

/// Answers people, and lets strangers, and those who have a session, do so much.
pub fn service(accounts: Accounts, catalog: Catalog, limiter: Limiter) -> RestService {
    let state = AccountState { accounts, catalog, limiter: Arc::new(limiter) };
    let routes = Router::new()
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
        .route("/account/v1/limits", get(books::limits))
        .route("/account/v1/usage", get(books::usage))
        .route("/account/v1/usage/hours", get(books::hours))
        .route("/account/v1/service-level", get(books::service_level))
        .route("/account/v1/invoices", get(books::invoices))
        .route("/account/v1/invoices/{id}", get(books::invoice))
        .route("/account/v1/invoices/{id}/export", get(books::export))
        .route("/account/v1/keys", get(keys::list).post(keys::create))
        .route("/account/v1/keys/{key}", delete(keys::revoke))
        .route("/account/v1/keys/{key}/rotate", post(keys::rotate));
    RestService::new(routes, BODY_LEN_MAX, state)
}

/// Who a request comes from.
struct Stranger(IpAddr);

impl<S: Send + Sync> FromRequestParts<S> for Stranger {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match parts.extensions.get::<Arc<RequestTrace>>() {
            Some(trace) => Ok(Self(trace.peer().address)),
            // Every listener traces its requests; one that would not, would have no stranger to limit.
            None => Err(not_found().await),
        }
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

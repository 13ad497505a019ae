//! The admin listener: REST under `/v1`, `/metrics`, `/healthz`, `/readyz`. Separate from the S3 listener.
//!
//! Everything but the three probes needs the bearer token, unknown routes included: without it the answer is 401 and
//! says nothing about what exists. Answers and errors are JSON; errors carry no internals, these are logged. Every change
//! and every denial is in the audit log.

mod abuse;
mod accounts;
mod affected;
mod audit;
mod billing;
mod cluster;
mod denials;
mod encryption;
mod error;
mod flags;
mod guard;
mod holds;
mod limits;
mod maintenance;
mod metrics;
mod migrations;
mod preview;
mod privacy;
mod probes;
mod routes;
mod sandbox;
mod service_level;
mod time;
mod token;
mod usage;
mod verification;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use datamesh_accounts::Accounts;
use datamesh_catalog::Catalog;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::holdings::Holdings;
use crate::jobs::Jobs;
use crate::payment_api::SandboxSender;

pub(crate) use accounts::{expiry, known_key, new_key};
pub(crate) use billing::{described as describe_invoice, invoices_of};
pub use error::ApiError;
pub(crate) use error::{method_not_allowed as not_allowed, not_found, parse, parse_query};
pub(crate) use limits::of_account as limits_of;
pub use metrics::Metrics;
pub(crate) use privacy::{ERASURE_DELAY, archive, describe as describe_erasure};
pub(crate) use service_level::{describe as describe_level, period_of};
pub(crate) use time::{future, time_text};
pub use token::{AdminToken, Administrator, Role};
pub(crate) use usage::{by_hour as usage_by_hour, of_month as usage_of_month};

/// The largest request body: the routes take a handful of short fields.
const BODY_LEN_MAX: usize = 64 << 10;

/// What the routes work on.
#[derive(Clone)]
pub struct AdminState {
    /// Who may use `/v1`.
    pub administrators: Arc<[Administrator]>,
    /// Buckets, chunks, groups.
    pub catalog: Catalog,
    /// Users and keys.
    pub accounts: Accounts,
    /// The backends.
    pub holdings: Holdings,
    /// Repair and collection.
    pub jobs: Jobs,
    /// What `/metrics` prints.
    pub metrics: Metrics,
    /// The other side of the sandbox of payments, if there is one.
    pub sandbox: Option<SandboxSender>,
}

/// Serves until `stop`, then answers what is under way.
pub async fn serve(listener: TcpListener, state: AdminState, stop: CancellationToken) {
    let served = axum::serve(listener, router(state)).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the admin listener failed");
    }
}

fn router(state: AdminState) -> Router {
    let table = routes::table();
    let guard = guard::Guard::new(state.clone(), &table);
    let routed =
        table.into_iter().fold(Router::new(), |router, route| router.route(route.path, route.handler));
    let guarded = routed
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(guard, guard::guard));
    Router::new()
        .route("/healthz", get(probes::healthz))
        .route("/readyz", get(probes::readyz))
        .route("/metrics", get(metrics::render))
        .merge(guarded)
        .layer(DefaultBodyLimit::max(BODY_LEN_MAX))
        .with_state(state)
}

//! The admin listener: REST under `/v1`, `/metrics`, `/healthz`, `/readyz`. Separate from the S3 listener.
//!
//! Everything but the three probes needs the bearer token, unknown routes included: without it the answer is 401 and
//! says nothing about what exists. Answers and errors are JSON; errors carry no internals, these are logged.

mod accounts;
mod cluster;
mod encryption;
mod error;
mod holds;
mod limits;
mod maintenance;
mod metrics;
mod probes;
mod token;
mod usage;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, post, put};
use datamesh_accounts::Accounts;
use datamesh_catalog::Catalog;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::holdings::Holdings;
use crate::jobs::Jobs;

pub use error::ApiError;
pub use metrics::Metrics;
pub use token::AdminToken;

/// The largest request body: the routes take a handful of short fields.
const BODY_LEN_MAX: usize = 64 << 10;

/// What the routes work on.
#[derive(Clone)]
pub struct AdminState {
    /// Opens `/v1`.
    pub token: AdminToken,
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
}

/// Serves until `stop`, then answers what is under way.
pub async fn serve(listener: TcpListener, state: AdminState, stop: CancellationToken) {
    let served = axum::serve(listener, router(state)).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the admin listener failed");
    }
}

fn router(state: AdminState) -> Router {
    let guarded = Router::new()
        .route("/v1/users", get(accounts::list_users).post(accounts::create_user))
        .route("/v1/users/{user}/limits", put(accounts::set_limits))
        .route("/v1/users/{user}/plan", put(limits::subscribe))
        .route("/v1/users/{user}/quota", get(limits::show_account).put(limits::change_account))
        .route("/v1/users/{user}/buckets/{bucket}/quota", get(limits::show_bucket).put(limits::change_bucket))
        .route("/v1/users/{user}/keys/{key}/quota", get(limits::show_key).put(limits::change_key))
        .route("/v1/users/{user}/quota-events", get(limits::events))
        .route("/v1/users/{user}/holds", get(holds::list).post(holds::place))
        .route("/v1/holds/{hold}", delete(holds::lift))
        .route("/v1/plans", get(limits::plans).post(limits::apply_plans))
        .route("/v1/quota/reconcile", post(limits::reconcile))
        .route("/v1/users/{user}/usage", get(usage::show))
        .route("/v1/users/{user}/usage/hours", get(usage::hours))
        .route("/v1/usage/verify", post(usage::verify))
        .route("/v1/users/{user}/keys", get(accounts::list_keys).post(accounts::create_key))
        .route("/v1/keys/{access_key_id}", delete(accounts::revoke_key))
        .route("/v1/keys/{access_key_id}/policy", put(accounts::set_key_policy))
        .route(
            "/v1/users/{user}/encryption-keys",
            get(encryption::list_named_keys).post(encryption::create_named_key),
        )
        .route("/v1/kek", get(encryption::kek_keys))
        .route("/v1/kek/add", post(encryption::add_kek))
        .route("/v1/kek/rotate", post(encryption::rotate_kek))
        .route("/v1/kek/retire", post(encryption::retire_kek))
        .route("/v1/nodes", get(cluster::nodes))
        .route("/v1/groups", get(cluster::groups))
        .route("/v1/repair", get(cluster::repair_status).post(cluster::repair))
        .route("/v1/gc", post(maintenance::collect))
        .route("/v1/lifecycle", post(maintenance::age))
        .route("/v1/inventories", post(maintenance::write_inventories))
        .route("/v1/doctor", post(maintenance::doctor))
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(state.token.clone(), token::require));
    Router::new()
        .route("/healthz", get(probes::healthz))
        .route("/readyz", get(probes::readyz))
        .route("/metrics", get(metrics::render))
        .merge(guarded)
        .layer(DefaultBodyLimit::max(BODY_LEN_MAX))
        .with_state(state)
}

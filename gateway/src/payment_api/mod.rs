//! The listener for payment providers: they tell what became of payments at `/payments/v1/notices/PROVIDER`.
//!
//! Strangers reach it. A message counts when its signature proves whose it is; those that prove nothing are bounded by the
//! network that they come from, so that a provider's own are never held up by somebody else's.

mod sandbox;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::routing::post;
use axum::{Extension, Json, Router};
use datamesh_accounts::{Accounts, AccountsError, PaymentEvent};
use http::{HeaderMap, HeaderName};
use serde_json::{Value, json};

use crate::account_api::Limiter;
use crate::adapters::RestService;
use crate::admin_api::ApiError;
use crate::http::RequestTrace;

pub use sandbox::SandboxSender;

/// What a message is signed with.
pub(crate) const SIGNATURE: HeaderName = HeaderName::from_static("datamesh-signature");
/// Before the provider's name.
pub(crate) const NOTICES: &str = "/payments/v1/notices/";
/// The largest message.
const BODY_LEN_MAX: usize = 16 << 10;

#[derive(Clone)]
struct PaymentState {
    accounts: Accounts,
    limiter: Arc<Limiter>,
}

/// Hears payment providers, and lets strangers try so often.
pub fn service(accounts: Accounts, limiter: Limiter) -> RestService {
    let state = PaymentState { accounts, limiter: Arc::new(limiter) };
    let routes = Router::new().route(&format!("{NOTICES}{{provider}}"), post(hear));
    RestService::new(routes, BODY_LEN_MAX, state)
}

/// Records a message. Providers repeat what is not answered by a 200.
async fn hear(
    State(state): State<PaymentState>,
    Extension(trace): Extension<Arc<RequestTrace>>,
    Path(provider): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    // What is no text proves nothing, like no signature.
    let signature = headers.get(SIGNATURE).and_then(|signature| signature.to_str().ok());
    let heard = state.accounts.receive_notice(&provider, &body, signature).await;
    count(&heard);
    match heard {
        Ok(event) => {
            tracing::info!(provider, event = event.name(), "a payment provider told of a payment");
            Ok(Json(json!({ "status": "recorded", "type": event.name() })))
        }
        Err(error @ (AccountsError::UnprovenNotice { .. } | AccountsError::UnknownProvider { .. })) => {
            state.limiter.admit_network(trace.peer().address)?;
            Err(error.into())
        }
        Err(error) => {
            // It is genuine: money may have come in that nobody can book.
            tracing::error!(provider, error = %datamesh_node::one_line(&error), "a payment was not recorded");
            Err(error.into())
        }
    }
}

fn count(heard: &Result<PaymentEvent, AccountsError>) {
    let result = match heard {
        Ok(event) => event.name(),
        Err(AccountsError::UnprovenNotice { .. } | AccountsError::UnknownProvider { .. }) => "unproven",
        Err(_) => "refused",
    };
    metrics::counter!("datamesh_payment_notices_total", "result" => result).increment(1);
}

//! The sandbox of payments: what it is to tell of a payment that it was asked for.

use axum::Json;
use axum::body::Bytes;
use datamesh_accounts::{PaymentEvent, PaymentIntent};
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiError;
use super::error::parse;
use super::guard::Acting;
use crate::s3::now_ms;

/// What is to become of a payment.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SandboxOutcome {
    Succeeded,
    Failed,
    Refunded,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    /// The payment intent's id.
    intent: String,
    outcome: SandboxOutcome,
    /// Micro-units; what the intent asks for if it is left out.
    #[serde(default)]
    amount: Option<u64>,
    /// The name of a refund: the same one counts once.
    #[serde(default)]
    refund: Option<String>,
}

/// Has the sandbox send its message, as a provider would.
pub(super) async fn answer(Acting(state): Acting, body: Bytes) -> Result<Json<Value>, ApiError> {
    let request: Answer = parse(&body)?;
    let missing = || "there is no sandbox here: it needs [payments.sandbox]".to_owned();
    let sender = state.sandbox.as_ref().ok_or_else(|| ApiError::NotFound { message: missing() })?;
    let intent = state.accounts.payment_intent(&request.intent).await?;
    let event = event(&intent, &request)?;
    let (status, answer) = sender.tell(&event, now_ms()).await.map_err(ApiError::internal)?;
    let answer = serde_json::from_str::<Value>(&answer).unwrap_or_else(|_| json!(answer));
    Ok(Json(json!({
        "event": event, "accepted": status.is_success(), "status": status.as_u16(), "answer": answer,
    })))
}

fn event(intent: &PaymentIntent, request: &Answer) -> Result<PaymentEvent, ApiError> {
    let unasked = || format!("{} has not been asked for the payment {}", intent.provider, intent.id);
    let payment = intent.reference.clone().ok_or_else(|| ApiError::Conflict { message: unasked() })?;
    let amount = request.amount.unwrap_or(intent.amount);
    Ok(match request.outcome {
        SandboxOutcome::Succeeded => PaymentEvent::Succeeded {
            payment,
            invoice: intent.invoice.clone(),
            amount,
            currency: Some(intent.currency.clone()),
        },
        SandboxOutcome::Failed => {
            PaymentEvent::Failed { payment, reason: "the sandbox was told to let it fail".to_owned() }
        }
        SandboxOutcome::Refunded => {
            let refund = request.refund.clone().unwrap_or_else(|| format!("{payment}-refund"));
            PaymentEvent::Refunded { payment, refund, amount }
        }
    })
}

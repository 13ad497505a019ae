//! Prices and invoices.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use datamesh_accounts::{
    Accounts, Act, AppliedPrices, CreditNote, InvoiceRun, Month, Payment, PaymentIntent, PriceVersion,
    Refund, StoredInvoice,
};
use datamesh_billing::PriceSheet;
use datamesh_types::AccountId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::accounts::find;
use super::affected::Affected;
use super::error::parse;
use super::guard::Acting;
use super::preview::changes;
use super::time::time_text;
use super::{AdminState, ApiError};
use crate::s3::now_ms;

/// Invoices that a run names at most, and accounts without one.
const LISTED_MAX: usize = 1_000;

pub(super) async fn prices(State(state): State<AdminState>) -> Result<Json<Value>, ApiError> {
    let prices = state.accounts.prices().await?;
    Ok(Json(json!({ "prices": prices.iter().map(price).collect::<Vec<_>>() })))
}

fn price(version: &PriceVersion) -> Value {
    json!({
        "plan": version.plan, "version": version.version, "from": time_text(version.from_ms),
        "created": time_text(version.created_at_ms), "prices": version.prices,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApplyPrices {
    /// The file's text, TOML.
    prices: String,
    /// The first month that they count in; the next one if it is left out.
    #[serde(default)]
    from: Option<String>,
}

/// Makes new versions of the prices that a file changes.
pub(super) async fn apply_prices(Acting(state): Acting, body: Bytes) -> Result<Json<Value>, ApiError> {
    let request: ApplyPrices = parse(&body)?;
    let sheet = PriceSheet::parse(&request.prices);
    let sheet = sheet.map_err(|error| ApiError::Invalid { message: error.to_string() })?;
    let from = match &request.from {
        Some(month) => month.parse::<Month>()?,
        None => Month::of(now_ms()).next(),
    };
    let before = newest(state.accounts.prices().await?);
    let applied = state.accounts.apply_prices(&sheet, from).await?;
    if state.accounts.is_preview() {
        return preview(&state.accounts, &before, &applied).await;
    }
    let describe = |applied: &AppliedPrices| {
        let mut described = price(&applied.version);
        described["new"] = applied.is_new.into();
        described
    };
    tracing::info!(plans = applied.len(), "an operator applied prices");
    Ok(Json(json!({ "prices": applied.iter().map(describe).collect::<Vec<_>>() })))
}

/// The newest version of each plan. The versions are in ascending order.
fn newest(versions: Vec<PriceVersion>) -> BTreeMap<String, PriceVersion> {
    versions.into_iter().map(|version| (version.plan.clone(), version)).collect()
}

/// What would change, for whom, and by how much money.
async fn preview(
    accounts: &Accounts,
    before: &BTreeMap<String, PriceVersion>,
    applied: &[AppliedPrices],
) -> Result<Json<Value>, ApiError> {
    let by_plan = |versions: &[&PriceVersion]| -> Value {
        let described = versions.iter().map(|version| (version.plan.clone(), price(version)));
        described.collect::<serde_json::Map<_, _>>().into()
    };
    let new: Vec<_> =
        applied.iter().filter(|applied| applied.is_new).map(|applied| &applied.version).collect();
    let old: Vec<_> = new.iter().filter_map(|version| before.get(&version.plan)).collect();
    let Json(mut preview) = changes(&by_plan(&old), &by_plan(&new));
    let affected = Affected::of(accounts, new.iter().map(|version| version.plan.as_str())).await?;
    preview["affected"] = affected.describe();
    preview["affected"]["month_fees"] = affected.month_fees(&old, &new);
    Ok(Json(preview))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    period: String,
}

/// Makes the invoices of a month, and sums them up. No more than [`LISTED_MAX`] are named, of both kinds.
pub(super) async fn run(Acting(state): Acting, body: Bytes) -> Result<Json<Value>, ApiError> {
    let request: Run = parse(&body)?;
    let run = state.accounts.run_invoices(request.period.parse()?).await?;
    tracing::info!(period = request.period, made = run.made.len(), "an operator ran invoices");
    Ok(Json(summed_up(&request.period, &run)))
}

fn summed_up(period: &str, run: &InvoiceRun) -> Value {
    let invoices = || run.made.iter().chain(&run.kept);
    let mut totals = BTreeMap::<&str, i64>::new();
    for invoice in invoices().map(|stored| &stored.export.invoice) {
        let total = totals.entry(&invoice.currency).or_default();
        *total = total.saturating_add(invoice.total);
    }
    let failed = run.failed.iter().take(LISTED_MAX);
    let failed = failed.map(|(account, error)| json!({ "user_id": account, "error": error.to_string() }));
    json!({
        "period": period, "made": run.made.len(), "kept": run.kept.len(), "not_made": run.failed.len(),
        "totals": totals, "invoices": invoices().take(LISTED_MAX).map(summary).collect::<Vec<_>>(),
        "failed": failed.collect::<Vec<_>>(),
    })
}

pub(super) async fn list(
    State(state): State<AdminState>,
    Path(user): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let user = find(&state.accounts, &user).await?;
    invoices_of(&state.accounts, user.id).await
}

/// The invoices of `account`, as it or an operator sees them.
pub(crate) async fn invoices_of(accounts: &Accounts, account: AccountId) -> Result<Json<Value>, ApiError> {
    let invoices = accounts.invoices(account).await?;
    Ok(Json(json!({ "invoices": invoices.iter().map(summary).collect::<Vec<_>>() })))
}

pub(super) async fn show(
    State(state): State<AdminState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let invoice = state.accounts.invoice(&id).await?;
    described(&state.accounts, &invoice).await
}

/// The invoice with everything that it was made of, to be verified without any gateway.
pub(super) async fn export(
    State(state): State<AdminState>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!(state.accounts.invoice(&id).await?.export)))
}

pub(super) async fn finalize(Acting(state): Acting, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let invoice = state.accounts.finalize_invoice(&id).await?;
    tracing::info!(invoice = id, "an operator made an invoice final");
    described(&state.accounts, &invoice).await
}

pub(super) async fn write_off(
    Acting(state): Acting,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let before = previewed(&state, &id).await?;
    let invoice = state.accounts.write_off_invoice(&id).await?;
    if let Some(before) = before {
        return Ok(changes(&summary(&before), &summary(&invoice)));
    }
    tracing::info!(invoice = id, "an operator gave an invoice up");
    described(&state.accounts, &invoice).await
}

/// Records a payment that came in outside of any provider, such as a bank transfer.
pub(super) async fn pay(Acting(state): Acting, body: Bytes) -> Result<Json<Value>, ApiError> {
    let (id, payment) = state.accounts.read_manual_payment(&body)?;
    let before = previewed(&state, &id).await?;
    let invoice = state.accounts.record_payment(&id, payment).await?;
    if let Some(before) = before {
        return Ok(changes(&summary(&before), &summary(&invoice)));
    }
    tracing::info!(invoice = invoice.export.id, "an operator recorded a payment");
    described(&state.accounts, &invoice).await
}

/// The invoice that a dry run is about, as it is before.
async fn previewed(state: &AdminState, id: &str) -> Result<Option<StoredInvoice>, ApiError> {
    if !state.accounts.is_preview() {
        return Ok(None);
    }
    Ok(Some(state.accounts.invoice(id).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Charge {
    /// Who is asked; the only provider if it is left out.
    #[serde(default)]
    provider: Option<String>,
}

/// Asks a payment provider for what is owed.
pub(super) async fn charge(
    Acting(state): Acting,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let Charge { provider } = parse(&body)?;
    let known = state.accounts.payment_providers();
    let provider = match (&provider, known) {
        (Some(provider), _) => provider.as_str(),
        (None, [only]) => only.name(),
        (None, []) => {
            let message = "there is no payment provider here: it needs [payments]".to_owned();
            return Err(ApiError::NotFound { message });
        }
        (None, _) => {
            let names: Vec<_> = known.iter().map(|provider| provider.name()).collect();
            let message = format!("provider: expected one of {}", names.join(", "));
            return Err(ApiError::Invalid { message });
        }
    };
    let intent = state.accounts.charge_invoice(&id, provider).await?;
    tracing::info!(invoice = id, intent = intent.id, provider, "an operator asked for a payment");
    Ok(Json(intent_json(&intent)))
}

/// Takes a payment for failed that was asked for and that nobody will tell of any more. The request's reason is why.
pub(super) async fn fail_intent(
    Acting(state): Acting,
    Extension(act): Extension<Arc<Act>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let before = state.accounts.payment_intent(&id).await?;
    let intent = state.accounts.fail_unanswered_intent(&id, act.reason().trim()).await?;
    if state.accounts.is_preview() {
        return Ok(changes(&intent_json(&before), &intent_json(&intent)));
    }
    tracing::info!(invoice = intent.invoice, intent = id, "an operator took a payment for failed");
    Ok(Json(intent_json(&intent)))
}

fn intent_json(intent: &PaymentIntent) -> Value {
    json!({
        "id": intent.id, "invoice": intent.invoice, "provider": intent.provider,
        "reference": intent.reference, "amount": intent.amount, "currency": intent.currency,
        "status": intent.status.name(), "failure": intent.failure, "created": time_text(intent.created_at_ms),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Credit {
    /// Micro-units.
    amount: u64,
}

/// Corrects a final invoice by a credit note, on which the request's reason is.
pub(super) async fn credit(
    Acting(state): Acting,
    Extension(act): Extension<Arc<Act>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let request: Credit = parse(&body)?;
    let reason = act.reason().trim();
    let before = previewed(&state, &id).await?;
    let (invoice, note) = state.accounts.credit_invoice(&id, request.amount, reason).await?;
    if let Some(before) = before {
        return Ok((StatusCode::OK, changes(&summary(&before), &summary(&invoice))));
    }
    tracing::info!(invoice = id, note = note.id, amount = note.amount, "an operator credited an invoice");
    Ok((StatusCode::CREATED, described(&state.accounts, &invoice).await?))
}

fn summary(invoice: &StoredInvoice) -> Value {
    json!({
        "id": invoice.export.id, "user_id": invoice.account, "period": invoice.month.to_string(),
        "status": invoice.status.name(), "currency": invoice.export.invoice.currency,
        "total": invoice.export.invoice.total, "created": time_text(invoice.created_at_ms),
        "final": invoice.final_at_ms.and_then(time_text), "due": invoice.due_at_ms.and_then(time_text),
        "closed": invoice.closed_at_ms.and_then(time_text),
    })
}

/// An invoice with its lines, and what was paid and credited.
pub(crate) async fn described(accounts: &Accounts, invoice: &StoredInvoice) -> Result<Json<Value>, ApiError> {
    let settlement = accounts.settlement(invoice).await?;
    let payment = |payment: &Payment| {
        json!({
            "provider": payment.provider, "reference": payment.reference, "amount": payment.amount,
            "at": time_text(payment.at_ms),
        })
    };
    let refund = |refund: &Refund| {
        json!({
            "provider": refund.provider, "reference": refund.reference, "payment": refund.payment,
            "amount": refund.amount, "at": time_text(refund.at_ms),
        })
    };
    let note = |note: &CreditNote| {
        json!({
            "id": note.id, "amount": note.amount, "reason": note.reason, "at": time_text(note.at_ms),
        })
    };
    let mut described = summary(invoice);
    described["lines"] = json!(invoice.export.invoice.lines);
    described["usage_root"] = json!(invoice.export.invoice.usage_root);
    described["owed"] = settlement.owed.into();
    described["payments"] = settlement.payments.iter().map(payment).collect();
    described["refunds"] = settlement.refunds.iter().map(refund).collect();
    described["credit_notes"] = settlement.credit_notes.iter().map(note).collect();
    described["intents"] = settlement.intents.iter().map(intent_json).collect();
    Ok(Json(described))
}

//! What people may see of their own books: what they used and may use, what they owe, and what they were promised.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Uri;
use datamesh_accounts::{AccountsError, Freshness, StoredInvoice};
use serde_json::{Value, json};

use super::AccountState;
use super::session::Owner;
use crate::admin_api::{
    ApiError, describe_invoice, describe_level, invoices_of, limits_of, parse_query, period_of,
    usage_by_hour, usage_of_month,
};

/// The limits of the session's account, and what it has used of them.
pub(super) async fn limits(State(state): State<AccountState>, owner: Owner) -> Result<Json<Value>, ApiError> {
    limits_of(&state.accounts, owner.session.account).await
}

/// What it has used in a month: together, by bucket and by key.
pub(super) async fn usage(
    State(state): State<AccountState>,
    owner: Owner,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    let (account, asked) = (owner.session.account, parse_query(&uri)?);
    usage_of_month(&state.accounts, &state.catalog, account, asked, Freshness::Recent).await
}

/// The hours of a month of one of its buckets.
pub(super) async fn hours(
    State(state): State<AccountState>,
    owner: Owner,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    usage_by_hour(&state.accounts, owner.session.account, parse_query(&uri)?, Freshness::Recent).await
}

/// How available a month was.
pub(super) async fn service_level(
    State(state): State<AccountState>,
    owner: Owner,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    let level = state.accounts.service_level(owner.session.account, period_of(&uri)?).await?;
    Ok(Json(describe_level(&level)))
}

/// Its invoices, newest month first.
pub(super) async fn invoices(
    State(state): State<AccountState>,
    owner: Owner,
) -> Result<Json<Value>, ApiError> {
    invoices_of(&state.accounts, owner.session.account).await
}

/// One of them, with what was paid and credited.
pub(super) async fn invoice(
    State(state): State<AccountState>,
    owner: Owner,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    describe_invoice(&state.accounts, &own(&state, &owner, id).await?).await
}

/// One of them with everything that it was made of, to be verified without any gateway.
pub(super) async fn export(
    State(state): State<AccountState>,
    owner: Owner,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(json!(own(&state, &owner, id).await?.export)))
}

/// Somebody else's invoice is as good as none.
async fn own(state: &AccountState, owner: &Owner, id: String) -> Result<StoredInvoice, ApiError> {
    let invoice = state.accounts.invoice(&id).await?;
    if invoice.account == owner.session.account {
        Ok(invoice)
    } else {
        Err(AccountsError::NoSuchInvoice { id }.into())
    }
}

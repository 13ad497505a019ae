//! Billing: prices in versions, invoices, payments, and what happens to those who don't pay.
//!
//! An invoice is a draft until its month is over: making it again replaces it. Once it is final it never changes; it is
//! corrected by credit notes. What it was made of is stored with it, so that it can be exported and recomputed.
//!
//! Payments come through providers, which are asked for them and tell, in any order and more than once, what became of them.

mod divide;
mod dunning;
mod intent;
mod invoice;
mod letter;
mod money;
mod month;
mod payment;
mod price;
mod sandbox;
mod schema;

use crate::{Accounts, AccountsError};

pub use dunning::{DunningPolicy, DunningStage, SubscriptionState};
pub use intent::{IntentStatus, PaymentIntent};
pub use invoice::{InvoiceRun, InvoiceStatus, StoredInvoice};
pub(crate) use invoice::{invoice_of_month, terms_of};
pub use letter::{BillLetter, BillText};
pub use money::{CreditNote, Payment, Refund, Settlement};
pub use month::BillingTurn;
pub use payment::{Charging, ManualPayments, Notice, PaymentEvent, PaymentProvider};
pub use price::{AppliedPrices, PriceVersion};
pub use sandbox::SandboxPayments;

/// Makes the tables, and gives a database that has no prices those that ship.
pub(crate) async fn open(accounts: &Accounts) -> Result<(), AccountsError> {
    accounts.db().migrate(schema::COMPONENT, schema::MIGRATIONS).await?;
    price::ship(accounts).await
}

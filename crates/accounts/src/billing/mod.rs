//! Billing: prices in versions, invoices, payments, and what happens to those who don't pay.
//!
//! An invoice is a draft until its month is over: making it again replaces it. Once it is final it never changes; it is
//! corrected by credit notes. What it was made of is stored with it, so that it can be exported and recomputed.

mod dunning;
mod invoice;
mod money;
mod payment;
mod price;

pub use dunning::{DunningPolicy, DunningStage};
pub use invoice::{InvoiceRun, InvoiceStatus, StoredInvoice};
pub use money::{CreditNote, Payment};
pub use payment::{ManualPayments, PaymentNotice, PaymentProvider};
pub(crate) use price::ship;
pub use price::{AppliedPrices, PriceVersion};

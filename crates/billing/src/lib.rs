//! Prices, and invoices that anybody can recompute.
//!
//! Pure: no clock, no database, no network. An invoice follows from what was used, from the plans of its month and from
//! their prices, and from nothing else; [`Export`] carries all of it, so that [`Export::verify`] needs no gateway.
//!
//! Money is in integer micro-units of a currency. Every line is computed in 128 bits and rounded once.

mod decimal;
mod error;
mod export;
mod format;
mod invoice;
mod price;
mod service_level;
mod usage;

pub use error::BillingError;
pub use export::Export;
pub use invoice::{Invoice, Item, Line, Term};
pub use price::{PriceSheet, Prices, Tariff};
pub use service_level::{CreditTier, WINDOW_MS, Window, availability, tier};
pub use usage::{Span, UsageRow};

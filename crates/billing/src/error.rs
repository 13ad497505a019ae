//! What can be wrong with prices and invoices.

/// Why prices are refused, or an invoice cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BillingError {
    /// A price sheet makes no sense.
    #[error("prices: {reason}")]
    InvalidPrices {
        /// What is wrong, and where.
        reason: String,
    },
    /// A month's plans are priced in more than one currency.
    #[error("a month cannot be billed in {first} and {second}")]
    TwoCurrencies {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// An amount has more digits than money has.
    #[error("an amount of {item} is too large to be billed")]
    TooLarge {
        /// The line's item.
        item: &'static str,
    },
    /// A month was divided between plans, and how much of it was used in which part is not known any more.
    #[error("the hours of {period}, in which its plans changed, are not kept any more")]
    HoursGone {
        /// The month.
        period: String,
    },
    /// Not an export of an invoice.
    #[error("not an export of an invoice: {reason}")]
    InvalidExport {
        /// What is wrong.
        reason: String,
    },
}

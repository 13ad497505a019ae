//! Payment providers: who says that an invoice was paid.

use serde::Deserialize;

use super::invoice::StoredInvoice;
use super::money::Payment;
use crate::{Accounts, AccountsError};

/// The longest reference, in bytes.
const REFERENCE_LEN_MAX: usize = 256;

/// A payment, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentNotice {
    /// The invoice's id.
    pub invoice: String,
    /// What the provider calls the payment: the same for every notice of it.
    pub reference: String,
    /// Micro-units of the invoice's currency.
    pub amount: u64,
}

/// Someone through whom accounts pay.
///
/// A notice may come more than once, and late: [`Accounts::receive_payment`] counts a reference once for each provider.
pub trait PaymentProvider: Send + Sync {
    /// Under which its references are unique; it never changes.
    fn name(&self) -> &'static str;

    /// Reads a notice, and makes sure that it is the provider's.
    ///
    /// # Errors
    /// [`AccountsError::InvalidPayment`] with the reason.
    fn read(&self, notice: &[u8]) -> Result<PaymentNotice, AccountsError>;
}

/// Payments that an operator has seen come in, by bank transfer for example, and records by hand. Whoever may administer
/// is believed.
#[derive(Debug, Clone, Copy, Default)]
pub struct ManualPayments;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ManualNotice {
    invoice: String,
    reference: String,
    amount: u64,
}

impl PaymentProvider for ManualPayments {
    fn name(&self) -> &'static str {
        "manual"
    }

    fn read(&self, notice: &[u8]) -> Result<PaymentNotice, AccountsError> {
        let invalid = |reason: String| AccountsError::InvalidPayment { reason };
        let ManualNotice { invoice, reference, amount } =
            serde_json::from_slice(notice).map_err(|error| invalid(error.to_string()))?;
        if !(1..=REFERENCE_LEN_MAX).contains(&reference.trim().len()) {
            return Err(invalid(format!("reference: expected 1 to {REFERENCE_LEN_MAX} bytes")));
        }
        if !(1..=i64::MAX.unsigned_abs()).contains(&amount) {
            return Err(invalid("amount: expected at least one micro-unit".to_owned()));
        }
        Ok(PaymentNotice { invoice, reference: reference.trim().to_owned(), amount })
    }
}

impl Accounts {
    /// Records what a provider tells of a payment.
    ///
    /// # Errors
    /// Those of [`PaymentProvider::read`] and of [`Accounts::record_payment`].
    pub async fn receive_payment(
        &self,
        provider: &dyn PaymentProvider,
        notice: &[u8],
    ) -> Result<StoredInvoice, AccountsError> {
        let PaymentNotice { invoice, reference, amount } = provider.read(notice)?;
        let payment =
            Payment { provider: provider.name().to_owned(), reference, amount, at_ms: self.now_ms() };
        self.record_payment(&invoice, payment).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_that_makes_no_sense_is_refused_with_the_reason() {
        let read = |notice: &str| ManualPayments.read(notice.as_bytes());
        let good = read(r#"{"invoice": "2026-11-1", "reference": " RF18 ", "amount": 1}"#).unwrap();
        let expected =
            PaymentNotice { invoice: "2026-11-1".to_owned(), reference: "RF18".to_owned(), amount: 1 };
        assert_eq!(good, expected);
        for (notice, reason) in [
            ("", "EOF"),
            (r#"{"invoice": "i", "reference": "r"}"#, "amount"),
            (r#"{"invoice": "i", "reference": "r", "amount": -1}"#, "-1"),
            (r#"{"invoice": "i", "reference": "r", "amount": 0}"#, "at least one"),
            (r#"{"invoice": "i", "reference": " ", "amount": 1}"#, "reference"),
            (r#"{"invoice": "i", "reference": "r", "amount": 1, "currency": "USD"}"#, "currency"),
        ] {
            let refused = read(notice).unwrap_err().to_string();
            assert!(refused.contains(reason), "{notice}: {refused}");
        }
    }
}

//! Payment providers: who is asked for a payment, and who says that an invoice was paid.

use std::pin::Pin;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::intent::PaymentIntent;
use super::money::{Payment, Refund};
use crate::{Accounts, AccountsError};

/// The longest reference, in bytes.
const REFERENCE_LEN_MAX: usize = 256;
/// The longest reason that a payment failed for, in bytes.
const REASON_LEN_MAX: usize = 1024;
/// No single amount is more, in micro-units: a thousand million. Sums of a thousand of them still fit.
const AMOUNT_MAX: u64 = 1_000_000_000_000_000;

/// What a provider tells. Amounts are micro-units of the invoice's currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub enum PaymentEvent {
    /// Money came in.
    #[serde(rename = "payment.succeeded")]
    Succeeded {
        /// What the provider calls the payment: the same in every event about it.
        payment: String,
        /// The invoice's id.
        invoice: String,
        /// How much.
        amount: u64,
        /// In which currency, if the provider says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        currency: Option<String>,
    },
    /// No money came in.
    #[serde(rename = "payment.failed")]
    Failed {
        /// What the provider calls the payment.
        payment: String,
        /// Why.
        #[serde(default)]
        reason: String,
    },
    /// Money went back: a refund or a chargeback.
    #[serde(rename = "payment.refunded")]
    Refunded {
        /// The payment that it was part of, told of before or later.
        payment: String,
        /// What the provider calls the refund.
        refund: String,
        /// How much.
        amount: u64,
    },
}

impl PaymentEvent {
    /// What it is called.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Succeeded { .. } => "payment.succeeded",
            Self::Failed { .. } => "payment.failed",
            Self::Refunded { .. } => "payment.refunded",
        }
    }

    /// Reads JSON.
    ///
    /// # Errors
    /// [`AccountsError::InvalidPayment`] with the reason.
    pub fn parse(text: &[u8]) -> Result<Self, AccountsError> {
        let event: Self = serde_json::from_slice(text)
            .map_err(|error| AccountsError::InvalidPayment { reason: error.to_string() })?;
        match &event {
            Self::Succeeded { payment, amount, .. } => {
                check_reference("payment", payment)?;
                check_amount(*amount)?;
            }
            Self::Failed { payment, reason } => {
                check_reference("payment", payment)?;
                if reason.len() > REASON_LEN_MAX {
                    let reason = format!("reason: expected at most {REASON_LEN_MAX} bytes");
                    return Err(AccountsError::InvalidPayment { reason });
                }
            }
            Self::Refunded { payment, refund, amount } => {
                check_reference("payment", payment)?;
                check_reference("refund", refund)?;
                check_amount(*amount)?;
            }
        }
        Ok(event)
    }
}

/// Whether that much can be paid, refunded or credited at once.
///
/// # Errors
/// [`AccountsError::InvalidPayment`].
pub(super) fn check_amount(amount: u64) -> Result<(), AccountsError> {
    if (1..=AMOUNT_MAX).contains(&amount) {
        return Ok(());
    }
    let reason = format!("amount: expected at least one micro-unit, and at most {AMOUNT_MAX}");
    Err(AccountsError::InvalidPayment { reason })
}

fn check_reference(field: &str, reference: &str) -> Result<(), AccountsError> {
    let is_good = (1..=REFERENCE_LEN_MAX).contains(&reference.len())
        && reference.trim() == reference
        && !reference.contains(char::is_control);
    if is_good {
        return Ok(());
    }
    let reason = format!("{field}: expected 1 to {REFERENCE_LEN_MAX} bytes, without spaces around them");
    Err(AccountsError::InvalidPayment { reason })
}

/// A message from a provider, as it came.
#[derive(Debug, Clone, Copy)]
pub struct Notice<'n> {
    /// Its body.
    pub body: &'n [u8],
    /// What proves whose it is.
    pub signature: Option<&'n str>,
    /// When it came, milliseconds since 1970.
    pub now_ms: u64,
}

/// What the provider calls a payment that it was asked for.
pub type Charging<'c> = Pin<Box<dyn Future<Output = Result<String, AccountsError>> + Send + 'c>>;

/// Someone through whom accounts pay.
///
/// A notice may come more than once, late, and in any order: what is recorded follows from the set of all events.
pub trait PaymentProvider: Send + Sync + 'static {
    /// Under which its references are unique; it never changes.
    fn name(&self) -> &'static str;

    /// Reads a notice, and makes sure that it is the provider's.
    ///
    /// # Errors
    /// [`AccountsError::UnprovenNotice`], [`AccountsError::InvalidPayment`] with the reason.
    fn read(&self, notice: Notice<'_>) -> Result<PaymentEvent, AccountsError>;

    /// Asks for a payment; returns the provider's reference. It may be asked twice about an intent, also at once, and must
    /// take that for the same payment: the intent's id is what such an interface wants as its idempotency key.
    fn charge<'c>(&'c self, intent: &'c PaymentIntent) -> Charging<'c>;
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

impl ManualPayments {
    /// Its name.
    pub const NAME: &'static str = "manual";
}

impl PaymentProvider for ManualPayments {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn read(&self, notice: Notice<'_>) -> Result<PaymentEvent, AccountsError> {
        let ManualNotice { invoice, reference, amount } = serde_json::from_slice(notice.body)
            .map_err(|error| AccountsError::InvalidPayment { reason: error.to_string() })?;
        let payment = reference.trim().to_owned();
        check_reference("reference", &payment)?;
        check_amount(amount)?;
        Ok(PaymentEvent::Succeeded { payment, invoice, amount, currency: None })
    }

    fn charge<'c>(&'c self, _intent: &'c PaymentIntent) -> Charging<'c> {
        let reason = "nobody can be asked for a payment by hand: it is recorded when it has come".to_owned();
        Box::pin(std::future::ready(Err(AccountsError::InvalidPayment { reason })))
    }
}

impl Accounts {
    /// What an operator tells of a payment that came in just now: the invoice's id, and what
    /// [`Accounts::record_payment`] is to record of it.
    ///
    /// # Errors
    /// Those of [`PaymentProvider::read`].
    pub fn read_manual_payment(&self, notice: &[u8]) -> Result<(String, Payment), AccountsError> {
        let now_ms = self.now_ms();
        match ManualPayments.read(Notice { body: notice, signature: None, now_ms })? {
            PaymentEvent::Succeeded { payment, invoice, amount, .. } => {
                let provider = ManualPayments::NAME.to_owned();
                Ok((invoice, Payment { provider, reference: payment, amount, at_ms: now_ms }))
            }
            event @ (PaymentEvent::Failed { .. } | PaymentEvent::Refunded { .. }) => {
                let reason = format!("{} cannot be told by hand", event.name());
                Err(AccountsError::InvalidPayment { reason })
            }
        }
    }

    /// The providers that can be asked for payments.
    pub fn payment_providers(&self) -> &[Arc<dyn PaymentProvider>] {
        &self.config().payment_providers
    }

    /// The provider of that name.
    ///
    /// # Errors
    /// [`AccountsError::UnknownProvider`].
    pub(super) fn payment_provider(&self, name: &str) -> Result<&Arc<dyn PaymentProvider>, AccountsError> {
        let known = self.payment_providers().iter().find(|provider| provider.name() == name);
        known.ok_or_else(|| AccountsError::UnknownProvider { name: name.to_owned() })
    }

    /// Records what the provider of that name tells. Telling it again changes nothing.
    ///
    /// # Errors
    /// [`AccountsError::UnknownProvider`]; those of [`PaymentProvider::read`]; [`AccountsError::NoSuchInvoice`],
    /// [`AccountsError::InvoiceState`] for a draft, [`AccountsError::PaymentConflict`].
    pub async fn receive_notice(
        &self,
        provider: &str,
        body: &[u8],
        signature: Option<&str>,
    ) -> Result<PaymentEvent, AccountsError> {
        let now_ms = self.now_ms();
        let provider = self.payment_provider(provider)?;
        let event = provider.read(Notice { body, signature, now_ms })?;
        let provider = provider.name().to_owned();
        match event.clone() {
            PaymentEvent::Succeeded { payment, invoice, amount, currency } => {
                let payment = Payment { provider, reference: payment, amount, at_ms: now_ms };
                self.receive_payment(&invoice, payment, currency).await?;
            }
            PaymentEvent::Failed { payment, reason } => {
                self.fail_intent(&provider, &payment, &reason).await?;
            }
            PaymentEvent::Refunded { payment, refund, amount } => {
                let refund = Refund { provider, reference: refund, payment, amount, at_ms: now_ms };
                self.record_refund(refund).await?;
            }
        }
        Ok(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_by_hand_that_makes_no_sense_is_refused_with_the_reason() {
        let read =
            |body: &str| ManualPayments.read(Notice { body: body.as_bytes(), signature: None, now_ms: 0 });
        let good = read(r#"{"invoice": "2026-11-1", "reference": " RF18 ", "amount": 1}"#).unwrap();
        let expected = PaymentEvent::Succeeded {
            payment: "RF18".to_owned(),
            invoice: "2026-11-1".to_owned(),
            amount: 1,
            currency: None,
        };
        assert_eq!(good, expected);
        for (notice, reason) in [
            ("", "EOF"),
            (r#"{"invoice": "i", "reference": "r"}"#, "amount"),
            (r#"{"invoice": "i", "reference": "r", "amount": -1}"#, "-1"),
            (r#"{"invoice": "i", "reference": "r", "amount": 0}"#, "at least one"),
            (r#"{"invoice": "i", "reference": "r", "amount": 1000000000000001}"#, "at most"),
            (r#"{"invoice": "i", "reference": " ", "amount": 1}"#, "reference"),
            (r#"{"invoice": "i", "reference": "r", "amount": 1, "currency": "USD"}"#, "currency"),
        ] {
            let refused = read(notice).unwrap_err().to_string();
            assert!(refused.contains(reason), "{notice}: {refused}");
        }
    }

    #[test]
    fn an_event_that_makes_no_sense_is_refused_with_the_reason() {
        let good = r#"{"type": "payment.refunded", "payment": "p", "refund": "r", "amount": 7}"#;
        let event = PaymentEvent::parse(good.as_bytes()).unwrap();
        assert_eq!(PaymentEvent::parse(&serde_json::to_vec(&event).unwrap()).unwrap(), event);
        let long = format!(r#"{{"type": "payment.failed", "payment": "{}"}}"#, "p".repeat(257));
        for (text, reason) in [
            ("[]", "type"),
            ("{", "EOF"),
            (r#"{"type": "payment.lost", "payment": "p"}"#, "payment.lost"),
            (r#"{"type": "payment.succeeded", "payment": "p", "amount": 1}"#, "invoice"),
            (r#"{"type": "payment.succeeded", "payment": "p", "invoice": "i", "amount": 0}"#, "amount"),
            (r#"{"type": "payment.refunded", "payment": "p", "refund": " r", "amount": 1}"#, "refund"),
            (r#"{"type": "payment.failed", "payment": "p", "more": 1}"#, "more"),
            (long.as_str(), "256"),
        ] {
            let refused = PaymentEvent::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }
}

//! The sandbox: a payment provider to try things with. It behaves as real ones do: it is asked for a payment, and tells what
//! became of it by a signed message, once or several times, in any order.
//!
//! A message carries `t=SECONDS,v1=DIGITS`: the HMAC-SHA256 over `SECONDS.BODY` under a secret that both sides have, as
//! Stripe's `Stripe-Signature` does (<https://docs.stripe.com/webhooks#verify-manually>).

use std::fmt;
use std::time::Duration;

use aws_lc_rs::hmac;

use super::intent::PaymentIntent;
use super::payment::{Charging, Notice, PaymentEvent, PaymentProvider};
use crate::{AccountsError, Secret};

/// How far a message's time may be from the clock: an old one that was overheard is no use later.
const TOLERANCE: Duration = Duration::from_mins(5);
/// Parts of a signature that are looked at.
const PARTS_MAX: usize = 8;

/// The provider "sandbox".
pub struct SandboxPayments {
    key: hmac::Key,
}

impl SandboxPayments {
    /// Its name.
    pub const NAME: &'static str = "sandbox";

    /// One whose messages are signed with a secret.
    pub fn new(secret: &Secret) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()) }
    }

    /// The signature of a message that is sent at this moment, milliseconds since 1970.
    pub fn sign(&self, body: &[u8], now_ms: u64) -> String {
        let seconds = (now_ms / 1000).to_string();
        let tag = hmac::sign(&self.key, &signed(&seconds, body));
        format!("t={seconds},v1={}", hex::encode(tag))
    }

    fn verify(&self, Notice { body, signature, now_ms }: Notice<'_>) -> Result<(), AccountsError> {
        let unproven = |reason| AccountsError::UnprovenNotice { reason };
        let signature = signature.ok_or_else(|| unproven("it has no signature"))?;
        let parts = || signature.split(',').take(PARTS_MAX).filter_map(|part| part.trim().split_once('='));
        let seconds = parts().find_map(|(name, value)| (name == "t").then_some(value));
        let Some((seconds, at)) = seconds.and_then(|text| Some((text, text.parse::<u64>().ok()?))) else {
            return Err(unproven("its signature is malformed: expected t=SECONDS,v1=DIGITS"));
        };
        let signed = signed(seconds, body);
        // A secret that is being replaced has two signatures.
        let is_genuine = parts().filter(|(name, _)| *name == "v1").any(|(_, digits)| {
            let mut tag = [0; 32];
            hex::decode_to_slice(digits, &mut tag).is_ok() && hmac::verify(&self.key, &signed, &tag).is_ok()
        });
        if !is_genuine {
            return Err(unproven("its signature is another's"));
        }
        if (now_ms / 1000).abs_diff(at) > TOLERANCE.as_secs() {
            return Err(unproven("it was signed more than five minutes ago, or is to come"));
        }
        Ok(())
    }
}

fn signed(seconds: &str, body: &[u8]) -> Vec<u8> {
    [seconds.as_bytes(), b".", body].concat()
}

impl PaymentProvider for SandboxPayments {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn read(&self, notice: Notice<'_>) -> Result<PaymentEvent, AccountsError> {
        self.verify(notice)?;
        PaymentEvent::parse(notice.body)
    }

    /// The intent itself is all that there is to a payment in the sandbox.
    fn charge<'c>(&'c self, intent: &'c PaymentIntent) -> Charging<'c> {
        Box::pin(std::future::ready(Ok(format!("sandbox-{}", intent.id))))
    }
}

impl fmt::Debug for SandboxPayments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SandboxPayments(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"type": "payment.failed", "payment": "p", "reason": "no"}"#;
    const NOW_MS: u64 = 1_800_000_000_000;

    fn sandbox(secret: &str) -> SandboxPayments {
        SandboxPayments::new(&Secret::new(secret.to_owned()))
    }

    fn read(signature: Option<&str>, body: &[u8], now_ms: u64) -> Result<PaymentEvent, AccountsError> {
        sandbox("a secret of the sandbox").read(Notice { body, signature, now_ms })
    }

    #[test]
    fn a_signature_is_what_other_programs_compute() {
        // printf '1800000000.{}' | openssl dgst -sha256 -hmac 'a secret of the sandbox'
        let signature = sandbox("a secret of the sandbox").sign(b"{}", NOW_MS + 999);
        assert_eq!(
            signature,
            "t=1800000000,v1=c87cb028202f38167035b51b106f8c733aec568fcebcc08f909b91bc1e87ea86"
        );
    }

    #[test]
    fn only_the_providers_own_messages_of_the_last_minutes_count() {
        let good = sandbox("a secret of the sandbox").sign(BODY, NOW_MS);
        read(Some(&good), BODY, NOW_MS).unwrap();
        for minutes in [0, 5] {
            let away = minutes * 60_000;
            read(Some(&good), BODY, NOW_MS + away).unwrap();
            read(Some(&good), BODY, NOW_MS - away).unwrap();
        }
        let other = sandbox("another secret").sign(BODY, NOW_MS);
        let both = format!("{other},{}", good.split_once(',').unwrap().1);
        read(Some(&both), BODY, NOW_MS).unwrap();

        let later = good.replace("t=1800000000", "t=1800000001");
        let flipped = format!("{}{}", &good[..good.len() - 1], if good.ends_with('0') { '1' } else { '0' });
        let cut = &good[..good.len() - 2];
        let edited = [BODY, b" "].concat();
        let refusals: [(Option<&str>, &[u8], u64, &str); 11] = [
            (None, BODY, NOW_MS, "no signature"),
            (Some(""), BODY, NOW_MS, "malformed"),
            (Some("v1=00"), BODY, NOW_MS, "malformed"),
            (Some("t=now,v1=00"), BODY, NOW_MS, "malformed"),
            (Some("t=1800000000"), BODY, NOW_MS, "another's"),
            (Some(&other), BODY, NOW_MS, "another's"),
            (Some(&later), BODY, NOW_MS, "another's"),
            (Some(&flipped), BODY, NOW_MS, "another's"),
            (Some(cut), BODY, NOW_MS, "another's"),
            (Some(&good), &edited, NOW_MS, "another's"),
            (Some(&good), BODY, NOW_MS + 301_000, "five minutes"),
        ];
        for (signature, body, now_ms, reason) in refusals {
            let refused = read(signature, body, now_ms).unwrap_err().to_string();
            assert!(refused.contains(reason), "{signature:?}: {refused}");
        }
        let early = read(Some(&good), BODY, NOW_MS - 301_000).unwrap_err().to_string();
        assert!(early.contains("to come"), "{early}");
    }

    #[test]
    fn what_is_genuine_and_makes_no_sense_is_refused_for_that() {
        let signature = sandbox("a secret of the sandbox").sign(b"{}", NOW_MS);
        let refused = read(Some(&signature), b"{}", NOW_MS).unwrap_err();
        assert!(matches!(refused, AccountsError::InvalidPayment { .. }), "{refused}");
    }
}

//! Price sheets: what the plans cost.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{BillingError, CreditTier, service_level};

/// Prices beyond this, in micro-units, are refused: a million a unit.
const PRICE_MAX: u64 = 1_000_000_000_000;
/// Allowances beyond this many units are refused: 2^40.
const INCLUDED_MAX: u64 = 1 << 40;
const NAME_LEN_MAX: usize = 64;

/// What a unit costs, and how many are included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tariff {
    /// Micro-units of the currency for one unit.
    pub price: u64,
    /// Units that cost nothing, in a whole month on the plan.
    #[serde(default)]
    pub included: u64,
}

/// What a plan costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// Three capital letters, such as USD.
    pub currency: String,
    /// Micro-units for a month on the plan.
    #[serde(default)]
    pub month: u64,
    /// Storage: a unit is 10^9 bytes for the whole month.
    #[serde(default)]
    pub storage: Tariff,
    /// Bytes received: a unit is 10^9 bytes.
    #[serde(default)]
    pub ingress: Tariff,
    /// Bytes sent: a unit is 10^9 bytes.
    #[serde(default)]
    pub egress: Tariff,
    /// Writes and listings: a unit is 1,000 requests.
    #[serde(default)]
    pub class_a: Tariff,
    /// Reads: a unit is 1,000 requests.
    #[serde(default)]
    pub class_b: Tariff,
    /// What is credited when a month was less available than promised; nothing is promised if there are no steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sla: Vec<CreditTier>,
}

impl Prices {
    fn check(&self, plan: &str) -> Result<(), BillingError> {
        let invalid = |reason: &str| Err(BillingError::InvalidPrices { reason: format!("{plan}: {reason}") });
        if self.currency.len() != 3 || !self.currency.bytes().all(|letter| letter.is_ascii_uppercase()) {
            return invalid("a currency has three capital letters, such as USD");
        }
        let tariffs = [self.storage, self.ingress, self.egress, self.class_a, self.class_b];
        if self.month > PRICE_MAX || tariffs.iter().any(|tariff| tariff.price > PRICE_MAX) {
            return invalid("a price is at most 10^12 micro-units");
        }
        if tariffs.iter().any(|tariff| tariff.included > INCLUDED_MAX) {
            return invalid("at most 2^40 units can be included");
        }
        service_level::check(plan, &self.sla)
    }
}

/// The prices of plans, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceSheet(pub BTreeMap<String, Prices>);

impl PriceSheet {
    /// Reads TOML: a table for each plan.
    ///
    /// # Errors
    /// [`BillingError::InvalidPrices`] with the reason.
    pub fn parse(text: &str) -> Result<Self, BillingError> {
        let sheet: BTreeMap<String, Prices> = toml::from_str(text).map_err(|error| {
            BillingError::InvalidPrices { reason: error.to_string().trim_end().to_owned() }
        })?;
        for (plan, prices) in &sheet {
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if !(1..=NAME_LEN_MAX).contains(&plan.len()) || !plan.bytes().all(is_plain) {
                let reason = format!("{plan:?} is no plan: expected lower-case letters, digits and '-'");
                return Err(BillingError::InvalidPrices { reason });
            }
            prices.check(plan)?;
        }
        Ok(Self(sheet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_that_makes_no_sense_is_refused_with_the_reason() {
        for (text, reason) in [
            ("[premium]", "currency"),
            ("[premium]\ncurrency = \"usd\"", "three capital letters"),
            ("[premium]\ncurrency = \"USD\"\nmonth = -1", "-1"),
            ("[premium]\ncurrency = \"USD\"\nmonth = 0.5", "0.5"),
            ("[premium]\ncurrency = \"USD\"\nstorage = { price = 1, free = 2 }", "free"),
            ("[premium]\ncurrency = \"USD\"\negress = { included = 2 }", "price"),
            ("[premium]\ncurrency = \"USD\"\negress = { price = 1000000000001 }", "at most 10^12"),
            ("[premium]\ncurrency = \"USD\"\nsla = [{ below = 999000, credit = 101 }]", "`credit`"),
            ("[premium]\ncurrency = \"USD\"\nsla = [{ below = 99.9, credit = 10 }]", "99.9"),
            ("[Premium]\ncurrency = \"USD\"", "\"Premium\" is no plan"),
        ] {
            let refused = PriceSheet::parse(text).unwrap_err().to_string();
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }
}

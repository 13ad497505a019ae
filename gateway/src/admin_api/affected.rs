//! Whom a change of plans or prices is about, as dry runs tell it.

use std::collections::BTreeMap;

use datamesh_accounts::{Accounts, PriceVersion};
use datamesh_types::AccountId;
use serde_json::{Value, json};

use super::ApiError;

/// Accounts that are named.
const NAMED_MAX: usize = 100;

/// The subscribers of the plans that change.
pub(super) struct Affected {
    /// How many each plan has.
    plans: BTreeMap<String, u64>,
    /// The first of them all, in the order of their ids.
    first: Vec<AccountId>,
}

impl Affected {
    /// Who subscribes to any of these plans.
    pub(super) async fn of<'a>(
        accounts: &Accounts,
        plans: impl Iterator<Item = &'a str>,
    ) -> Result<Self, ApiError> {
        let mut affected = Self { plans: BTreeMap::new(), first: Vec::new() };
        for plan in plans {
            let subscribers = accounts.subscribers(plan, NAMED_MAX).await?;
            affected.plans.insert(plan.to_owned(), subscribers.accounts);
            affected.first.extend(subscribers.first);
        }
        affected.first.sort_unstable();
        affected.first.truncate(NAMED_MAX);
        Ok(affected)
    }

    /// How many they are, by plan too, and the first 100.
    pub(super) fn describe(&self) -> Value {
        json!({
            "accounts": self.plans.values().sum::<u64>(), "plans": self.plans, "first_accounts": self.first,
        })
    }

    /// What they pay for a month alone, without what they use, by currency: before and after.
    pub(super) fn month_fees(&self, before: &[&PriceVersion], after: &[&PriceVersion]) -> Value {
        let mut fees = BTreeMap::<&str, [u128; 2]>::new();
        for (index, versions) in [before, after].into_iter().enumerate() {
            for version in versions {
                let accounts = self.plans.get(&version.plan).copied().unwrap_or(0);
                let fee = u128::from(version.prices.month) * u128::from(accounts);
                fees.entry(&version.prices.currency).or_default()[index] += fee;
            }
        }
        // As texts: a sum may have more digits than many readers of JSON keep.
        let fee = |(currency, [before, after]): (&str, [u128; 2])| json!({ "currency": currency, "before": before.to_string(), "after": after.to_string() });
        fees.into_iter().map(fee).collect()
    }
}

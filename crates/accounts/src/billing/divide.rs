//! Dividing a month: what was used on which of its plans.
//!
//! Usage is summed up by the hour. An hour in which a plan begins or ends is on neither of them, so that nobody pays one
//! plan's prices for what was used on another; only the first plan of an account has all of the hour that it begins in.

use datamesh_billing::{BillingError, Span, Term, UsageRow};
use datamesh_db::Tx;
use datamesh_types::AccountId;

use crate::metering::{Grain, HOUR_MS};
use crate::{Accounts, AccountsError, Usage, UsageReport};

impl Accounts {
    /// What an account has used in each of a month's terms, which are in order.
    ///
    /// # Errors
    /// [`BillingError::HoursGone`] when the month is divided and its hours are no longer kept.
    pub(super) async fn usage_by_term(
        &self,
        account: AccountId,
        report: &UsageReport,
        terms: &[Term],
    ) -> Result<Vec<UsageRow>, AccountsError> {
        let billed = Span { from_ms: report.from_ms, until_ms: report.until_ms };
        let began_ms = self
            .db()
            .read::<_, AccountsError, _>(move |tx| Box::pin(began_ms(tx, account)))
            .await?
            .unwrap_or(billed.from_ms);
        if is_undivided(terms, billed, began_ms) {
            return Ok(report.usages.iter().map(|usage| row(0, usage)).collect());
        }
        let spans: Vec<Span> = terms.iter().map(|term| metered(term.span, billed, began_ms)).collect();
        let Some(used) = self.usage_within(account, report, &spans).await? else {
            return Err(BillingError::HoursGone { period: report.month.to_string() }.into());
        };
        Ok((0..)
            .zip(&used)
            .flat_map(|(term, usages)| usages.iter().map(move |usage| row(term, usage)))
            .collect())
    }
}

/// When the account's first plan began.
async fn began_ms(tx: &mut Tx, account: AccountId) -> Result<Option<u64>, AccountsError> {
    const BEGAN: &str = "SELECT MIN(since_ms) FROM subscription_term WHERE account = $1";
    let row = tx.query_opt(BEGAN, &[account.into()]).await?;
    Ok(row.map(|row| row.opt_int(0)).transpose()?.flatten().map(i64::cast_unsigned))
}

/// Whether all that was used in a month was used in its one term: on the plan that the month, or the account, began with.
fn is_undivided(terms: &[Term], billed: Span, began_ms: u64) -> bool {
    let [Term { span, .. }] = terms else { return false };
    span.from_ms <= began_ms.max(billed.from_ms) && span.until_ms == billed.until_ms
}

/// The hours of a term that count as its own.
fn metered(term: Span, billed: Span, began_ms: u64) -> Span {
    let (hour, _) = Grain::Hour.span(term.from_ms);
    let is_first = term.from_ms == hour || term.from_ms <= began_ms;
    let (last_hour, _) = Grain::Hour.span(term.until_ms);
    // What is billed up to now has no later plan in its last hour.
    let until_ms = if term.until_ms == billed.until_ms { term.until_ms } else { last_hour };
    Span { from_ms: if is_first { hour.max(billed.from_ms) } else { hour + HOUR_MS }, until_ms }
}

fn row(term: u64, usage: &Usage) -> UsageRow {
    UsageRow {
        term,
        bucket: usage.bucket,
        access_key: usage.key.to_string(),
        byte_milliseconds: usage.byte_ms,
        ingress: usage.traffic.ingress,
        egress: usage.traffic.egress,
        class_a: usage.traffic.class_a,
        class_b: usage.traffic.class_b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_in_which_plans_change_is_on_neither_of_them() {
        let billed = Span { from_ms: 100 * HOUR_MS, until_ms: 200 * HOUR_MS + 5 };
        let hours = |from_ms, until_ms, began_ms| {
            let span = metered(Span { from_ms, until_ms }, billed, began_ms);
            (span.from_ms, span.until_ms)
        };
        let (early, late) = (120 * HOUR_MS, 150 * HOUR_MS);
        assert_eq!(hours(billed.from_ms, billed.until_ms, 0), (billed.from_ms, billed.until_ms));
        assert_eq!(hours(early, late, 0), (early, late), "changes on the hour divide no hour");
        assert_eq!(hours(early + 1, late + 1, 0), (early + HOUR_MS, late));
        assert_eq!(
            hours(early + 1, billed.until_ms, early + 1),
            (early, billed.until_ms),
            "nothing was before"
        );
        let (from_ms, until_ms) = hours(early + 1, early + 2, 0);
        assert!(from_ms > until_ms, "what is shorter than an hour has none");
    }
}

//! Invoices: what an account owes for a month, line by line.

use serde::{Deserialize, Serialize};

use crate::format::Format;
use crate::usage::{Span, UsageRow, usage_root};
use crate::{BillingError, Prices, Tariff, decimal};

/// A time on one plan, within the month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Term {
    /// The plan.
    pub plan: String,
    /// The version of its prices that was in force when the month began.
    pub price_version: u64,
    /// When.
    pub span: Span,
    /// The prices.
    pub prices: Prices,
}

/// What a line is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Item {
    /// Time on the plan, in seconds.
    Month,
    /// Storage, in bytes times milliseconds.
    Storage,
    /// Bytes received.
    Ingress,
    /// Bytes sent.
    Egress,
    /// Writes and listings.
    ClassA,
    /// Reads.
    ClassB,
}

impl Item {
    const METERED: [Self; 5] = [Self::Storage, Self::Ingress, Self::Egress, Self::ClassA, Self::ClassB];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Month => "month",
            Self::Storage => "storage",
            Self::Ingress => "ingress",
            Self::Egress => "egress",
            Self::ClassA => "class_a",
            Self::ClassB => "class_b",
        }
    }

    const fn tariff(self, prices: &Prices) -> Tariff {
        match self {
            Self::Month => Tariff { price: prices.month, included: 0 },
            Self::Storage => prices.storage,
            Self::Ingress => prices.ingress,
            Self::Egress => prices.egress,
            Self::ClassA => prices.class_a,
            Self::ClassB => prices.class_b,
        }
    }

    /// How much of it makes one unit of the price, in a month of that length.
    const fn unit(self, month: i128) -> i128 {
        match self {
            Self::Month => month,
            Self::Storage => 1_000_000_000 * month * 1_000,
            Self::Ingress | Self::Egress => 1_000_000_000,
            Self::ClassA | Self::ClassB => 1_000,
        }
    }

    /// How much of it was used. `None`: more than can be counted.
    pub(crate) fn used<'r>(self, rows: impl Iterator<Item = &'r UsageRow>) -> Option<i128> {
        let used = |row: &UsageRow| match self {
            Self::Month => 0,
            Self::Storage => row.byte_milliseconds,
            Self::Ingress => row.ingress.into(),
            Self::Egress => row.egress.into(),
            Self::ClassA => row.class_a.into(),
            Self::ClassB => row.class_b.into(),
        };
        rows.map(used).try_fold(0, i128::checked_add)
    }

    /// How much of it a term includes for as long as it lasts, rounded down. `None`: more than can be counted.
    pub(crate) fn included(self, term: &Term, month: Span) -> Option<i128> {
        let whole = i128::from(self.tariff(&term.prices).included).checked_mul(self.unit(month.seconds()))?;
        Some(whole.checked_mul(term.span.seconds())? / month.seconds().max(1))
    }
}

/// One line: `(quantity - included) * price / unit`, rounded once, halves away from zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// What it is for.
    pub item: Item,
    /// The plan.
    pub plan: String,
    /// The version of the plan's prices.
    pub price_version: u64,
    /// How much was used while the plan was in force.
    #[serde(with = "decimal")]
    pub quantity: i128,
    /// How much of it the plan includes, for the seconds that the account was on it.
    #[serde(with = "decimal")]
    pub included: i128,
    /// How much is one unit of the price.
    #[serde(with = "decimal")]
    pub unit: i128,
    /// Micro-units for one unit.
    pub price: u64,
    /// Micro-units.
    pub amount: i64,
    /// The hash over what was used.
    pub usage_root: String,
}

/// An invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invoice {
    /// The format's version.
    pub format: u32,
    /// The account's id.
    pub account: String,
    /// The month, such as 2026-11.
    pub period: String,
    /// The whole month.
    pub month: Span,
    /// The part of it that is billed: to its end, once it is over.
    pub billed: Span,
    /// The currency; empty when no plan of the month has prices.
    pub currency: String,
    /// What is owed for what.
    pub lines: Vec<Line>,
    /// Micro-units.
    pub total: i64,
    /// The hash over what was used.
    pub usage_root: String,
}

impl Invoice {
    /// The format that is written.
    pub const FORMAT: u32 = Format::NEWEST.number();

    /// Makes the invoice of a month. Time on a plan is prorated by the second, and so are allowances. What was used in a
    /// term has that term's prices and allowances; what was used on plans without prices is in no row.
    ///
    /// # Errors
    /// [`BillingError::TwoCurrencies`], [`BillingError::TooLarge`].
    pub fn compute(
        account: &str,
        period: &str,
        (month, billed): (Span, Span),
        terms: &[Term],
        usage: &[UsageRow],
    ) -> Result<Self, BillingError> {
        Self::compute_as(Format::NEWEST, (account, period), (month, billed), terms, usage)
    }

    /// The same in any format.
    pub(crate) fn compute_as(
        format: Format,
        (account, period): (&str, &str),
        (month, billed): (Span, Span),
        terms: &[Term],
        usage: &[UsageRow],
    ) -> Result<Self, BillingError> {
        let root = usage_root(format, account, billed, usage);
        let mut lines = Vec::new();
        let mut add = |line: Line| {
            if line.amount != 0 || (line.price > 0 && line.quantity != 0) {
                lines.push(line);
            }
        };
        for (index, term) in terms.iter().enumerate() {
            let first = &terms[0].prices.currency;
            if term.prices.currency != *first {
                let second = term.prices.currency.clone();
                return Err(BillingError::TwoCurrencies { first: first.clone(), second });
            }
            add(line(term, Item::Month, (term.span.seconds(), 0), month, &root)?);
            let Some(priced) = format.priced(index, terms) else { continue };
            for item in Item::METERED {
                let too_large = BillingError::TooLarge { item: item.name() };
                let quantities = priced.quantities(item, month, usage).ok_or(too_large)?;
                add(line(term, item, quantities, month, &root)?);
            }
        }
        let total = lines.iter().try_fold(0_i64, |sum, line| sum.checked_add(line.amount));
        Ok(Self {
            format: format.number(),
            account: account.to_owned(),
            period: period.to_owned(),
            month,
            billed,
            currency: terms.first().map(|term| term.prices.currency.clone()).unwrap_or_default(),
            total: total.ok_or(BillingError::TooLarge { item: "total" })?,
            lines,
            usage_root: root,
        })
    }
}

fn line(
    term: &Term,
    item: Item,
    (quantity, included): (i128, i128),
    month: Span,
    root: &str,
) -> Result<Line, BillingError> {
    let too_large = || BillingError::TooLarge { item: item.name() };
    let unit = item.unit(month.seconds().max(1));
    let price = item.tariff(&term.prices).price;
    let billable = quantity.checked_sub(included).ok_or_else(too_large)?.max(0);
    let product = billable.checked_mul(price.into()).ok_or_else(too_large)?;
    let rounded = product.checked_add(unit / 2).ok_or_else(too_large)? / unit;
    Ok(Line {
        item,
        plan: term.plan.clone(),
        price_version: term.price_version,
        quantity,
        included,
        unit,
        price,
        amount: i64::try_from(rounded).map_err(|_| too_large())?,
        usage_root: root.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;
    const MONTH: Span = Span { from_ms: 0, until_ms: 30 * DAY };

    fn prices() -> Prices {
        Prices {
            currency: "USD".to_owned(),
            month: 9_000_000,
            storage: Tariff { price: 100_000, included: 100 },
            ingress: Tariff::default(),
            egress: Tariff { price: 50_000, included: 0 },
            class_a: Tariff { price: 10_000, included: 1 },
            class_b: Tariff { price: 10_000, included: 0 },
            sla: Vec::new(),
        }
    }

    fn term(from_day: u64, until_day: u64) -> Term {
        let span = Span { from_ms: from_day * DAY, until_ms: until_day * DAY };
        Term { plan: "premium".to_owned(), price_version: 3, span, prices: prices() }
    }

    fn usage(byte_milliseconds: i128, egress: u64, class_a: u64) -> UsageRow {
        UsageRow {
            term: 0,
            bucket: 1,
            access_key: String::new(),
            byte_milliseconds,
            ingress: 7_000_000_000,
            egress,
            class_a,
            class_b: 0,
        }
    }

    fn amounts(terms: &[Term], usage: &[UsageRow]) -> Vec<(Item, i64)> {
        let invoice = Invoice::compute("account", "1970-01", (MONTH, MONTH), terms, usage).unwrap();
        assert_eq!(invoice.total, invoice.lines.iter().map(|line| line.amount).sum::<i64>());
        invoice.lines.iter().map(|line| (line.item, line.amount)).collect()
    }

    #[test]
    fn a_month_costs_its_base_and_what_goes_beyond_the_allowances() {
        // 250 GB for the whole month, 100 of them included; 3.5 GB sent; 4,500 writes, 1,000 of them included.
        let month_ms = i128::from(MONTH.until_ms);
        let used =
            [usage(200_000_000_000 * month_ms, 3_500_000_000, 4_500), usage(50_000_000_000 * month_ms, 0, 0)];
        let expected = [
            (Item::Month, 9_000_000),
            (Item::Storage, 15_000_000),
            (Item::Egress, 175_000),
            (Item::ClassA, 35_000),
        ];
        assert_eq!(amounts(&[term(0, 30)], &used), expected);
    }

    #[test]
    fn time_on_a_plan_and_its_allowances_are_prorated_by_the_second() {
        let month_ms = i128::from(MONTH.until_ms);
        // Ten of thirty days: a third of the base and of the 100 GB.
        let stored = [usage(50_000_000_000 * month_ms, 0, 0)];
        let third = amounts(&[term(20, 30)], &stored);
        assert_eq!(third, [(Item::Month, 3_000_000), (Item::Storage, 1_666_667)]);
        let mut odd = term(0, 30);
        odd.span.until_ms = 1_000;
        let line = &amounts(&[odd], &[])[0];
        // 9,000,000 / 2,592,000 seconds is 3.47 micro-units.
        assert_eq!(*line, (Item::Month, 3));
    }

    #[test]
    fn what_was_used_has_the_prices_and_the_allowances_of_its_own_plan() {
        let month_ms = i128::from(MONTH.until_ms);
        let mut dear = term(15, 30);
        dear.plan = "enterprise".to_owned();
        dear.prices.egress.price = 500_000;
        dear.prices.storage.included = 0;
        let stored = 100_000_000_000 * month_ms / 2;
        let used = [usage(stored, 1_000_000_000, 0), UsageRow { term: 1, ..usage(stored, 2_000_000_000, 0) }];
        // 100 GB for half a month each: the first half includes them, the second does not.
        let expected = [
            (Item::Month, 4_500_000),
            (Item::Egress, 50_000),
            (Item::Month, 4_500_000),
            (Item::Storage, 5_000_000),
            (Item::Egress, 1_000_000),
        ];
        let charged: Vec<_> = amounts(&[term(0, 15), dear], &used);
        assert_eq!(charged.into_iter().filter(|(_, amount)| *amount != 0).collect::<Vec<_>>(), expected);
        assert_eq!(amounts(&[term(15, 30)], &used[1..]), [(Item::Month, 4_500_000)], "no term, no price");
    }

    #[test]
    fn amounts_are_rounded_once_and_halves_go_up() {
        // A byte costs 0.00005 micro-units: 10,000 bytes half a one.
        assert_eq!(amounts(&[], &[usage(0, 10_000, 0)]), []);
        for (egress, amount) in [(9_999, 0), (10_000, 1), (29_999, 1), (30_000, 2)] {
            let lines = amounts(&[term(0, 30)], &[usage(0, egress / 2, 0), usage(0, egress - egress / 2, 0)]);
            assert_eq!(lines[1], (Item::Egress, amount), "{egress} bytes");
        }
    }

    #[test]
    fn what_no_money_can_count_is_refused() {
        let huge =
            Invoice::compute("a", "1970-01", (MONTH, MONTH), &[term(0, 30)], &[usage(i128::MAX / 2, 0, 0)]);
        assert_eq!(huge.unwrap_err(), BillingError::TooLarge { item: "storage" });
        let mut other = term(10, 30);
        other.prices.currency = "EUR".to_owned();
        let mixed = Invoice::compute("a", "1970-01", (MONTH, MONTH), &[term(0, 10), other], &[]);
        assert!(matches!(mixed.unwrap_err(), BillingError::TwoCurrencies { .. }));
    }
}

//! Formats of invoices: which plan's prices usage has, and what its root is computed over.
//!
//! Invoices are made in the newest format. A final one never changes, so that those of older formats are recomputed as they
//! were made.

use crate::Term;
use crate::invoice::Item;
use crate::usage::{Span, UsageRow};

/// How an invoice is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// 1: all usage of the month has the prices of its last plan, and the allowances of all of them.
    LastPlan,
    /// 2: what was used on a plan has that plan's prices and allowances.
    EachPlan,
}

impl Format {
    pub(crate) const NEWEST: Self = Self::EachPlan;
    const ALL: [Self; 2] = [Self::LastPlan, Self::EachPlan];

    pub(crate) const fn number(self) -> u32 {
        self as u32 + 1
    }

    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.number() == number)
    }

    /// What separates the hash over usage from all others.
    pub(crate) const fn usage_domain(self) -> &'static str {
        match self {
            Self::LastPlan => "datamesh usage root 1",
            Self::EachPlan => "datamesh usage root 2",
        }
    }

    /// What has the prices of the term of that index. `None`: no usage.
    pub(crate) fn priced(self, index: usize, terms: &[Term]) -> Option<Priced<'_>> {
        match self {
            Self::LastPlan => (index + 1 == terms.len()).then_some(Priced { term: None, allowances: terms }),
            Self::EachPlan => Some(Priced { term: Some(index as u64), allowances: &terms[index..=index] }),
        }
    }
}

/// What has the prices of one term.
pub(crate) struct Priced<'t> {
    /// What was used in this term; `None`: all.
    term: Option<u64>,
    /// The terms whose allowances are free.
    allowances: &'t [Term],
}

impl Priced<'_> {
    /// How much of something was used, and how much of that is free. `None`: more than can be counted.
    pub(crate) fn quantities(&self, item: Item, month: Span, usage: &[UsageRow]) -> Option<(i128, i128)> {
        let rows = usage.iter().filter(|row| self.term.is_none_or(|term| row.term == term));
        let mut free = self.allowances.iter().map(|term| item.included(term, month));
        let included = free.try_fold(0_i128, |sum, included| sum.checked_add(included?))?;
        Some((item.used(rows)?, included))
    }
}

#[cfg(test)]
mod tests {
    use crate::Export;

    /// Made by a release that wrote format 1.
    const EXPORT_1: &[u8] = include_bytes!("../fixtures/export-format-1.json");

    #[test]
    fn an_invoice_of_an_older_format_is_recomputed_as_it_was_made() {
        let export = Export::parse(EXPORT_1).unwrap();
        assert_eq!(export.invoice.format, 1);
        assert_eq!(export.verify().unwrap(), Vec::<String>::new());
        let mut newer = export.clone();
        newer.invoice.format = 2;
        assert_ne!(newer.verify().unwrap(), Vec::<String>::new(), "a format is no matter of taste");
    }

    #[test]
    fn what_is_changed_in_an_older_format_is_found() {
        type Change = fn(&mut Export);
        let edits: [(&str, Change); 5] = [
            ("total", |export| export.invoice.total -= 1),
            ("line 3", |export| export.invoice.lines[2].amount += 1),
            ("line 3", |export| export.terms[0].prices.storage.included -= 1),
            ("usage root", |export| export.usage[1].egress += 1),
            ("usage root", |export| export.invoice.billed.until_ms -= 1),
        ];
        for (what, change) in edits {
            let mut changed = Export::parse(EXPORT_1).unwrap();
            change(&mut changed);
            let found = changed.verify().unwrap();
            assert!(found.iter().any(|difference| difference.starts_with(what)), "{what}: {found:?}");
        }
        let mut divided = Export::parse(EXPORT_1).unwrap();
        divided.usage[0].term = 1;
        let refused = Export::parse(&serde_json::to_vec(&divided).unwrap()).unwrap_err().to_string();
        assert!(refused.contains("format 1 divides no usage"), "{refused}");
    }
}

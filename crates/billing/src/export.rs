//! Exports: an invoice with everything that it was made of.

use serde::{Deserialize, Serialize};

use crate::format::Format;
use crate::invoice::Line;
use crate::{BillingError, Invoice, Term, UsageRow};

/// Those of 31 days.
const MONTH_SECONDS_MAX: i128 = 31 * 86_400;

/// An invoice, and what anybody needs to recompute it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// The invoice's id.
    pub id: String,
    /// The invoice.
    pub invoice: Invoice,
    /// The plans of its month, with their prices.
    pub terms: Vec<Term>,
    /// What was used in each of them.
    pub usage: Vec<UsageRow>,
}

impl Export {
    /// Reads JSON.
    ///
    /// # Errors
    /// [`BillingError::InvalidExport`].
    pub fn parse(text: &[u8]) -> Result<Self, BillingError> {
        let invalid = |reason: String| BillingError::InvalidExport { reason };
        let export: Self = serde_json::from_slice(text).map_err(|error| invalid(error.to_string()))?;
        let format = export.format()?;
        export.check(format).map_err(invalid)?;
        Ok(export)
    }

    fn format(&self) -> Result<Format, BillingError> {
        let format = self.invoice.format;
        Format::from_number(format).ok_or_else(|| BillingError::InvalidExport {
            reason: format!("format {format} is not known, only 1 to {}", Invoice::FORMAT),
        })
    }

    /// Whether its times fit together: nothing is computed from months, terms and usage that cannot be.
    fn check(&self, format: Format) -> Result<(), String> {
        let Invoice { month, billed, .. } = self.invoice;
        if !(1..=MONTH_SECONDS_MAX).contains(&month.seconds()) {
            return Err(format!("its month has {} seconds", month.seconds()));
        }
        if billed.from_ms != month.from_ms || !(month.from_ms..=month.until_ms).contains(&billed.until_ms) {
            return Err("what is billed is no part of its month".to_owned());
        }
        let mut free_from_ms = billed.from_ms;
        for (number, Term { span, .. }) in (1..).zip(&self.terms) {
            if span.from_ms < free_from_ms || span.until_ms < span.from_ms || span.until_ms > billed.until_ms
            {
                return Err(format!(
                    "term {number} is not after the one before it and within what is billed"
                ));
            }
            free_from_ms = span.until_ms;
        }
        if format == Format::LastPlan && self.usage.iter().any(|row| row.term != 0) {
            return Err("format 1 divides no usage between terms".to_owned());
        }
        match self.usage.iter().find(|row| row.term >= self.terms.len() as u64) {
            Some(row) => Err(format!("there is usage of term {}, of {}", row.term + 1, self.terms.len())),
            None => Ok(()),
        }
    }

    /// Recomputes the invoice: every difference, in words. None is the only good answer.
    ///
    /// # Errors
    /// [`BillingError::InvalidExport`] when its format is not known; those of [`Invoice::compute`].
    pub fn verify(&self) -> Result<Vec<String>, BillingError> {
        let told = &self.invoice;
        let spans = (told.month, told.billed);
        let names = (told.account.as_str(), told.period.as_str());
        let made = Invoice::compute_as(self.format()?, names, spans, &self.terms, &self.usage)?;
        let mut differences = Vec::new();
        let mut compare = |what: String, told: &str, made: &str| {
            if told != made {
                differences.push(format!("{what}: the invoice says {told}, it must be {made}"));
            }
        };
        compare("usage root".to_owned(), &told.usage_root, &made.usage_root);
        compare("currency".to_owned(), &told.currency, &made.currency);
        for index in 0..told.lines.len().max(made.lines.len()) {
            let [told, made] = [told.lines.get(index), made.lines.get(index)].map(describe);
            compare(format!("line {}", index + 1), &told, &made);
        }
        compare("total".to_owned(), &told.total.to_string(), &made.total.to_string());
        Ok(differences)
    }
}

fn describe(line: Option<&Line>) -> String {
    line.map_or_else(
        || "nothing".to_owned(),
        |line| {
            let Line { item, plan, price_version, quantity, included, unit, price, amount, usage_root } = line;
            format!(
                "{} of {plan} (prices {price_version}): {quantity} less {included} at {price} for {unit} is {amount}, \
                 of usage {usage_root}",
                item.name()
            )
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PriceSheet, Span};

    fn export() -> Export {
        let sheet = PriceSheet::parse(
            "[premium]\ncurrency = \"USD\"\nmonth = 9000000\negress = { price = 50000, included = 1 }",
        );
        let month = Span { from_ms: 0, until_ms: 2_592_000_000 };
        let prices = sheet.unwrap().0["premium"].clone();
        let terms = vec![Term { plan: "premium".to_owned(), price_version: 1, span: month, prices }];
        let usage = vec![UsageRow {
            term: 0,
            bucket: 1,
            access_key: "KEY".to_owned(),
            byte_milliseconds: 1 << 100,
            ingress: 0,
            egress: 3_000_000_000,
            class_a: 0,
            class_b: 0,
        }];
        let invoice = Invoice::compute("account", "1970-01", (month, month), &terms, &usage).unwrap();
        Export { id: "INV-1".to_owned(), invoice, terms, usage }
    }

    #[test]
    fn an_export_is_read_back_and_recomputed() {
        let export = export();
        let text = serde_json::to_vec(&export).unwrap();
        assert_eq!(Export::parse(&text).unwrap(), export);
        assert_eq!(export.verify().unwrap(), Vec::<String>::new());
        assert_eq!(export.invoice.total, 9_100_000);
    }

    #[test]
    fn whatever_is_changed_is_found() {
        type Change = fn(&mut Export);
        let edits: [(&str, Change); 6] = [
            ("total", |export| export.invoice.total += 1),
            ("line 2", |export| export.invoice.lines[1].amount += 1),
            ("line 2", |export| export.invoice.lines[1].quantity += 1),
            ("usage root", |export| export.usage[0].class_a += 1),
            ("line 1", |export| export.terms[0].prices.month += 1),
            ("line 2", |export| drop(export.invoice.lines.pop())),
        ];
        for (what, change) in edits {
            let mut changed = export();
            change(&mut changed);
            let found = changed.verify().unwrap();
            assert!(found.iter().any(|difference| difference.starts_with(what)), "{what}: {found:?}");
        }
    }

    #[test]
    fn times_that_do_not_fit_together_are_refused() {
        type Change = fn(&mut Export);
        let twice: Change = |export| export.terms.push(export.terms[0].clone());
        let edits: [(&str, Change); 7] = [
            ("its month", |export| export.invoice.month.until_ms = u64::MAX),
            ("its month", |export| export.invoice.month.until_ms = 0),
            ("what is billed", |export| export.invoice.billed.until_ms += 1),
            ("what is billed", |export| export.invoice.billed.from_ms += 1),
            ("term 1", |export| export.terms[0].span.until_ms += 1),
            ("term 2", twice),
            ("usage of term 2, of 1", |export| export.usage[0].term = 1),
        ];
        for (what, change) in edits {
            let mut changed = export();
            change(&mut changed);
            let text = serde_json::to_vec(&changed).unwrap();
            let refused = Export::parse(&text).unwrap_err().to_string();
            assert!(refused.contains(what), "{what}: {refused}");
        }
        let mut large = export();
        large.usage = vec![UsageRow { byte_milliseconds: i128::MAX, ..large.usage[0].clone() }; 2];
        assert!(matches!(large.verify(), Err(BillingError::TooLarge { item: "storage" })));
    }

    #[test]
    fn what_is_no_export_is_refused_with_the_reason() {
        let mut future = export();
        future.invoice.format = Invoice::FORMAT + 1;
        let future = serde_json::to_string(&future).unwrap();
        for (text, reason) in [("{}", "missing field"), ("no", "expected"), (future.as_str(), "format 3")] {
            let refused = Export::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(refused.contains(reason), "{text}: {refused}");
        }
    }
}

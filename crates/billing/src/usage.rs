//! What was used, as invoices are made of it, and the hash that stands for it.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::decimal;
use crate::format::Format;

/// A part of time, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// Where it begins.
    pub from_ms: u64,
    /// Where it ends.
    pub until_ms: u64,
}

impl Span {
    /// Whole seconds.
    pub(crate) fn seconds(self) -> i128 {
        i128::from(self.until_ms.saturating_sub(self.from_ms) / 1000)
    }
}

/// What was used of one bucket by one access key while one of the month's plans was in force.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageRow {
    /// Which of the invoice's terms it was used in, counted from 0.
    #[serde(default)]
    pub term: u64,
    /// The bucket's number, or 0.
    pub bucket: i64,
    /// The access key, or empty.
    pub access_key: String,
    /// Bytes times the milliseconds that they were stored.
    #[serde(with = "decimal")]
    pub byte_milliseconds: i128,
    /// Bytes received.
    pub ingress: u64,
    /// Bytes sent.
    pub egress: u64,
    /// Writes and listings.
    pub class_a: u64,
    /// Reads.
    pub class_b: u64,
}

/// The BLAKE3 hash over an account's usage, in hexadecimal digits. The rows may come in any order.
pub(crate) fn usage_root(format: Format, account: &str, span: Span, rows: &[UsageRow]) -> String {
    let mut ordered: Vec<&UsageRow> = rows.iter().collect();
    ordered.sort();
    let mut text = format!("{account}\n{},{}\n", span.from_ms, span.until_ms);
    for row in ordered {
        let UsageRow { term, bucket, access_key, byte_milliseconds, ingress, egress, class_a, class_b } = row;
        if format == Format::EachPlan {
            let _ = write!(text, "{term},");
        }
        let _ = writeln!(
            text,
            "{bucket},{access_key},{byte_milliseconds},{ingress},{egress},{class_a},{class_b}"
        );
    }
    blake3::Hasher::new_derive_key(format.usage_domain())
        .update(text.as_bytes())
        .finalize()
        .to_hex()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(bucket: i64, byte_milliseconds: i128) -> UsageRow {
        UsageRow {
            term: 0,
            bucket,
            access_key: String::new(),
            byte_milliseconds,
            ingress: 1,
            egress: 2,
            class_a: 3,
            class_b: 4,
        }
    }

    fn root_of(account: &str, span: Span, rows: &[UsageRow]) -> String {
        usage_root(Format::EachPlan, account, span, rows)
    }

    #[test]
    fn the_root_stands_for_every_digit_and_for_no_order() {
        let span = Span { from_ms: 0, until_ms: 1_000 };
        let rows = [row(1, 1 << 90), row(2, 5)];
        let root = root_of("account", span, &rows);
        assert_eq!(root, "753f08e7db5d82eb2f0bd39beb4198bdee509eaeb843e0ee87500f81490243ec");
        let [first, second] = rows.clone();
        assert_eq!(root_of("account", span, &[second, first]), root);
        let others = [
            root_of("other", span, &rows),
            root_of("account", Span { until_ms: 1_001, ..span }, &rows),
            root_of("account", span, &rows[..1]),
            root_of("account", span, &[row(1, (1 << 90) + 1), row(2, 5)]),
            root_of("account", span, &[UsageRow { term: 1, ..row(1, 1 << 90) }, row(2, 5)]),
        ];
        assert!(others.iter().all(|other| *other != root));
        let older = usage_root(Format::LastPlan, "account", span, &rows);
        assert_eq!(older, "88fe4f59b5e853f14eadbc098f6d48d302eba1ec9eb0f24d79567abbe291f46b");
    }
}

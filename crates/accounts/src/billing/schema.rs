//! Tables of billing beside those that came with the accounts' own: they have versions of their own.

use datamesh_db::Migration;

pub(super) const COMPONENT: &str = "billing";

pub(super) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, sqlite: PAYMENTS_ON_SQLITE, postgres: PAYMENTS_ON_POSTGRES },
    Migration { version: 2, sqlite: MONTHS, postgres: MONTHS },
];

/// `invoice.reopened` counts how often an invoice was owed again after it had been paid. A refund's `payment` may be unknown.
macro_rules! payments {
    ($text:literal) => {
        concat!(
            "ALTER TABLE invoice ADD COLUMN reopened BIGINT NOT NULL DEFAULT 0;
             CREATE TABLE refund (provider ",
            $text,
            " NOT NULL, reference ",
            $text,
            " NOT NULL, payment ",
            $text,
            " NOT NULL, amount BIGINT NOT NULL, at_ms BIGINT NOT NULL, PRIMARY KEY (provider, reference));
             CREATE INDEX refund_payment ON refund (provider, payment);
             CREATE TABLE payment_intent (id ",
            $text,
            " PRIMARY KEY, invoice ",
            $text,
            " NOT NULL REFERENCES invoice (id), provider ",
            $text,
            " NOT NULL, reference ",
            $text,
            ", amount BIGINT NOT NULL, currency ",
            $text,
            " NOT NULL, failure TEXT, created_at_ms BIGINT NOT NULL);
             CREATE INDEX payment_intent_invoice ON payment_intent (invoice);
             CREATE INDEX payment_intent_reference ON payment_intent (provider, reference);"
        )
    };
}

const PAYMENTS_ON_SQLITE: &str = payments!("TEXT");
const PAYMENTS_ON_POSTGRES: &str = payments!("TEXT COLLATE \"C\"");

/// A month is open until it has been closed.
const MONTHS: &str =
    "CREATE TABLE billed_month (month BIGINT PRIMARY KEY, drafted_at_ms BIGINT, closed_at_ms BIGINT);";

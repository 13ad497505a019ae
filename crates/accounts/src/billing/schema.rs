//! Tables of billing beside those that came with the accounts' own: they have versions of their own.

use datamesh_db::Migration;

pub(super) const COMPONENT: &str = "billing";

pub(super) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, sqlite: PAYMENTS_ON_SQLITE, postgres: PAYMENTS_ON_POSTGRES },
    Migration { version: 2, sqlite: MONTHS, postgres: MONTHS },
    Migration { version: 3, sqlite: WINDOWS_ON_SQLITE, postgres: WINDOWS_ON_POSTGRES },
    Migration { version: 4, sqlite: LETTERS_ON_SQLITE, postgres: LETTERS_ON_POSTGRES },
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

/// `sla_window` has all that one gateway has counted of an account's window; `source` is that gateway.
macro_rules! windows {
    ($bytes:literal, $clustered:literal) => {
        concat!(
            "CREATE TABLE sla_window (account ",
            $bytes,
            " NOT NULL, start_ms BIGINT NOT NULL, source ",
            $bytes,
            " NOT NULL, requests BIGINT NOT NULL, faults BIGINT NOT NULL,
                PRIMARY KEY (account, start_ms, source))",
            $clustered,
            ";
             CREATE INDEX sla_window_age ON sla_window (start_ms);
             CREATE TABLE sla_probe (start_ms BIGINT PRIMARY KEY, good BIGINT NOT NULL, bad BIGINT NOT NULL);"
        )
    };
}

const WINDOWS_ON_SQLITE: &str = windows!("BLOB", " WITHOUT ROWID");
const WINDOWS_ON_POSTGRES: &str = windows!("BYTEA", "");

/// `stage` is the step of dunning that the letter tells; none for a new invoice.
macro_rules! letters {
    ($text:literal, $bytes:literal) => {
        concat!(
            "CREATE TABLE bill_letter (id ",
            $text,
            " PRIMARY KEY, account ",
            $bytes,
            " NOT NULL, invoice ",
            $text,
            " NOT NULL REFERENCES invoice (id), stage BIGINT, created_at_ms BIGINT NOT NULL,
                mail_at_ms BIGINT NOT NULL, mails BIGINT NOT NULL);
             CREATE INDEX bill_letter_due ON bill_letter (mail_at_ms);"
        )
    };
}

const LETTERS_ON_SQLITE: &str = letters!("TEXT", "BLOB");
const LETTERS_ON_POSTGRES: &str = letters!("TEXT COLLATE \"C\"", "BYTEA");

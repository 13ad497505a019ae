//! The parts of a dossier: which table each is read from, in what order, and how its columns are told.

use datamesh_db::{Row, Value as Sql};

use crate::AccountsError;

/// How a column is told.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// As it is: a text or an integer.
    Plain,
    /// Milliseconds since 1970, as RFC 3339.
    Time,
    /// Bytes, in hexadecimal digits.
    Bytes,
    /// A text that is JSON.
    Document,
    /// Whether it is anything.
    Presence,
    /// This column times 2^32, plus the next.
    Wide,
    /// The address of an account, sealed under the id in the first column.
    Email,
    /// The address of a registration, likewise.
    Address,
    /// Not told: the column before needs it.
    Silent,
}

/// A part of a dossier: rows of one table.
#[derive(Debug)]
pub struct DossierPart {
    /// What it is called.
    pub name: &'static str,
    /// The first rows of the account `$1`, at most `$2`: what is told, then the keys that they are in order of.
    pub(super) first: &'static str,
    /// The same of the rows that follow the keys `$3` and so on.
    pub(super) next: &'static str,
    /// How many keys there are.
    pub(super) keys: usize,
    pub(super) columns: &'static [(&'static str, Kind)],
}

/// Where a page of a part ended.
#[derive(Debug, Clone)]
pub struct DossierCursor(pub(super) Vec<Sql>);

/// The parameters that keys are compared with.
macro_rules! places {
    ($one:literal) => {
        "$3"
    };
    ($one:literal, $two:literal) => {
        "$3, $4"
    };
    ($one:literal, $two:literal, $three:literal) => {
        "$3, $4, $5"
    };
    ($one:literal, $two:literal, $three:literal, $four:literal) => {
        "$3, $4, $5, $6"
    };
}

/// A part's name, what it selects, from where, its keys, and how its columns are told.
macro_rules! part {
    ($name:literal, $sql:literal, $from:literal, [$key:literal $(, $more:literal)*],
     [$($column:literal $kind:ident),*]) => {
        DossierPart {
            name: $name,
            first: concat!(
                "SELECT ", $sql, ", ", $key, $(", ", $more,)* " ", $from,
                " ORDER BY ", $key, $(", ", $more,)* " LIMIT $2"
            ),
            next: concat!(
                "SELECT ", $sql, ", ", $key, $(", ", $more,)* " ", $from,
                " AND (", $key, $(", ", $more,)* ") > (", places!($key $(, $more)*),
                ") ORDER BY ", $key, $(", ", $more,)* " LIMIT $2"
            ),
            keys: [$key $(, $more)*].len(),
            columns: &[$(($column, Kind::$kind)),*],
        }
    };
}

impl DossierPart {
    /// Where a page ends whose last row this is.
    pub(super) fn cursor(&self, row: &Row) -> Result<DossierCursor, AccountsError> {
        let keys = self.columns.len()..self.columns.len() + self.keys;
        let keys = keys.map(|index| Ok(row.value(index)?.clone())).collect::<Result<_, AccountsError>>()?;
        Ok(DossierCursor(keys))
    }
}

/// All parts.
pub(super) const PARTS: &[DossierPart] = &[
    part!(
        "account",
        "id, email, name, plan, status, level, created_at_ms, password, public_key",
        "FROM account WHERE id = $1",
        ["id"],
        ["user_id" Bytes, "email" Email, "name" Plain, "plan" Plain, "status" Plain, "verification_level" Plain, "created" Time,
         "has_password" Presence, "public_key" Bytes]
    ),
    part!(
        "holds",
        "id, kind, scope, reason, created_at_ms, until_ms, lifted_at_ms",
        "FROM hold WHERE account = $1",
        ["created_at_ms", "id"],
        ["hold_id" Plain, "kind" Plain, "scope" Plain, "reason" Plain, "created" Time, "until" Time, "lifted" Time]
    ),
    part!(
        "access-keys",
        "id, created_at_ms, expires_at_ms, revoked_at_ms, policy",
        "FROM access_key WHERE account = $1",
        ["id"],
        ["access_key_id" Plain, "created" Time, "expires" Time, "revoked" Time, "policy" Document]
    ),
    part!(
        "sessions",
        "created_at_ms, expires_at_ms",
        "FROM login_session WHERE account = $1",
        ["created_at_ms", "id"],
        ["created" Time, "expires" Time]
    ),
    part!(
        "subscription",
        "plan, version, since_ms",
        "FROM subscription WHERE account = $1",
        ["account"],
        ["plan" Plain, "version" Plain, "since" Time]
    ),
    part!(
        "own-limits",
        "dimension, maximum, burst, stage",
        "FROM own_limit WHERE owner = $1",
        ["dimension"],
        ["dimension" Plain, "maximum" Plain, "burst" Plain, "stage" Plain]
    ),
    part!(
        "quota",
        "dimension, maximum, used, reserved",
        "FROM quota WHERE owner = $1",
        ["dimension"],
        ["dimension" Plain, "maximum" Plain, "used" Plain, "reserved" Plain]
    ),
    part!(
        "quota-warnings",
        "at_ms, dimension, percent, used, maximum",
        "FROM quota_event WHERE owner = $1",
        ["at_ms", "id"],
        ["at" Time, "dimension" Plain, "percent" Plain, "used" Plain, "maximum" Plain]
    ),
    part!(
        "usage",
        "grain, start_ms, bucket, access_key, bytes, objects, byte_ms_high, byte_ms_low, object_ms_high,
         object_ms_low, ingress, egress, class_a, class_b, free",
        "FROM usage_rollup WHERE account = $1",
        ["grain", "start_ms", "bucket", "access_key"],
        ["grain" Plain, "start" Time, "bucket_number" Plain, "access_key_id" Plain, "bytes_changed" Plain,
         "objects_changed" Plain, "byte_milliseconds" Wide, "" Silent, "object_milliseconds" Wide, "" Silent,
         "ingress" Plain, "egress" Plain, "class_a" Plain, "class_b" Plain, "free" Plain]
    ),
    part!(
        "usage-events",
        "at_ms, bucket, access_key, bytes, objects, ingress, egress, class_a, class_b, free",
        "FROM usage_history
         WHERE account = $1",
        ["at_ms", "source", "sequence"],
        ["at" Time, "bucket_number" Plain, "access_key_id" Plain, "bytes_changed" Plain, "objects_changed" Plain,
         "ingress" Plain, "egress" Plain, "class_a" Plain, "class_b" Plain, "free" Plain]
    ),
    part!(
        "plan-terms",
        "since_ms, plan, version",
        "FROM subscription_term WHERE account = $1",
        ["since_ms"],
        ["since" Time, "plan" Plain, "version" Plain]
    ),
    part!(
        "invoices",
        "id, month, status, created_at_ms, final_at_ms, due_at_ms, closed_at_ms, body",
        "FROM invoice
         WHERE account = $1",
        ["month", "id"],
        ["invoice_id" Plain, "month" Plain, "status" Plain, "created" Time, "final" Time, "due" Time, "closed" Time,
         "body" Document]
    ),
    part!(
        "payments",
        "p.invoice, p.provider, p.reference, p.amount, p.at_ms",
        "FROM payment p JOIN invoice i ON i.id = p.invoice
         WHERE i.account = $1",
        ["p.at_ms", "p.provider", "p.reference"],
        ["invoice_id" Plain, "provider" Plain, "reference" Plain, "amount_micros" Plain, "at" Time]
    ),
    part!(
        "payment-intents",
        "n.id, n.invoice, n.provider, n.amount, n.currency, n.failure, n.created_at_ms",
        "FROM payment_intent n
         JOIN invoice i ON i.id = n.invoice WHERE i.account = $1",
        ["n.created_at_ms", "n.id"],
        ["intent_id" Plain, "invoice_id" Plain, "provider" Plain, "amount_micros" Plain, "currency" Plain,
         "failure" Plain, "created" Time]
    ),
    part!(
        "refunds",
        "r.provider, r.reference, r.payment, r.amount, r.at_ms",
        "FROM refund r
         JOIN payment p ON p.provider = r.provider AND p.reference = r.payment
         JOIN invoice i ON i.id = p.invoice WHERE i.account = $1",
        ["r.at_ms", "r.provider", "r.reference"],
        ["provider" Plain, "reference" Plain, "payment" Plain, "amount_micros" Plain, "at" Time]
    ),
    part!(
        "service-windows",
        "start_ms, source, requests, faults",
        "FROM sla_window WHERE account = $1",
        ["start_ms", "source"],
        ["start" Time, "gateway" Bytes, "requests" Plain, "faults" Plain]
    ),
    part!(
        "credit-notes",
        "c.id, c.invoice, c.amount, c.reason, c.at_ms",
        "FROM credit_note c JOIN invoice i ON i.id = c.invoice
         WHERE i.account = $1",
        ["c.at_ms", "c.id"],
        ["credit_note_id" Plain, "invoice_id" Plain, "amount_micros" Plain, "reason" Plain, "at" Time]
    ),
    part!(
        "bill-letters",
        "id, invoice, mails, created_at_ms",
        "FROM bill_letter WHERE account = $1",
        ["created_at_ms", "id"],
        ["letter_id" Plain, "invoice_id" Plain, "letters" Plain, "created" Time]
    ),
    part!(
        "registrations",
        "id, email, purpose, name, plan, created_at_ms, expires_at_ms, mails, password, public_key",
        "FROM registration
         WHERE email_hash = (SELECT email_hash FROM account WHERE account.id = $1)",
        ["created_at_ms", "id"],
        ["request_id" Bytes, "email" Address, "purpose" Plain, "name" Plain, "plan" Plain, "created" Time,
         "expires" Time, "letters" Plain, "has_password" Presence, "public_key" Bytes]
    ),
    part!(
        "verification-cases",
        "id, level, provider, status, opened_at_ms, decided_at_ms",
        "FROM verification_case WHERE account = $1",
        ["opened_at_ms", "id"],
        ["case_id" Plain, "level" Plain, "provider" Plain, "status" Plain, "opened" Time, "decided" Time]
    ),
    part!(
        "abuse-cases",
        "id, kind, status, evidence, penalty, opened_at_ms, decided_at_ms, expires_at_ms",
        "FROM abuse_case
         WHERE account = $1",
        ["opened_at_ms", "id"],
        ["case_id" Plain, "kind" Plain, "status" Plain, "evidence" Plain, "penalty_basis_points" Plain,
         "opened" Time, "decided" Time, "expires" Time]
    ),
    part!(
        "erasures",
        "id, status, opened_at_ms, due_at_ms, begun_at_ms, ended_at_ms, obstacle",
        "FROM erasure WHERE account = $1",
        ["opened_at_ms", "id"],
        ["erasure_id" Plain, "status" Plain, "opened" Time, "due" Time, "begun" Time, "ended" Time,
         "obstacle" Plain]
    ),
];

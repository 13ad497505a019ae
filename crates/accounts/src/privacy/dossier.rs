//! What is known about an account, as JSON: each table that has something about it is a part, read page by page.
//!
//! Secrets are not in it: neither sealed ones nor hashes that passwords could be guessed from.

use std::collections::HashSet;

use datamesh_db::{Row, Value as Sql};
use datamesh_types::AccountId;
use serde_json::{Map, Value, json};

use crate::clock::time_text;
use crate::identity::address_name;
use crate::metering::join;
use crate::user::email_name;
use crate::{Accounts, AccountsError, AuditEntry, AuditFilter};

/// Rows of a page.
const PAGE: usize = 2_000;

/// How a column is told.
#[derive(Debug, Clone, Copy)]
enum Kind {
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
    /// The rows of the account `$1`: at most `$2`, after the first `$3`.
    sql: &'static str,
    columns: &'static [(&'static str, Kind)],
}

macro_rules! part {
    ($name:literal, $sql:literal, [$($column:literal $kind:ident),*]) => {
        DossierPart {
            name: $name,
            sql: concat!("SELECT ", $sql, " LIMIT $2 OFFSET $3"),
            columns: &[$(($column, Kind::$kind)),*],
        }
    };
}

const PARTS: &[DossierPart] = &[
    part!(
        "account",
        "id, email, name, plan, status, level, created_at_ms, password, public_key FROM account WHERE id = $1
         ORDER BY id",
        ["user_id" Bytes, "email" Email, "name" Plain, "plan" Plain, "status" Plain, "verification_level" Plain, "created" Time,
         "has_password" Presence, "public_key" Bytes]
    ),
    part!(
        "holds",
        "id, kind, scope, reason, created_at_ms, until_ms, lifted_at_ms FROM hold WHERE account = $1
         ORDER BY created_at_ms, id",
        ["hold_id" Plain, "kind" Plain, "scope" Plain, "reason" Plain, "created" Time, "until" Time, "lifted" Time]
    ),
    part!(
        "access-keys",
        "id, created_at_ms, expires_at_ms, revoked_at_ms, policy FROM access_key WHERE account = $1 ORDER BY id",
        ["access_key_id" Plain, "created" Time, "expires" Time, "revoked" Time, "policy" Document]
    ),
    part!(
        "sessions",
        "created_at_ms, expires_at_ms FROM login_session WHERE account = $1 ORDER BY created_at_ms, id",
        ["created" Time, "expires" Time]
    ),
    part!(
        "subscription",
        "plan, version, since_ms FROM subscription WHERE account = $1 ORDER BY account",
        ["plan" Plain, "version" Plain, "since" Time]
    ),
    part!(
        "own-limits",
        "dimension, maximum, burst, stage FROM own_limit WHERE owner = $1 ORDER BY dimension",
        ["dimension" Plain, "maximum" Plain, "burst" Plain, "stage" Plain]
    ),
    part!(
        "quota",
        "dimension, maximum, used, reserved FROM quota WHERE owner = $1 ORDER BY dimension",
        ["dimension" Plain, "maximum" Plain, "used" Plain, "reserved" Plain]
    ),
    part!(
        "quota-warnings",
        "at_ms, dimension, percent, used, maximum FROM quota_event WHERE owner = $1 ORDER BY at_ms, id",
        ["at" Time, "dimension" Plain, "percent" Plain, "used" Plain, "maximum" Plain]
    ),
    part!(
        "usage",
        "grain, start_ms, bucket, access_key, bytes, objects, byte_ms_high, byte_ms_low, object_ms_high,
         object_ms_low, ingress, egress, class_a, class_b, free FROM usage_rollup WHERE account = $1
         ORDER BY grain, start_ms, bucket, access_key",
        ["grain" Plain, "start" Time, "bucket_number" Plain, "access_key_id" Plain, "bytes_changed" Plain,
         "objects_changed" Plain, "byte_milliseconds" Wide, "" Silent, "object_milliseconds" Wide, "" Silent,
         "ingress" Plain, "egress" Plain, "class_a" Plain, "class_b" Plain, "free" Plain]
    ),
    part!(
        "usage-events",
        "at_ms, bucket, access_key, bytes, objects, ingress, egress, class_a, class_b, free FROM usage_history
         WHERE account = $1 ORDER BY at_ms, source, sequence",
        ["at" Time, "bucket_number" Plain, "access_key_id" Plain, "bytes_changed" Plain, "objects_changed" Plain,
         "ingress" Plain, "egress" Plain, "class_a" Plain, "class_b" Plain, "free" Plain]
    ),
    part!(
        "plan-terms",
        "since_ms, plan, version FROM subscription_term WHERE account = $1 ORDER BY since_ms",
        ["since" Time, "plan" Plain, "version" Plain]
    ),
    part!(
        "invoices",
        "id, month, status, created_at_ms, final_at_ms, due_at_ms, closed_at_ms, body FROM invoice
         WHERE account = $1 ORDER BY month, id",
        ["invoice_id" Plain, "month" Plain, "status" Plain, "created" Time, "final" Time, "due" Time, "closed" Time,
         "body" Document]
    ),
    part!(
        "payments",
        "p.invoice, p.provider, p.reference, p.amount, p.at_ms FROM payment p JOIN invoice i ON i.id = p.invoice
         WHERE i.account = $1 ORDER BY p.at_ms, p.provider, p.reference",
        ["invoice_id" Plain, "provider" Plain, "reference" Plain, "amount_micros" Plain, "at" Time]
    ),
    part!(
        "payment-intents",
        "n.id, n.invoice, n.provider, n.amount, n.currency, n.failure, n.created_at_ms FROM payment_intent n
         JOIN invoice i ON i.id = n.invoice WHERE i.account = $1 ORDER BY n.created_at_ms, n.id",
        ["intent_id" Plain, "invoice_id" Plain, "provider" Plain, "amount_micros" Plain, "currency" Plain,
         "failure" Plain, "created" Time]
    ),
    part!(
        "refunds",
        "r.provider, r.reference, r.payment, r.amount, r.at_ms FROM refund r
         JOIN payment p ON p.provider = r.provider AND p.reference = r.payment
         JOIN invoice i ON i.id = p.invoice WHERE i.account = $1 ORDER BY r.at_ms, r.provider, r.reference",
        ["provider" Plain, "reference" Plain, "payment" Plain, "amount_micros" Plain, "at" Time]
    ),
    part!(
        "service-windows",
        "start_ms, source, requests, faults FROM sla_window WHERE account = $1 ORDER BY start_ms, source",
        ["start" Time, "gateway" Bytes, "requests" Plain, "faults" Plain]
    ),
    part!(
        "credit-notes",
        "c.id, c.invoice, c.amount, c.reason, c.at_ms FROM credit_note c JOIN invoice i ON i.id = c.invoice
         WHERE i.account = $1 ORDER BY c.at_ms, c.id",
        ["credit_note_id" Plain, "invoice_id" Plain, "amount_micros" Plain, "reason" Plain, "at" Time]
    ),
    part!(
        "bill-letters",
        "id, invoice, mails, created_at_ms FROM bill_letter WHERE account = $1 ORDER BY created_at_ms, id",
        ["letter_id" Plain, "invoice_id" Plain, "letters" Plain, "created" Time]
    ),
    part!(
        "registrations",
        "id, email, purpose, name, plan, created_at_ms, expires_at_ms, mails, password, public_key FROM registration
         WHERE email_hash = (SELECT email_hash FROM account WHERE account.id = $1) ORDER BY created_at_ms, id",
        ["request_id" Bytes, "email" Address, "purpose" Plain, "name" Plain, "plan" Plain, "created" Time,
         "expires" Time, "letters" Plain, "has_password" Presence, "public_key" Bytes]
    ),
    part!(
        "verification-cases",
        "id, level, provider, status, opened_at_ms, decided_at_ms FROM verification_case WHERE account = $1
         ORDER BY opened_at_ms, id",
        ["case_id" Plain, "level" Plain, "provider" Plain, "status" Plain, "opened" Time, "decided" Time]
    ),
    part!(
        "abuse-cases",
        "id, kind, status, evidence, penalty, opened_at_ms, decided_at_ms, expires_at_ms FROM abuse_case
         WHERE account = $1 ORDER BY opened_at_ms, id",
        ["case_id" Plain, "kind" Plain, "status" Plain, "evidence" Plain, "penalty_basis_points" Plain,
         "opened" Time, "decided" Time, "expires" Time]
    ),
    part!(
        "erasures",
        "id, status, opened_at_ms, due_at_ms, begun_at_ms, ended_at_ms, obstacle FROM erasure WHERE account = $1
         ORDER BY opened_at_ms, id",
        ["erasure_id" Plain, "status" Plain, "opened" Time, "due" Time, "begun" Time, "ended" Time,
         "obstacle" Plain]
    ),
];

/// What entries of the audit log name beside accounts: the part and the field with the ids, and what precedes them there.
const NAMED: [(&str, &str, &str); 4] = [
    ("access-keys", "access_key_id", "key"),
    ("holds", "hold_id", "hold"),
    ("abuse-cases", "case_id", "case"),
    ("invoices", "invoice_id", "invoice"),
];

/// Reads what is known about one account.
#[derive(Debug, Clone)]
pub struct Dossier {
    accounts: Accounts,
    account: AccountId,
}

impl Accounts {
    /// What is known about an account.
    pub fn dossier(&self, account: AccountId) -> Dossier {
        Dossier { accounts: self.clone(), account }
    }
}

impl Dossier {
    /// Its parts. What is known about what the account stores is not among them.
    pub const fn parts() -> &'static [DossierPart] {
        PARTS
    }

    /// A page of a part, from 0, and whether there may be another.
    pub async fn page(
        &self,
        part: &'static DossierPart,
        page: usize,
    ) -> Result<(Vec<Value>, bool), AccountsError> {
        let params = [self.account.into(), PAGE.into(), (page * PAGE).into()];
        let rows = self.accounts.db().rows(part.sql, params.into()).await?;
        let told = rows.iter().map(|row| self.tell(part, row)).collect::<Result<_, _>>()?;
        Ok((told, rows.len() == PAGE))
    }

    /// The names of the keys that objects are encrypted with by name.
    pub async fn encryption_keys(&self) -> Result<Vec<Value>, AccountsError> {
        let names = self.accounts.keyring().list_named_keys(self.account).await?;
        Ok(names.into_iter().map(|name| json!({ "name": name })).collect())
    }

    /// The entries of the audit log that name the account, one of its keys, holds or cases.
    pub async fn audit_entries(&self) -> Result<Vec<AuditEntry>, AccountsError> {
        let mut names = HashSet::from([format!("user:{}", self.account)]);
        for (part, field, kind) in NAMED {
            names.extend(self.all(part, field).await?.iter().map(|id| format!("{kind}:{id}")));
        }
        let (mut found, mut filter) = (Vec::new(), AuditFilter::default());
        loop {
            let entries = self.accounts.audit_entries(filter, PAGE).await?;
            let Some(last) = entries.last() else { return Ok(found) };
            filter.after = last.sequence;
            let is_named = |entry: &AuditEntry| entry.target.split('/').any(|name| names.contains(name));
            found.extend(entries.into_iter().filter(is_named));
        }
    }

    /// A field of every row of a part.
    async fn all(&self, part: &str, field: &str) -> Result<Vec<String>, AccountsError> {
        let mut all = Vec::new();
        let Some(part) = PARTS.iter().find(|known| known.name == part) else { return Ok(all) };
        for page in 0.. {
            let (rows, has_more) = self.page(part, page).await?;
            all.extend(rows.iter().filter_map(|row| row[field].as_str().map(str::to_owned)));
            if !has_more {
                break;
            }
        }
        Ok(all)
    }

    fn tell(&self, part: &DossierPart, row: &Row) -> Result<Value, AccountsError> {
        let mut told = Map::new();
        for (index, (name, kind)) in part.columns.iter().enumerate() {
            let value = row.value(index)?;
            let value = match kind {
                Kind::Silent => continue,
                Kind::Plain => plain(value),
                Kind::Presence => Value::Bool(*value != Sql::Null),
                Kind::Time => row.opt_int(index)?.map(i64::cast_unsigned).and_then(time_text).into(),
                Kind::Bytes => row.opt_blob(index)?.map(hex::encode).into(),
                Kind::Document => row.opt_text(index)?.map_or(Value::Null, document),
                Kind::Wide => join(row.int(index)?, row.int(index + 1)?).to_string().into(),
                Kind::Email => self.open(email_name(self.account), row.blob(index)?)?.into(),
                Kind::Address => self.open(address_name(row.blob(0)?), row.blob(index)?)?.into(),
            };
            told.insert((*name).to_owned(), value);
        }
        Ok(told.into())
    }

    fn open(&self, name: String, sealed: &[u8]) -> Result<String, AccountsError> {
        let text = self.accounts.keyring().kek().open(&name, sealed)?;
        String::from_utf8(text.to_vec()).map_err(|_| AccountsError::Damaged { name })
    }
}

fn plain(value: &Sql) -> Value {
    match value {
        Sql::Null => Value::Null,
        Sql::Int(number) => (*number).into(),
        Sql::Text(text) => text.as_str().into(),
        Sql::Blob(bytes) => hex::encode(bytes).into(),
    }
}

/// What is no JSON is told as it is.
fn document(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

//! The tables.

use datamesh_db::Migration;

pub(crate) const COMPONENT: &str = "accounts";

/// An access key's `policy` is the text of what narrows it down. `quota` has two rows for each book; `reservation` has one
/// for each gateway that holds quota of a book, in its columns `bytes` and `objects` for the first and the second row.
/// `quota.reserved` is the sum of the book's reservations at all times. `quota.maximum` is what is refused beyond,
/// `quota.soft` and `quota.stage` are the limit as it was set; both follow from plans and from `own_limit`, where a row
/// without a maximum lifts the plan's limit. `rate_share` has a row for each gateway that serves an owner with rates.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        sqlite: "
        CREATE TABLE sealed_key (name TEXT PRIMARY KEY, sealed BLOB NOT NULL) WITHOUT ROWID;
        CREATE TABLE account (
            id BLOB PRIMARY KEY, domain BLOB NOT NULL, email_hash BLOB NOT NULL UNIQUE, email BLOB NOT NULL,
            name TEXT NOT NULL, plan TEXT NOT NULL, created_at_ms BIGINT NOT NULL);
        CREATE TABLE access_key (
            id TEXT PRIMARY KEY, account BLOB NOT NULL REFERENCES account (id), sealed BLOB NOT NULL,
            created_at_ms BIGINT NOT NULL, revoked_at_ms BIGINT);
        CREATE INDEX access_key_account ON access_key (account, id);
        CREATE TABLE quota (
            owner BLOB NOT NULL, dimension BIGINT NOT NULL, maximum BIGINT, used BIGINT NOT NULL,
            reserved BIGINT NOT NULL, PRIMARY KEY (owner, dimension)) WITHOUT ROWID;
        CREATE TABLE reservation (
            id BLOB PRIMARY KEY, owner BLOB NOT NULL, bytes BIGINT NOT NULL, objects BIGINT NOT NULL,
            expires_at_ms BIGINT NOT NULL) WITHOUT ROWID;
        CREATE INDEX reservation_expiry ON reservation (owner, expires_at_ms);",
        postgres: r#"
        CREATE TABLE sealed_key (name TEXT COLLATE "C" PRIMARY KEY, sealed BYTEA NOT NULL);
        CREATE TABLE account (
            id BYTEA PRIMARY KEY, domain BYTEA NOT NULL, email_hash BYTEA NOT NULL UNIQUE, email BYTEA NOT NULL,
            name TEXT NOT NULL, plan TEXT NOT NULL, created_at_ms BIGINT NOT NULL);
        CREATE TABLE access_key (
            id TEXT COLLATE "C" PRIMARY KEY, account BYTEA NOT NULL REFERENCES account (id),
            sealed BYTEA NOT NULL, created_at_ms BIGINT NOT NULL, revoked_at_ms BIGINT);
        CREATE INDEX access_key_account ON access_key (account, id);
        CREATE TABLE quota (
            owner BYTEA NOT NULL, dimension BIGINT NOT NULL, maximum BIGINT, used BIGINT NOT NULL,
            reserved BIGINT NOT NULL, PRIMARY KEY (owner, dimension)) WITH (fillfactor = 50);
        CREATE TABLE reservation (
            id BYTEA PRIMARY KEY, owner BYTEA NOT NULL, bytes BIGINT NOT NULL, objects BIGINT NOT NULL,
            expires_at_ms BIGINT NOT NULL);
        CREATE INDEX reservation_expiry ON reservation (owner, expires_at_ms);"#,
    },
    Migration {
        version: 2,
        sqlite: "ALTER TABLE access_key ADD COLUMN policy TEXT;",
        postgres: "ALTER TABLE access_key ADD COLUMN policy TEXT;",
    },
    Migration { version: 3, sqlite: PLANS_ON_SQLITE, postgres: PLANS_ON_POSTGRES },
];

/// Accounts from before there were versions are on the first one, which ships; limits that an operator had set become
/// the account's own.
macro_rules! plans {
    ($bytes:literal, $text:literal) => {
        concat!(
            "CREATE TABLE plan_version (plan ", $text, " NOT NULL, version BIGINT NOT NULL, body TEXT NOT NULL,
                created_at_ms BIGINT NOT NULL, PRIMARY KEY (plan, version));
             CREATE TABLE subscription (account ", $bytes, " PRIMARY KEY REFERENCES account (id),
                plan ", $text, " NOT NULL, version BIGINT NOT NULL, since_ms BIGINT NOT NULL);
             CREATE TABLE own_limit (owner ", $bytes, " NOT NULL, dimension BIGINT NOT NULL, maximum BIGINT,
                burst BIGINT, stage BIGINT NOT NULL, PRIMARY KEY (owner, dimension));
             CREATE TABLE rate_share (owner ", $bytes, " NOT NULL, gateway ", $bytes, " NOT NULL,
                expires_at_ms BIGINT NOT NULL, PRIMARY KEY (owner, gateway));
             CREATE TABLE hold (id ", $text, " PRIMARY KEY, account ", $bytes, " NOT NULL REFERENCES account (id),
                kind ", $text, " NOT NULL, scope ", $text, " NOT NULL, reason TEXT NOT NULL,
                created_at_ms BIGINT NOT NULL, until_ms BIGINT, lifted_at_ms BIGINT);
             CREATE INDEX hold_account ON hold (account, created_at_ms);
             CREATE TABLE quota_event (id ", $text, " PRIMARY KEY, owner ", $bytes, " NOT NULL,
                dimension BIGINT NOT NULL, percent BIGINT NOT NULL, used BIGINT NOT NULL, maximum BIGINT NOT NULL,
                at_ms BIGINT NOT NULL);
             CREATE INDEX quota_event_owner ON quota_event (owner, at_ms);
             ALTER TABLE quota ADD COLUMN soft BIGINT;
             ALTER TABLE quota ADD COLUMN stage BIGINT NOT NULL DEFAULT 2;
             UPDATE quota SET soft = maximum;
             INSERT INTO subscription (account, plan, version, since_ms)
                SELECT id, plan, 1, created_at_ms FROM account;
             INSERT INTO own_limit (owner, dimension, maximum, stage)
                SELECT q.owner, q.dimension, q.maximum, 2 FROM quota q JOIN account a ON a.id = q.owner
                WHERE COALESCE(q.maximum, -1) <> CASE a.plan
                    WHEN 'free' THEN CASE q.dimension WHEN 1 THEN 5000000000 ELSE 1000 END
                    WHEN 'premium' THEN CASE q.dimension WHEN 1 THEN 100000000000 ELSE 10000 END
                    ELSE -1 END;"
        )
    };
}

const PLANS_ON_SQLITE: &str = plans!("BLOB", "TEXT");
const PLANS_ON_POSTGRES: &str = plans!("BYTEA", "TEXT COLLATE \"C\"");

//! The tables.

use datamesh_db::Migration;

pub(crate) const COMPONENT: &str = "accounts";

/// An access key's `policy` is the text of what narrows it down. `quota` has one row for each dimension of each owner; `reservation` has one for each gateway that holds quota of
/// an owner. `quota.reserved` is the sum of the owner's reservations at all times.
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
];

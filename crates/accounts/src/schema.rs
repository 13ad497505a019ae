//! The tables.

mod plan_migration;
mod privacy;

use datamesh_db::Migration;

pub(crate) const COMPONENT: &str = "accounts";

/// An access key's `policy` is the text of what narrows it down. `quota` has two rows for each book; `reservation` has one
/// for each gateway that holds quota of a book, in its columns `bytes` and `objects` for the first and the second row.
/// `quota.reserved` is the sum of the book's reservations at all times. `quota.maximum` is what is refused beyond,
/// `quota.soft` and `quota.stage` are the limit as it was set; both follow from plans and from `own_limit`, where a row
/// without a maximum lifts the plan's limit. `rate_share` has a row for each gateway that serves an owner with rates.
/// `usage_event` is the outbox of metering, without an index that writers would pay for; `usage_history` has what was
/// rolled up; in `usage_rollup` the numbers of 128 bits have two columns (`high * 2^32 + low`).
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
    Migration { version: 4, sqlite: METERING_ON_SQLITE, postgres: METERING_ON_POSTGRES },
    Migration { version: 5, sqlite: AUDIT_ON_SQLITE, postgres: AUDIT_ON_POSTGRES },
    Migration { version: 6, sqlite: IDENTITY_ON_SQLITE, postgres: IDENTITY_ON_POSTGRES },
    Migration { version: 7, sqlite: BILLING_ON_SQLITE, postgres: BILLING_ON_POSTGRES },
    Migration { version: 8, sqlite: privacy::ON_SQLITE, postgres: privacy::ON_POSTGRES },
    Migration { version: 9, sqlite: plan_migration::ON_SQLITE, postgres: plan_migration::ON_POSTGRES },
    Migration { version: 10, sqlite: KEY_EXPIRY, postgres: KEY_EXPIRY },
    Migration { version: 11, sqlite: AUDIT_EXPIRY_ON_SQLITE, postgres: AUDIT_EXPIRY_ON_POSTGRES },
];

/// Until now a key that ended by itself was one that another had taken the place of.
const KEY_EXPIRY: &str = "ALTER TABLE access_key ADD COLUMN replaced BIGINT NOT NULL DEFAULT 0;
    UPDATE access_key SET replaced = 1 WHERE expires_at_ms IS NOT NULL;";

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

macro_rules! metering {
    ($bytes:literal, $text:literal, $clustered:literal) => {
        concat!(
            "CREATE TABLE usage_event (source ",
            $bytes,
            " NOT NULL, sequence BIGINT NOT NULL,
                account ",
            $bytes,
            " NOT NULL, bucket BIGINT NOT NULL, access_key ",
            $text,
            " NOT NULL DEFAULT '',
                at_ms BIGINT NOT NULL, bytes BIGINT NOT NULL, objects BIGINT NOT NULL,
                ingress BIGINT NOT NULL DEFAULT 0, egress BIGINT NOT NULL DEFAULT 0,
                class_a BIGINT NOT NULL DEFAULT 0, class_b BIGINT NOT NULL DEFAULT 0,
                free BIGINT NOT NULL DEFAULT 0, PRIMARY KEY (source, sequence))",
            $clustered,
            ";
             CREATE TABLE usage_history (source ",
            $bytes,
            " NOT NULL, sequence BIGINT NOT NULL,
                account ",
            $bytes,
            " NOT NULL, bucket BIGINT NOT NULL, access_key ",
            $text,
            " NOT NULL,
                at_ms BIGINT NOT NULL, bytes BIGINT NOT NULL, objects BIGINT NOT NULL,
                ingress BIGINT NOT NULL, egress BIGINT NOT NULL, class_a BIGINT NOT NULL,
                class_b BIGINT NOT NULL, free BIGINT NOT NULL, PRIMARY KEY (source, sequence))",
            $clustered,
            ";
             CREATE INDEX usage_history_account ON usage_history (account, at_ms, source, sequence);
             CREATE INDEX usage_history_age ON usage_history (at_ms);
             CREATE TABLE usage_rollup (grain BIGINT NOT NULL, account ",
            $bytes,
            " NOT NULL,
                start_ms BIGINT NOT NULL, bucket BIGINT NOT NULL, access_key ",
            $text,
            " NOT NULL,
                bytes BIGINT NOT NULL, objects BIGINT NOT NULL,
                byte_ms_high BIGINT NOT NULL, byte_ms_low BIGINT NOT NULL,
                object_ms_high BIGINT NOT NULL, object_ms_low BIGINT NOT NULL,
                ingress BIGINT NOT NULL, egress BIGINT NOT NULL, class_a BIGINT NOT NULL,
                class_b BIGINT NOT NULL, free BIGINT NOT NULL,
                PRIMARY KEY (grain, account, start_ms, bucket, access_key))",
            $clustered,
            ";
             CREATE INDEX usage_rollup_age ON usage_rollup (grain, start_ms);
             CREATE TABLE usage_mark (name ",
            $text,
            " PRIMARY KEY, at_ms BIGINT NOT NULL);
             CREATE INDEX quota_event_age ON quota_event (at_ms);"
        )
    };
}

const METERING_ON_SQLITE: &str = metering!("BLOB", "TEXT", " WITHOUT ROWID");
const METERING_ON_POSTGRES: &str = metering!("BYTEA", "TEXT COLLATE \"C\"", "");

/// `audit_head` has one row. `answered_request` has no answer while a request is under way.
macro_rules! audit {
    ($bytes:literal, $text:literal, $zeros:literal) => {
        concat!(
            "CREATE TABLE audit_entry (sequence BIGINT PRIMARY KEY, at_ms BIGINT NOT NULL, actor TEXT NOT NULL,
                action TEXT NOT NULL, target TEXT NOT NULL, reason TEXT NOT NULL, outcome TEXT NOT NULL,
                request ", $bytes, " NOT NULL, previous ", $bytes, " NOT NULL, hash ", $bytes, " NOT NULL);
             CREATE TABLE audit_head (id BIGINT PRIMARY KEY, sequence BIGINT NOT NULL, at_ms BIGINT NOT NULL,
                hash ", $bytes, " NOT NULL, signature TEXT NOT NULL);
             INSERT INTO audit_head (id, sequence, at_ms, hash, signature) VALUES (1, 0, 0, ", $zeros, ", '');
             CREATE TABLE answered_request (id ", $text, " PRIMARY KEY, request ", $bytes, " NOT NULL,
                status BIGINT, answer ", $bytes, ", created_at_ms BIGINT NOT NULL);
             CREATE INDEX answered_request_age ON answered_request (created_at_ms);"
        )
    };
}

const AUDIT_ON_SQLITE: &str = audit!("BLOB", "TEXT", "zeroblob(32)");
const AUDIT_ON_POSTGRES: &str = audit!("BYTEA", "TEXT COLLATE \"C\"", "decode(repeat('00', 32), 'hex')");

/// Entries without a `payload` are of version 1. `audit_head.emptied` is up to where entries need not be looked at to find
/// more to empty; it proves nothing.
macro_rules! audit_expiry {
    ($bytes:literal) => {
        concat!(
            "ALTER TABLE audit_entry ADD COLUMN payload ",
            $bytes,
            ";
             ALTER TABLE audit_entry ADD COLUMN emptied BIGINT NOT NULL DEFAULT 0;
             ALTER TABLE audit_head ADD COLUMN emptied BIGINT NOT NULL DEFAULT 0;"
        )
    };
}

const AUDIT_EXPIRY_ON_SQLITE: &str = audit_expiry!("BLOB");
const AUDIT_EXPIRY_ON_POSTGRES: &str = audit_expiry!("BYTEA");

/// `registration.mail_at_ms` is when its letter is due; NULL when it was sent, or is none to send. Accounts that operators
/// made are verified as far as an address.
macro_rules! identity {
    ($bytes:literal, $text:literal) => {
        concat!(
            "ALTER TABLE account ADD COLUMN status TEXT NOT NULL DEFAULT 'active';
             ALTER TABLE account ADD COLUMN level BIGINT NOT NULL DEFAULT 1;
             ALTER TABLE account ADD COLUMN password TEXT;
             ALTER TABLE account ADD COLUMN public_key ",
            $bytes,
            ";
             ALTER TABLE access_key ADD COLUMN expires_at_ms BIGINT;
             CREATE TABLE registration (id ",
            $bytes,
            " PRIMARY KEY, email_hash ",
            $bytes,
            " NOT NULL,
                email ",
            $bytes,
            " NOT NULL, name TEXT NOT NULL, plan TEXT NOT NULL, password TEXT,
                public_key ",
            $bytes,
            ", created_at_ms BIGINT NOT NULL, expires_at_ms BIGINT NOT NULL,
                mail_at_ms BIGINT, mails BIGINT NOT NULL);
             CREATE INDEX registration_email ON registration (email_hash, created_at_ms);
             CREATE INDEX registration_mail ON registration (mail_at_ms);
             CREATE INDEX registration_age ON registration (expires_at_ms);
             CREATE TABLE login_session (id ",
            $bytes,
            " PRIMARY KEY,
                account ",
            $bytes,
            " NOT NULL REFERENCES account (id), created_at_ms BIGINT NOT NULL,
                expires_at_ms BIGINT NOT NULL);
             CREATE INDEX login_session_age ON login_session (expires_at_ms);
             CREATE TABLE used_challenge (id ",
            $bytes,
            " PRIMARY KEY, expires_at_ms BIGINT NOT NULL);
             CREATE INDEX used_challenge_age ON used_challenge (expires_at_ms);
             CREATE TABLE verification_case (id ",
            $text,
            " PRIMARY KEY,
                account ",
            $bytes,
            " NOT NULL REFERENCES account (id), level BIGINT NOT NULL,
                provider TEXT NOT NULL, status TEXT NOT NULL, opened_at_ms BIGINT NOT NULL,
                decided_at_ms BIGINT);
             CREATE INDEX verification_case_open ON verification_case (status, opened_at_ms);
             CREATE INDEX verification_case_account ON verification_case (account);"
        )
    };
}

const IDENTITY_ON_SQLITE: &str = identity!("BLOB", "TEXT");
const IDENTITY_ON_POSTGRES: &str = identity!("BYTEA", "TEXT COLLATE \"C\"");

macro_rules! billing {
    ($bytes:literal, $text:literal) => {
        concat!(
            "CREATE TABLE price_version (plan ", $text, " NOT NULL, version BIGINT NOT NULL, body TEXT NOT NULL,
                from_ms BIGINT NOT NULL, created_at_ms BIGINT NOT NULL, PRIMARY KEY (plan, version));
             CREATE TABLE subscription_term (account ", $bytes, " NOT NULL REFERENCES account (id),
                since_ms BIGINT NOT NULL, plan ", $text, " NOT NULL, version BIGINT NOT NULL,
                PRIMARY KEY (account, since_ms));
             INSERT INTO subscription_term (account, since_ms, plan, version)
                SELECT account, since_ms, plan, version FROM subscription;
             CREATE TABLE invoice (id ", $text, " PRIMARY KEY, account ", $bytes, " NOT NULL,
                month BIGINT NOT NULL, status BIGINT NOT NULL, body TEXT NOT NULL, created_at_ms BIGINT NOT NULL,
                final_at_ms BIGINT, due_at_ms BIGINT, closed_at_ms BIGINT, dunning BIGINT NOT NULL DEFAULT 0,
                UNIQUE (account, month));
             CREATE INDEX invoice_due ON invoice (status, id);
             CREATE TABLE payment (provider ", $text, " NOT NULL, reference ", $text, " NOT NULL,
                invoice ", $text, " NOT NULL REFERENCES invoice (id), amount BIGINT NOT NULL, at_ms BIGINT NOT NULL,
                PRIMARY KEY (provider, reference));
             CREATE INDEX payment_invoice ON payment (invoice);
             CREATE TABLE credit_note (id ", $text, " PRIMARY KEY,
                invoice ", $text, " NOT NULL REFERENCES invoice (id), amount BIGINT NOT NULL, reason TEXT NOT NULL,
                at_ms BIGINT NOT NULL);
             CREATE INDEX credit_note_invoice ON credit_note (invoice);"
        )
    };
}

const BILLING_ON_SQLITE: &str = billing!("BLOB", "TEXT");
const BILLING_ON_POSTGRES: &str = billing!("BYTEA", "TEXT COLLATE \"C\"");

#[cfg(test)]
mod tests {
    use datamesh_db::{Db, Value};
    use datamesh_testkit::for_each_engine;
    use datamesh_types::AccountId;

    use super::*;
    use crate::user::email_name;
    use crate::{Accounts, AccountsConfig, Dimension, Kek, Keyring, Owner};

    const FREE: AccountId = AccountId([1; 16]);
    const LIMITED: AccountId = AccountId([2; 16]);

    async fn execute(db: &Db, sql: &'static str, params: Vec<Value>) {
        db.execute(sql, params.into()).await.unwrap();
    }

    /// Two accounts as the first release stores them: one on its plan's limits, one with a limit of its own.
    async fn fill(db: &Db, kek: &Kek) {
        const ACCOUNT: &str = "INSERT INTO account (id, domain, email_hash, email, name, plan, created_at_ms)
            VALUES ($1, $1, $1, $2, 'Old', 'free', 5)";
        const QUOTA: &str = "INSERT INTO quota (owner, dimension, maximum, used, reserved)
            VALUES ($1, $2, $3, $4, 0)";
        for (account, bytes) in [(FREE, 5_000_000_000_u64), (LIMITED, 777)] {
            let email = kek.seal(&email_name(account), b"old@example.com").unwrap();
            execute(db, ACCOUNT, vec![account.into(), email.into()]).await;
            for (dimension, maximum, used) in [(1, bytes, 70), (2, 1_000, 7)] {
                let params = vec![account.into(), dimension.into(), maximum.into(), used.into()];
                execute(db, QUOTA, params).await;
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn accounts_of_the_first_release_keep_their_limits_and_usage_through_every_upgrade() {
        for_each_engine(|db| async move {
            db.migrate(COMPONENT, &MIGRATIONS[..1]).await.unwrap();
            let folder = tempfile::tempdir().unwrap();
            let kek = Kek::load_or_create(folder.path().join("kek")).unwrap();
            fill(&db, &kek).await;
            let keyring = Keyring::open(db.clone(), kek).await.unwrap();
            let accounts = Accounts::open(db.clone(), keyring, AccountsConfig::default()).await.unwrap();
            let user = accounts.user(LIMITED).await.unwrap().unwrap();
            assert_eq!(
                (user.email.as_str(), user.name.as_str(), user.created_at_ms),
                ("old@example.com", "Old", 5)
            );
            for (account, bytes, own) in
                [(FREE, 5_000_000_000, vec![]), (LIMITED, 777, vec![Dimension::Bytes])]
            {
                let allowance = accounts.allowance(&Owner::Account(account)).await.unwrap();
                assert_eq!(allowance.limits.hard(Dimension::Bytes), Some(bytes));
                assert_eq!(allowance.own, own);
                let plan = allowance.plan.unwrap();
                assert_eq!((plan.name.as_str(), plan.version), ("free", 1));
                let usage = accounts.usage(account).await.unwrap();
                assert_eq!((usage.bytes.used, usage.objects.used), (70, 7));
            }
            accounts.reserve(LIMITED, 707, 1).await.unwrap();
            assert_eq!(accounts.roll_up().await.unwrap(), 0);
        })
        .await;
    }
}

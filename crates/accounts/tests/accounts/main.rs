//! What accounts promise, on both engines.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use datamesh_accounts::{
    Accounts, AccountsConfig, AccountsError, Clock, Dimension, FLUSH_EVERY, Freshness, Kek, Keyring, Limit,
    LimitChange, Owner, RequestClass, SandboxPayments, Secret, User,
};
use datamesh_db::{Db, DbError, Row, StoredCount, StoredUsage, Tx, TxFuture};
use datamesh_testkit::for_each_engine;
use datamesh_types::AccountId;
use tempfile::TempDir;

mod abuse;
mod admissions;
mod audit;
mod audit_expiry;
mod bill_letters;
mod divided_months;
mod dossiers;
mod erasures;
mod identity;
mod intents;
mod invoices;
mod keys;
mod legal_holds;
mod limits;
mod metering;
mod migration_runs;
mod model;
mod months;
mod own_login;
mod payments;
mod plan_migrations;
mod quotas;
mod rates;
mod reconciling;
mod rotation;
mod service_levels;
mod traffic_model;
mod usage;
mod verification;

/// A clock that stands still until a test turns it.
#[derive(Default)]
pub struct TestClock {
    elapsed_ms: AtomicU64,
    /// By how much the time of day was set forward, or back.
    set_by_ms: AtomicI64,
}

impl TestClock {
    fn advance(&self, by: Duration) {
        self.elapsed_ms.fetch_add(by.as_millis() as u64, Ordering::SeqCst);
    }

    fn set_back(&self, by: Duration) {
        self.set_by_ms.fetch_sub(by.as_millis() as i64, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> u64 {
        (1_800_000_000_000 + self.elapsed_ms.load(Ordering::SeqCst))
            .saturating_add_signed(self.set_by_ms.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms.load(Ordering::SeqCst))
    }
}

/// Gateways on one database, with one clock.
struct Fixture {
    db: Db,
    folder: TempDir,
    clock: Arc<TestClock>,
}

impl Fixture {
    fn new(db: Db) -> Self {
        Self { db, folder: TempDir::new().unwrap(), clock: Arc::default() }
    }

    async fn keyring(&self) -> Result<Keyring, AccountsError> {
        Keyring::open(self.db.clone(), Kek::load_or_create(self.folder.path().join("kek")).unwrap()).await
    }

    /// One more gateway.
    async fn gateway(&self) -> Accounts {
        self.open(true).await
    }

    /// One that meters nothing.
    async fn unmetered_gateway(&self) -> Accounts {
        self.open(false).await
    }

    async fn open(&self, metering: bool) -> Accounts {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let config = AccountsConfig {
            clock,
            metering,
            queue_time: Duration::ZERO,
            audit_head_file: Some(self.folder.path().join("audit-head.json")),
            payment_providers: vec![Arc::new(SandboxPayments::new(&Secret::new(
                payments::SECRET.to_owned(),
            )))],
            ..AccountsConfig::default()
        };
        Accounts::open(self.db.clone(), self.keyring().await.unwrap(), config).await.unwrap()
    }

    async fn rows(&self, sql: &'static str) -> Vec<Row> {
        let rows = self.db.read::<_, DbError, _>(move |tx| Box::pin(tx.query(sql, &[])));
        rows.await.unwrap()
    }

    async fn execute(&self, sql: &'static str) {
        self.db.write::<_, DbError, _>(move |tx| Box::pin(tx.execute(sql, &[]))).await.unwrap();
    }
}

/// What a catalog would count.
pub struct Counted(pub Vec<StoredUsage>);

impl StoredCount for Counted {
    fn count<'t>(&'t self, _tx: &'t mut Tx, bucket: Option<i64>) -> TxFuture<'t, Vec<StoredUsage>, DbError> {
        let mut counted = self.0.clone();
        counted.retain(|stored| bucket.is_none_or(|bucket| stored.bucket == bucket));
        Box::pin(async move { Ok(counted) })
    }
}

/// Sets one of an owner's own limits.
async fn set_limit(accounts: &Accounts, owner: &Owner, dimension: Dimension, limit: impl Into<Option<u64>>) {
    let change =
        limit.into().map_or(LimitChange::Unlimited, |limit| LimitChange::Limit(Limit::enforced(limit)));
    let count = Arc::new(Counted(Vec::new()));
    accounts.change_limits(owner, &[(dimension, change)], count).await.unwrap();
}

async fn user(accounts: &Accounts, plan: &str) -> User {
    accounts.create_user("somebody@example.com", "Somebody", plan).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_found_by_its_address_and_its_id() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let created = accounts.create_user(" Ada@Example.com ", "Ada", "free").await.unwrap();
        assert_eq!(created.email, "Ada@Example.com");
        assert_eq!(accounts.find_user("ada@EXAMPLE.com").await.unwrap(), Some(created.clone()));
        assert_eq!(accounts.find_user(&created.id.to_string()).await.unwrap(), Some(created.clone()));
        assert_eq!(accounts.find_user("bob@example.com").await.unwrap(), None);
        let bob = accounts.create_user("bob@example.com", "Bob", "unlimited").await.unwrap();
        assert_ne!((bob.id, bob.domain), (created.id, created.domain));
        let mut expected = vec![created, bob];
        expected.sort_by_key(|user| user.id);
        assert_eq!(accounts.list_users(None, 10).await.unwrap(), expected);
        let second_page = accounts.list_users(Some(expected[0].id), 1).await.unwrap();
        assert_eq!(second_page, expected[1..]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_one_account_whatever_its_case_and_however_many_try() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let gateways = [fixture.gateway().await, fixture.gateway().await];
        let tries = (0..16).map(|number: usize| {
            let accounts = gateways[number % 2].clone();
            let email = if number.is_multiple_of(3) { "a@example.com" } else { "A@Example.COM" };
            tokio::spawn(async move { accounts.create_user(email, "A", "free").await })
        });
        let mut created = 0;
        for attempt in tries.collect::<Vec<_>>() {
            match attempt.await.unwrap() {
                Ok(_) => created += 1,
                Err(AccountsError::EmailTaken) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(created, 1);
        for email in ["", "a", "@b", "a@", "a b@c", "a@b\n"] {
            let refused = accounts_error(gateways[0].create_user(email, "A", "free").await);
            // A line break at the end is trimmed, and then the address is taken or new.
            if email.trim() == email {
                assert!(
                    matches!(refused, Some(AccountsError::InvalidEmail { .. })),
                    "{email:?}: {refused:?}"
                );
            }
        }
    })
    .await;
}

fn accounts_error<T>(result: Result<T, AccountsError>) -> Option<AccountsError> {
    result.err()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_holds_no_address_and_no_secret_in_plain() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let user = user(&accounts, "free").await;
        let key = accounts.create_key(user.id, None).await.unwrap();
        let mut stored = String::new();
        for sql in [
            "SELECT email FROM account",
            "SELECT email_hash FROM account",
            "SELECT sealed FROM access_key",
            "SELECT sealed FROM sealed_key",
        ] {
            for row in fixture.rows(sql).await {
                stored.push_str(&String::from_utf8_lossy(row.blob(0).unwrap()));
            }
        }
        assert!(!stored.contains("somebody"));
        assert!(!stored.contains(key.secret_access_key.expose()));
    })
    .await;
}

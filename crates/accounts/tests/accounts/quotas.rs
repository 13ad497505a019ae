//! Quotas that cannot be raced (faults.md, F15).

use super::*;
use datamesh_accounts::{Counter, Drift, Reservation};
use datamesh_db::{CommitHook, UsageChange};
use datamesh_types::{AccountId, MIB};

/// Where everything is stored.
const BUCKET: i64 = 1;

/// A commit by the catalog: here it consists of its hook alone.
pub async fn commit(db: &Db, hook: Arc<dyn CommitHook>, change: UsageChange) -> Result<(), DbError> {
    db.write(move |tx| {
        let hook = Arc::clone(&hook);
        Box::pin(async move { hook.run(tx, &change).await })
    })
    .await
}

async fn store(db: &Db, reservation: Reservation, bytes: i64, objects: i64) -> Result<(), DbError> {
    let account = reservation.account();
    commit(db, Arc::new(reservation), UsageChange { account, bucket: BUCKET, bytes, objects }).await
}

/// What is stored and reserved, checked against the reservations' rows and the limit.
async fn usage(fixture: &Fixture, accounts: &Accounts, account: AccountId) -> (u64, u64) {
    let usage = accounts.usage(account).await.unwrap();
    let rows = fixture.rows("SELECT bytes, objects FROM reservation").await;
    let sum = |column| rows.iter().map(|row| row.uint(column).unwrap()).sum::<u64>();
    assert_eq!((usage.bytes.reserved, usage.objects.reserved), (sum(0), sum(1)));
    if let Some(limit) = usage.bytes.limit {
        assert!(usage.bytes.used + usage.bytes.reserved <= limit, "{usage:?}");
    }
    (usage.bytes.used, usage.bytes.reserved)
}

async fn limit_bytes(accounts: &Accounts, account: AccountId, limit: u64) {
    set_limit(accounts, &Owner::Account(account), Dimension::Bytes, limit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_64_uploads_for_the_last_mebibyte_only_those_that_fit_get_in() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db.clone());
        let mut gateways = Vec::new();
        for _ in 0..4 {
            gateways.push(fixture.gateway().await);
        }
        let account = user(&gateways[0], "unlimited").await.id;
        limit_bytes(&gateways[0], account, 10 * MIB).await;
        let whole = gateways[0].reserve(account, 9 * MIB, 1).await.unwrap();
        store(&db, whole, 9 << 20, 1).await.unwrap();

        // A third of a MiB each: three fit.
        let size = MIB / 3;
        let uploads = (0..64).map(|number: usize| {
            let (accounts, db) = (gateways[number % 4].clone(), db.clone());
            tokio::spawn(async move {
                let reservation = accounts.reserve(account, size, 1).await?;
                store(&db, reservation, size as i64, 1).await?;
                Ok::<_, AccountsError>(())
            })
        });
        let mut stored = 0;
        for upload in uploads.collect::<Vec<_>>() {
            match upload.await.unwrap() {
                Ok(()) => stored += 1,
                Err(AccountsError::QuotaExceeded { dimension, limit, requested, .. }) => {
                    assert_eq!((dimension, limit, requested), (Dimension::Bytes, 10 * MIB, size));
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(stored, 3);
        assert_eq!(usage(&fixture, &gateways[1], account).await.0, 9 * MIB + 3 * size);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_room_of_what_is_replaced_is_there_once() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db.clone());
        let gateways = [fixture.gateway().await, fixture.gateway().await];
        let account = user(&gateways[0], "unlimited").await.id;
        limit_bytes(&gateways[0], account, 10).await;
        set_limit(&gateways[0], &Owner::Account(account), Dimension::Objects, 1).await;
        let full = gateways[0].reserve_in(account, BUCKET, 10, 1).await.unwrap();
        store(&db, full, 10, 1).await.unwrap();
        let refused = gateways[0].reserve_in(account, BUCKET, 10, 1).await.unwrap_err();
        assert!(matches!(refused, AccountsError::QuotaExceeded { .. }), "{refused}");
        // Both are to replace the object; before the second does, it is deleted and another one takes its place.
        let first = gateways[0].reserve_in(account, BUCKET, 0, 0).await.unwrap();
        let second = gateways[1].reserve_in(account, BUCKET, 0, 0).await.unwrap();
        store(&db, first, -3, 0).await.unwrap();
        let change = |bytes, objects| UsageChange { account, bucket: BUCKET, bytes, objects };
        commit(&db, gateways[0].release_hook(), change(-7, -1)).await.unwrap();
        let other = gateways[0].reserve_in(account, BUCKET, 9, 1).await.unwrap();
        store(&db, other, 9, 1).await.unwrap();
        let refused = store(&db, second, 7, 1).await.unwrap_err();
        assert!(matches!(refused, DbError::Rejected { .. }), "{refused}");
        assert_eq!(usage(&fixture, &gateways[0], account).await.0, 9);
    })
    .await;
}

/// Races for each owner on each engine. `DATAMESH_RACE_ROUNDS` asks for more.
fn race_rounds() -> usize {
    std::env::var("DATAMESH_RACE_ROUNDS").map_or(10, |rounds| rounds.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn at_no_instant_of_many_races_for_the_last_mebibyte_is_a_limit_exceeded() {
    for_each_engine(|db| async move {
        const LIMIT: u64 = 10 * MIB;
        let fixture = Fixture::new(db.clone());
        let gateways = [fixture.gateway().await, fixture.gateway().await];
        let account = user(&gateways[0], "unlimited").await.id;
        for owner in [Owner::Account(account), Owner::Bucket(BUCKET)] {
            set_limit(&gateways[0], &owner, Dimension::Bytes, LIMIT).await;
            fixture.clock.advance(Duration::from_secs(6));
            for round in 0..race_rounds() {
                let most = Arc::new(std::sync::atomic::AtomicU64::new(0));
                let uploads = (0..64).map(|number: usize| {
                    let (accounts, db, owner) = (gateways[number % 2].clone(), db.clone(), owner.clone());
                    let most = Arc::clone(&most);
                    tokio::spawn(async move {
                        let size = MIB / 3 + number as u64;
                        let stored = match accounts.reserve_in(account, BUCKET, size, 1).await {
                            Ok(reservation) => {
                                let account = reservation.account();
                                let change =
                                    UsageChange { account, bucket: BUCKET, bytes: size as i64, objects: 1 };
                                commit(&db, Arc::new(reservation), change).await.unwrap();
                                size
                            }
                            Err(AccountsError::QuotaExceeded { .. }) => 0,
                            Err(error) => panic!("{error}"),
                        };
                        let allowance = accounts.allowance(&owner).await.unwrap();
                        let (_, bytes) = allowance.standings[0];
                        most.fetch_max(bytes.used + bytes.reserved, Ordering::SeqCst);
                        stored
                    })
                });
                let mut stored = 0;
                for upload in uploads.collect::<Vec<_>>() {
                    stored += upload.await.unwrap();
                }
                let most = most.load(Ordering::SeqCst);
                assert!(most <= LIMIT, "{owner}, round {round}: {most} at once");
                // All of it is used up but for less than an upload and what the other gateway held.
                assert!(stored > LIMIT / 2, "{owner}, round {round}: {stored}");
                let emptied = UsageChange { account, bucket: BUCKET, bytes: -(stored as i64), objects: 0 };
                commit(&db, gateways[0].release_hook(), emptied).await.unwrap();
            }
            let none = [(Dimension::Bytes, LimitChange::Unlimited)];
            gateways[0].change_limits(&owner, &none, Arc::new(Counted(Vec::new()))).await.unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_killed_gateways_hold_comes_free_when_it_expires_and_not_before() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db.clone());
        let survivor = fixture.gateway().await;
        let account = user(&survivor, "unlimited").await.id;
        limit_bytes(&survivor, account, MIB).await;
        for _ in 0..2 {
            let killed = fixture.gateway().await;
            std::mem::forget(killed.reserve(account, MIB / 2, 1).await.unwrap());
        }
        assert_eq!(usage(&fixture, &survivor, account).await, (0, MIB));
        let ttl = AccountsConfig::default().reservation_ttl;
        fixture.clock.advance(ttl.saturating_sub(Duration::from_millis(1)));
        let error = survivor.reserve(account, 1, 0).await.unwrap_err();
        assert!(
            matches!(error, AccountsError::QuotaExceeded { used: 0, reserved: MIB, requested: 1, .. }),
            "{error}"
        );

        fixture.clock.advance(Duration::from_millis(1));
        let whole = survivor.reserve(account, MIB, 1).await.unwrap();
        assert_eq!(usage(&fixture, &survivor, account).await, (0, MIB));
        store(&db, whole, 1 << 20, 1).await.unwrap();
        assert_eq!(usage(&fixture, &survivor, account).await, (MIB, 0));
        assert_eq!(survivor.expire_reservations().await.unwrap(), 0);
        fixture.clock.advance(ttl);
        survivor.expire_reservations().await.unwrap();
        assert_eq!(usage(&fixture, &survivor, account).await, (MIB, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_outlives_its_reservation_must_fit_anew() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db.clone());
        let [slow, quick] = [fixture.gateway().await, fixture.gateway().await];
        let account = user(&slow, "unlimited").await.id;
        limit_bytes(&slow, account, MIB).await;
        let late = slow.reserve(account, MIB / 2, 1).await.unwrap();
        let too_late = slow.reserve(account, MIB / 2, 1).await.unwrap();
        fixture.clock.advance(AccountsConfig::default().reservation_ttl);
        assert_eq!(quick.expire_reservations().await.unwrap(), 1);
        let in_between = quick.reserve(account, MIB / 2, 1).await.unwrap();
        store(&db, in_between, 1 << 19, 1).await.unwrap();

        store(&db, late, 1 << 19, 1).await.unwrap();
        let error = store(&db, too_late, 1 << 19, 1).await.unwrap_err();
        let DbError::Rejected { source } = error else { panic!("{error}") };
        let refused = source.downcast::<AccountsError>().unwrap();
        assert!(matches!(*refused, AccountsError::QuotaExceeded { used: MIB, .. }), "{refused}");
        assert_eq!(usage(&fixture, &quick, account).await, (MIB, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn far_from_the_limit_uploads_share_one_reservation_of_their_gateway() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db.clone());
        let accounts = fixture.gateway().await;
        let account = user(&accounts, "premium").await.id;
        let first = accounts.reserve(account, 4_096, 1).await.unwrap();
        let leased = usage(&fixture, &accounts, account).await.1;
        // The plan's 100 GB are so much room that the lease is a part of it.
        assert_eq!(leased, 100_000_000_000 / 1_024 + 4_096);
        let others = futures::future::join_all((0..50).map(|_| accounts.reserve(account, 4_096, 1))).await;
        assert_eq!(usage(&fixture, &accounts, account).await.1, leased, "no transaction was needed");
        store(&db, first, 4_096, 1).await.unwrap();
        for other in others {
            store(&db, other.unwrap(), 4_000, 1).await.unwrap();
        }
        let (stored, reserved) = usage(&fixture, &accounts, account).await;
        assert_eq!((stored, reserved), (4_096 + 50 * 4_000, leased - stored));
        // What is left of it is found again.
        drop(accounts.reserve(account, 1_000, 1).await.unwrap());
        assert_eq!(usage(&fixture, &accounts, account).await, (stored, reserved));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_upload_gives_back_what_it_held() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db.clone());
        let [here, there] = [fixture.gateway().await, fixture.gateway().await];
        let account = user(&here, "unlimited").await.id;
        limit_bytes(&here, account, MIB).await;
        let aborted = here.reserve(account, MIB, 1).await.unwrap();
        there.reserve(account, 1, 1).await.unwrap_err();
        drop(aborted);
        drop(here.reserve(account, MIB, 1).await.unwrap());
        // Another gateway gets it once the first has told the database, which it does on its own.
        let got = loop {
            match there.reserve(account, MIB, 1).await {
                Ok(reservation) => break reservation,
                Err(AccountsError::QuotaExceeded { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(usage(&fixture, &here, account).await, (0, MIB));
        drop(got);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_unknown_length_reserves_in_steps() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db.clone());
        let accounts = fixture.gateway().await;
        let account = user(&accounts, "unlimited").await.id;
        let unlimited = accounts.reserve(account, 10, 1).await.unwrap();
        limit_bytes(&accounts, account, MIB).await;
        let growing = accounts.reserve(account, MIB / 4, 1).await.unwrap();
        growing.extend(MIB / 4).await.unwrap();
        assert_eq!(usage(&fixture, &accounts, account).await, (0, MIB / 2));
        growing.extend(MIB / 2 + 1).await.unwrap_err();
        // What was taken for before there was a limit is under it now.
        unlimited.extend(MIB / 4).await.unwrap();
        assert_eq!(usage(&fixture, &accounts, account).await, (0, MIB / 4 * 3));
        store(&db, growing, 1 << 19, 1).await.unwrap();
        store(&db, unlimited, 100, 1).await.unwrap();
        assert_eq!(usage(&fixture, &accounts, account).await.0, MIB / 2 + 100);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_its_bucket_refuses_is_not_kept_of_the_account() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let account = user(&accounts, "unlimited").await.id;
        limit_bytes(&accounts, account, MIB).await;
        set_limit(&accounts, &Owner::Bucket(BUCKET), Dimension::Bytes, 100).await;
        let growing = accounts.reserve_in(account, BUCKET, 0, 1).await.unwrap();
        let refused = growing.extend(MIB).await.unwrap_err();
        assert!(matches!(refused, AccountsError::QuotaExceeded { limit: 100, .. }), "{refused}");
        growing.extend(100).await.unwrap();
        let rest = accounts.reserve(account, MIB - 100, 1).await.unwrap();
        accounts.reserve(account, 1, 0).await.unwrap_err();
        drop(rest);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_counts_the_difference_and_deletes_are_always_allowed() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db.clone());
        let accounts = fixture.gateway().await;
        let account = user(&accounts, "free").await.id;
        let first = accounts.reserve(account, 1_000, 1).await.unwrap();
        store(&db, first, 1_000, 1).await.unwrap();
        let smaller = accounts.reserve(account, 400, 1).await.unwrap();
        store(&db, smaller, -600, 0).await.unwrap();
        limit_bytes(&accounts, account, 1).await;
        set_limit(&accounts, &Owner::Account(account), Dimension::Objects, 0).await;
        let change = UsageChange { account, bucket: BUCKET, bytes: -100, objects: 0 };
        commit(&db, accounts.release_hook(), change).await.unwrap();
        let now = accounts.usage(account).await.unwrap();
        assert_eq!((now.bytes.used, now.objects.used, now.bytes.limit), (300, 1, Some(1)));
        let growth = UsageChange { account, bucket: BUCKET, bytes: 1, objects: 0 };
        assert!(matches!(commit(&db, accounts.release_hook(), growth).await, Err(DbError::Rejected { .. })));
        let error = accounts.reserve(account, 0, 1).await.err();
        // The gateway's lease from before still has room; beyond it there is none.
        assert!(error.is_none());
        let error = accounts.reserve(account, 1 << 40, 1).await.unwrap_err();
        assert!(matches!(error, AccountsError::QuotaExceeded { .. }));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_objects_is_limited_like_bytes() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db.clone());
        let accounts = fixture.gateway().await;
        let account = user(&accounts, "unlimited").await.id;
        set_limit(&accounts, &Owner::Account(account), Dimension::Objects, 2).await;
        let held = accounts.reserve(account, MIB, 1).await.unwrap();
        store(&db, accounts.reserve(account, MIB, 1).await.unwrap(), 1 << 20, 1).await.unwrap();
        let error = accounts.reserve(account, MIB, 1).await.unwrap_err();
        let expected = format!(
            "the limit of 2 objects of the account {account} would be exceeded: 1 used, 1 reserved, 1 requested"
        );
        assert_eq!(error.to_string(), expected);
        drop(held);
        accounts.reserve(account, MIB, 1).await.unwrap();
        let nobody = AccountId::random();
        let error = accounts.reserve(nobody, 1, 1).await.unwrap_err();
        assert!(matches!(error, AccountsError::NoSuchAccount { account } if account == nobody));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reconciling_reports_every_difference_and_mends_it() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db.clone());
        let accounts = fixture.gateway().await;
        let account = user(&accounts, "free").await.id;
        let other = accounts.create_user("other@example.com", "Other", "free").await.unwrap().id;
        store(&db, accounts.reserve(account, 1_000, 1).await.unwrap(), 1_000, 1).await.unwrap();
        store(&db, accounts.reserve(other, 7, 1).await.unwrap(), 7, 1).await.unwrap();
        let stored = StoredUsage { account, bucket: BUCKET, bytes: 1_000, objects: 1 };
        let truth = Arc::new(Counted(vec![stored]));
        let found = accounts.reconcile(truth.clone()).await.unwrap();
        let owner = Owner::Account(other);
        let drift = |dimension, recorded| {
            let (owner, counter) = (owner.clone(), Counter::Used);
            Drift { owner, dimension, counter, recorded, counted: 0 }
        };
        let expected = [drift(Dimension::Bytes, 7), drift(Dimension::Objects, 1)];
        assert_eq!((found.owners_checked, found.drifts.as_slice()), (2, expected.as_slice()));
        assert_eq!(accounts.mend_usage(truth.clone()).await.unwrap(), found);
        assert_eq!(accounts.reconcile(truth).await.unwrap().drifts, []);
        let all = accounts.usage_of_all().await.unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all.iter().map(|usage| usage.bytes.used).sum::<u64>(), 1_000);
    })
    .await;
}

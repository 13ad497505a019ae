//! Usage as it is told, verified and forgotten.

use super::metering::{Scene, redeliver};
use super::*;
use datamesh_accounts::{Direction, Grain, Measure, Month, Pace, Retention, UnmeteredSpan};
use datamesh_catalog::Catalog;

const DAY: Duration = Duration::from_hours(24);

async fn run(db: &Db, sql: &'static str) -> u64 {
    db.write::<_, DbError, _>(move |tx| Box::pin(async move { tx.execute(sql, &[]).await })).await.unwrap()
}

async fn drifts(scene: &Scene) -> Vec<(Option<Grain>, Measure, i128, i128)> {
    let found = scene.accounts.verify_usage(Some(scene.account), Catalog::stored_count()).await.unwrap();
    let described = |drift: &datamesh_accounts::UsageDrift| {
        (drift.span.map(|(grain, _)| grain), drift.measure, drift.recorded, drift.counted)
    };
    found.drifts.iter().map(described).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_before_metering_began_counts_from_then_on_and_once() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db.clone());
        let mut scene = Scene::new(&fixture, 0).await;
        // As a release without metering would have left it.
        scene.put(0, b"old", 5_000, Some(Arc::new(()))).await;
        run(&db, "DELETE FROM usage_mark").await;
        assert_eq!(drifts(&scene).await.len(), 2, "bytes and objects are in no event");
        let gateways = [fixture.gateway().await, fixture.gateway().await];
        let [first, second] = [&gateways[0], &gateways[1]];
        let (first, second) = futures::join!(
            first.begin_metering(Catalog::stored_count()),
            second.begin_metering(Catalog::stored_count())
        );
        first.unwrap();
        second.unwrap();
        scene.put(0, b"new", 300, None).await;
        gateways[0].begin_metering(Catalog::stored_count()).await.unwrap();
        assert_eq!(drifts(&scene).await, []);
        scene.clock.advance(Duration::from_secs(10));
        let month = Month::of(scene.clock.now_ms());
        let report = scene.accounts.usage_of_month(scene.account, month, Freshness::Current).await.unwrap();
        let [usage] = report.usages.as_slice() else { panic!("{report:?}") };
        assert_eq!((usage.bytes, usage.objects), (5_300, 2));
        assert_eq!((usage.byte_ms, usage.object_ms), (53_000_000, 20_000));
        assert_eq!(report.until_ms, scene.clock.now_ms(), "a month that is not over is told up to now");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_while_nothing_is_metered_counts_for_nothing_and_the_gap_is_told() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let mut scene = Scene::new(&fixture, 0).await;
        let month = Month::of(scene.clock.now_ms());
        scene.put(0, b"early", 1_000, None).await;
        scene.clock.advance(Duration::from_secs(10));

        let unmetered = [fixture.unmetered_gateway().await, fixture.unmetered_gateway().await];
        let (first, second) = futures::join!(unmetered[0].end_metering(), unmetered[1].end_metering());
        first.unwrap();
        second.unwrap();
        let from_ms = scene.clock.now_ms();
        scene.accounts = unmetered[0].clone();
        let events = fixture.rows("SELECT source FROM usage_event").await.len();
        scene.clock.advance(Duration::from_mins(90));
        scene.put(0, b"meanwhile", 500, None).await;
        unmetered[1].end_metering().await.unwrap();
        assert_eq!(fixture.rows("SELECT source FROM usage_event").await.len(), events, "nothing is metered");
        assert_eq!(scene.accounts.usage(scene.account).await.unwrap().bytes.used, 1_500, "quotas go on");
        for refused in [
            scene.accounts.usage_of_month(scene.account, month, Freshness::Current).await.map(drop),
            scene.accounts.verify_usage(None, Catalog::stored_count()).await.map(drop),
        ] {
            let refused = refused.unwrap_err();
            assert!(matches!(refused, AccountsError::NotMetered), "{refused}");
        }

        let metered = [fixture.gateway().await, fixture.gateway().await];
        let (first, second) = futures::join!(
            metered[0].begin_metering(Catalog::stored_count()),
            metered[1].begin_metering(Catalog::stored_count())
        );
        first.unwrap();
        second.unwrap();
        let until_ms = scene.clock.now_ms();
        scene.accounts = metered[0].clone();
        scene.clock.advance(Duration::from_secs(10));
        assert_eq!(drifts(&scene).await, []);
        let report = scene.accounts.usage_of_month(scene.account, month, Freshness::Current).await.unwrap();
        let [usage] = report.usages.as_slice() else { panic!("{report:?}") };
        assert_eq!((usage.bytes, usage.objects), (1_500, 2));
        assert_eq!((usage.byte_ms, usage.object_ms), (25_000_000, 30_000));
        assert_eq!(report.unmetered, Some(UnmeteredSpan { from_ms, until_ms }));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_that_has_not_begun_is_refused() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let scene = Scene::new(&fixture, 0).await;
        let now = Month::of(scene.clock.now_ms());
        scene.accounts.usage_of_month(scene.account, now, Freshness::Current).await.unwrap();
        let refused =
            scene.accounts.usage_of_month(scene.account, now.next(), Freshness::Current).await.unwrap_err();
        assert!(matches!(refused, AccountsError::InvalidPeriod { .. }), "{refused}");
        assert!(refused.to_string().contains("has not begun"), "{refused}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_fails_and_one_that_changes_nothing_leave_no_event() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let mut scene = Scene::new(&fixture, 0).await;
        scene.put(0, b"key", 300, None).await;
        scene.put(0, b"key", 300, None).await;
        let owner = Owner::Account(scene.account);
        set_limit(&scene.accounts, &owner, Dimension::Bytes, 400).await;
        let change = datamesh_db::UsageChange {
            account: scene.account,
            bucket: scene.buckets[0].id.0,
            bytes: 200,
            objects: 1,
        };
        let refused = quotas::commit(&fixture.db, scene.accounts.release_hook(), change).await.unwrap_err();
        assert!(matches!(refused, DbError::Rejected { .. }), "{refused}");
        assert_eq!(fixture.rows("SELECT bytes FROM usage_event").await.len(), 1);
        assert_eq!(drifts(&scene).await, []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verification_finds_sums_that_were_tampered_with_and_events_that_are_lost() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db.clone());
        let mut scene = Scene::new(&fixture, 0).await;
        scene.put(0, b"key", 300, None).await;
        scene.put(1, b"key", 500, None).await;
        scene.accounts.roll_up().await.unwrap();
        assert_eq!(drifts(&scene).await, []);
        run(&db, "UPDATE usage_rollup SET egress = egress + 7 WHERE grain = 0 AND bytes = 300").await;
        let (hour, month) = (Some(Grain::Hour), Some(Grain::Month));
        assert_eq!(
            drifts(&scene).await,
            [(hour, Measure::Egress, 7, 0), (month, Measure::Egress, 0, 7)],
            "the hour is not its events, the month is not its hours"
        );
        run(&db, "UPDATE usage_rollup SET egress = 0").await;
        run(&db, "UPDATE usage_rollup SET bytes = 301 WHERE grain = 1 AND bytes = 300").await;
        assert_eq!(
            drifts(&scene).await,
            [(month, Measure::Bytes, 301, 300), (None, Measure::Bytes, 301, 300)],
            "the month is not its hours, nor what is stored"
        );
        run(&db, "UPDATE usage_rollup SET bytes = 300 WHERE bytes = 301").await;
        run(&db, "DELETE FROM usage_history WHERE bytes = 500").await;
        let found = drifts(&scene).await;
        let measures: Vec<_> = found.iter().map(|(grain, measure, ..)| (*grain, *measure)).collect();
        let lost = [Measure::Bytes, Measure::Objects, Measure::ByteTime, Measure::ObjectTime];
        assert_eq!(measures, lost.map(|measure| (hour, measure)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_leaves_the_months_as_they_were() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db.clone());
        let mut scene = Scene::new(&fixture, 0).await;
        let month = Month::of(scene.clock.now_ms());
        let owner = Owner::Account(scene.account);
        set_limit(&scene.accounts, &owner, Dimension::Bytes, 1_000).await;
        set_limit(&scene.accounts, &owner, Dimension::Requests, 100).await;
        let admission = scene.accounts.admission(RequestClass::B);
        admission.enter(&owner, datamesh_accounts::Effect::Read).await.unwrap();
        admission.signed_by(scene.account, "KEY".into());
        admission.take(Direction::Sent, 77).await.unwrap();
        admission.moved(Direction::Sent, 77, &mut Pace::default());
        drop(admission);
        scene.put(0, b"key", 900, None).await;
        scene.accounts.flush_meters().await;
        assert_eq!(fixture.rows("SELECT id FROM quota_event").await.len(), 1);
        assert_eq!(fixture.rows("SELECT gateway FROM rate_share").await.len(), 1);
        let retention =
            Retention { events: 7 * DAY, hours: 400 * DAY, warnings: 365 * DAY, windows: 100 * DAY };
        scene.accounts.roll_up().await.unwrap();
        let purged = scene.accounts.purge(retention).await.unwrap();
        assert_eq!(purged, datamesh_accounts::Purged::default(), "nothing is old");

        scene.clock.advance(90 * DAY);
        let before = scene.accounts.usage_of_month(scene.account, month, Freshness::Current).await.unwrap();
        let hours = scene
            .accounts
            .usage_by_hour(scene.account, month, scene.buckets[0].id.0, Freshness::Current)
            .await
            .unwrap();
        assert!(!hours.is_empty());
        let purged = scene.accounts.purge(retention).await.unwrap();
        assert_eq!((purged.events, purged.hours, purged.warnings), (2, 0, 0));
        assert_eq!((purged.shares, purged.books), (1, 2));
        assert_eq!(drifts(&scene).await, []);
        // Delivered so late that nobody remembers it: what is left must not depend on that.
        redeliver(&db).await;
        scene.clock.advance(400 * DAY);
        let purged = scene.accounts.purge(retention).await.unwrap();
        assert_eq!((purged.events, purged.hours, purged.warnings), (0, 2, 1));
        assert_eq!(
            scene.accounts.usage_of_month(scene.account, month, Freshness::Current).await.unwrap(),
            before
        );
        let refused = scene
            .accounts
            .usage_by_hour(scene.account, month, scene.buckets[0].id.0, Freshness::Current)
            .await;
        assert!(refused.unwrap_err().to_string().contains("not kept any more"));
        assert_eq!(drifts(&scene).await, []);
        scene.delete(scene.buckets[0].id, b"key", None).await;
        assert_eq!(drifts(&scene).await, []);
    })
    .await;
}

/// How many bytes the account stores, as its usage tells.
async fn told(scene: &Scene, freshness: Freshness) -> i64 {
    let month = Month::of(scene.clock.now_ms());
    let report = scene.accounts.usage_of_month(scene.account, month, freshness).await.unwrap();
    report.usages.iter().map(|usage| usage.bytes).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_ask_again_and_again_share_a_rollup_for_a_while() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let mut scene = Scene::new(&fixture, 0).await;
        scene.put(0, b"one", 300, None).await;
        assert_eq!(told(&scene, Freshness::Recent).await, 300);
        scene.put(0, b"two", 500, None).await;
        let (one, other) = futures::join!(told(&scene, Freshness::Recent), told(&scene, Freshness::Recent));
        assert_eq!((one, other), (300, 300));
        assert_eq!(fixture.rows("SELECT bytes FROM usage_event").await.len(), 1, "it waits for a roll-up");
        scene.clock.advance(FLUSH_EVERY);
        assert_eq!(told(&scene, Freshness::Recent).await, 800);
        scene.put(0, b"three", 700, None).await;
        assert_eq!(told(&scene, Freshness::Current).await, 1_500, "whoever needs all of it gets it");
    })
    .await;
}

//! Rates, operations at once, and what is moved in a month.

use super::*;
use datamesh_accounts::{Direction, Effect, Month, Pace};
use datamesh_types::MIB;

async fn passes(accounts: &Accounts, owner: &Owner) -> bool {
    match accounts.admission(RequestClass::B).enter(owner, Effect::Read).await {
        Ok(()) => true,
        Err(AccountsError::RateExceeded { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

/// A gateway on the system's clock, which lets requests wait, and an owner.
async fn patient(fixture: &Fixture) -> (Accounts, Owner) {
    let config = AccountsConfig { queue_time: Duration::from_secs(20), ..AccountsConfig::default() };
    let keyring = fixture.keyring().await.unwrap();
    let accounts = Accounts::open(fixture.db.clone(), keyring, config).await.unwrap();
    let owner = Owner::Account(user(&accounts, "unlimited").await.id);
    (accounts, owner)
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_pass_in_a_burst_and_then_at_their_rate() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let account = Owner::Account(user(&accounts, "free").await.id);
        for owner in [account, Owner::Bucket(1), Owner::Key("KEY".into())] {
            let limit = Limit { maximum: 4, burst: Some(6), ..Limit::enforced(4) };
            let changes = [
                (Dimension::Requests, LimitChange::Limit(limit)),
                (Dimension::Operations, LimitChange::Unlimited),
            ];
            accounts.change_limits(&owner, &changes, Arc::new(Counted(Vec::new()))).await.unwrap();
            for number in 0..6 {
                assert!(passes(&accounts, &owner).await, "{owner}: request {number} of the burst");
            }
            assert!(!passes(&accounts, &owner).await);
            for _ in 0..8 {
                fixture.clock.advance(Duration::from_millis(250));
                assert!(passes(&accounts, &owner).await);
                assert!(!passes(&accounts, &owner).await);
            }
        }
        assert!(passes(&accounts, &Owner::Bucket(2)).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_over_its_rate_waits_for_its_turn_before_it_is_refused() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let (accounts, owner) = patient(&fixture).await;
        let limit = Limit { maximum: 100, burst: Some(1), ..Limit::enforced(100) };
        let changes = [
            (Dimension::Requests, LimitChange::Limit(limit)),
            (Dimension::Operations, LimitChange::Limit(Limit::enforced(3))),
        ];
        accounts.change_limits(&owner, &changes, Arc::new(Counted(Vec::new()))).await.unwrap();
        let start = std::time::Instant::now();
        let requests = (0..40).map(|_| passes(&accounts, &owner));
        let passed = futures::future::join_all(requests).await;
        assert!(passed.iter().all(|passed| *passed));
        assert!(start.elapsed() >= Duration::from_millis(390), "{:?}", start.elapsed());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_pass_in_the_order_they_came() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let (accounts, owner) = patient(&fixture).await;
        let limit = Limit { maximum: 200, burst: Some(1), ..Limit::enforced(200) };
        let changes = [(Dimension::Requests, LimitChange::Limit(limit))];
        accounts.change_limits(&owner, &changes, Arc::new(Counted(Vec::new()))).await.unwrap();
        // What is known of the owner is read once, so that nobody's first step takes longer than another's.
        assert!(passes(&accounts, &owner).await);
        let order = std::sync::Mutex::new(Vec::new());
        let requests = (0..30).map(|number| {
            let (accounts, owner, order) = (&accounts, &owner, &order);
            async move {
                assert!(passes(accounts, owner).await);
                order.lock().unwrap().push(number);
            }
        });
        futures::future::join_all(requests).await;
        let order = order.into_inner().unwrap();
        assert!(order.is_sorted(), "{order:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_at_once_are_limited_and_end_with_their_request() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let owner = Owner::Account(user(&accounts, "unlimited").await.id);
        set_limit(&accounts, &owner, Dimension::Operations, 2).await;
        let [first, second] = [accounts.admission(RequestClass::B), accounts.admission(RequestClass::B)];
        first.enter(&owner, Effect::Write).await.unwrap();
        // Entering twice takes one permit.
        first.enter(&owner, Effect::Write).await.unwrap();
        second.enter(&owner, Effect::Read).await.unwrap();
        let refused = accounts.admission(RequestClass::B).enter(&owner, Effect::Read).await.unwrap_err();
        let AccountsError::RateExceeded { dimension, limit, .. } = refused else { panic!("{refused}") };
        assert_eq!((dimension, limit), (Dimension::Operations, 2));
        drop(second);
        assert!(passes(&accounts, &owner).await);
        assert!(passes(&accounts, &owner).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_share_a_rate_and_inherit_from_those_that_are_gone() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let ttl = AccountsConfig::default().reservation_ttl;
        let [here, there] = [fixture.gateway().await, fixture.gateway().await];
        let owner = Owner::Account(user(&here, "unlimited").await.id);
        set_limit(&here, &owner, Dimension::Operations, 8).await;
        let room = async |accounts: &Accounts| {
            let mut running = Vec::new();
            loop {
                let admission = accounts.admission(RequestClass::B);
                match admission.enter(&owner, Effect::Read).await {
                    Ok(()) => running.push(admission),
                    Err(_) => return running.len(),
                }
            }
        };
        assert_eq!(room(&here).await, 8);
        assert_eq!(room(&there).await, 4);
        // The first one notices at its next renewal.
        fixture.clock.advance(ttl / 3);
        assert_eq!(room(&here).await, 4);
        // The other is gone: its lease ends.
        for _ in 0..4 {
            fixture.clock.advance(ttl / 3);
            room(&here).await;
        }
        assert_eq!(room(&here).await, 8);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bandwidth_of_two_streams_is_their_owners_together() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let owner = Owner::Account(user(&accounts, "unlimited").await.id);
        set_limit(&accounts, &owner, Dimension::Upload, MIB).await;
        let [one, other] = [accounts.admission(RequestClass::B), accounts.admission(RequestClass::B)];
        for admission in [&one, &other] {
            admission.enter(&owner, Effect::Write).await.unwrap();
            let mut unlimited = Pace::default();
            admission.moved(Direction::Sent, 9 * MIB, &mut unlimited);
            assert_eq!(admission.turn(Direction::Sent, &mut unlimited), None);
        }
        fixture.clock.advance(Duration::from_secs(1));
        let mut longest = Duration::ZERO;
        for admission in [&one, &other] {
            let mut pace = Pace::default();
            admission.moved(Direction::Received, MIB, &mut pace);
            while let Some(wait) = admission.turn(Direction::Received, &mut pace) {
                longest = longest.max(wait);
            }
        }
        // Two MiB at one a second; the last turn of 16 KiB begins before they are over, a quarter of a second was free.
        let expected = Duration::from_micros(2_000_000 - 1_000_000 / 64 - 250_000);
        assert!(longest.abs_diff(expected) < Duration::from_millis(1), "{longest:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_months_traffic_is_limited_with_any_number_of_gateways_and_begins_anew() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let gateways = [fixture.gateway().await, fixture.gateway().await];
        let account = Owner::Account(user(&gateways[0], "unlimited").await.id);
        for owner in [account, Owner::Bucket(1), Owner::Key("KEY".into())] {
            set_limit(&gateways[0], &owner, Dimension::Egress, 10 * MIB).await;
            let admissions = [gateways[0].admission(RequestClass::B), gateways[1].admission(RequestClass::B)];
            for admission in &admissions {
                admission.enter(&owner, Effect::Read).await.unwrap();
            }
            let mut sent = 0;
            for number in 0..64 {
                let admission = &admissions[number % 2];
                match admission.take(Direction::Sent, MIB / 3).await {
                    Ok(()) => {
                        // Bytes that nobody announced are counted, too.
                        admission.moved(Direction::Received, 1, &mut Pace::default());
                        admission.moved(Direction::Sent, MIB / 3, &mut Pace::default());
                        sent += MIB / 3;
                    }
                    Err(AccountsError::QuotaExceeded { dimension, limit, requested, .. }) => {
                        assert_eq!((dimension, limit, requested), (Dimension::Egress, 10 * MIB, MIB / 3));
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            assert_eq!(sent, 30 * (MIB / 3), "{owner}");
            // One that is not sent after all comes back.
            drop(admissions);
            for gateway in &gateways {
                gateway.flush_meters().await;
            }
            let standing = async || {
                let allowance = gateways[1].allowance(&owner).await.unwrap();
                let moved = |wanted| {
                    let mut standings = allowance.standings.iter();
                    standings.find(|(dimension, _)| *dimension == wanted).map(|(_, standing)| standing.used)
                };
                (moved(Dimension::Ingress), moved(Dimension::Egress))
            };
            assert_eq!(standing().await, (Some(30), Some(sent)));
            fixture.clock.advance(Duration::from_hours(31 * 24));
            assert_eq!(standing().await, (None, None));
            let admission = gateways[0].admission(RequestClass::B);
            admission.enter(&owner, Effect::Read).await.unwrap();
            admission.take(Direction::Sent, 10 * MIB).await.unwrap();
            admission.take(Direction::Sent, 1).await.unwrap_err();
            admission.moved(Direction::Sent, MIB, &mut Pace::default());
            drop(admission);
            gateways[0].flush_meters().await;
            assert_eq!(standing().await, (Some(0), Some(MIB)), "what was not sent is not counted");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_without_a_limit_is_counted_all_the_same() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let owner = Owner::Account(user(&accounts, "unlimited").await.id);
        for _ in 0..100 {
            let admission = accounts.admission(RequestClass::B);
            admission.enter(&owner, Effect::Read).await.unwrap();
            admission.take(Direction::Received, 7).await.unwrap();
            admission.take(Direction::Sent, 5).await.unwrap();
            admission.moved(Direction::Received, 7, &mut Pace::default());
            admission.moved(Direction::Sent, 3, &mut Pace::default());
        }
        accounts.flush_meters().await;
        let rows =
            fixture.rows("SELECT used, reserved FROM quota WHERE dimension > 2 ORDER BY dimension").await;
        let used: Vec<_> = rows.iter().map(|row| (row.uint(0).unwrap(), row.uint(1).unwrap())).collect();
        assert_eq!(used, [(700, 0), (300, 0)]);
        assert_eq!(Month::of(fixture.clock.now_ms()), Month(202_701));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_move_comes_back_to_the_month_that_it_was_taken_of() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let owner = Owner::Account(user(&accounts, "unlimited").await.id);
        let admission = accounts.admission(RequestClass::B);
        admission.enter(&owner, Effect::Read).await.unwrap();
        admission.take(Direction::Sent, 100).await.unwrap();
        admission.moved(Direction::Sent, 30, &mut Pace::default());
        accounts.flush_meters().await;
        fixture.clock.advance(Duration::from_hours(31 * 24));
        drop(admission);
        accounts.flush_meters().await;
        let rows = fixture.rows("SELECT used FROM quota WHERE dimension = 4").await;
        let used: Vec<_> = rows.iter().map(|row| row.int(0).unwrap()).collect();
        assert_eq!(used, [30], "the next month has no book");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_larger_than_the_limit_are_refused() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let account = user(&accounts, "free").await.id;
        let owners = [Owner::Account(account), Owner::Bucket(5)];
        accounts.check_object_size(&owners, 100_000_000).await.unwrap();
        let refused = accounts.check_object_size(&owners, 100_000_001).await.unwrap_err();
        assert!(matches!(refused, AccountsError::QuotaExceeded { dimension: Dimension::ObjectSize, .. }));
        set_limit(&accounts, &owners[1], Dimension::ObjectSize, 10).await;
        accounts.check_object_size(&owners, 10).await.unwrap();
        accounts.check_object_size(&owners, 11).await.unwrap_err();
        let key = Owner::Key("KEY".into());
        set_limit(&accounts, &key, Dimension::ObjectSize, 3).await;
        let admission = accounts.admission(RequestClass::B);
        admission.enter(&key, Effect::Write).await.unwrap();
        admission.check_object_size(3).unwrap();
        admission.check_object_size(4).unwrap_err();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recording_what_one_owner_moved_leaves_the_others_for_later() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let mut owners = Vec::new();
        for email in ["one@example.com", "other@example.com", "idle@example.com"] {
            owners.push(Owner::Account(accounts.create_user(email, "A", "free").await.unwrap().id));
        }
        for owner in &owners[..2] {
            let admission = accounts.admission(RequestClass::B);
            admission.enter(owner, Effect::Read).await.unwrap();
            admission.take(Direction::Sent, 5).await.unwrap();
            admission.moved(Direction::Sent, 5, &mut Pace::default());
        }
        for asks in [&owners[0], &owners[2]] {
            accounts.flush_meter(asks).await;
        }
        let recorded = fixture.rows("SELECT owner FROM quota WHERE dimension = 4 AND used = 5").await;
        assert_eq!(recorded.len(), 1);
        accounts.flush_meters().await;
        let recorded = fixture.rows("SELECT owner FROM quota WHERE dimension = 4 AND used = 5").await;
        assert_eq!(recorded.len(), 2);
    })
    .await;
}

//! Plans, own limits, holds.

use super::*;
use datamesh_accounts::{Effect, HoldKind, HoldScope, NewHold, PlanFile, Stage};

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_gets_versions_and_subscribers_keep_theirs() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let old = user(&accounts, "free").await.id;
        let file =
            PlanFile::parse("[free]\nbytes = { maximum = \"7 GB\" }\n[team]\nobjects = { maximum = 9 }")
                .unwrap();
        let applied = accounts.apply_plans(&file).await.unwrap();
        let told: Vec<_> =
            applied.iter().map(|done| (done.plan.name.as_str(), done.plan.version, done.is_new)).collect();
        assert_eq!(told, [("free", 2, true), ("team", 1, true)]);
        let again = accounts.apply_plans(&file).await.unwrap();
        assert!(again.iter().all(|done| !done.is_new), "{again:?}");

        let new = accounts.create_user("new@example.com", "New", "free").await.unwrap().id;
        let limit = async |account| accounts.usage(account).await.unwrap().bytes.limit;
        assert_eq!(limit(old).await, Some(5_000_000_000));
        assert_eq!(limit(new).await, Some(7_000_000_000));
        accounts.subscribe(old, "free", None).await.unwrap();
        assert_eq!(limit(old).await, Some(7_000_000_000));
        accounts.subscribe(old, "free", Some(1)).await.unwrap();
        assert_eq!(limit(old).await, Some(5_000_000_000));
        assert_eq!(accounts.user(old).await.unwrap().unwrap().plan, "free");
        // A second gateway does not ship its plans again.
        fixture.gateway().await;
        let versions = accounts.plans().await.unwrap();
        assert_eq!(versions.iter().filter(|plan| plan.name == "free").count(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_refused_and_changes_nothing() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let account = user(&accounts, "free").await.id;
        let owner = Owner::Account(account);
        let before = accounts.allowance(&owner).await.unwrap();
        for refused in [
            accounts.subscribe(account, "platinum", None).await.unwrap_err(),
            accounts.subscribe(account, "premium", Some(2)).await.unwrap_err(),
            accounts.create_user("x@example.com", "X", "platinum").await.unwrap_err(),
        ] {
            assert!(matches!(refused, AccountsError::UnknownPlan { .. }), "{refused}");
        }
        let none = || Arc::new(Counted(Vec::new()));
        let limit = LimitChange::Limit(Limit::enforced(1));
        let changes =
            [(Dimension::Bytes, limit), (Dimension::Requests, LimitChange::Limit(Limit::enforced(0)))];
        let refused = accounts.change_limits(&owner, &changes, none()).await.unwrap_err();
        assert!(matches!(refused, AccountsError::InvalidLimit { dimension: Dimension::Requests, .. }));
        let key = Owner::Key("KEY".into());
        let refused = accounts.change_limits(&key, &[(Dimension::Bytes, limit)], none()).await.unwrap_err();
        assert!(matches!(refused, AccountsError::InvalidLimit { dimension: Dimension::Bytes, .. }));
        let nobody = Owner::Account(datamesh_types::AccountId::random());
        let refused =
            accounts.change_limits(&nobody, &[(Dimension::Bytes, limit)], none()).await.unwrap_err();
        assert!(matches!(refused, AccountsError::NoSuchAccount { .. }));
        assert_eq!(accounts.allowance(&owner).await.unwrap(), before);
        assert!(fixture.rows("SELECT owner FROM own_limit").await.is_empty());
        assert_eq!(accounts.list_users(None, 10).await.unwrap().len(), 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accounts_own_limit_goes_before_its_plans() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let owner = Owner::Account(user(&accounts, "free").await.id);
        let change = async |change| {
            let changes = [(Dimension::Objects, change)];
            let limits =
                accounts.change_limits(&owner, &changes, Arc::new(Counted(Vec::new()))).await.unwrap();
            let allowance = accounts.allowance(&owner).await.unwrap();
            assert_eq!(allowance.limits, limits);
            (limits.get(Dimension::Objects).map(|limit| limit.maximum), allowance.own)
        };
        assert_eq!(change(LimitChange::Limit(Limit::enforced(3))).await, (Some(3), vec![Dimension::Objects]));
        assert_eq!(change(LimitChange::Unlimited).await, (None, vec![Dimension::Objects]));
        assert_eq!(change(LimitChange::Plan).await, (Some(1_000), vec![]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_not_enforced_only_warns_when_a_line_is_crossed() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db.clone());
        let accounts = fixture.gateway().await;
        let account = user(&accounts, "unlimited").await.id;
        let owner = Owner::Account(account);
        let limit = Limit { maximum: 100, burst: None, stage: Stage::Warn };
        let changes = [(Dimension::Bytes, LimitChange::Limit(limit))];
        accounts.change_limits(&owner, &changes, Arc::new(Counted(Vec::new()))).await.unwrap();
        let mut told = Vec::new();
        for (bytes, objects) in [(79, 1), (1, 0), (1, 0), (14, 0), (5, 0), (50, 0), (-60, 0), (5, 0)] {
            let growth = u64::try_from(bytes).unwrap_or(0);
            let reservation = Arc::new(accounts.reserve(account, growth, objects as u64).await.unwrap());
            let change = datamesh_db::UsageChange { account, bucket: 1, bytes, objects };
            quotas::commit(&db, reservation.clone(), change).await.unwrap();
            told.push(reservation.warnings().first().map(|warning| warning.level.percent()));
        }
        let expected = [None, Some(80), Some(80), Some(95), Some(100), Some(100), Some(80), Some(95)];
        assert_eq!(told, expected);
        let events = accounts.quota_events(account, 10).await.unwrap();
        let mut percents: Vec<_> = events.iter().map(|event| event.percent).collect();
        percents.sort_unstable();
        // Going down crosses no line.
        assert_eq!(percents, [80, 95, 95, 100]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_suspends_what_its_scope_says_until_it_is_lifted_or_over() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let [here, there] = [fixture.gateway().await, fixture.gateway().await];
        let account = user(&here, "unlimited").await.id;
        let owner = Owner::Account(account);
        let allowed = async |accounts: &Accounts| {
            let mut allowed = Vec::new();
            for effect in [Effect::Read, Effect::Write, Effect::Delete] {
                match accounts.admission(RequestClass::B).enter(&owner, effect).await {
                    Ok(()) => allowed.push(effect),
                    Err(AccountsError::Held { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            allowed
        };
        let everything = vec![Effect::Read, Effect::Write, Effect::Delete];
        assert_eq!(allowed(&there).await, everything);
        let new = |kind, scope, until_ms| NewHold { kind, scope, reason: "a test".to_owned(), until_ms };
        let billing = here.hold(account, new(HoldKind::Billing, HoldScope::Write, None)).await.unwrap();
        assert_eq!(allowed(&here).await, [Effect::Read, Effect::Delete]);
        fixture.clock.advance(Duration::from_secs(5));
        assert_eq!(allowed(&there).await, [Effect::Read, Effect::Delete]);
        let soon = fixture.clock.now_ms() + 1_000;
        here.hold(account, new(HoldKind::Legal, HoldScope::Write, Some(soon))).await.unwrap();
        assert_eq!(allowed(&here).await, [Effect::Read]);
        fixture.clock.advance(Duration::from_secs(1));
        assert_eq!(allowed(&here).await, [Effect::Read, Effect::Delete]);
        let lifted = here.lift_hold(&billing.id).await.unwrap();
        assert_eq!(lifted.lifted_at_ms, Some(fixture.clock.now_ms()));
        assert_eq!(allowed(&here).await, everything);
        let again = here.lift_hold(&billing.id).await.unwrap_err();
        assert!(matches!(again, AccountsError::NoSuchHold { .. }));
        let past = here.hold(account, new(HoldKind::Abuse, HoldScope::All, Some(soon))).await.unwrap_err();
        assert!(matches!(past, AccountsError::InvalidHold { .. }));
        let nobody = datamesh_types::AccountId::random();
        let refused = here.hold(nobody, new(HoldKind::Abuse, HoldScope::All, None)).await.unwrap_err();
        assert!(matches!(refused, AccountsError::NoSuchAccount { .. }));
        assert_eq!(here.holds(account).await.unwrap().len(), 2);
    })
    .await;
}

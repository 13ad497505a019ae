//! Erasures: what they freeze, what stops them, and what is left in the end.

use datamesh_accounts::{
    AccountStatus, Act, Digest, Erasure, ErasureError, ErasureStatus, HoldKind, HoldScope, IdentityError,
    NewHold, RequestClass,
};
use datamesh_db::UsageChange;

use super::identity::{PASSWORD, letters, password, register, registration};
use super::*;

const DAY_MS: u64 = 24 * 3600 * 1000;

fn legal() -> NewHold {
    NewHold { kind: HoldKind::Legal, scope: HoldScope::Write, reason: "order 7".into(), until_ms: None }
}

/// An erasure that is due tomorrow.
async fn open(fixture: &Fixture, accounts: &Accounts, account: AccountId) -> Erasure {
    accounts.open_erasure(account, fixture.clock.now_ms() + DAY_MS).await.unwrap()
}

/// The same once it has begun.
async fn begin(fixture: &Fixture, accounts: &Accounts, account: AccountId) -> Erasure {
    let erasure = open(fixture, accounts, account).await;
    fixture.clock.advance(Duration::from_hours(24));
    accounts.begin_erasure(&erasure).await.unwrap();
    accounts.due_erasures(10).await.unwrap().into_iter().find(|due| due.id == erasure.id).unwrap()
}

async fn enters(accounts: &Accounts, account: AccountId, effect: datamesh_accounts::Effect) -> bool {
    let admission = accounts.admission(RequestClass::A);
    admission.enter(&Owner::Account(account), effect).await.is_ok()
}

fn is_held<T>(result: &Result<T, ErasureError>) -> bool {
    matches!(result, Err(ErasureError::Held { .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_erasure_freezes_writes_and_withdrawing_it_restores_everything() {
    use datamesh_accounts::Effect::{Delete, Read, Write};
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let (accounts, other) = (fixture.gateway().await, fixture.gateway().await);
        let user = user(&accounts, "free").await;
        let key = accounts.create_key(user.id, None).await.unwrap();
        let past = accounts.open_erasure(user.id, fixture.clock.now_ms()).await;
        assert!(matches!(past, Err(ErasureError::NotToCome)), "{past:?}");
        let nobody = accounts.open_erasure(AccountId([9; 16]), u64::MAX >> 1).await;
        assert!(
            matches!(nobody, Err(ErasureError::Accounts(AccountsError::NoSuchAccount { .. }))),
            "{nobody:?}"
        );
        let none = accounts.withdraw_erasure(user.id).await;
        assert!(matches!(none, Err(ErasureError::NotOpen { .. })), "{none:?}");

        let erasure = open(&fixture, &accounts, user.id).await;
        let twice = accounts.open_erasure(user.id, fixture.clock.now_ms() + DAY_MS).await;
        assert!(matches!(twice, Err(ErasureError::AlreadyOpen { .. })), "{twice:?}");
        assert_eq!(accounts.user(user.id).await.unwrap().unwrap().status, AccountStatus::Closing);
        fixture.clock.advance(Duration::from_secs(5));
        for gateway in [&accounts, &other] {
            assert!(!enters(gateway, user.id, Write).await);
            assert!(enters(gateway, user.id, Read).await && enters(gateway, user.id, Delete).await);
            assert!(gateway.lookup(&key.access_key_id).await.unwrap().is_some(), "reading goes on");
        }
        assert_eq!(accounts.due_erasures(10).await.unwrap(), [], "it is not due");
        let early = accounts.begin_erasure(&erasure).await;
        assert!(matches!(early, Err(ErasureError::NotOpen { .. })), "{early:?}");

        // Its hold belongs to it: nobody lifts or places such a hold by hand.
        let hold = accounts.holds(user.id).await.unwrap().remove(0);
        assert_eq!((hold.kind, hold.scope, hold.is_automatic), (HoldKind::Erasure, HoldScope::Write, true));
        assert!(matches!(accounts.lift_hold(&hold.id).await, Err(AccountsError::NoSuchHold { .. })));
        let by_hand = accounts.hold(user.id, NewHold { kind: HoldKind::Erasure, ..legal() }).await;
        assert!(matches!(by_hand, Err(AccountsError::InvalidHold { .. })));

        let withdrawn = accounts.withdraw_erasure(user.id).await.unwrap();
        assert_eq!((withdrawn.id, withdrawn.status), (erasure.id, ErasureStatus::Withdrawn));
        assert_eq!(accounts.user(user.id).await.unwrap().unwrap().status, AccountStatus::Active);
        fixture.clock.advance(Duration::from_secs(5));
        assert!(enters(&accounts, user.id, Write).await && enters(&other, user.id, Write).await);
        fixture.clock.advance(Duration::from_hours(48));
        assert_eq!(accounts.due_erasures(10).await.unwrap(), []);
        let again = open(&fixture, &accounts, user.id).await;
        let all = accounts.erasures(Some(user.id), 10).await.unwrap();
        assert_eq!(
            all.iter().map(|known| known.status).collect::<Vec<_>>(),
            [ErasureStatus::Open, ErasureStatus::Withdrawn]
        );
        assert_eq!(all[0], again);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_has_begun_cannot_be_withdrawn() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let user = user(&accounts, "free").await;
        let erasure = begin(&fixture, &accounts, user.id).await;
        assert_eq!(erasure.status, ErasureStatus::Running);
        accounts.begin_erasure(&erasure).await.unwrap();
        let refused = accounts.withdraw_erasure(user.id).await;
        assert!(matches!(refused, Err(ErasureError::Begun { .. })), "{refused:?}");
        // Steps belong to the erasure that runs, and to no other.
        let stale = Erasure { id: "other".into(), ..erasure };
        let refused = accounts.erase_keys(&stale).await;
        assert!(matches!(refused, Err(ErasureError::NotOpen { .. })), "{refused:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legal_hold_stops_every_step_until_it_is_lifted_or_over() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let user = user(&accounts, "free").await;
        let before = accounts.hold(user.id, legal()).await.unwrap();
        let erasure = open(&fixture, &accounts, user.id).await;
        fixture.clock.advance(Duration::from_hours(24));
        let refused = accounts.begin_erasure(&erasure).await;
        assert!(is_held(&refused), "{refused:?}");
        assert!(refused.unwrap_err().to_string().contains(&before.id));
        accounts.obstruct_erasure(&erasure, "legal hold").await.unwrap();
        let listed = accounts.erasures(None, 10).await.unwrap();
        assert_eq!(
            (listed[0].status, listed[0].obstacle.as_deref()),
            (ErasureStatus::Open, Some("legal hold"))
        );
        accounts.lift_hold(&before.id).await.unwrap();
        accounts.begin_erasure(&erasure).await.unwrap();
        let running = accounts.due_erasures(10).await.unwrap().remove(0);
        assert_eq!(running.obstacle, None);

        // One that is placed in the middle stops what comes after it.
        accounts.erase_access(&running).await.unwrap();
        let until_ms = Some(fixture.clock.now_ms() + DAY_MS);
        accounts.hold(user.id, NewHold { until_ms, ..legal() }).await.unwrap();
        for refused in [
            accounts.check_erasure(&running).await,
            accounts.erase_access(&running).await,
            accounts.erase_keys(&running).await,
            accounts.bury(&running).await,
        ] {
            assert!(is_held(&refused), "{refused:?}");
        }
        let hook = accounts.erasure_hook(&running);
        let change = UsageChange { account: user.id, bucket: 1, bytes: -1, objects: -1 };
        let deleted = fixture
            .db
            .write::<(), DbError, _>(move |tx| {
                let hook = Arc::clone(&hook);
                Box::pin(async move { hook.run(tx, &change).await })
            })
            .await;
        let Err(DbError::Rejected { source }) = deleted else { panic!("{deleted:?}") };
        assert!(is_held::<()>(&Err(*source.downcast::<ErasureError>().unwrap())));
        fixture.clock.advance(Duration::from_hours(24));
        accounts.erase_keys(&running).await.unwrap();
        accounts.bury(&running).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_an_erased_account_names_nobody_and_opens_nothing() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let user = register(&accounts, registration("ann@example.org", "free")).await;
        let other = accounts.create_user("bob@example.org", "Bob", "free").await.unwrap();
        let keyring = accounts.keyring().clone();
        for account in [user.id, other.id] {
            keyring.create_named_key(account, "photos").await.unwrap();
        }
        let opened = async |user: &User| {
            let fresh = fixture.keyring().await.unwrap();
            let named = fresh.named_key(user.id, "photos").await.unwrap();
            (fresh.domain_key(user.domain).await.unwrap(), named)
        };
        let (ours, theirs) = (opened(&user).await, opened(&other).await);
        let key = accounts.create_key(user.id, None).await.unwrap();
        let login = accounts.login("ann@example.org", password(PASSWORD)).await.unwrap();
        accounts
            .hold(user.id, NewHold { kind: HoldKind::Dispute, reason: "Ann says".into(), ..legal() })
            .await
            .unwrap();
        accounts.forget_password("ann@example.org").await.unwrap();

        let erasure = begin(&fixture, &accounts, user.id).await;
        for _ in 0..2 {
            accounts.erase_access(&erasure).await.unwrap();
            accounts.erase_keys(&erasure).await.unwrap();
        }
        accounts.bury(&erasure).await.unwrap();
        let buried_twice = accounts.bury(&erasure).await;
        assert!(matches!(buried_twice, Err(ErasureError::NotOpen { .. })), "{buried_twice:?}");

        let left = accounts.user(user.id).await.unwrap().unwrap();
        assert_eq!((left.email.as_str(), left.name.as_str(), left.status), ("", "", AccountStatus::Erased));
        assert_eq!(accounts.erasures(Some(user.id), 1).await.unwrap()[0].status, ErasureStatus::Done);
        assert!(accounts.find_user("ann@example.org").await.unwrap().is_none());
        assert!(accounts.lookup(&key.access_key_id).await.unwrap().is_none());
        assert!(matches!(accounts.login_session(login.token.expose()).await, Err(IdentityError::NoSession)));
        let refused = accounts.login(&user.id.to_string(), password(PASSWORD)).await;
        assert!(matches!(refused, Err(IdentityError::BadLogin)));
        let refused = accounts.create_key(user.id, None).await;
        assert!(matches!(refused, Err(AccountsError::NoSuchAccount { .. })), "{refused:?}");
        let refused = accounts.open_erasure(user.id, u64::MAX >> 1).await;
        assert!(matches!(refused, Err(ErasureError::Erased { .. })), "{refused:?}");
        assert_eq!(left.plan, "free", "nothing is owed any more");
        assert!(letters(&accounts).await.is_empty(), "the request for a password went with it");

        // Its keys are gone; those of others are as they were.
        let after = opened(&user).await;
        let bytes = |key: &datamesh_pipeline::DomainKey| datamesh_pipeline::chunk_id(key, b"probe");
        assert_ne!(bytes(&ours.0), bytes(&after.0), "a new key, which opens nothing that there was");
        assert!(ours.1.is_some() && after.1.is_none());
        let same = opened(&other).await;
        assert_eq!(bytes(&theirs.0), bytes(&same.0));
        assert_eq!(theirs.1.as_ref().map(bytes), same.1.as_ref().map(bytes));

        // Nothing of it is left in any table that had it; secrets are still sealed under the newest key.
        for sql in ["SELECT * FROM account", "SELECT * FROM hold", "SELECT * FROM registration"] {
            let rows = format!("{:?}", fixture.rows(sql).await);
            assert!(!rows.contains("Ann"), "{rows}");
        }
        let secret = accounts.list_keys(user.id).await.unwrap().remove(0);
        assert_eq!(secret.access_key_id, key.access_key_id, "its id stays taken");
        accounts.add_kek().unwrap();
        accounts.rotate_kek().await.unwrap();
        accounts.retire_kek().await.unwrap();

        // The address may have an account again, which is another one.
        let again = register(&accounts, registration("ann@example.org", "free")).await;
        assert_ne!((again.id, again.domain), (user.id, user.domain));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn beginning_and_ending_an_erasure_are_in_the_audit_log() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let user = user(&accounts, "free").await;
        let acting = |action: &str| {
            let target = format!("user:{}", user.id);
            accounts.acting(Arc::new(Act::new("gateway", action, target, "", Digest::NONE, false)))
        };
        let erasure = open(&fixture, &acting("privacy.erase"), user.id).await;
        fixture.clock.advance(Duration::from_hours(24));
        acting("privacy.begin").begin_erasure(&erasure).await.unwrap();
        acting("privacy.erased").bury(&erasure).await.unwrap();
        let entries = accounts.audit_entries(datamesh_accounts::AuditFilter::default(), 10).await.unwrap();
        let actions: Vec<_> = entries.iter().map(|entry| entry.action.as_str()).collect();
        assert_eq!(actions, ["privacy.erase", "privacy.begin", "privacy.erased"]);
        assert_eq!(accounts.verify_audit().await.unwrap().first_bad, None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_verified_while_their_erasure_was_open_is_active_when_it_is_withdrawn() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let status = async |account| accounts.user(account).await.unwrap().unwrap().status;
        let waiting = register(&accounts, registration("a@example.org", "premium")).await;
        let approved = register(&accounts, registration("b@example.org", "premium")).await;
        for user in [&waiting, &approved] {
            open(&fixture, &accounts, user.id).await;
        }
        assert_eq!(accounts.decide_case(approved.id, true).await.unwrap(), AccountStatus::Closing);
        for user in [&waiting, &approved] {
            accounts.withdraw_erasure(user.id).await.unwrap();
        }
        assert_eq!(status(waiting.id).await, AccountStatus::Pending);
        assert_eq!(status(approved.id).await, AccountStatus::Active);
    })
    .await;
}

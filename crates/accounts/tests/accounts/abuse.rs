//! Cases of abuse, the reputation that follows, and the hold that many of them bring.

use datamesh_accounts::Effect::{Delete, Read, Write};
use datamesh_accounts::{AbuseKind, AbuseSettings, AbuseStatus, Effect, HoldKind, HoldScope, RequestClass};

use super::*;

const DAY: Duration = Duration::from_hours(24);

async fn report(accounts: &Accounts, account: AccountId) -> String {
    accounts.report_abuse(account, AbuseKind::Spam, "a thousand letters").await.unwrap().id
}

async fn uphold(accounts: &Accounts, account: AccountId) -> String {
    let case = report(accounts, account).await;
    accounts.decide_abuse(&case, true).await.unwrap();
    case
}

async fn may(accounts: &Accounts, account: AccountId, effect: Effect) -> Result<(), AccountsError> {
    accounts.admission(RequestClass::A).enter(&Owner::Account(account), effect).await
}

async fn reputation(accounts: &Accounts, account: AccountId) -> u16 {
    accounts.conduct(account).await.unwrap().reputation.basis_points()
}

/// One more gateway, with other settings.
async fn gateway(fixture: &Fixture, abuse: AbuseSettings) -> Accounts {
    let clock: Arc<dyn Clock> = fixture.clock.clone();
    let config = AccountsConfig { clock, abuse, queue_time: Duration::ZERO, ..AccountsConfig::default() };
    Accounts::open(fixture.db.clone(), fixture.keyring().await.unwrap(), config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_upheld_cases_lower_a_reputation_which_recovers_with_time() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let user = user(&accounts, "free").await;
        let first = report(&accounts, user.id).await;
        assert_eq!(reputation(&accounts, user.id).await, 5_000, "a report alone is none");
        let (case, conduct) = accounts.decide_abuse(&first, true).await.unwrap();
        assert_eq!((case.status, case.penalty), (AbuseStatus::Upheld, 1_000));
        assert_eq!((conduct.reputation.basis_points(), conduct.counting, conduct.open), (4_000, 1, 0));
        fixture.clock.advance(DAY * 30);
        assert_eq!(reputation(&accounts, user.id).await, 4_500);
        let (again, _) = accounts.decide_abuse(&first, true).await.unwrap();
        assert_eq!(again, case, "saying the same again changes nothing");
        uphold(&accounts, user.id).await;
        assert_eq!(reputation(&accounts, user.id).await, 3_500);
        let (reversed, conduct) = accounts.decide_abuse(&first, false).await.unwrap();
        assert_eq!((reversed.status, reversed.penalty), (AbuseStatus::Rejected, 0));
        assert_eq!((conduct.reputation.basis_points(), conduct.counting, conduct.cases), (4_000, 1, 2));

        for (kind, evidence) in [(AbuseKind::Other, String::new()), (AbuseKind::Other, "x".repeat(4_097))] {
            let refused = accounts.report_abuse(user.id, kind, &evidence).await;
            assert!(matches!(refused, Err(AccountsError::InvalidCase { .. })), "{refused:?}");
        }
        let nobody = accounts.report_abuse(AccountId([9; 16]), AbuseKind::Attack, "x").await;
        assert!(matches!(nobody, Err(AccountsError::NoSuchAccount { .. })), "{nobody:?}");
        let none = accounts.decide_abuse("none", true).await;
        assert!(matches!(none, Err(AccountsError::NoSuchCase { .. })), "{none:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_cases_keep_an_account_from_writing_until_one_is_reversed_or_expires() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        // So mild that the reputation alone refuses nothing.
        let mild = AbuseSettings { penalty: 1, ..AbuseSettings::default() };
        let (accounts, other) = (gateway(&fixture, mild).await, gateway(&fixture, mild).await);
        let user = user(&accounts, "free").await;
        let mut cases = Vec::new();
        for _ in 0..4 {
            cases.push(uphold(&accounts, user.id).await);
            fixture.clock.advance(DAY);
        }
        may(&accounts, user.id, Write).await.unwrap();
        cases.push(uphold(&accounts, user.id).await);
        let refused = may(&accounts, user.id, Write).await;
        assert!(matches!(refused, Err(AccountsError::Held { kind: HoldKind::Abuse, .. })), "{refused:?}");
        may(&accounts, user.id, Read).await.unwrap();
        may(&accounts, user.id, Delete).await.unwrap();
        let hold = accounts.holds(user.id).await.unwrap().remove(0);
        assert_eq!((hold.scope, hold.is_automatic), (HoldScope::Write, true));
        assert!(matches!(accounts.lift_hold(&hold.id).await, Err(AccountsError::NoSuchHold { .. })));
        cases.push(uphold(&accounts, user.id).await);
        assert_eq!(accounts.holds(user.id).await.unwrap().len(), 1, "a sixth case places no second hold");

        // Reversed on appeal: five still count, then four.
        accounts.decide_abuse(&cases[5], false).await.unwrap();
        assert!(may(&accounts, user.id, Write).await.is_err());
        accounts.decide_abuse(&cases[4], false).await.unwrap();
        may(&accounts, user.id, Write).await.unwrap();
        fixture.clock.advance(Duration::from_secs(5));
        may(&other, user.id, Write).await.unwrap();
        accounts.decide_abuse(&cases[4], true).await.unwrap();
        assert!(may(&accounts, user.id, Write).await.is_err());

        // The oldest expires.
        fixture.clock.advance(DAY * 360);
        assert_eq!(accounts.review_abuse().await.unwrap(), 0);
        fixture.clock.advance(DAY);
        assert_eq!(other.review_abuse().await.unwrap(), 1);
        assert_eq!(accounts.review_abuse().await.unwrap(), 0, "it is lifted once");
        fixture.clock.advance(Duration::from_secs(5));
        may(&accounts, user.id, Write).await.unwrap();
        let conduct = accounts.conduct(user.id).await.unwrap();
        assert_eq!((conduct.counting, conduct.cases), (4, 6));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_trusted_too_little_may_read_and_delete_but_not_upload() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let harsh = AbuseSettings { penalty: 4_001, ..AbuseSettings::default() };
        let accounts = gateway(&fixture, harsh).await;
        let user = user(&accounts, "free").await;
        uphold(&accounts, user.id).await;
        let refused = may(&accounts, user.id, Write).await.unwrap_err();
        assert_eq!(refused.to_string(), "the account's reputation is 999 basis points: uploading needs 1000");
        may(&accounts, user.id, Read).await.unwrap();
        may(&accounts, user.id, Delete).await.unwrap();
        assert_eq!(accounts.holds(user.id).await.unwrap(), [], "one case brings no hold");
        // An hour later it is back above the minimum.
        fixture.clock.advance(Duration::from_hours(1));
        assert!(reputation(&accounts, user.id).await >= 1_000);
        may(&accounts, user.id, Write).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cases_that_are_decided_at_once_on_two_gateways_bring_one_hold() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let gateways = [fixture.gateway().await, fixture.gateway().await];
        let user = user(&gateways[0], "free").await;
        let mut cases = Vec::new();
        for _ in 0..10 {
            cases.push(report(&gateways[0], user.id).await);
        }
        let decisions = cases.into_iter().enumerate().map(|(number, case)| {
            let accounts = gateways[number % 2].clone();
            tokio::spawn(async move { accounts.decide_abuse(&case, true).await.map(drop) })
        });
        for decided in futures::future::join_all(decisions.collect::<Vec<_>>()).await {
            decided.unwrap().unwrap();
        }
        let holds = gateways[0].holds(user.id).await.unwrap();
        assert_eq!(holds.len(), 1, "{holds:?}");
        assert_eq!(reputation(&gateways[1], user.id).await, 0);
    })
    .await;
}

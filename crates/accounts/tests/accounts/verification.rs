//! Cases of verification: plans that need more than an address, and who decides.

use std::sync::Mutex;

use datamesh_accounts::{
    AccountStatus, Act, Decision, Digest, IdentityError, Judgement, NewKey, VerificationCase,
    VerificationLevel, VerificationProvider,
};

use super::identity::{register, registration, session};
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_needs_more_waits_for_a_decision() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let user = register(&accounts, registration("a@example.org", "premium")).await;
        assert_eq!(user.status, AccountStatus::Pending);
        let pending = session(&accounts, "a@example.org").await;
        let refused = accounts.create_own_key(&pending, NewKey::default()).await;
        assert!(
            matches!(refused, Err(IdentityError::WrongStatus { status: AccountStatus::Pending })),
            "{refused:?}"
        );
        // Not even a key that an operator made opens it.
        let key = accounts.create_key(user.id, None).await.unwrap();
        assert!(accounts.lookup(&key.access_key_id).await.unwrap().is_none());

        let cases = accounts.open_cases(10).await.unwrap();
        assert_eq!(cases.len(), 1);
        assert_eq!((cases[0].account, cases[0].level), (user.id, VerificationLevel::Identity));
        assert_eq!(accounts.judge_cases(10).await.unwrap(), 0, "an operator decides");
        assert_eq!(accounts.decide_case(user.id, true).await.unwrap(), AccountStatus::Active);
        assert!(matches!(accounts.decide_case(user.id, true).await, Err(IdentityError::NoCase)));
        let active = session(&accounts, "a@example.org").await;
        assert_eq!((active.status, active.level), (AccountStatus::Active, VerificationLevel::Identity));
        accounts.create_own_key(&active, NewKey::default()).await.unwrap();
        fixture.clock.advance(Duration::from_secs(5));
        assert!(accounts.lookup(&key.access_key_id).await.unwrap().is_some());

        let user = register(&accounts, registration("b@example.org", "enterprise")).await;
        assert_eq!(accounts.decide_case(user.id, false).await.unwrap(), AccountStatus::Pending);
        assert_eq!(accounts.open_cases(10).await.unwrap(), []);

        // A rejection is not the end, and stays on record beside the approval.
        assert!(matches!(accounts.decide_case(user.id, false).await, Err(IdentityError::NoCase)));
        fixture.clock.advance(Duration::from_mins(1));
        let act = Act::new("operator", "approve", user.id.to_string(), "passport came", Digest::NONE, false);
        let approved = accounts.acting(Arc::new(act)).decide_case(user.id, true).await.unwrap();
        assert_eq!(approved, AccountStatus::Active);
        let cases =
            fixture.rows("SELECT status, level FROM verification_case ORDER BY opened_at_ms, status").await;
        let statuses: Vec<_> = cases.iter().map(|row| row.text(0).unwrap()).collect();
        assert_eq!(statuses, ["approved", "rejected", "approved"]);
        assert_eq!(cases[1].int(1).unwrap(), cases[2].int(1).unwrap(), "as far as it was asked for");
        assert!(matches!(accounts.decide_case(user.id, true).await, Err(IdentityError::NoCase)));
        let entries = fixture.rows("SELECT COUNT(*) FROM audit_entry").await;
        assert_eq!(entries[0].uint(0).unwrap(), 1, "it is in the audit log");
    })
    .await;
}

/// Approves of what it is told.
#[derive(Default)]
struct Scripted(Mutex<Vec<Decision>>);

impl VerificationProvider for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn judge<'c>(&'c self, case: &'c VerificationCase) -> Judgement<'c> {
        assert_eq!(case.provider, "scripted");
        let decision = self.0.lock().unwrap().pop().unwrap_or(Decision::Waiting);
        Box::pin(std::future::ready(Ok(decision)))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_provider_decides_when_it_is_asked_again() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let provider = Arc::new(Scripted::default());
        let verification: Arc<dyn VerificationProvider> = provider.clone();
        let clock: Arc<dyn Clock> = fixture.clock.clone();
        let config = AccountsConfig { clock, verification, ..AccountsConfig::default() };
        let keyring = fixture.keyring().await.unwrap();
        let accounts = Accounts::open(fixture.db.clone(), keyring, config).await.unwrap();
        let user = register(&accounts, registration("a@example.org", "premium")).await;
        assert_eq!(accounts.judge_cases(10).await.unwrap(), 0);
        provider.0.lock().unwrap().push(Decision::Approved);
        assert_eq!(accounts.judge_cases(10).await.unwrap(), 1);
        assert_eq!(accounts.user(user.id).await.unwrap().unwrap().status, AccountStatus::Active);
        assert_eq!(accounts.judge_cases(10).await.unwrap(), 0);
    })
    .await;
}

//! Legal holds: whatever their scope, what is stored under one stays, through every gateway and from the first moment on.

use super::*;
use datamesh_accounts::{Effect, HoldKind, HoldScope, NewHold};
use datamesh_db::{CommitHook, UsageChange};

fn legal(scope: HoldScope) -> NewHold {
    NewHold { kind: HoldKind::Legal, scope, reason: "order 7".to_owned(), until_ms: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_its_scope_nothing_is_deleted_or_replaced_under_a_legal_hold() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db.clone());
        let [here, there] = [fixture.gateway().await, fixture.gateway().await];
        let account = user(&here, "unlimited").await.id;
        let change = |bytes, objects| UsageChange { account, bucket: 1, bytes, objects };
        let stored = here.reserve_in(account, 1, 100, 1).await.unwrap();
        quotas::commit(&db, Arc::new(stored), change(100, 1)).await.unwrap();
        for scope in [HoldScope::Write, HoldScope::Read, HoldScope::All] {
            let hold = here.hold(account, legal(scope)).await.unwrap();
            for effect in [Effect::Write, Effect::Delete] {
                assert!(hold.forbids(effect), "{scope:?} allows {effect:?}");
            }
            // The other gateway has not heard of it, and has taken quota for what is under way.
            let replacing: Arc<dyn CommitHook> = Arc::new(there.reserve_in(account, 1, 50, 0).await.unwrap());
            for (hook, change) in [
                (there.deletion_hook(), change(-100, -1)),
                (Arc::clone(&replacing), change(50, 0)),
                (replacing, change(-50, 0)),
            ] {
                let refused = quotas::commit(&db, hook, change).await.unwrap_err();
                assert!(matches!(refused, DbError::Rejected { .. }), "{scope:?}: {refused}");
                assert!(source_of(&refused).contains("legal"), "{scope:?}: {refused:?}");
            }
            here.lift_hold(&hold.id).await.unwrap();
        }
        let billing = NewHold { kind: HoldKind::Billing, ..legal(HoldScope::Read) };
        let billing = here.hold(account, billing).await.unwrap();
        assert!(!billing.forbids(Effect::Write) && !billing.forbids(Effect::Delete));
        quotas::commit(&db, there.deletion_hook(), change(-100, -1)).await.unwrap();
        assert_eq!(here.usage(account).await.unwrap().bytes.used, 0);
    })
    .await;
}

fn source_of(error: &DbError) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}

//! The audit log as time passes: what it forgets, and what of it is read again.

use super::*;
use datamesh_accounts::{
    AuditCheck, AuditEntry, AuditFault, AuditFilter, AuditHead, Digest, NewEntry, Outcome,
};

const DAY: Duration = Duration::from_hours(24);
const KEPT: Duration = Duration::from_hours(24 * 365);

async fn record(accounts: &Accounts, numbers: std::ops::Range<u8>) {
    for number in numbers {
        let entry = NewEntry {
            actor: "alice".into(),
            action: "key.revoke".into(),
            target: format!("key:{number}"),
            reason: "lost".into(),
            outcome: Outcome::Done,
            request: Digest([number + 1; 32]),
        };
        accounts.record(entry).await.unwrap();
    }
}

async fn entries(accounts: &Accounts) -> Vec<AuditEntry> {
    accounts.audit_entries(AuditFilter::default(), 10_000).await.unwrap()
}

async fn first_bad(accounts: &Accounts) -> Option<(u64, AuditFault)> {
    accounts.verify_audit().await.unwrap().first_bad
}

#[tokio::test(flavor = "multi_thread")]
async fn who_did_what_and_why_is_forgotten_in_time_and_the_chain_still_holds() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        record(&accounts, 0..5).await;
        assert_eq!(accounts.expire_audit(KEPT).await.unwrap(), 0);
        fixture.clock.advance(KEPT + DAY);
        record(&accounts, 5..8).await;
        let before = entries(&accounts).await;
        assert_eq!(accounts.expire_audit(KEPT).await.unwrap(), 5);
        let log = entries(&accounts).await;
        assert_eq!(log.len(), 9, "an entry tells of it: {log:?}");
        assert_eq!((log[8].action.as_str(), log[8].target.as_str()), ("audit.expire", "entries:5"));
        for (was, is) in before.iter().zip(&log[..5]) {
            let forgotten = (String::new(), String::new(), String::new(), Digest::NONE, true);
            let told = (is.actor.clone(), is.target.clone(), is.reason.clone(), is.request, is.emptied);
            assert_eq!(told, forgotten);
            let kept = |entry: &AuditEntry| {
                (entry.sequence, entry.at_ms, entry.action.clone(), entry.outcome, entry.payload, entry.hash)
            };
            assert_eq!(kept(is), kept(was));
        }
        assert_eq!(log[5..8], before[5..], "what is younger stays");
        assert_eq!(first_bad(&accounts).await, None);
        assert_eq!(accounts.expire_audit(KEPT).await.unwrap(), 0);
        assert_eq!(entries(&accounts).await.len(), 9, "nothing is announced where nothing is old");

        // An export is checked alike, without a gateway.
        let mut check = AuditCheck::new(accounts.audit_public_key());
        for entry in &log {
            check.push(&serde_json::from_str(&serde_json::to_string(entry).unwrap()).unwrap());
        }
        assert_eq!(check.finish(&accounts.audit_head().await.unwrap()).first_bad, None);

        // The announcement is old itself one day, and the next one covers it.
        fixture.clock.advance(KEPT + DAY);
        assert_eq!(accounts.expire_audit(KEPT).await.unwrap(), 4);
        let log = entries(&accounts).await;
        assert_eq!((log.len(), log[9].target.as_str()), (10, "entries:9"));
        assert_eq!(first_bad(&accounts).await, None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_empties_or_fills_shows() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        record(&accounts, 0..5).await;
        fixture.clock.advance(KEPT + DAY);
        record(&accounts, 5..8).await;
        accounts.expire_audit(KEPT).await.unwrap();
        fixture
            .execute(
                "UPDATE audit_entry SET actor = '', target = '', reason = '', emptied = 1,
                    request = (SELECT request FROM audit_entry WHERE sequence = 1) WHERE sequence = 7",
            )
            .await;
        assert_eq!(first_bad(&accounts).await, Some((7, AuditFault::Altered)), "it was not old");
        fixture.execute("UPDATE audit_entry SET reason = 'as agreed' WHERE sequence = 2").await;
        assert_eq!(first_bad(&accounts).await, Some((2, AuditFault::Altered)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_announced_and_not_done_is_done_the_next_time() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        record(&accounts, 0..5).await;
        fixture.clock.advance(KEPT + DAY);
        // As a gateway leaves it that dies in the middle.
        accounts.expire_audit(KEPT).await.unwrap();
        fixture.execute("UPDATE audit_head SET emptied = 2").await;
        assert_eq!(first_bad(&accounts).await, None);
        assert_eq!(accounts.expire_audit(KEPT).await.unwrap(), 0, "they are empty already");
        assert_eq!(first_bad(&accounts).await, None);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_verified_head_only_what_follows_is_read() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let verify = async |verified: Option<&AuditHead>| {
            let (verdict, head) = accounts.verify_audit_after(verified).await.unwrap();
            ((verdict.entries, verdict.first_bad), head)
        };
        record(&accounts, 0..5).await;
        let (found, first) = verify(None).await;
        assert_eq!((found, first.sequence), ((5, None), 5));
        record(&accounts, 5..8).await;
        let (found, second) = verify(Some(&first)).await;
        assert_eq!((found, second.sequence), ((3, None), 8));
        assert_eq!(verify(Some(&second)).await.0, (0, None));
        // What was verified once is read again only with all of it.
        fixture.execute("UPDATE audit_entry SET reason = 'x' WHERE sequence = 2").await;
        assert_eq!(verify(Some(&second)).await.0, (0, None));
        assert_eq!(verify(None).await.0, (8, Some((2, AuditFault::Altered))));
        record(&accounts, 8..9).await;
        fixture.execute("UPDATE audit_entry SET reason = 'x' WHERE sequence = 9").await;
        assert_eq!(verify(Some(&second)).await.0, (1, Some((9, AuditFault::Altered))));
        fixture.execute("DELETE FROM audit_entry WHERE sequence = 9").await;
        assert_eq!(verify(Some(&second)).await.0, (0, Some((9, AuditFault::Missing))));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_ends_before_its_verified_head_is_read_whole() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        record(&accounts, 0..5).await;
        fixture.execute("CREATE TABLE kept AS SELECT * FROM audit_head").await;
        record(&accounts, 5..8).await;
        let (_, verified) = accounts.verify_audit_after(None).await.unwrap();
        fixture.execute("DELETE FROM audit_entry WHERE sequence > 5").await;
        fixture.execute("DELETE FROM audit_head").await;
        fixture.execute("INSERT INTO audit_head SELECT * FROM kept").await;
        let (verdict, _) = accounts.verify_audit_after(Some(&verified)).await.unwrap();
        assert_eq!((verdict.entries, verdict.first_bad), (5, Some((6, AuditFault::Missing))));
    })
    .await;
}

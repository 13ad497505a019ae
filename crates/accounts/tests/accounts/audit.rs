//! The audit log: written with the change or not at all, in one chain whoever writes, and tamper-evident.

use super::*;
use datamesh_accounts::{
    Act, Answer, AuditEntry, AuditFault, AuditFilter, Claim, Digest, HoldKind, HoldScope, NewEntry, NewHold,
    Outcome,
};

fn act(action: &str, is_preview: bool) -> Arc<Act> {
    Arc::new(Act::new("operator", action, "", "because", Digest([3; 32]), is_preview))
}

fn denial(target: &str) -> NewEntry {
    NewEntry {
        actor: "nobody".into(),
        action: "user.list".into(),
        target: target.into(),
        reason: String::new(),
        outcome: Outcome::Denied,
        request: Digest::NONE,
    }
}

fn hold() -> NewHold {
    NewHold { kind: HoldKind::Abuse, scope: HoldScope::Write, reason: String::new(), until_ms: None }
}

async fn entries(accounts: &Accounts) -> Vec<AuditEntry> {
    accounts.audit_entries(AuditFilter::default(), 10_000).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_and_its_entry_are_committed_together() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let created = act("user.create", false);
        let acting = accounts.acting(Arc::clone(&created));
        let user = acting.create_user("a@example.org", "A", "free").await.unwrap();
        acting.create_key(user.id, None).await.unwrap();
        assert!(created.is_recorded());
        let log = entries(&accounts).await;
        assert_eq!(log.len(), 1, "an action has one entry, however many changes it takes: {log:?}");
        assert_eq!((log[0].sequence, log[0].outcome), (1, Outcome::Done));
        assert_eq!((log[0].actor.as_str(), log[0].reason.as_str()), ("operator", "because"));
        assert_eq!(log[0].target, format!("user:{}", user.id));
        assert!(!format!("{log:?}").contains("example.org"), "addresses stay out of the log");

        // A change that fails leaves no entry that says otherwise.
        let again = act("user.create", false);
        let taken = accounts.acting(Arc::clone(&again)).create_user("A@example.org", "", "free").await;
        assert!(matches!(taken, Err(AccountsError::EmailTaken)));
        assert!(!again.is_recorded());
        assert_eq!(entries(&accounts).await.len(), 1);

        // Nor does one that finds nothing to change.
        let missing = accounts.acting(act("key.revoke", false));
        assert!(missing.revoke_key("AKIANOTTHERE").await.is_err());
        assert!(missing.set_key_policy("AKIANOTTHERE", None).await.is_err());
        assert!(missing.rotate_key("AKIANOTTHERE", Duration::ZERO).await.is_err());
        assert!(missing.lift_hold("nothing").await.is_err());
        assert!(missing.hold(datamesh_types::AccountId::random(), hold()).await.is_err());
        assert!(missing.decide_case(user.id, true).await.is_err());
        assert_eq!(entries(&accounts).await.len(), 1);

        // And a log that cannot be written lets nothing change.
        execute(&fixture, "DELETE FROM audit_head").await;
        let held = accounts.acting(act("user.hold", false)).hold(user.id, hold()).await;
        assert!(matches!(held, Err(AccountsError::Damaged { .. })), "{held:?}");
        assert_eq!(accounts.holds(user.id).await.unwrap(), []);
    })
    .await;
}

async fn execute(fixture: &Fixture, sql: &'static str) {
    let done = fixture.db.write::<_, DbError, _>(move |tx| Box::pin(tx.execute(sql, &[]))).await;
    assert!(done.unwrap() > 0, "{sql}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_tells_what_would_be_and_changes_nothing() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let user = user(&accounts, "free").await;
        let owner = Owner::Account(user.id);
        let before = accounts.allowance(&owner).await.unwrap();
        let tried = accounts.acting(act("user.plan", true));
        assert!(tried.is_preview() && !accounts.is_preview());
        let plan = tried.subscribe(user.id, "premium", None).await.unwrap();
        assert_eq!((plan.name.as_str(), plan.version), ("premium", 1));
        let unknown = tried.subscribe(user.id, "gold", None).await;
        assert!(matches!(unknown, Err(AccountsError::UnknownPlan { .. })), "it fails as it would");
        let change = [(Dimension::Bytes, LimitChange::Limit(Limit::enforced(7)))];
        let limits = tried.change_limits(&owner, &change, Arc::new(Counted(vec![]))).await.unwrap();
        assert_eq!(limits.hard(Dimension::Bytes), Some(7));
        let after = before.with_own(limits, &change);
        assert_eq!(after.own, [Dimension::Bytes]);
        assert_eq!(after.on_plan(plan).limits.hard(Dimension::Bytes), Some(7), "own limits stay");
        assert!(tried.hold(user.id, hold()).await.unwrap().is_active(fixture.clock.now_ms()));
        assert_eq!(accounts.allowance(&owner).await.unwrap(), before);
        assert_eq!(accounts.holds(user.id).await.unwrap(), []);
        assert_eq!(entries(&accounts).await, []);
        // The same handle without a preview does it.
        accounts.acting(act("user.plan", false)).subscribe(user.id, "premium", None).await.unwrap();
        assert_ne!(accounts.allowance(&owner).await.unwrap(), before);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_that_write_at_once_write_one_chain() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let gateways = [fixture.gateway().await, fixture.gateway().await];
        let mut writers = Vec::new();
        for writer in 0..8 {
            let accounts = gateways[writer % 2].clone();
            writers.push(tokio::spawn(async move {
                for number in 0..10 {
                    if number % 2 == 0 {
                        accounts.record(denial(&format!("{writer}/{number}"))).await.unwrap();
                    } else {
                        let email = format!("{writer}-{number}@example.org");
                        let acting = accounts.acting(act("user.create", false));
                        acting.create_user(&email, "", "free").await.unwrap();
                    }
                }
            }));
        }
        for writer in writers {
            writer.await.unwrap();
        }
        let log = entries(&gateways[0]).await;
        let sequences: Vec<_> = log.iter().map(|entry| entry.sequence).collect();
        assert_eq!(sequences, (1..=80).collect::<Vec<_>>());
        for accounts in &gateways {
            let verdict = accounts.verify_audit().await.unwrap();
            assert_eq!((verdict.entries, verdict.head, verdict.first_bad), (80, 80, None));
        }
        assert_eq!(gateways[0].audit_public_key(), gateways[1].audit_public_key());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_writes_to_the_database_without_the_key_is_found_out() {
    const ATTACKS: [(&[&str], u64, AuditFault); 9] = [
        (&["UPDATE audit_entry SET reason = 'x' WHERE sequence = 4"], 4, AuditFault::Altered),
        (&["UPDATE audit_entry SET outcome = 'done' WHERE sequence = 1"], 1, AuditFault::Altered),
        (&["UPDATE audit_entry SET payload = NULL WHERE sequence = 4"], 4, AuditFault::Altered),
        // As if its time were over, which nothing announces.
        (
            &["UPDATE audit_entry SET actor = '', target = '', reason = '', emptied = 1 WHERE sequence = 4"],
            4,
            AuditFault::Altered,
        ),
        (&["DELETE FROM audit_entry WHERE sequence = 5"], 5, AuditFault::Missing),
        (&["DELETE FROM audit_entry WHERE sequence > 7"], 8, AuditFault::Missing),
        (
            &[
                "UPDATE audit_entry SET sequence = 99 WHERE sequence = 3",
                "UPDATE audit_entry SET sequence = 3 WHERE sequence = 4",
                "UPDATE audit_entry SET sequence = 4 WHERE sequence = 99",
            ],
            3,
            AuditFault::Altered,
        ),
        (
            &[
                "DELETE FROM audit_entry WHERE sequence > 7",
                "UPDATE audit_head SET sequence = 7,
                    hash = (SELECT hash FROM audit_entry WHERE sequence = 7)",
            ],
            7,
            AuditFault::Forged,
        ),
        (
            &["INSERT INTO audit_entry (sequence, at_ms, actor, action, target, reason, outcome, request, payload,
                    previous, hash)
                SELECT sequence + 1, at_ms, actor, action, target, reason, outcome, request, payload, previous, hash
                FROM audit_entry WHERE sequence = 9"],
            10,
            AuditFault::Unsigned,
        ),
    ];
    for (statements, sequence, fault) in ATTACKS {
        for_each_engine(move |db| async move {
            let fixture = Fixture::new(db);
            let accounts = fixture.gateway().await;
            for number in 0..9 {
                accounts.record(denial(&number.to_string())).await.unwrap();
            }
            assert_eq!(accounts.verify_audit().await.unwrap().first_bad, None);
            for statement in statements {
                execute(&fixture, statement).await;
            }
            let found = accounts.verify_audit().await.unwrap().first_bad;
            assert_eq!(found, Some((sequence, fault)), "{statements:?}");
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_set_back_as_a_whole_contradicts_the_head_beside_the_keys() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        for number in 0..5 {
            accounts.record(denial(&number.to_string())).await.unwrap();
        }
        execute(&fixture, "CREATE TABLE kept AS SELECT * FROM audit_head").await;
        for number in 5..9 {
            accounts.record(denial(&number.to_string())).await.unwrap();
        }
        execute(&fixture, "DELETE FROM audit_entry WHERE sequence > 5").await;
        execute(&fixture, "DELETE FROM audit_head").await;
        execute(&fixture, "INSERT INTO audit_head SELECT * FROM kept").await;
        let cut = Some((6, AuditFault::Missing));
        assert_eq!(accounts.verify_audit().await.unwrap().first_bad, cut);
        // Nor does the next gateway overwrite the evidence, however much follows.
        let accounts = fixture.gateway().await;
        for number in 0..9 {
            accounts.record(denial(&number.to_string())).await.unwrap();
        }
        let rewritten = Some((9, AuditFault::Rewritten));
        assert_eq!(accounts.verify_audit().await.unwrap().first_bad, rewritten);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_a_key_is_granted_once_and_answered_alike_for_a_day() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let (one, other) = (Digest([1; 32]), Digest([2; 32]));
        let claims = (0..16).map(|_| {
            let accounts = accounts.clone();
            tokio::spawn(async move { accounts.claim_request("operator", "k", one).await.unwrap() })
        });
        let claims = futures::future::join_all(claims.collect::<Vec<_>>()).await;
        let granted = claims.into_iter().filter(|claim| *claim.as_ref().unwrap() == Claim::Granted);
        assert_eq!(granted.count(), 1);
        assert_eq!(accounts.claim_request("operator", "k", one).await.unwrap(), Claim::Unfinished);

        let answer = Answer { status: 201, body: b"{\"secret\": \"hunter22\"}".to_vec() };
        accounts.answer_request("operator", "k", answer.clone()).await.unwrap();
        let replayed = Claim::Answered(answer.clone());
        assert_eq!(accounts.claim_request("operator", "k", one).await.unwrap(), replayed);
        assert_eq!(accounts.claim_request("operator", "k", other).await.unwrap(), Claim::Taken);
        assert_eq!(accounts.claim_request("alice", "k", other).await.unwrap(), Claim::Granted);
        accounts.release_request("alice", "k").await.unwrap();
        assert_eq!(accounts.claim_request("alice", "k", one).await.unwrap(), Claim::Granted);
        let rows = fixture.rows("SELECT answer FROM answered_request WHERE answer IS NOT NULL").await;
        let sealed = rows[0].blob(0).unwrap();
        assert!(!sealed.windows(8).any(|window| window == b"hunter22"), "answers are sealed");

        // Another key-encryption key does not lose it.
        accounts.add_kek().unwrap();
        accounts.rotate_kek().await.unwrap();
        accounts.retire_kek().await.unwrap();
        assert_eq!(accounts.claim_request("operator", "k", one).await.unwrap(), replayed);

        fixture.clock.advance(Duration::from_hours(23));
        assert_eq!(accounts.forget_answers().await.unwrap(), 0);
        assert_eq!(accounts.claim_request("operator", "k", one).await.unwrap(), replayed);
        fixture.clock.advance(Duration::from_hours(2));
        assert_eq!(accounts.claim_request("operator", "k", other).await.unwrap(), Claim::Granted);
        assert_eq!(accounts.forget_answers().await.unwrap(), 1, "alice's is forgotten");
    })
    .await;
}

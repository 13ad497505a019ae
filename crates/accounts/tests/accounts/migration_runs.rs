//! Migrations that are cancelled, cut off, or run by several gateways at once.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::task::Poll;

use datamesh_accounts::{Act, Digest, MigrationState, PlanMigrationError};

use super::plan_migrations::{ACTOR, HOUR, members, plan_of, run, team, terms, version, within_team};
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_is_cancelled_until_it_is_done_and_what_it_moved_stays() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        team(&accounts, 1, "observe").await;
        let members = members(&accounts, 101).await;
        team(&accounts, 2, "observe").await;
        let later = accounts.schedule_migration(fixture.after(HOUR, within_team(None, None))).await.unwrap();
        let act = Arc::new(Act::new("op", "migration.cancel", "", "", Digest::NONE, true));
        accounts.acting(act).cancel_migration(&later.id).await.unwrap();
        let early = accounts.advance_migration(&later.id).await;
        assert!(matches!(early, Err(PlanMigrationError::NotDue { .. })), "{early:?}");
        fixture.clock.advance(HOUR);
        let batch = accounts.advance_migration(&later.id).await.unwrap();
        assert_eq!((batch.moved.len(), batch.is_last), (100, false));
        let cancelled = accounts.cancel_migration(&later.id).await.unwrap();
        assert_eq!((cancelled.state, cancelled.moved), (MigrationState::Cancelled, 100));
        assert_eq!(accounts.plan_migration(&later.id).await.unwrap(), cancelled);
        let refused = accounts.advance_migration(&later.id).await;
        assert!(matches!(refused, Err(PlanMigrationError::Ended { .. })), "{refused:?}");
        assert_eq!(run(&accounts).await, (0, 0));
        assert_eq!(terms(&fixture, "team", 2).await, (100, 100));

        let rest = accounts.schedule_migration(within_team(None, None)).await.unwrap();
        assert_eq!(run(&accounts).await, (1, 1));
        for id in [&later.id, &rest.id] {
            let refused = accounts.cancel_migration(id).await;
            assert!(matches!(refused, Err(PlanMigrationError::Ended { .. })), "{refused:?}");
        }
        let unknown = accounts.cancel_migration("none").await;
        assert!(matches!(unknown, Err(PlanMigrationError::NoSuchMigration { .. })), "{unknown:?}");
        assert_eq!(terms(&fixture, "team", 2).await, (members.len(), members.len()));
    })
    .await;
}

/// Polls a future so many times and drops it: what it had under way is cut off. Whether it came to its end.
async fn cut_off<T>(future: impl Future<Output = T>, polls: usize) -> bool {
    let mut future: Pin<Box<_>> = Box::pin(future);
    let mut left = polls;
    std::future::poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        future.as_mut().poll(context).map(|_| true)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_cut_off_anywhere_is_finished_by_the_next_and_moves_nobody_twice() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        team(&accounts, 1, "observe").await;
        let members = members(&accounts, 230).await;
        team(&accounts, 2, "observe").await;
        let migration = accounts.schedule_migration(within_team(None, None)).await.unwrap();
        // A gateway that dies between the first and the second batch.
        let dying = fixture.gateway().await;
        assert_eq!(dying.advance_migration(&migration.id).await.unwrap().moved.len(), 100);
        drop(dying);
        let half = accounts.plan_migration(&migration.id).await.unwrap();
        assert_eq!((half.state, half.moved), (MigrationState::Scheduled, 100));
        assert_eq!(terms(&fixture, "team", 2).await, (100, 100));
        // And others that die at any point of theirs.
        let mut polls = 0;
        while !cut_off(fixture.gateway().await.run_due_migrations(ACTOR), polls).await {
            polls = polls * 3 / 2 + 1;
            fixture.clock.advance(Duration::from_millis(1));
        }
        let done = accounts.plan_migration(&migration.id).await.unwrap();
        assert_eq!((done.state, done.moved), (MigrationState::Done, 230));
        assert_eq!(terms(&fixture, "team", 2).await, (230, 230), "each was moved once");
        for member in members {
            assert_eq!(version(&accounts, member).await, 2);
        }
    })
    .await;
}

/// Carries out a migration together with others: who was moved through this handle.
async fn drain(accounts: &Accounts, id: &str) -> Vec<AccountId> {
    let mut moved = Vec::new();
    loop {
        match accounts.advance_migration(id).await {
            Ok(batch) => moved.extend(batch.moved),
            Err(PlanMigrationError::Ended { state: MigrationState::Done, .. }) => return moved,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_that_run_it_at_once_share_the_work_while_operators_move_accounts_away() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let [here, there, operator] =
            [fixture.gateway().await, fixture.gateway().await, fixture.gateway().await];
        team(&here, 1, "observe").await;
        let members = members(&here, 250).await;
        team(&here, 2, "observe").await;
        let migration = here.schedule_migration(within_team(None, None)).await.unwrap();
        let away: Vec<_> = members.iter().rev().take(20).copied().collect();
        let moved_away = async {
            for account in &away {
                operator.subscribe(*account, "free", None).await.unwrap();
            }
        };
        let (one, two, ()) =
            futures::join!(drain(&here, &migration.id), drain(&there, &migration.id), moved_away);
        let moved: Vec<_> = one.into_iter().chain(two).collect();
        let moved_once: BTreeSet<_> = moved.iter().copied().collect();
        assert_eq!(moved_once.len(), moved.len(), "nobody is moved twice");
        let done = here.plan_migration(&migration.id).await.unwrap();
        assert_eq!((done.state, done.moved), (MigrationState::Done, moved.len() as u64));
        for member in &members {
            // Whoever came first, the operator's word is the last one.
            assert!(moved_once.contains(member) || away.contains(member), "{member} was left out");
            let expected = if away.contains(member) { ("free", 1) } else { ("team", 2) };
            let (plan, version) = plan_of(&here, *member).await;
            assert_eq!((plan.as_str(), version), expected);
        }

        team(&here, 3, "observe").await;
        here.schedule_migration(within_team(None, None)).await.unwrap();
        let (one, two) = futures::join!(run(&here), run(&there));
        assert_eq!((one.0 + two.0, one.1 + two.1), (1, 230), "done once, counted once");
        assert_eq!(terms(&fixture, "team", 3).await, (230, 230));
    })
    .await;
}

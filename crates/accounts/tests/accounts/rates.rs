//! Rates in every window of a clock that only tests turn, with gateways that join and leave.

use super::*;
use datamesh_accounts::{Admission, Effect, Stage};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A gateway notices that another one has joined when it renews its lease, and then when it loads what it knows again.
const NOTICED_AFTER: Duration = Duration::from_secs(25);
/// A gateway that was idle for as long has a lease that is not over for certain, and joins anew when it is.
const IDLE_MIN: Duration = Duration::from_secs(30);

async fn try_enter(accounts: &Accounts, owner: &Owner) -> Option<Admission> {
    let admission = accounts.admission(RequestClass::B);
    match admission.enter(owner, Effect::Read).await {
        Ok(()) => Some(admission),
        Err(AccountsError::RateExceeded { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

async fn two_gateways(fixture: &Fixture, dimension: Dimension, limit: Limit) -> ([Accounts; 2], Owner) {
    let gateways = [fixture.gateway().await, fixture.gateway().await];
    let owner = Owner::Account(user(&gateways[0], "unlimited").await.id);
    let changes = [(dimension, LimitChange::Limit(limit))];
    gateways[0].change_limits(&owner, &changes, Arc::new(Counted(Vec::new()))).await.unwrap();
    (gateways, owner)
}

/// Requests that passed at all gateways, by the clock, and when a gateway joined others.
#[derive(Default)]
struct Passes {
    at: Vec<Duration>,
    joined: Vec<Duration>,
    used: [Option<Duration>; 2],
}

impl Passes {
    fn used(&mut self, gateway: usize, now: Duration) {
        let was_idle = self.used[gateway].is_none_or(|at| now.saturating_sub(at) >= IDLE_MIN);
        if was_idle && self.used[1 - gateway].is_some() {
            self.joined.push(now);
        }
        self.used[gateway] = Some(now);
    }

    /// In no window did more pass than a burst and what the rate allows, but for what a gateway that joins brings along
    /// and the others have not noticed: half of both.
    fn check(&self, rate: f64, burst: f64) {
        for (first, from) in self.at.iter().enumerate() {
            for (count, until) in (1_u32..).zip(&self.at[first..]) {
                let window = until.saturating_sub(*from).as_secs_f64();
                let joined = |at: &&Duration| **at <= *until && **at + NOTICED_AFTER >= *from;
                let joins = self.joined.iter().filter(joined).count() as f64;
                let more = joins * (burst + rate * NOTICED_AFTER.as_secs_f64()) / 2.0;
                let allowed = burst + rate * window + more + 1e-3;
                assert!(f64::from(count) <= allowed, "{count} of {allowed} in {window} s from {from:?}");
            }
        }
    }

    fn between(&self, from: Duration, until: Duration) -> usize {
        self.at.iter().filter(|at| (from..until).contains(*at)).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_no_window_do_more_requests_pass_than_a_burst_and_the_rate() {
    const RATE: u64 = 10;
    const BURST: u32 = 16;
    const LAST: Duration = Duration::from_secs(20);
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let limit = Limit { burst: Some(BURST), ..Limit::enforced(RATE) };
        let (gateways, owner) = two_gateways(&fixture, Dimension::Requests, limit).await;
        let (mut random, mut passes) = (StdRng::seed_from_u64(7), Passes::default());
        // Seconds, and the gateways that are asked in them: one that leaves is inherited from.
        let phases: [(u64, &[usize]); 5] =
            [(20, &[0]), (60, &[0, 1]), (100, &[0]), (60, &[1, 0]), (90, &[1])];
        for (seconds, asked) in phases {
            let begun = fixture.clock.elapsed();
            let end = begun + Duration::from_secs(seconds);
            while fixture.clock.elapsed() < end {
                for gateway in asked {
                    let now = fixture.clock.elapsed();
                    passes.used(*gateway, now);
                    for _ in 0..random.random_range(0..2 * RATE) {
                        if try_enter(&gateways[*gateway], &owner).await.is_some() {
                            passes.at.push(now);
                        }
                    }
                }
                fixture.clock.advance(Duration::from_millis(random.random_range(0..700)));
            }
            // Those that ask all the time get what there is, once they know who they are.
            if seconds >= 60 && asked.len() == 2 {
                let last = passes.between(end.saturating_sub(LAST), end) as u64;
                assert!(last >= RATE * LAST.as_secs() * 8 / 10, "{last} passed in {LAST:?}");
            }
        }
        passes.check(RATE as f64, f64::from(BURST));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_that_run_never_exceed_their_limit_once_gateways_know_of_each_other() {
    const LIMIT: usize = 8;
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let limit = Limit::enforced(LIMIT as u64);
        let (gateways, owner) = two_gateways(&fixture, Dimension::Operations, limit).await;
        let mut random = StdRng::seed_from_u64(11);
        let mut running: [Vec<Admission>; 2] = [Vec::new(), Vec::new()];
        // Seconds, how many of them it may take until everybody knows, and the shares then. One that has joined is noticed
        // at the next renewal, one that has left when its lease is over.
        for (seconds, settled_after, shares) in
            [(20, 0, [LIMIT, 0]), (90, 45, [LIMIT / 2; 2]), (200, 110, [0, LIMIT]), (90, 45, [LIMIT / 2; 2])]
        {
            let begun = fixture.clock.elapsed();
            let settled = begun + Duration::from_secs(settled_after);
            // Those that are gone have ended what they ran.
            for (running, share) in running.iter_mut().zip(shares) {
                if share == 0 {
                    running.clear();
                }
            }
            while fixture.clock.elapsed() < begun + Duration::from_secs(seconds) {
                let asked: Vec<_> = (0..2).filter(|gateway| shares[*gateway] > 0).collect();
                let gateway = asked[random.random_range(0..asked.len())];
                let running = &mut running[gateway];
                if random.random_bool(0.4) && !running.is_empty() {
                    running.swap_remove(random.random_range(0..running.len()));
                }
                let before = running.len();
                running.extend(try_enter(&gateways[gateway], &owner).await);
                assert!(running.len() <= LIMIT);
                if fixture.clock.elapsed() >= settled {
                    let share = shares[gateway];
                    let expected = if before < share { before + 1 } else { before };
                    assert_eq!(running.len(), expected, "gateway {gateway} with a share of {share}");
                }
                fixture.clock.advance(Duration::from_millis(random.random_range(0..1_000)));
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_refused_for_the_first_of_its_owners_whose_enforced_limit_it_exceeds() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let owners = [Owner::Account(user(&accounts, "unlimited").await.id), Owner::Bucket(3)];
        let mut random = StdRng::seed_from_u64(13);
        for _ in 0..60 {
            let mut enforced = [u64::MAX; 2];
            for (owner, enforced) in owners.iter().zip(&mut enforced) {
                let stage = [Stage::Observe, Stage::Warn, Stage::Enforce][random.random_range(0..3)];
                let limit = Limit { stage, ..Limit::enforced(random.random_range(0..5)) };
                let change = random.random_bool(0.8).then_some(limit);
                if let Some(limit) = change.filter(|limit| limit.stage == Stage::Enforce) {
                    *enforced = limit.maximum;
                }
                let change = change.map_or(LimitChange::Unlimited, LimitChange::Limit);
                let changes = [(Dimension::ObjectSize, change)];
                accounts.change_limits(owner, &changes, Arc::new(Counted(Vec::new()))).await.unwrap();
            }
            for size in 0..6 {
                let exceeded = (0..2).find(|index| size > enforced[*index]);
                match (accounts.check_object_size(&owners, size).await, exceeded) {
                    (Ok(()), None) => {}
                    (Err(AccountsError::QuotaExceeded { owner, limit, requested, .. }), Some(index)) => {
                        assert_eq!((&owner, limit, requested), (&owners[index], enforced[index], size));
                    }
                    (outcome, exceeded) => panic!("{size} of {enforced:?}: {outcome:?}, {exceeded:?}"),
                }
            }
        }
    })
    .await;
}

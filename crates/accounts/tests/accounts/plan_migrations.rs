//! Migrations: who moves, when, and what is left as it was.

use std::collections::BTreeSet;

use datamesh_accounts::{
    Act, AuditFilter, Cohort, CohortStanding, Digest, Direction, Effect, MigrationRun, MigrationState,
    NewPlanMigration, Pace, PlanFile, PlanMigration, PlanMigrationError, Stage,
};
use datamesh_db::UsageChange;

use super::*;

pub const HOUR: Duration = Duration::from_hours(1);
pub const ACTOR: &str = "gateway";

/// Makes a version of the plan `team` whose one limit is this one on bytes.
pub async fn team(accounts: &Accounts, bytes: u64, stage: &str) {
    let text = format!("[team]\nbytes = {{ maximum = {bytes}, stage = \"{stage}\" }}");
    accounts.apply_plans(&PlanFile::parse(&text).unwrap()).await.unwrap();
}

async fn member(accounts: &Accounts, name: &str, plan: &str) -> AccountId {
    accounts.create_user(&format!("{name}@example.com"), name, plan).await.unwrap().id
}

/// Members of `team`.
pub async fn members(accounts: &Accounts, count: usize) -> BTreeSet<AccountId> {
    let mut members = BTreeSet::new();
    for number in 0..count {
        members.insert(member(accounts, &format!("member{number}"), "team").await);
    }
    members
}

/// From `team`, or a version of it, to another version.
pub fn within_team(from: Option<u64>, to: Option<u64>) -> NewPlanMigration {
    let cohort = Cohort { plan: "team".to_owned(), version: from, subscribed_before_ms: None };
    NewPlanMigration { cohort, to_plan: "team".to_owned(), to_version: to, due_at_ms: None }
}

impl Fixture {
    pub fn after(&self, by: Duration, new: NewPlanMigration) -> NewPlanMigration {
        NewPlanMigration { due_at_ms: Some(self.clock.now_ms() + by.as_millis() as u64), ..new }
    }
}

pub async fn plan_of(accounts: &Accounts, account: AccountId) -> (String, u64) {
    let plan = accounts.allowance(&Owner::Account(account)).await.unwrap().plan.unwrap();
    assert_eq!(accounts.user(account).await.unwrap().unwrap().plan, plan.name);
    (plan.name, plan.version)
}

pub async fn version(accounts: &Accounts, account: AccountId) -> u64 {
    plan_of(accounts, account).await.1
}

async fn store(fixture: &Fixture, accounts: &Accounts, account: AccountId, bytes: i64) {
    let hook = Arc::new(accounts.reserve(account, bytes as u64, 1).await.unwrap());
    let change = UsageChange { account, bucket: 1, bytes, objects: 1 };
    quotas::commit(&fixture.db, hook, change).await.unwrap();
}

/// How many terms there are of how many accounts on a plan version.
pub async fn terms(fixture: &Fixture, plan: &str, version: u64) -> (usize, usize) {
    let rows = fixture.rows("SELECT account, plan, version FROM subscription_term").await;
    let on = rows.iter().filter(|row| row.text(1).unwrap() == plan && row.uint(2).unwrap() == version);
    let accounts: Vec<_> = on.map(|row| row.bytes::<16>(0).unwrap()).collect();
    (accounts.len(), accounts.iter().collect::<BTreeSet<_>>().len())
}

pub async fn run(accounts: &Accounts) -> (u64, u64) {
    let MigrationRun { done, moved } = accounts.run_due_migrations(ACTOR).await.unwrap();
    (done, moved)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cohort_keeps_its_version_until_the_date_and_gets_the_new_limits_then() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let (accounts, other) = (fixture.gateway().await, fixture.gateway().await);
        team(&accounts, 1_000, "enforce").await;
        let [old, own] = [member(&accounts, "old", "team").await, member(&accounts, "own", "team").await];
        set_limit(&accounts, &Owner::Account(own), Dimension::Bytes, 70).await;
        store(&fixture, &accounts, old, 600).await;
        team(&accounts, 500, "enforce").await;
        let new = member(&accounts, "new", "team").await;
        let scheduled =
            accounts.schedule_migration(fixture.after(24 * HOUR, within_team(None, None))).await.unwrap();
        assert_eq!((scheduled.to_version, scheduled.state), (2, MigrationState::Scheduled));
        // The target is fixed: a newer version is nobody's yet.
        team(&accounts, 400, "enforce").await;

        fixture.clock.advance(Duration::from_millis(24 * 3_600_000 - 1));
        assert_eq!(run(&accounts).await, (0, 0), "it is not due");
        assert_eq!(version(&accounts, old).await, 1);
        accounts.reserve(old, 400, 1).await.unwrap();

        fixture.clock.advance(Duration::from_millis(1));
        assert_eq!(run(&other).await, (1, 2));
        let versions = [version(&accounts, old).await, version(&accounts, own).await];
        assert_eq!((versions, version(&accounts, new).await), ([2, 2], 2));
        let limit = async |account| accounts.usage(account).await.unwrap().bytes.limit;
        assert_eq!((limit(old).await, limit(own).await), (Some(500), Some(70)), "own limits stay");
        // Who uses more than the new limit keeps it all, and stores no more.
        assert_eq!(other.usage(old).await.unwrap().bytes.used, 600);
        let refused = other.reserve(old, 1, 1).await.unwrap_err();
        assert!(matches!(refused, AccountsError::QuotaExceeded { limit: 500, .. }), "{refused}");

        let done = accounts.plan_migration(&scheduled.id).await.unwrap();
        let now_ms = fixture.clock.now_ms();
        let expected =
            PlanMigration { state: MigrationState::Done, moved: 2, ended_at_ms: Some(now_ms), ..scheduled };
        assert_eq!(done, expected);
        let done_id = done.id.clone();
        assert_eq!(accounts.plan_migrations(10).await.unwrap(), [done]);
        assert_eq!(run(&accounts).await, (0, 0), "it is done");
        let entries = accounts.audit_entries(AuditFilter::default(), 10).await.unwrap();
        let [entry] = entries.as_slice() else { panic!("one for what was moved: {entries:?}") };
        let told = (entry.actor.as_str(), entry.action.as_str(), entry.target.clone());
        assert_eq!(told, (ACTOR, "migration.move", format!("migration:{done_id}")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_is_in_the_cohort_moves() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        team(&accounts, 1_000, "observe").await;
        let early = member(&accounts, "early", "team").await;
        let erased = member(&accounts, "erased", "team").await;
        let left = member(&accounts, "left", "team").await;
        let elsewhere = member(&accounts, "elsewhere", "free").await;
        fixture.clock.advance(HOUR);
        let before_ms = fixture.clock.now_ms();
        let late = member(&accounts, "late", "team").await;
        team(&accounts, 1_000, "warn").await;
        let second = member(&accounts, "second", "team").await;
        team(&accounts, 1_000, "enforce").await;
        fixture.execute("UPDATE account SET status = 'erased' WHERE name = 'erased'").await;

        let mut new = within_team(Some(1), Some(3));
        new.cohort.subscribed_before_ms = Some(before_ms);
        let first = accounts.schedule_migration(fixture.after(HOUR, new)).await.unwrap();
        let standing = accounts.cohort_standing(&first).await.unwrap();
        assert_eq!(standing, CohortStanding { accounts: 2, ..CohortStanding::default() });
        accounts.subscribe(left, "free", None).await.unwrap();
        assert_eq!(accounts.cohort_standing(&first).await.unwrap().accounts, 1, "an operator was faster");
        fixture.clock.advance(HOUR);
        assert_eq!(run(&accounts).await, (1, 1));
        let mut versions = Vec::new();
        for account in [early, late, second, erased] {
            versions.push(version(&accounts, account).await);
        }
        assert_eq!(versions, [3, 1, 2, 1]);
        assert_eq!(plan_of(&accounts, left).await.0, "free");

        // Without a version: all that are older than the target's, and all of another plan.
        fixture.clock.advance(HOUR);
        accounts.schedule_migration(within_team(None, Some(3))).await.unwrap();
        assert_eq!(run(&accounts).await, (1, 2));
        assert_eq!((version(&accounts, late).await, version(&accounts, second).await), (3, 3));
        fixture.clock.advance(HOUR);
        let mut new = within_team(None, None);
        "premium".clone_into(&mut new.to_plan);
        accounts.schedule_migration(new).await.unwrap();
        assert_eq!(run(&accounts).await, (1, 3));
        assert_eq!(plan_of(&accounts, early).await, ("premium".to_owned(), 1));
        assert_eq!(plan_of(&accounts, elsewhere).await, ("free".to_owned(), 1));
        assert_eq!(terms(&fixture, "team", 3).await, (3, 3));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_staged_rollout_is_a_sequence_of_migrations_also_when_all_are_overdue() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let mut account = None;
        for (version, stage) in ["observe", "warn", "enforce"].into_iter().enumerate() {
            team(&accounts, 10, stage).await;
            if version == 0 {
                account = Some(member(&accounts, "one", "team").await);
                continue;
            }
            let new = fixture.after(HOUR * version as u32, within_team(None, Some(version as u64 + 1)));
            accounts.schedule_migration(new).await.unwrap();
        }
        let account = account.unwrap();
        let stage = async || {
            let allowance = accounts.allowance(&Owner::Account(account)).await.unwrap();
            allowance.limits.get(Dimension::Bytes).unwrap().stage
        };
        store(&fixture, &accounts, account, 11).await;
        assert_eq!(stage().await, Stage::Observe);
        fixture.clock.advance(HOUR);
        assert_eq!((run(&accounts).await, stage().await), ((1, 1), Stage::Warn));
        store(&fixture, &accounts, account, 1).await;
        // Late for the last one and for one that was scheduled meanwhile: the earlier date goes first.
        team(&accounts, 10, "observe").await;
        accounts.schedule_migration(fixture.after(3 * HOUR, within_team(None, Some(4)))).await.unwrap();
        fixture.clock.advance(9 * HOUR);
        assert_eq!((run(&accounts).await, stage().await), ((2, 2), Stage::Observe));
        assert_eq!(version(&accounts, account).await, 4);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_not_scheduled() {
    for_each_engine(|db| async move {
        use PlanMigrationError as Error;
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        team(&accounts, 1, "observe").await;
        team(&accounts, 2, "observe").await;
        team(&accounts, 3, "observe").await;
        let named = |from: &str, to: &str| NewPlanMigration {
            cohort: Cohort { plan: from.to_owned(), version: None, subscribed_before_ms: None },
            to_plan: to.to_owned(),
            ..within_team(None, None)
        };
        for unknown in [
            named("platinum", "team"),
            named("team", "platinum"),
            within_team(Some(9), None),
            within_team(None, Some(9)),
            within_team(Some(0), None),
        ] {
            let refused = accounts.schedule_migration(unknown.clone()).await;
            assert!(
                matches!(refused, Err(Error::Accounts(AccountsError::UnknownPlan { .. }))),
                "{unknown:?}: {refused:?}"
            );
        }
        let same = accounts.schedule_migration(within_team(Some(3), None)).await;
        assert!(matches!(same, Err(Error::SameVersion { version: 3, .. })), "{same:?}");
        let oldest = accounts.schedule_migration(within_team(None, Some(1))).await;
        assert!(matches!(oldest, Err(Error::NoneOlder { version: 1, .. })), "{oldest:?}");
        let now_ms = fixture.clock.now_ms();
        for due_at_ms in [0, now_ms - 1, i64::MAX as u64, u64::MAX] {
            let new = NewPlanMigration { due_at_ms: Some(due_at_ms), ..within_team(None, None) };
            let refused = accounts.schedule_migration(new).await;
            assert!(matches!(refused, Err(Error::NotToCome)), "{due_at_ms}: {refused:?}");
        }
        assert_eq!(accounts.plan_migrations(10).await.unwrap(), []);

        let first = fixture.after(HOUR, within_team(Some(1), Some(2)));
        let first = accounts.schedule_migration(first).await.unwrap();
        // The same accounts, and those that the first one would bring.
        for (from, to) in [(Some(1), Some(3)), (None, None), (Some(2), Some(3)), (Some(3), Some(1))] {
            let refused = accounts.schedule_migration(fixture.after(HOUR, within_team(from, to))).await;
            let Err(Error::Overlaps { id }) = refused else { panic!("{from:?} {to:?}: {refused:?}") };
            assert_eq!(id, first.id);
        }
        accounts.schedule_migration(fixture.after(2 * HOUR, within_team(None, None))).await.unwrap();
        accounts.schedule_migration(fixture.after(HOUR, named("free", "premium"))).await.unwrap();
        accounts.cancel_migration(&first.id).await.unwrap();
        accounts.schedule_migration(fixture.after(HOUR, within_team(None, None))).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_schedules_nothing_and_tells_who_would_be_over_quota() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        team(&accounts, 1_000, "observe").await;
        let [over, at, exempt] = [
            member(&accounts, "over", "team").await,
            member(&accounts, "at", "team").await,
            member(&accounts, "exempt", "team").await,
        ];
        for (account, bytes) in [(over, 101), (at, 100), (exempt, 101)] {
            store(&fixture, &accounts, account, bytes).await;
        }
        set_limit(&accounts, &Owner::Account(exempt), Dimension::Bytes, 5_000).await;

        team(&accounts, 100, "enforce").await;
        let act = Arc::new(Act::new("op", "migration.schedule", "", "", Digest::NONE, true));
        let preview = accounts.acting(act).schedule_migration(within_team(None, None)).await.unwrap();
        assert_eq!(accounts.plan_migrations(10).await.unwrap(), []);
        let expected = CohortStanding { accounts: 3, over_quota: 1, named_over_quota: vec![over] };
        assert_eq!(accounts.cohort_standing(&preview).await.unwrap(), expected);

        // What is only warned of, or observed, is exceeded by nobody.
        team(&accounts, 1, "warn").await;
        let preview = PlanMigration { to_version: 3, ..preview };
        assert_eq!(accounts.cohort_standing(&preview).await.unwrap().over_quota, 0);
        assert_eq!(run(&accounts).await, (0, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_of_the_month_counts_against_the_target_too() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        let accounts = fixture.gateway().await;
        let file = |egress| PlanFile::parse(&format!("[team]\negress = {{ maximum = {egress} }}")).unwrap();
        accounts.apply_plans(&file(5_000)).await.unwrap();
        let [talker, quiet] =
            [member(&accounts, "talker", "team").await, member(&accounts, "quiet", "team").await];
        for (account, bytes) in [(talker, 301), (quiet, 300)] {
            let admission = accounts.admission(RequestClass::B);
            admission.enter(&Owner::Account(account), Effect::Read).await.unwrap();
            admission.take(Direction::Sent, bytes).await.unwrap();
            admission.moved(Direction::Sent, bytes, &mut Pace::default());
        }
        accounts.flush_meters().await;
        accounts.apply_plans(&file(300)).await.unwrap();
        let migration = accounts.schedule_migration(within_team(None, None)).await.unwrap();
        let expected = CohortStanding { accounts: 2, over_quota: 1, named_over_quota: vec![talker] };
        assert_eq!(accounts.cohort_standing(&migration).await.unwrap(), expected);
    })
    .await;
}

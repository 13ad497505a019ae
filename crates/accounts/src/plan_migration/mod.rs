//! Plan migrations: cohorts of accounts that move to another version of a plan, or to another plan, when they are due.
//! Until then the accounts are grandfathered: they keep the version that they subscribe to.
//!
//! Each limit has its stage in the version of its plan, so a limit that is introduced step by step (observe, warn,
//! enforce) is a sequence of migrations to versions that differ in that stage.
//!
//! Invariants:
//! - A cohort is a condition, not a list: who is in it is judged in the transaction that moves them. Its target is not
//!   in it, so a move takes an account out of it, and none is moved twice.
//! - Each transaction moves a bounded number of accounts and records how many: a run that was cut off anywhere, or that
//!   another gateway makes at the same time, leaves nobody out and counts nobody twice.
//! - Two scheduled migrations whose order would matter are not due at the same time.

mod cohort;
mod error;
mod run;
mod schedule;

use std::ops::RangeInclusive;

use datamesh_db::{Row, Tx};

use crate::AccountsError;
use crate::named::named;

pub use cohort::{Cohort, CohortStanding};
pub use error::PlanMigrationError;
pub use run::{MigratedBatch, MigrationRun};
pub use schedule::NewPlanMigration;

/// Held by whatever changes migrations or moves their accounts.
const LOCK: &[u8] = b"plan-migrations";
/// No version of a plan has a higher number.
const VERSION_MAX: u64 = i64::MAX as u64;

/// The state of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrationState {
    /// It waits for its date, or is being carried out.
    Scheduled,
    /// Everybody who was in its cohort has been moved.
    Done,
    /// It was given up. Who had been moved by then stays.
    Cancelled,
}

named!(MigrationState {
    Scheduled = "scheduled", Done = "done", Cancelled = "cancelled",
} name => AccountsError::Damaged { name: format!("plan_migration state {name:?}") });

/// A cohort and where it moves to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanMigration {
    /// Its id.
    pub id: String,
    /// Who moves.
    pub cohort: Cohort,
    /// The plan that they move to.
    pub to_plan: String,
    /// The version of it, as it was fixed when the migration was scheduled.
    pub to_version: u64,
    /// When it was scheduled, milliseconds since 1970.
    pub scheduled_at_ms: u64,
    /// When it is due.
    pub due_at_ms: u64,
    /// Its state.
    pub state: MigrationState,
    /// How many accounts it has moved.
    pub moved: u64,
    /// When it was done or cancelled.
    pub ended_at_ms: Option<u64>,
}

impl PlanMigration {
    /// The versions of the cohort's plan that it moves accounts from.
    fn versions(&self) -> RangeInclusive<u64> {
        match self.cohort.version {
            Some(version) => version..=version,
            None if self.cohort.plan == self.to_plan => 1..=self.to_version.saturating_sub(1),
            None => 1..=VERSION_MAX,
        }
    }

    fn moves_from(&self, plan: &str, version: u64) -> bool {
        self.cohort.plan == plan && self.versions().contains(&version)
    }

    /// # Errors
    /// [`PlanMigrationError::SameVersion`], [`PlanMigrationError::NoneOlder`].
    fn check(&self) -> Result<(), PlanMigrationError> {
        let (plan, version) = (self.to_plan.clone(), self.to_version);
        if self.versions().is_empty() {
            return Err(PlanMigrationError::NoneOlder { plan, version });
        }
        if self.moves_from(&plan, version) {
            return Err(PlanMigrationError::SameVersion { plan, version });
        }
        Ok(())
    }

    /// Whether it matters which of the two is carried out first.
    fn interferes_with(&self, other: &Self) -> bool {
        let (one, two) = (self.versions(), other.versions());
        let shares =
            self.cohort.plan == other.cohort.plan && one.start() <= two.end() && two.start() <= one.end();
        shares
            || self.moves_from(&other.to_plan, other.to_version)
            || other.moves_from(&self.to_plan, self.to_version)
    }
}

/// Selects migrations, for [`from_row`].
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, from_plan, from_version, subscribed_before_ms, to_plan, to_version, scheduled_at_ms,
                due_at_ms, state, moved, ended_at_ms FROM plan_migration ",
            $rest
        )
    };
}
use select;

fn from_row(row: &Row) -> Result<PlanMigration, AccountsError> {
    let cohort = Cohort {
        plan: row.text(1)?.to_owned(),
        version: row.opt_int(2)?.map(i64::cast_unsigned),
        subscribed_before_ms: row.opt_int(3)?.map(i64::cast_unsigned),
    };
    Ok(PlanMigration {
        id: row.text(0)?.to_owned(),
        cohort,
        to_plan: row.text(4)?.to_owned(),
        to_version: row.uint(5)?,
        scheduled_at_ms: row.uint(6)?,
        due_at_ms: row.uint(7)?,
        state: row.text(8)?.parse()?,
        moved: row.uint(9)?,
        ended_at_ms: row.opt_int(10)?.map(i64::cast_unsigned),
    })
}

/// A migration that has not ended.
///
/// # Errors
/// [`PlanMigrationError::NoSuchMigration`], [`PlanMigrationError::Ended`].
async fn scheduled(tx: &mut Tx, id: &str) -> Result<PlanMigration, PlanMigrationError> {
    const ONE: &str = select!("WHERE id = $1");
    let row = tx.query_opt(ONE, &[id.into()]).await?;
    let row = row.ok_or_else(|| PlanMigrationError::NoSuchMigration { id: id.to_owned() })?;
    let migration = from_row(&row)?;
    match migration.state {
        MigrationState::Scheduled => Ok(migration),
        state => Err(PlanMigrationError::Ended { id: migration.id, state }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn migration(from: (&str, Option<u64>), to: (&str, u64)) -> PlanMigration {
        let cohort = Cohort { plan: from.0.to_owned(), version: from.1, subscribed_before_ms: None };
        PlanMigration {
            id: String::new(),
            cohort,
            to_plan: to.0.to_owned(),
            to_version: to.1,
            scheduled_at_ms: 0,
            due_at_ms: 0,
            state: MigrationState::Scheduled,
            moved: 0,
            ended_at_ms: None,
        }
    }

    #[test]
    fn a_cohort_is_one_version_the_older_ones_or_all_of_another_plan() {
        assert_eq!(migration(("a", Some(4)), ("a", 2)).versions(), 4..=4);
        assert_eq!(migration(("a", None), ("a", 3)).versions(), 1..=2);
        assert_eq!(migration(("a", None), ("b", 3)).versions(), 1..=VERSION_MAX);
    }

    #[test]
    fn a_cohort_that_is_at_its_target_or_empty_for_good_is_refused() {
        let same = migration(("a", Some(2)), ("a", 2)).check().unwrap_err();
        assert!(matches!(same, PlanMigrationError::SameVersion { version: 2, .. }), "{same}");
        let oldest = migration(("a", None), ("a", 1)).check().unwrap_err();
        assert!(matches!(oldest, PlanMigrationError::NoneOlder { version: 1, .. }), "{oldest}");
        for (from, to) in [(("a", Some(2)), ("a", 1)), (("a", None), ("a", 2)), (("a", None), ("b", 1))] {
            migration(from, to).check().unwrap();
        }
    }

    #[test]
    fn migrations_interfere_when_they_share_accounts_or_one_feeds_the_other() {
        let first = migration(("a", Some(1)), ("a", 2));
        for (other, expected) in [
            (migration(("a", None), ("a", 3)), true),
            (migration(("a", None), ("b", 1)), true),
            (migration(("a", Some(2)), ("a", 3)), true),
            (migration(("b", None), ("a", 1)), true),
            (migration(("b", None), ("a", 2)), false),
            (migration(("a", Some(3)), ("a", 2)), false),
            (migration(("b", Some(1)), ("b", 2)), false),
        ] {
            assert_eq!(first.interferes_with(&other), expected, "{other:?}");
            assert_eq!(other.interferes_with(&first), expected, "{other:?}");
        }
    }
}

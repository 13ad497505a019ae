//! What can go wrong with plan migrations.

use super::MigrationState;
use crate::AccountsError;

/// Why a migration could not be scheduled, shown or cancelled.
#[derive(Debug, thiserror::Error)]
pub enum PlanMigrationError {
    /// Accounts failed, or refused: a plan or a version that is not there among others.
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    /// The target is where the cohort is.
    #[error("to: the cohort is on plan {plan:?} version {version} already")]
    SameVersion {
        /// The plan.
        plan: String,
        /// Its version.
        version: u64,
    },
    /// The cohort is empty and stays so.
    #[error("to: plan {plan:?} has no version older than {version}: name the version to move from")]
    NoneOlder {
        /// The plan.
        plan: String,
        /// The version to move to.
        version: u64,
    },
    /// The date is over, or too far away to be written down.
    #[error("at: expected now, or a time to come before the year 10000")]
    NotToCome,
    /// Another one is due at the same time, and the outcome would depend on which came first.
    #[error("migration {id} concerns the same accounts at the same time: give them different times")]
    Overlaps {
        /// The other one.
        id: String,
    },
    /// No such migration.
    #[error("there is no plan migration {id}")]
    NoSuchMigration {
        /// The id.
        id: String,
    },
    /// Its time has not come.
    #[error("the plan migration {id} is not due")]
    NotDue {
        /// The migration.
        id: String,
    },
    /// It has ended.
    #[error("the plan migration {id} is {state}")]
    Ended {
        /// The migration.
        id: String,
        /// How it ended.
        state: MigrationState,
    },
}

impl From<datamesh_db::DbError> for PlanMigrationError {
    fn from(error: datamesh_db::DbError) -> Self {
        Self::Accounts(error.into())
    }
}

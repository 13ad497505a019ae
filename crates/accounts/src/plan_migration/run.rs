//! Carrying out the migrations that are due, a batch of accounts at a time.

use std::sync::Arc;

use datamesh_db::Tx;
use datamesh_types::AccountId;
use serde::Serialize;

use super::cohort::in_cohort;
use super::{LOCK, MigrationState, PlanMigrationError, scheduled};
use crate::owner::Owner;
use crate::{Accounts, AccountsError, Act, Digest, plan, subscription};

/// Accounts per transaction.
const BATCH: usize = 100;

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MigrationRun {
    /// Migrations that it brought to their end.
    pub done: u64,
    /// Accounts that it moved.
    pub moved: u64,
}

/// What one transaction of a migration did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MigratedBatch {
    /// Who was moved.
    pub moved: Vec<AccountId>,
    /// Whether the migration is done by it.
    pub is_last: bool,
}

impl Accounts {
    /// Carries out the migrations that are due, those first that were due first; each has an entry in the audit log
    /// that says that `actor` moved its accounts. It may be cut off anywhere and run on several gateways at once. This
    /// gateway applies the new limits at once, the others within five seconds.
    ///
    /// # Errors
    /// Those of the database; who was moved before stays moved.
    pub async fn run_due_migrations(&self, actor: &str) -> Result<MigrationRun, AccountsError> {
        const DUE: &str = "SELECT id FROM plan_migration WHERE state = 'scheduled' AND due_at_ms <= $1
            ORDER BY due_at_ms, id LIMIT 1";
        let mut run = MigrationRun::default();
        while let Some(row) = self.db().row(DUE, [self.now_ms().into()].into()).await? {
            let id = row.text(0)?;
            let act = Act::new(actor, "migration.move", format!("migration:{id}"), "", Digest::NONE, false);
            self.acting(Arc::new(act)).carry_out(id, &mut run).await?;
        }
        Ok(run)
    }

    async fn carry_out(&self, id: &str, run: &mut MigrationRun) -> Result<(), AccountsError> {
        loop {
            match self.advance_migration(id).await {
                Ok(batch) => {
                    run.moved += batch.moved.len() as u64;
                    run.done += u64::from(batch.is_last);
                    if batch.is_last {
                        return Ok(());
                    }
                }
                Err(PlanMigrationError::Accounts(error)) => return Err(error),
                // Another gateway brought it to its end, or an operator cancelled it.
                Err(_) => return Ok(()),
            }
        }
    }

    /// Moves the next accounts of a migration, at most 100, in one transaction.
    ///
    /// # Errors
    /// [`PlanMigrationError::NotDue`], [`PlanMigrationError::Ended`], [`PlanMigrationError::NoSuchMigration`].
    pub async fn advance_migration(&self, id: &str) -> Result<MigratedBatch, PlanMigrationError> {
        let (id, now_ms) = (Arc::<str>::from(id), self.now_ms());
        let batch = self
            .write(move |tx| {
                let id = Arc::clone(&id);
                Box::pin(async move { advance(tx, &id, now_ms).await })
            })
            .await?;
        for account in &batch.moved {
            self.limits_changed(&Owner::Account(*account));
        }
        Ok(batch)
    }
}

async fn advance(tx: &mut Tx, id: &str, now_ms: u64) -> Result<MigratedBatch, PlanMigrationError> {
    const MEMBERS: &str = concat!(
        "SELECT s.account, s.version, s.since_ms FROM subscription s JOIN account a ON a.id = s.account WHERE ",
        in_cohort!(),
        " ORDER BY s.account LIMIT $5"
    );
    const RECORD: &str =
        "UPDATE plan_migration SET moved = moved + $2, state = $3, ended_at_ms = $4 WHERE id = $1";
    tx.lock(LOCK).await?;
    let migration = scheduled(tx, id).await?;
    if migration.due_at_ms > now_ms {
        return Err(PlanMigrationError::NotDue { id: migration.id });
    }
    let target = plan::one(tx, &migration.to_plan, migration.to_version).await?;
    let members = tx.query(MEMBERS, &[&migration.condition()[..], &[BATCH.into()]].concat()).await?;
    let mut batch = MigratedBatch { moved: Vec::new(), is_last: members.len() < BATCH };
    for member in &members {
        let account = AccountId(member.bytes(0)?);
        let from = (migration.cohort.plan.as_str(), member.uint(1)?, member.uint(2)?);
        // An operator may have moved it since it was read: then it is not in the cohort any more.
        if subscription::move_from(tx, account, from, &target, now_ms).await? {
            batch.moved.push(account);
        }
    }
    let (state, ended_at_ms) =
        if batch.is_last { (MigrationState::Done, Some(now_ms)) } else { (MigrationState::Scheduled, None) };
    let params = [id.into(), batch.moved.len().into(), state.name().into(), ended_at_ms.into()];
    tx.execute(RECORD, &params).await?;
    Ok(batch)
}

//! Migrations are scheduled, listed and cancelled.

use std::sync::Arc;

use aws_lc_rs::rand;
use datamesh_db::Tx;

use super::{Cohort, LOCK, MigrationState, PlanMigration, PlanMigrationError, from_row, scheduled, select};
use crate::{Accounts, AccountsError, plan};

/// The last moment that times are written down for: the end of the year 9999.
const LAST_MS: u64 = 253_402_300_799_999;

/// A migration to be scheduled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPlanMigration {
    /// Who is to move.
    pub cohort: Cohort,
    /// The plan to move to.
    pub to_plan: String,
    /// Its version; the newest one there is, if none is named.
    pub to_version: Option<u64>,
    /// When, milliseconds since 1970; at once, if nothing is said.
    pub due_at_ms: Option<u64>,
}

impl Accounts {
    /// Schedules a migration. Nobody is moved before it is due.
    ///
    /// # Errors
    /// [`AccountsError::UnknownPlan`] for a plan or version that is not there, [`PlanMigrationError::NotToCome`],
    /// [`PlanMigrationError::SameVersion`], [`PlanMigrationError::NoneOlder`]; [`PlanMigrationError::Overlaps`] when
    /// another one is due at that time and it would matter which comes first.
    pub async fn schedule_migration(
        &self,
        new: NewPlanMigration,
    ) -> Result<PlanMigration, PlanMigrationError> {
        let now_ms = self.now_ms();
        let due_at_ms = new.due_at_ms.unwrap_or(now_ms);
        if !(now_ms..=LAST_MS).contains(&due_at_ms) {
            return Err(PlanMigrationError::NotToCome);
        }
        let mut id = [0; 8];
        rand::fill(&mut id).map_err(|_| AccountsError::Random)?;
        let shared = Arc::new((new, hex::encode(id)));
        self.write(move |tx| {
            let shared = Arc::clone(&shared);
            Box::pin(async move {
                let (new, id) = &*shared;
                schedule(tx, id, new, (now_ms, due_at_ms)).await
            })
        })
        .await
    }

    /// The last `limit` migrations that were scheduled, newest first.
    pub async fn plan_migrations(&self, limit: usize) -> Result<Vec<PlanMigration>, AccountsError> {
        const LAST: &str = select!("ORDER BY scheduled_at_ms DESC, id LIMIT $1");
        let rows = self.db().rows(LAST, [limit.into()].into()).await?;
        rows.iter().map(from_row).collect()
    }

    /// A migration.
    ///
    /// # Errors
    /// [`PlanMigrationError::NoSuchMigration`].
    pub async fn plan_migration(&self, id: &str) -> Result<PlanMigration, PlanMigrationError> {
        const ONE: &str = select!("WHERE id = $1");
        let row = self.db().row(ONE, [id.into()].into()).await?;
        let row = row.ok_or_else(|| PlanMigrationError::NoSuchMigration { id: id.to_owned() })?;
        Ok(from_row(&row)?)
    }

    /// Gives a migration up. Who it has moved by then stays where they are.
    ///
    /// # Errors
    /// [`PlanMigrationError::NoSuchMigration`]; [`PlanMigrationError::Ended`] when it is done or cancelled.
    pub async fn cancel_migration(&self, id: &str) -> Result<PlanMigration, PlanMigrationError> {
        let (id, now_ms) = (Arc::<str>::from(id), self.now_ms());
        self.write(move |tx| {
            let id = Arc::clone(&id);
            Box::pin(async move { cancel(tx, &id, now_ms).await })
        })
        .await
    }
}

async fn schedule(
    tx: &mut Tx,
    id: &str,
    new: &NewPlanMigration,
    (now_ms, due_at_ms): (u64, u64),
) -> Result<PlanMigration, PlanMigrationError> {
    const SAME_TIME: &str = select!("WHERE state = 'scheduled' AND due_at_ms = $1 ORDER BY id");
    const INSERT: &str =
        "INSERT INTO plan_migration (id, from_plan, from_version, subscribed_before_ms, to_plan,
            to_version, scheduled_at_ms, due_at_ms, state, moved)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'scheduled', 0)";
    tx.lock(LOCK).await?;
    plan::named(tx, &new.cohort.plan, new.cohort.version).await?;
    let target = plan::named(tx, &new.to_plan, new.to_version).await?;
    let migration = PlanMigration {
        id: id.to_owned(),
        cohort: new.cohort.clone(),
        to_plan: target.name,
        to_version: target.version,
        scheduled_at_ms: now_ms,
        due_at_ms,
        state: MigrationState::Scheduled,
        moved: 0,
        ended_at_ms: None,
    };
    migration.check()?;
    for row in tx.query(SAME_TIME, &[due_at_ms.into()]).await? {
        let other = from_row(&row)?;
        if migration.interferes_with(&other) {
            return Err(PlanMigrationError::Overlaps { id: other.id });
        }
    }
    let params = [
        id.into(),
        (&migration.cohort.plan).into(),
        migration.cohort.version.into(),
        migration.cohort.subscribed_before_ms.into(),
        (&migration.to_plan).into(),
        migration.to_version.into(),
        now_ms.into(),
        due_at_ms.into(),
    ];
    tx.execute(INSERT, &params).await?;
    Ok(migration)
}

async fn cancel(tx: &mut Tx, id: &str, now_ms: u64) -> Result<PlanMigration, PlanMigrationError> {
    const CANCEL: &str = "UPDATE plan_migration SET state = 'cancelled', ended_at_ms = $2 WHERE id = $1";
    tx.lock(LOCK).await?;
    let migration = scheduled(tx, id).await?;
    tx.execute(CANCEL, &[id.into(), now_ms.into()]).await?;
    Ok(PlanMigration { state: MigrationState::Cancelled, ended_at_ms: Some(now_ms), ..migration })
}

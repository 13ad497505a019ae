//! Schema versions. Each component numbers its own, from 1 without gaps.

use crate::{Db, DbError, Engine, Tx};

/// One step of a component's schema. Published steps never change; a new version appends one.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// The version the schema has after this step.
    pub version: i64,
    /// The statements on SQLite, separated by semicolons.
    pub sqlite: &'static str,
    /// The statements on PostgreSQL.
    pub postgres: &'static str,
}

/// See [`Db::migrate`].
pub(crate) async fn migrate(
    db: &Db,
    component: &'static str,
    steps: &'static [Migration],
) -> Result<(), DbError> {
    debug_assert!(
        steps.iter().zip(1..).all(|(step, number)| step.version == number),
        "versions count from 1"
    );
    let supported = steps.last().map_or(0, |step| step.version);
    loop {
        let version = db.write(move |tx| Box::pin(migrate_once(tx, component, steps))).await?;
        if version > supported {
            return Err(DbError::SchemaTooNew { component, found: version, supported });
        }
        if version == supported {
            return Ok(());
        }
    }
}

/// Applies the next step, if there is one; the version afterwards.
async fn migrate_once(
    tx: &mut Tx,
    component: &'static str,
    steps: &'static [Migration],
) -> Result<i64, DbError> {
    // Without the lock, two first starts would collide on CREATE TABLE.
    tx.lock(b"schema_version").await?;
    tx.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_version (component TEXT PRIMARY KEY, version BIGINT NOT NULL)",
    )
    .await?;
    let row =
        tx.query_opt("SELECT version FROM schema_version WHERE component = $1", &[component.into()]).await?;
    let version = row.map_or(Ok(0), |row| row.int(0))?;
    let Some(step) = steps.iter().find(|step| step.version == version + 1) else { return Ok(version) };
    tx.execute_batch(match tx.engine() {
        Engine::Sqlite => step.sqlite,
        Engine::Postgres => step.postgres,
    })
    .await?;
    tx.execute(
        "INSERT INTO schema_version (component, version) VALUES ($1, $2)
         ON CONFLICT (component) DO UPDATE SET version = excluded.version",
        &[component.into(), step.version.into()],
    )
    .await?;
    Ok(step.version)
}

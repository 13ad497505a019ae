//! Versions of archived storage classes that may be read for a while.

use std::sync::Arc;

use datamesh_db::{Tx, Value};

use crate::outbox::announce_amended;
use crate::{Catalog, CatalogError, Version};

/// Rows per transaction.
const STEP: usize = 500;

impl Catalog {
    /// Until when a version is restored, in milliseconds since 1970. `None`: it is not, or no longer.
    pub async fn restored_until(&self, version: &Version, now_ms: u64) -> Result<Option<u64>, CatalogError> {
        const UNTIL: &str = "SELECT until_ms FROM restored_version WHERE version = $1 AND until_ms > $2";
        let row = self.db.row(UNTIL, [version.sequence.into(), now_ms.into()].into()).await?;
        Ok(row.map(|row| row.uint(0)).transpose()?)
    }

    /// Restores a version until `until_ms`, also when that is earlier than it was to be before; whether it was restored
    /// already. If it was not, the messages about it are stored.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchVersion`] when it is gone.
    pub async fn restore_version(
        &self,
        version: &Version,
        until_ms: u64,
        now_ms: u64,
    ) -> Result<bool, CatalogError> {
        let version = Arc::new(version.clone());
        let messages = Arc::clone(&self.messages);
        self.db
            .write(move |tx| {
                let (version, messages) = (Arc::clone(&version), Arc::clone(&messages));
                Box::pin(async move {
                    let before = restore(tx, version.sequence, until_ms, now_ms).await?;
                    if !before {
                        announce_amended(tx, &messages, &version).await?;
                    }
                    Ok(before)
                })
            })
            .await
    }

    /// Forgets what is no longer restored, and what is restored of versions that are gone, some rows at a time; how many
    /// versions that were.
    ///
    /// # Errors
    /// Those of the database; what was forgotten before stays so.
    pub async fn forget_restored(&self, now_ms: u64) -> Result<u64, CatalogError> {
        const OVER: &str = "DELETE FROM restored_version WHERE version IN
            (SELECT version FROM restored_version WHERE until_ms <= $1 LIMIT $2)";
        let mut forgotten = 0;
        loop {
            let over = self.db.execute(OVER, [now_ms.into(), STEP.into()].into()).await?;
            forgotten += over;
            if over < STEP as u64 {
                return Ok(forgotten + self.forget_gone().await?);
            }
        }
    }

    /// Removing a version leaves its row, so that nobody pays for what few versions have. No quota counts the rows: what is
    /// written, restored for decades and removed, again and again, must not pile up.
    async fn forget_gone(&self) -> Result<u64, CatalogError> {
        const NEXT: &str =
            "SELECT version FROM restored_version WHERE version > $1 ORDER BY version LIMIT $2";
        const GONE: &str = "DELETE FROM restored_version WHERE version > $1 AND version <= $2
            AND NOT EXISTS (SELECT 1 FROM version v WHERE v.sequence = restored_version.version)";
        let (mut after, mut forgotten) = (0, 0);
        loop {
            let rows = self.db.rows(NEXT, [Value::from(after), STEP.into()].into()).await?;
            let Some(last) = rows.last() else { return Ok(forgotten) };
            let last = last.uint(0)?;
            forgotten += self.db.execute(GONE, [after.into(), last.into()].into()).await?;
            after = last;
        }
    }
}

async fn restore(tx: &mut Tx, sequence: u64, until_ms: u64, now_ms: u64) -> Result<bool, CatalogError> {
    // Locks the row: of two concurrent restores one is the first.
    const LOCK: &str = "UPDATE version SET legal_hold = legal_hold WHERE sequence = $1 AND delete_marker = 0";
    const BEFORE: &str = "SELECT 1 FROM restored_version WHERE version = $1 AND until_ms > $2";
    const RESTORE: &str = "INSERT INTO restored_version (version, until_ms) VALUES ($1, $2)
        ON CONFLICT (version) DO UPDATE SET until_ms = excluded.until_ms";
    let version = Value::from(sequence);
    if tx.execute(LOCK, std::slice::from_ref(&version)).await? == 0 {
        return Err(CatalogError::NoSuchVersion);
    }
    let before = tx.query_opt(BEFORE, &[version.clone(), now_ms.into()]).await?;
    tx.execute(RESTORE, &[version, until_ms.into()]).await?;
    Ok(before.is_some())
}

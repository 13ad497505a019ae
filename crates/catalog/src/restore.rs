//! Versions of archived storage classes that may be read for a while.

use datamesh_db::{Tx, Value};

use crate::{Catalog, CatalogError, Version};

impl Catalog {
    /// Until when a version is restored, in milliseconds since 1970. `None`: it is not, or no longer.
    pub async fn restored_until(&self, version: &Version, now_ms: u64) -> Result<Option<u64>, CatalogError> {
        const UNTIL: &str = "SELECT until_ms FROM restored_version WHERE version = $1 AND until_ms > $2";
        let row = self.db.row(UNTIL, [version.sequence.into(), now_ms.into()].into()).await?;
        Ok(row.map(|row| row.uint(0)).transpose()?)
    }

    /// Restores a version until `until_ms`, also when that is earlier than it was to be before; whether it was restored
    /// already.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchVersion`] when it is gone.
    pub async fn restore_version(
        &self,
        version: &Version,
        until_ms: u64,
        now_ms: u64,
    ) -> Result<bool, CatalogError> {
        let sequence = version.sequence;
        self.db.write(move |tx| Box::pin(restore(tx, sequence, until_ms, now_ms))).await
    }

    /// Forgets what is no longer restored; how many versions that were.
    pub async fn forget_restored(&self, now_ms: u64) -> Result<u64, CatalogError> {
        const OVER: &str = "DELETE FROM restored_version WHERE until_ms <= $1";
        Ok(self.db.execute(OVER, [now_ms.into()].into()).await?)
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

//! Leases: which process runs a background job.

use crate::{Catalog, CatalogError};

/// A held lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Grows with each change of holder.
    pub term: u64,
    /// Until when it is held, unless renewed.
    pub expires_at_ms: u64,
}

impl Catalog {
    /// Takes or renews the lease `name` for `ttl_ms`; `None` while another holds it.
    ///
    /// A lease spares duplicate work. It is no lock: it follows clocks, so jobs must bear running twice.
    pub async fn lease(
        &self,
        name: &str,
        holder: &str,
        ttl_ms: u64,
        now_ms: u64,
    ) -> Result<Option<Lease>, CatalogError> {
        const TAKE: &str = "INSERT INTO lease (name, holder, term, expires_at_ms) VALUES ($1, $2, 1, $3)
             ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at_ms = excluded.expires_at_ms,
               term = lease.term + CASE WHEN lease.holder = excluded.holder THEN 0 ELSE 1 END
             WHERE lease.holder = excluded.holder OR lease.expires_at_ms <= $4
             RETURNING term";
        let expires_at_ms = now_ms.saturating_add(ttl_ms);
        let params = [name.into(), holder.into(), expires_at_ms.into(), now_ms.into()];
        self.db
            .write(move |tx| {
                let params = params.clone();
                Box::pin(async move {
                    let row = tx.query_opt(TAKE, &params).await?;
                    row.map(|row| Ok(Lease { term: row.uint(0)?, expires_at_ms })).transpose()
                })
            })
            .await
    }

    /// Gives the lease up early, if `holder` has it.
    pub async fn release_lease(&self, name: &str, holder: &str) -> Result<(), CatalogError> {
        const RELEASE: &str = "UPDATE lease SET expires_at_ms = 0 WHERE name = $1 AND holder = $2";
        self.db.execute(RELEASE, [name.into(), holder.into()].into()).await?;
        Ok(())
    }
}

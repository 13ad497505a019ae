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
        let _ = (name, holder, ttl_ms, now_ms);
        todo!()
    }

    /// Gives the lease up early, if `holder` has it.
    pub async fn release_lease(&self, name: &str, holder: &str) -> Result<(), CatalogError> {
        let _ = (name, holder);
        todo!()
    }
}

//! What locks keep an account from being erased.

use datamesh_types::AccountId;

use crate::meta::RetentionMode;
use crate::{Catalog, CatalogError};

/// Versions that nobody may delete for now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LockedVersions {
    /// How many there are.
    pub versions: u64,
    /// How many of them are under a legal hold.
    pub legal_holds: u64,
    /// When the last of the retentions in compliance mode ends, milliseconds since 1970.
    pub until_ms: Option<u64>,
}

impl Catalog {
    /// The versions in the buckets of an account that are under a legal hold, or under a retention that nobody can bypass.
    pub async fn locked_versions(
        &self,
        account: AccountId,
        now_ms: u64,
    ) -> Result<LockedVersions, CatalogError> {
        const LOCKED: &str = "SELECT COUNT(*), CAST(COALESCE(SUM(v.legal_hold), 0) AS BIGINT),
             MAX(CASE WHEN v.retention_mode = $2 THEN v.retain_until_ms END)
             FROM bucket b JOIN version v ON v.bucket = b.id
             WHERE b.account = $1
               AND (v.legal_hold = 1 OR (v.retention_mode = $2 AND v.retain_until_ms > $3))";
        let compliance = RetentionMode::Compliance.code();
        let row = self
            .db
            .scan::<_, CatalogError, _>(move |tx| {
                Box::pin(async move {
                    let params = [account.into(), compliance.into(), now_ms.into()];
                    Ok(tx.query_opt(LOCKED, &params).await?)
                })
            })
            .await?;
        let row = row.ok_or(CatalogError::Corrupt { what: "version" })?;
        Ok(LockedVersions {
            versions: row.uint(0)?,
            legal_holds: row.uint(1)?,
            until_ms: row.opt_int(2)?.map(i64::cast_unsigned),
        })
    }
}

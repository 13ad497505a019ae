//! The doctor's check of buckets' configurations against the bits in their rows.

use datamesh_db::Tx;

use crate::check::{CheckPage, Finding};
use crate::{BucketId, CatalogError, ConfigKind, ConfigSet, Versioning};

const BUCKETS_PER_PAGE: i64 = 4096;

/// Checks the buckets after number `from`; the number to go on after, unless that was all.
pub(crate) async fn check_configs(
    tx: &mut Tx,
    from: i64,
    page: &mut CheckPage,
) -> Result<Option<i64>, CatalogError> {
    // A bucket has a kind once at most, so that the sum of bits is their union.
    const BUCKETS: &str = "SELECT b.id, b.versioning, b.configured,
           (SELECT CAST(COALESCE(SUM(CAST(1 AS BIGINT) << CAST(c.kind AS INTEGER)), 0) AS BIGINT)
            FROM bucket_config c WHERE c.bucket = b.id)
         FROM bucket b WHERE b.id > $1 ORDER BY b.id LIMIT $2";
    let rows = tx.query(BUCKETS, &[from.into(), BUCKETS_PER_PAGE.into()]).await?;
    page.rows += rows.len() as u64;
    let mut last = from;
    for row in &rows {
        last = row.int(0)?;
        let (bucket, versioning) = (BucketId(last), Versioning::from_code(row.int(1)?)?);
        let (marked, stored) = (ConfigSet(row.int(2)?), ConfigSet(row.int(3)?));
        let locked_alone = stored.contains(ConfigKind::ObjectLock) && versioning != Versioning::Enabled;
        if marked != stored || locked_alone {
            page.report(Finding::BucketConfigs { bucket });
        }
    }
    Ok((rows.len() as i64 == BUCKETS_PER_PAGE).then_some(last))
}

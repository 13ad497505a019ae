//! What is stored, counted from the versions and the parts of open uploads: quota accounting must agree.

use std::sync::Arc;

use datamesh_db::{DbError, Engine, Row, StoredCount, StoredUsage, Tx, TxFuture};
use datamesh_types::AccountId;

use crate::Catalog;

/// See [`Catalog::stored_count`].
struct Count;

impl Catalog {
    /// Counts what each bucket stores, buckets that store nothing included, inside the transaction of another crate.
    pub fn stored_count() -> Arc<dyn StoredCount> {
        Arc::new(Count)
    }
}

macro_rules! count {
    ($where:literal) => {
        concat!(
            "SELECT account, bucket, CAST(SUM(bytes) AS BIGINT), CAST(SUM(objects) AS BIGINT) FROM (
               SELECT b.account, b.id AS bucket, v.size AS bytes, 1 AS objects
               FROM version v JOIN bucket b ON b.id = v.bucket WHERE v.delete_marker = 0",
            $where,
            " UNION ALL SELECT b.account, b.id, p.size, 0
               FROM upload_part p JOIN upload u ON u.id = p.upload JOIN bucket b ON b.id = u.bucket
               WHERE 1 = 1",
            $where,
            " UNION ALL SELECT b.account, b.id, 0, 0 FROM bucket b WHERE 1 = 1",
            $where,
            ") AS stored GROUP BY account, bucket ORDER BY account, bucket"
        )
    };
}

impl StoredCount for Count {
    fn count<'t>(&'t self, tx: &'t mut Tx, bucket: Option<i64>) -> TxFuture<'t, Vec<StoredUsage>, DbError> {
        const ALL: &str = count!("");
        const ONE: &str = count!(" AND b.id = $1");
        // Writers hold the bucket's row against deletion until they commit: this waits for them and keeps others off.
        const LOCK: &str = "SELECT id FROM bucket WHERE id = $1 FOR UPDATE";
        Box::pin(async move {
            let rows = match bucket {
                None => tx.query(ALL, &[]).await?,
                Some(bucket) => {
                    if tx.engine() == Engine::Postgres {
                        tx.query(LOCK, &[bucket.into()]).await?;
                    }
                    tx.query(ONE, &[bucket.into()]).await?
                }
            };
            let stored = |row: &Row| {
                Ok(StoredUsage {
                    account: AccountId(row.bytes(0)?),
                    bucket: row.int(1)?,
                    bytes: row.uint(2)?,
                    objects: row.uint(3)?,
                })
            };
            rows.iter().map(stored).collect()
        })
    }
}

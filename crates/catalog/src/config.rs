//! A bucket's configurations: documents that the catalog keeps and does not read.
//!
//! Which kinds are set stands in the bucket's own row, beside a number that every change increments. So whoever has
//! a [`Bucket`] knows without asking again that a feature is not in use, and may keep a document for as long as
//! that number stays.

use datamesh_db::Tx;

use crate::{Bucket, BucketId, Catalog, CatalogError, Versioning};

/// What a document configures. The numbers are stored: they never change, and none is used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ConfigKind {
    /// The bucket's access control list.
    Acl = 0,
    /// The bucket policy.
    Policy = 1,
    /// What no ACL and no policy may open.
    PublicAccessBlock = 2,
    /// Who owns what others write into the bucket.
    Ownership = 3,
    /// Which web pages may ask.
    Cors = 4,
    /// What expires or moves when.
    Lifecycle = 5,
    /// How objects are encrypted by default.
    Encryption = 6,
    /// The bucket's tags.
    Tagging = 7,
    /// How the bucket is served as a website.
    Website = 8,
    /// Who is told of which changes.
    Notification = 9,
    /// Where requests are logged to.
    Logging = 10,
    /// That versions can be locked, and how they are by default. Set only while versioning is enabled, never
    /// removed, and versioning stays enabled from then on.
    ObjectLock = 11,
    /// Which inventories are written.
    Inventory = 12,
    /// Who pays for requests.
    RequestPayment = 13,
    /// Transfer acceleration.
    Accelerate = 14,
    /// Which requests are counted.
    Metrics = 15,
}

impl ConfigKind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 16] = [
        Self::Acl,
        Self::Policy,
        Self::PublicAccessBlock,
        Self::Ownership,
        Self::Cors,
        Self::Lifecycle,
        Self::Encryption,
        Self::Tagging,
        Self::Website,
        Self::Notification,
        Self::Logging,
        Self::ObjectLock,
        Self::Inventory,
        Self::RequestPayment,
        Self::Accelerate,
        Self::Metrics,
    ];

    const fn code(self) -> i64 {
        self as i64
    }

    const fn bit(self) -> i64 {
        1 << self.code()
    }
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConfigSet(pub(crate) i64);

impl ConfigSet {
    /// Whether the kind is in it.
    pub const fn contains(self, kind: ConfigKind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// Whether it has no kind.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn of(kinds: impl Iterator<Item = ConfigKind>) -> Self {
        Self(kinds.fold(0, |set, kind| set | kind.bit()))
    }
}

const STORE: &str = "INSERT INTO bucket_config (bucket, kind, document) VALUES ($1, $2, $3)
     ON CONFLICT (bucket, kind) DO UPDATE SET document = excluded.document";

impl Catalog {
    /// A bucket's document of that kind.
    pub async fn bucket_config(
        &self,
        bucket: BucketId,
        kind: ConfigKind,
    ) -> Result<Option<String>, CatalogError> {
        const SELECT: &str = "SELECT document FROM bucket_config WHERE bucket = $1 AND kind = $2";
        let row = self.db.row(SELECT, [bucket.0.into(), kind.code().into()].into()).await?;
        row.map(|mut row| Ok(row.take_text(0)?)).transpose()
    }

    /// Sets or removes a bucket's document, and increments [`Bucket::config_epoch`] in the same transaction.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchBucket`]; [`CatalogError::InvalidBucketState`] for [`ConfigKind::ObjectLock`] unless
    /// versioning is enabled, or when it is to be removed.
    pub async fn set_bucket_config(
        &self,
        bucket: BucketId,
        kind: ConfigKind,
        document: Option<String>,
    ) -> Result<(), CatalogError> {
        self.db
            .write(move |tx| {
                let document = document.clone();
                Box::pin(async move { set(tx, bucket, kind, document).await })
            })
            .await
    }

    /// Up to `limit` buckets that have a document of that kind, by number, after `after`: for background jobs.
    pub async fn buckets_configured(
        &self,
        kind: ConfigKind,
        after: BucketId,
        limit: usize,
    ) -> Result<Vec<Bucket>, CatalogError> {
        const SELECT: &str = concat!(
            "SELECT ",
            crate::bucket::bucket_columns!(),
            " FROM bucket_config c JOIN bucket b ON b.id = c.bucket
              WHERE c.kind = $1 AND c.bucket > $2 ORDER BY c.bucket LIMIT $3"
        );
        let rows = self.db.rows(SELECT, [kind.code().into(), after.0.into(), limit.into()].into()).await?;
        rows.iter().map(crate::bucket::bucket_from_row).collect()
    }
}

async fn set(
    tx: &mut Tx,
    bucket: BucketId,
    kind: ConfigKind,
    document: Option<String>,
) -> Result<(), CatalogError> {
    // The row's lock orders changes of one bucket, also against `set_versioning`.
    const MARK: &str =
        "UPDATE bucket SET config_epoch = config_epoch + 1, configured = configured | CAST($2 AS BIGINT)
         WHERE id = $1 RETURNING versioning";
    const CLEAR: &str =
        "UPDATE bucket SET config_epoch = config_epoch + 1, configured = configured & ~CAST($2 AS BIGINT)
         WHERE id = $1 RETURNING versioning";
    const DELETE: &str = "DELETE FROM bucket_config WHERE bucket = $1 AND kind = $2";
    let sql = if document.is_some() { MARK } else { CLEAR };
    let row = tx.query_opt(sql, &[bucket.0.into(), kind.bit().into()]).await?;
    let versioning = Versioning::from_code(row.ok_or(CatalogError::NoSuchBucket)?.int(0)?)?;
    if kind == ConfigKind::ObjectLock && (document.is_none() || versioning != Versioning::Enabled) {
        return Err(CatalogError::InvalidBucketState);
    }
    if let Some(document) = document {
        return store(tx, bucket, kind, document).await;
    }
    tx.execute(DELETE, &[bucket.0.into(), kind.code().into()]).await?;
    Ok(())
}

/// Stores a document; its bit is the caller's affair.
pub(crate) async fn store(
    tx: &mut Tx,
    bucket: BucketId,
    kind: ConfigKind,
    document: String,
) -> Result<(), CatalogError> {
    tx.execute(STORE, &[bucket.0.into(), kind.code().into(), document.into()]).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_bit_of_its_own_at_its_stored_number() {
        for (number, kind) in (0..).zip(ConfigKind::ALL) {
            assert_eq!(kind.code(), number);
            let only = ConfigSet::of([kind].into_iter());
            assert!(ConfigKind::ALL.iter().all(|other| only.contains(*other) == (*other == kind)));
        }
        assert!(ConfigSet::default().is_empty());
    }
}

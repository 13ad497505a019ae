//! Buckets.

use std::sync::Arc;

use datamesh_db::{Engine, Row, Tx, Value};
use datamesh_types::{AccountId, DomainId};

use crate::{Catalog, CatalogError, ConfigKind, ConfigSet, config};

/// A bucket's number. Never used again, so a stale one names nothing rather than a later bucket of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketId(pub i64);

/// Whether a bucket keeps old versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Versioning {
    /// Never enabled: every write replaces the null version.
    #[default]
    Unversioned,
    /// Every write adds a version; a delete adds a delete marker.
    Enabled,
    /// Writes replace the null version again; older versions stay.
    Suspended,
}

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its number.
    pub id: BucketId,
    /// Its name, unique across accounts.
    pub name: String,
    /// Who owns it and pays for it.
    pub account: AccountId,
    /// Whose chunks its objects may share. Fixed for the bucket's life.
    pub domain: DomainId,
    /// The region it was created in.
    pub region: String,
    /// Whether it keeps old versions.
    pub versioning: Versioning,
    /// When it was created.
    pub created_at_ms: u64,
    /// Which configurations it has.
    pub configured: ConfigSet,
    /// Counts the changes of its configurations: while it is the same, so are they.
    pub config_epoch: u64,
}

/// A bucket to create.
#[derive(Debug, Clone)]
pub struct CreateBucket {
    /// A name that the caller has checked against S3's rules.
    pub name: String,
    /// The owner.
    pub account: AccountId,
    /// The dedup domain of its objects.
    pub domain: DomainId,
    /// The region.
    pub region: String,
    /// Whether it keeps old versions.
    pub versioning: Versioning,
    /// The configurations it begins with.
    pub configs: Vec<(ConfigKind, String)>,
    /// Now.
    pub now_ms: u64,
}

impl Versioning {
    const fn code(self) -> i64 {
        match self {
            Self::Unversioned => 0,
            Self::Enabled => 1,
            Self::Suspended => 2,
        }
    }

    pub(crate) const fn from_code(code: i64) -> Result<Self, CatalogError> {
        match code {
            0 => Ok(Self::Unversioned),
            1 => Ok(Self::Enabled),
            2 => Ok(Self::Suspended),
            _ => Err(CatalogError::Corrupt { what: "bucket" }),
        }
    }
}

/// The columns of a [`Bucket`], from the table alias `b`.
macro_rules! bucket_columns {
    () => {
        "b.id, b.name, b.account, b.domain, b.region, b.versioning, b.created_at_ms, b.configured, b.config_epoch"
    };
}
pub(crate) use bucket_columns;

/// How many columns `bucket_columns!` has.
pub(crate) const BUCKET_COLUMNS: usize = 9;

/// Reads `bucket_columns!` from the start of a row.
pub(crate) fn bucket_from_row(row: &Row) -> Result<Bucket, CatalogError> {
    Ok(Bucket {
        id: BucketId(row.int(0)?),
        name: row.text(1)?.to_owned(),
        account: AccountId(row.bytes(2)?),
        domain: DomainId(row.bytes(3)?),
        region: row.text(4)?.to_owned(),
        versioning: Versioning::from_code(row.int(5)?)?,
        created_at_ms: row.uint(6)?,
        configured: ConfigSet(row.int(7)?),
        config_epoch: row.uint(8)?,
    })
}

/// Holds off the deletion of a bucket until the transaction ends. PostgreSQL only: SQLite has one writer.
pub(crate) const KEEP_BUCKET: &str = "SELECT id FROM bucket WHERE id = $1 FOR KEY SHARE";

impl Catalog {
    /// Creates a bucket.
    ///
    /// # Errors
    /// [`CatalogError::BucketExists`], also when the same account owns it already.
    pub async fn create_bucket(&self, bucket: CreateBucket) -> Result<Bucket, CatalogError> {
        let bucket = Arc::new(bucket);
        self.db
            .write(move |tx| {
                let bucket = Arc::clone(&bucket);
                Box::pin(async move { create(tx, &bucket).await })
            })
            .await
    }

    /// Deletes an empty bucket.
    ///
    /// # Errors
    /// [`CatalogError::BucketNotEmpty`] when it holds a version, a delete marker or an open upload;
    /// [`CatalogError::NoSuchBucket`].
    pub async fn delete_bucket(&self, bucket: BucketId) -> Result<(), CatalogError> {
        self.db.write(move |tx| Box::pin(delete(tx, bucket))).await
    }

    /// The bucket of that name.
    pub async fn bucket(&self, name: &str) -> Result<Option<Bucket>, CatalogError> {
        const SELECT: &str = concat!("SELECT ", bucket_columns!(), " FROM bucket b WHERE b.name = $1");
        let version = self.buckets.version();
        if let Some(bucket) = version.and_then(|version| self.buckets.get(version, name)) {
            return Ok(Some(Bucket::clone(&bucket)));
        }
        let row = self.db.row(SELECT, [Value::from(name)].into()).await?;
        let bucket = row.map(|row| bucket_from_row(&row)).transpose()?;
        if let Some(bucket) = &bucket {
            self.buckets.remember(version, bucket);
        }
        Ok(bucket)
    }

    /// Up to `limit` buckets of an account, by name, starting after `after`.
    pub async fn list_buckets(
        &self,
        account: AccountId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Bucket>, CatalogError> {
        const SELECT: &str = concat!(
            "SELECT ",
            bucket_columns!(),
            " FROM bucket b WHERE b.account = $1 AND b.name > $2 ORDER BY b.name LIMIT $3"
        );
        let params = [account.into(), after.unwrap_or_default().into(), limit.into()];
        self.db
            .read(move |tx| {
                let params = params.clone();
                Box::pin(
                    async move { tx.query(SELECT, &params).await?.iter().map(bucket_from_row).collect() },
                )
            })
            .await
    }

    /// Turns versioning on, or suspends it. A bucket never returns to [`Versioning::Unversioned`]: that is stored
    /// as [`Versioning::Suspended`] once it has been enabled, which means the same for later writes.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchBucket`]; [`CatalogError::InvalidBucketState`] when object lock needs it enabled.
    pub async fn set_versioning(&self, bucket: BucketId, versioning: Versioning) -> Result<(), CatalogError> {
        const UPDATE: &str = "UPDATE bucket SET versioning = CASE WHEN CAST($2 AS BIGINT) = 0 AND versioning <> 0 THEN 2 ELSE CAST($2 AS BIGINT) END
             WHERE id = $1 RETURNING configured";
        self.db
            .write(move |tx| {
                Box::pin(async move {
                    let row = tx.query_opt(UPDATE, &[bucket.0.into(), versioning.code().into()]).await?;
                    let configured = ConfigSet(row.ok_or(CatalogError::NoSuchBucket)?.int(0)?);
                    if configured.contains(ConfigKind::ObjectLock) && versioning != Versioning::Enabled {
                        return Err(CatalogError::InvalidBucketState);
                    }
                    Ok(())
                })
            })
            .await
    }
}

async fn create(tx: &mut Tx, bucket: &CreateBucket) -> Result<Bucket, CatalogError> {
    const INSERT: &str =
        "INSERT INTO bucket (name, account, domain, region, versioning, created_at_ms, configured)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (name) DO NOTHING RETURNING id";
    const OWNER: &str = "SELECT account FROM bucket WHERE name = $1";
    let configured = ConfigSet::of(bucket.configs.iter().map(|(kind, _)| *kind));
    let params = [
        (&bucket.name).into(),
        bucket.account.into(),
        bucket.domain.into(),
        (&bucket.region).into(),
        bucket.versioning.code().into(),
        bucket.now_ms.into(),
        configured.0.into(),
    ];
    if let Some(row) = tx.query_opt(INSERT, &params).await? {
        let id = BucketId(row.int(0)?);
        for (kind, document) in &bucket.configs {
            config::store(tx, id, *kind, document.clone()).await?;
        }
        return Ok(Bucket {
            id,
            name: bucket.name.clone(),
            account: bucket.account,
            domain: bucket.domain,
            region: bucket.region.clone(),
            versioning: bucket.versioning,
            created_at_ms: bucket.now_ms,
            configured,
            config_epoch: 0,
        });
    }
    // Deleted between the two statements (PostgreSQL): the caller may try again.
    let owner = tx.query_opt(OWNER, &params[..1]).await?.ok_or(CatalogError::NoSuchBucket)?;
    Err(CatalogError::BucketExists { account: AccountId(owner.bytes(0)?) })
}

async fn delete(tx: &mut Tx, bucket: BucketId) -> Result<(), CatalogError> {
    // Waits for writers that hold KEEP_BUCKET; what they committed is visible to the next statement.
    const LOCK: &str = "SELECT id FROM bucket WHERE id = $1 FOR UPDATE";
    const OCCUPIED: &str = "SELECT CAST(1 AS BIGINT) WHERE EXISTS (SELECT 1 FROM version WHERE bucket = $1)
         OR EXISTS (SELECT 1 FROM upload WHERE bucket = $1 AND completed_at_ms IS NULL)";
    const FORGET_UPLOADS: &str = "DELETE FROM upload WHERE bucket = $1 AND completed_at_ms IS NOT NULL";
    const FORGET_CONFIGS: &str = "DELETE FROM bucket_config WHERE bucket = $1";
    const DELETE: &str = "DELETE FROM bucket WHERE id = $1";
    let params = [bucket.0.into()];
    if tx.engine() == Engine::Postgres {
        tx.query(LOCK, &params).await?;
    }
    if tx.query_opt(OCCUPIED, &params).await?.is_some() {
        return Err(CatalogError::BucketNotEmpty);
    }
    tx.execute(FORGET_UPLOADS, &params).await?;
    tx.execute(FORGET_CONFIGS, &params).await?;
    match tx.execute(DELETE, &params).await? {
        0 => Err(CatalogError::NoSuchBucket),
        _ => Ok(()),
    }
}

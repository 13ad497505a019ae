//! What every write to a key shares: its lock, its current version, and making way for the next one.

use datamesh_db::{CommitHook, Engine, Row, Tx, UsageChange};
use datamesh_types::{AccountId, DomainId};

use crate::bucket::KEEP_BUCKET;
use crate::manifest::release;
use crate::meta::retention_from_row;
use crate::{BucketId, CatalogError, DeleteCondition, Precondition, Retention, VersionId, Versioning};

/// A stored version, as far as replacing or removing it needs.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) sequence: i64,
    pub(crate) null: bool,
    pub(crate) delete_marker: bool,
    pub(crate) size: i64,
    pub(crate) manifest: Option<i64>,
    pub(crate) part_count: i64,
    pub(crate) etag: String,
    pub(crate) modified_ms: u64,
    pub(crate) retention: Option<Retention>,
    pub(crate) legal_hold: bool,
}

impl Head {
    pub(crate) const fn id(&self) -> VersionId {
        if self.null { VersionId::Null } else { VersionId::Numbered(self.sequence.cast_unsigned()) }
    }

    /// Evaluates the condition of a deletion.
    pub(crate) fn check(&self, condition: &DeleteCondition) -> Result<(), CatalogError> {
        condition.check(&self.etag, self.modified_ms, self.size.cast_unsigned(), self.delete_marker)
    }

    /// Whether it may not be removed for good now.
    pub(crate) fn is_locked(&self, now_ms: u64, bypass_governance: bool) -> bool {
        self.legal_hold || self.retention.is_some_and(|retention| retention.holds(now_ms, bypass_governance))
    }
}

/// A key under its lock: nobody else writes to it, or deletes its bucket, until the transaction ends.
#[derive(Debug)]
pub(crate) struct LockedKey<'a> {
    pub(crate) bucket: BucketId,
    pub(crate) key: &'a [u8],
    pub(crate) domain: DomainId,
    pub(crate) versioning: Versioning,
    pub(crate) newest: Option<Head>,
    account: AccountId,
    bytes: i64,
    objects: i64,
}

/// The columns of a [`Head`], from the table alias `v`.
macro_rules! head_columns {
    () => {
        "v.sequence, v.null_version, v.delete_marker, v.size, v.manifest, v.part_count, v.etag, \
         v.modified_ms, v.retention_mode, v.retain_until_ms, v.legal_hold"
    };
}
pub(crate) use head_columns;

/// Reads `head_columns!` from column `at` on.
pub(crate) fn head_from_row(row: &Row, at: usize) -> Result<Head, CatalogError> {
    Ok(Head {
        sequence: row.int(at)?,
        null: row.bool(at + 1)?,
        delete_marker: row.bool(at + 2)?,
        size: row.int(at + 3)?,
        manifest: row.opt_int(at + 4)?,
        part_count: row.int(at + 5)?,
        etag: row.text(at + 6)?.to_owned(),
        modified_ms: row.uint(at + 7)?,
        retention: retention_from_row(row, at + 8)?,
        legal_hold: row.bool(at + 10)?,
    })
}

/// Locks the bucket against deletion. The lock is shared: writers do not wait for each other.
pub(crate) async fn keep_bucket(tx: &mut Tx, bucket: BucketId) -> Result<(), CatalogError> {
    if tx.engine() == Engine::Postgres {
        tx.query(KEEP_BUCKET, &[bucket.0.into()]).await?;
    }
    Ok(())
}

impl<'a> LockedKey<'a> {
    /// Locks a key and reads its newest version.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchBucket`].
    pub(crate) async fn lock(tx: &mut Tx, bucket: BucketId, key: &'a [u8]) -> Result<Self, CatalogError> {
        macro_rules! newest {
            ($suffix:literal) => {
                concat!(
                    "SELECT b.account, b.domain, b.versioning, ",
                    head_columns!(),
                    " FROM bucket b LEFT JOIN version v ON v.sequence = (SELECT x.sequence FROM version x
                        WHERE x.bucket = b.id AND x.key = $2 ORDER BY x.sequence DESC LIMIT 1)
                      WHERE b.id = $1",
                    $suffix
                )
            };
        }
        tx.lock(&lock_name(bucket, key)).await?;
        // A statement of its own: on PostgreSQL it must see what was committed before the lock was ours. The bucket's
        // row is locked against deletion only, so that writers to one bucket do not wait for each other.
        let sql = match tx.engine() {
            Engine::Sqlite => newest!(""),
            Engine::Postgres => newest!(" FOR KEY SHARE OF b"),
        };
        let row = tx.query_opt(sql, &[bucket.0.into(), key.into()]).await?;
        let row = row.ok_or(CatalogError::NoSuchBucket)?;
        Ok(Self {
            bucket,
            key,
            account: AccountId(row.bytes(0)?),
            domain: DomainId(row.bytes(1)?),
            versioning: Versioning::from_code(row.int(2)?)?,
            newest: row.opt_int(3)?.map(|_| head_from_row(&row, 3)).transpose()?,
            bytes: 0,
            objects: 0,
        })
    }

    /// Evaluates a precondition against the current object.
    pub(crate) fn check(&self, precondition: &Precondition) -> Result<(), CatalogError> {
        let current = self.newest.as_ref().filter(|head| !head.delete_marker);
        precondition.check(current.map(|head| head.etag.as_str()))
    }

    /// Makes way for a new version: takes the old one off the listing, and removes the null version that a write
    /// replaces unless versioning is enabled.
    ///
    /// # Errors
    /// [`CatalogError::Locked`], before anything is changed, when that version is held.
    pub(crate) async fn make_way(&mut self, tx: &mut Tx, now_ms: u64) -> Result<(), CatalogError> {
        const UNLIST: &str = "UPDATE version SET listed = 0 WHERE sequence = $1";
        const NULL: &str = concat!(
            "SELECT ",
            head_columns!(),
            " FROM version v WHERE v.bucket = $1 AND v.key = $2 AND v.null_version = 1 AND v.sequence < $3"
        );
        let Some(newest) = self.newest.take() else { return Ok(()) };
        let is_replaced = newest.null && self.versioning != Versioning::Enabled;
        let unlisted = (!is_replaced && !newest.delete_marker).then_some(newest.sequence);
        let replaced = if is_replaced {
            Some(newest)
        } else if self.versioning == Versioning::Suspended {
            // The new version may be there already, and it is a null version as well.
            let params = [self.bucket.0.into(), self.key.into(), newest.sequence.into()];
            let older = tx.query_opt(NULL, &params).await?;
            older.map(|row| head_from_row(&row, 0)).transpose()?
        } else {
            None
        };
        if replaced.as_ref().is_some_and(|head| head.is_locked(now_ms, false)) {
            return Err(CatalogError::Locked);
        }
        if let Some(sequence) = unlisted {
            tx.execute(UNLIST, &[sequence.into()]).await?;
        }
        if let Some(head) = replaced {
            self.remove(tx, &head, now_ms).await?;
        }
        Ok(())
    }

    /// Removes a version for good; its manifests lose a user.
    pub(crate) async fn remove(&mut self, tx: &mut Tx, head: &Head, now_ms: u64) -> Result<(), CatalogError> {
        const DELETE: &str = "DELETE FROM version WHERE sequence = $1";
        const RELEASE: &str = release!("$1");
        const RELEASE_PARTS: &str = release!("SELECT manifest FROM version_part WHERE version = $1");
        const DELETE_PARTS: &str = "DELETE FROM version_part WHERE version = $1";
        tx.execute(DELETE, &[head.sequence.into()]).await?;
        if let Some(manifest) = head.manifest {
            tx.execute(RELEASE, &[manifest.into(), now_ms.into()]).await?;
        }
        if head.part_count > 0 {
            tx.execute(RELEASE_PARTS, &[head.sequence.into(), now_ms.into()]).await?;
            tx.execute(DELETE_PARTS, &[head.sequence.into()]).await?;
        }
        if !head.delete_marker {
            self.count(-head.size, -1);
        }
        Ok(())
    }

    /// The id that a new version with this sequence number gets.
    pub(crate) const fn id_of(&self, sequence: i64) -> VersionId {
        match self.versioning {
            Versioning::Enabled => VersionId::Numbered(sequence.cast_unsigned()),
            Versioning::Unversioned | Versioning::Suspended => VersionId::Null,
        }
    }

    /// Adds to the usage change that the hook will see.
    pub(crate) const fn count(&mut self, bytes: i64, objects: i64) {
        self.bytes += bytes;
        self.objects += objects;
    }

    /// The usage change so far.
    pub(crate) const fn change(&self) -> UsageChange {
        UsageChange { account: self.account, bucket: self.bucket.0, bytes: self.bytes, objects: self.objects }
    }

    /// Runs the hook, last of all: it locks the account's row.
    pub(crate) async fn settle(self, tx: &mut Tx, hook: &dyn CommitHook) -> Result<(), CatalogError> {
        Ok(hook.run(tx, &self.change()).await?)
    }
}

/// The name of a key's lock.
pub(crate) fn lock_name(bucket: BucketId, key: &[u8]) -> Vec<u8> {
    [b"key".as_slice(), &bucket.0.to_le_bytes(), key].concat()
}

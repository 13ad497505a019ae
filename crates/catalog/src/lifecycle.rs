//! What a background job needs to let versions age: a walk over all versions, and steps that are bound to the
//! version that was looked at. A step whose version has been replaced, removed or locked meanwhile does nothing.

use std::sync::Arc;

use datamesh_db::{CommitHook, Tx, Value};

use crate::delete::{announce_deletion, delete_object, promote};
use crate::meta::retention_from_row;
use crate::replace::{Head, LockedKey, head_columns, head_from_row};
use crate::{BucketId, Catalog, CatalogError, Deleted, Message, Retention, VersionId};

/// A version, as far as its age is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgingVersion {
    /// Its key.
    pub key: Vec<u8>,
    /// Its place in the order of commits.
    pub sequence: u64,
    /// Its id.
    pub id: VersionId,
    /// Whether it marks a deletion.
    pub delete_marker: bool,
    /// Logical size in bytes.
    pub size: u64,
    /// What stands for the `ETag`; opaque.
    pub etag: String,
    /// When it was written.
    pub modified_ms: u64,
    /// S3's name of its storage class.
    pub storage_class: String,
    /// Its tags, as opaque JSON.
    pub tags: Option<String>,
    /// Until when it may not be deleted.
    pub retention: Option<Retention>,
    /// Whether it may not be deleted until further notice.
    pub legal_hold: bool,
}

/// A step of a version's ageing.
#[derive(Debug, Clone)]
pub struct AgeVersion {
    /// The bucket.
    pub bucket: BucketId,
    /// The key.
    pub key: Vec<u8>,
    /// The version that was judged.
    pub sequence: u64,
    /// What happens to it.
    pub step: AgingStep,
    /// Now.
    pub now_ms: u64,
}

/// What happens to a version that has aged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgingStep {
    /// It is still its key's current version: the object is deleted as its bucket's versioning says.
    ExpireCurrent,
    /// It is no longer its key's current version: it is removed for good.
    RemoveNoncurrent,
    /// It is a delete marker and its key's only version: it is removed.
    RemoveMarker,
}

impl Catalog {
    /// Up to `limit` versions of a bucket by key, newest first, after the one with key and sequence number `after`.
    pub async fn aging_versions(
        &self,
        bucket: BucketId,
        after: Option<(Vec<u8>, u64)>,
        limit: usize,
    ) -> Result<Vec<AgingVersion>, CatalogError> {
        const SELECT: &str = "SELECT key, sequence, null_version, delete_marker, size, etag, modified_ms,
             storage_class, tags, retention_mode, retain_until_ms, legal_hold FROM version
             WHERE bucket = $1 AND key >= $2 AND NOT (key = $2 AND sequence >= $3)
             ORDER BY key, sequence DESC LIMIT $4";
        let (key, sequence) = after.unwrap_or((Vec::new(), 0));
        let params: Arc<[Value]> = [bucket.0.into(), key.into(), sequence.into(), limit.into()].into();
        self.db
            .scan(move |tx| {
                let params = Arc::clone(&params);
                Box::pin(async move {
                    let rows = tx.query(SELECT, &params).await?;
                    rows.into_iter()
                        .map(|mut row| {
                            let sequence = row.uint(1)?;
                            Ok(AgingVersion {
                                key: row.take_blob(0)?,
                                sequence,
                                id: if row.bool(2)? {
                                    VersionId::Null
                                } else {
                                    VersionId::Numbered(sequence)
                                },
                                delete_marker: row.bool(3)?,
                                size: row.uint(4)?,
                                etag: row.take_text(5)?,
                                modified_ms: row.uint(6)?,
                                storage_class: row.take_text(7)?,
                                tags: row.opt_text(8)?.map(str::to_owned),
                                retention: retention_from_row(&row, 9)?,
                                legal_hold: row.bool(11)?,
                            })
                        })
                        .collect()
                })
            })
            .await
    }

    /// Takes a step, and tells whether there was still anything to do. `hook` runs if the usage changes.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchBucket`]; [`CatalogError::Locked`] when the version is held.
    pub async fn age_version(
        &self,
        age: AgeVersion,
        hook: Arc<dyn CommitHook>,
    ) -> Result<bool, CatalogError> {
        let age = Arc::new(age);
        let messages = Arc::clone(&self.messages);
        self.db
            .write(move |tx| {
                let (age, hook, messages) = (Arc::clone(&age), Arc::clone(&hook), Arc::clone(&messages));
                Box::pin(async move { take_step(tx, &age, &*hook, &messages).await })
            })
            .await
    }
}

async fn take_step(
    tx: &mut Tx,
    age: &AgeVersion,
    hook: &dyn CommitHook,
    messages: &Arc<[Message]>,
) -> Result<bool, CatalogError> {
    let mut key = LockedKey::lock(tx, age.bucket, &age.key).await?;
    let is_newest = key.newest.as_ref().is_some_and(|newest| newest.sequence == age.sequence.cast_signed());
    let before = key.newest.as_ref().map(|newest| newest.sequence);
    match age.step {
        AgingStep::ExpireCurrent => {
            if !is_newest || key.newest.as_ref().is_some_and(|newest| newest.delete_marker) {
                return Ok(false);
            }
            let deleted = delete_object(tx, &mut key, age.now_ms).await?;
            announce_deletion(tx, messages, &key, (false, before), &deleted).await?;
        }
        AgingStep::RemoveNoncurrent | AgingStep::RemoveMarker => {
            let Some(head) = version_of(tx, &key, age.sequence).await? else { return Ok(false) };
            let applies = match age.step {
                AgingStep::RemoveMarker => is_newest && head.delete_marker && is_alone(tx, &key).await?,
                _ => !is_newest,
            };
            if !applies {
                return Ok(false);
            }
            if head.is_locked(age.now_ms, false) {
                return Err(CatalogError::Locked);
            }
            key.remove(tx, &head, age.now_ms).await?;
            if is_newest {
                promote(tx, &key).await?;
            }
            let deleted = Deleted { version: Some(head.id()), delete_marker: head.delete_marker };
            announce_deletion(tx, messages, &key, (true, before), &deleted).await?;
        }
    }
    let change = key.change();
    if (change.bytes, change.objects) != (0, 0) {
        key.settle(tx, hook).await?;
    }
    Ok(true)
}

async fn version_of(tx: &mut Tx, key: &LockedKey<'_>, sequence: u64) -> Result<Option<Head>, CatalogError> {
    const SELECT: &str = concat!(
        "SELECT ",
        head_columns!(),
        " FROM version v WHERE v.bucket = $1 AND v.key = $2 AND v.sequence = $3"
    );
    let row = tx.query_opt(SELECT, &[key.bucket.0.into(), key.key.into(), sequence.into()]).await?;
    row.map(|row| head_from_row(&row, 0)).transpose()
}

async fn is_alone(tx: &mut Tx, key: &LockedKey<'_>) -> Result<bool, CatalogError> {
    const COUNT: &str = "SELECT sequence FROM version WHERE bucket = $1 AND key = $2 LIMIT 2";
    Ok(tx.query(COUNT, &[key.bucket.0.into(), key.key.into()]).await?.len() == 1)
}

//! Deleting objects and versions.

use std::collections::BTreeMap;
use std::sync::Arc;

use datamesh_db::{CommitHook, Tx, UsageChange};

use crate::outbox::announce;
use crate::put::{NewVersion, insert};
use crate::replace::{Head, LockedKey, head_columns, head_from_row, lock_name};
use crate::{
    BucketId, Catalog, CatalogError, ChangeKind, DeleteCondition, DeleteVersion, Deleted, Message, VersionId,
    Versioning,
};

type Outcome = Result<Deleted, CatalogError>;

impl Catalog {
    /// Deletes an object or one of its versions. Deleting what does not exist succeeds.
    ///
    /// `hook` runs if the usage changes.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchBucket`], [`CatalogError::PreconditionFailed`], [`CatalogError::Locked`] for a version
    /// that is held.
    pub async fn delete_version(&self, delete: DeleteVersion, hook: Arc<dyn CommitHook>) -> Outcome {
        let mut outcomes = self.delete_versions(vec![delete], hook).await?;
        outcomes.pop().unwrap_or(Err(CatalogError::NoSuchVersion))
    }

    /// Several deletions in one transaction. The results stand in the order asked; a failed precondition or a locked
    /// version fails only its own key.
    ///
    /// `hook` runs once for each bucket whose usage changes.
    pub async fn delete_versions(
        &self,
        deletes: Vec<DeleteVersion>,
        hook: Arc<dyn CommitHook>,
    ) -> Result<Vec<Outcome>, CatalogError> {
        // Locks are taken in one order, so that two such calls do not deadlock; one key's deletions stay in order.
        let mut ordered: Vec<(usize, DeleteVersion)> = deletes.into_iter().enumerate().collect();
        ordered.sort_by_cached_key(|(position, delete)| (lock_name(delete.bucket, &delete.key), *position));
        let ordered = Arc::new(ordered);
        let messages = Arc::clone(&self.messages);
        let mut outcomes = self
            .db
            .write(move |tx| {
                let (ordered, hook, messages) =
                    (Arc::clone(&ordered), Arc::clone(&hook), Arc::clone(&messages));
                Box::pin(async move { delete_all(tx, &ordered, &*hook, &messages).await })
            })
            .await?;
        outcomes.sort_unstable_by_key(|(position, _)| *position);
        Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
    }
}

async fn delete_all(
    tx: &mut Tx,
    deletes: &[(usize, DeleteVersion)],
    hook: &dyn CommitHook,
    messages: &Arc<[Message]>,
) -> Result<Vec<(usize, Outcome)>, CatalogError> {
    let mut totals = BTreeMap::<BucketId, UsageChange>::new();
    let mut outcomes = Vec::with_capacity(deletes.len());
    for (position, delete) in deletes {
        let mut key = LockedKey::lock(tx, delete.bucket, &delete.key).await?;
        let before = key.newest.as_ref().map(|newest| newest.sequence);
        let outcome = match delete.version {
            None => delete_current(tx, &mut key, delete).await,
            Some(id) => delete_one(tx, &mut key, id, delete).await,
        };
        let outcome = match outcome {
            // Found out before anything was changed.
            Err(error @ (CatalogError::Locked | CatalogError::PreconditionFailed)) => Err(error),
            outcome => Ok(outcome?),
        };
        if let (Ok(deleted), false) = (&outcome, messages.is_empty()) {
            announce_deletion(tx, messages, &key, (delete.version.is_some(), before), deleted).await?;
        }
        outcomes.push((*position, outcome));
        let change = key.change();
        let total = totals.entry(delete.bucket).or_insert(UsageChange { bytes: 0, objects: 0, ..change });
        total.bytes += change.bytes;
        total.objects += change.objects;
    }
    for change in totals.values().filter(|change| (change.bytes, change.objects) != (0, 0)) {
        hook.run(tx, change).await?;
    }
    Ok(outcomes)
}

/// Deletes a key if what is there is what the caller expects.
async fn delete_current(tx: &mut Tx, key: &mut LockedKey<'_>, delete: &DeleteVersion) -> Outcome {
    match &key.newest {
        Some(newest) => newest.check(&delete.condition)?,
        None if delete.condition != DeleteCondition::NONE => {
            return Ok(Deleted { version: None, delete_marker: false });
        }
        None => {}
    }
    delete_object(tx, key, delete.now_ms).await
}

/// What a deletion did is told by what it was asked for: naming a version removes it, also a delete marker. `before` is
/// the number of the newest version that there was.
pub(crate) async fn announce_deletion(
    tx: &mut Tx,
    messages: &Arc<[Message]>,
    key: &LockedKey<'_>,
    (named, before): (bool, Option<i64>),
    deleted: &Deleted,
) -> Result<(), CatalogError> {
    const LAST: &str = "SELECT sequence FROM version WHERE bucket = $1 AND key = $2
         ORDER BY sequence DESC LIMIT 1";
    let Some(version) = deleted.version else { return Ok(()) };
    let marked = deleted.delete_marker && !named;
    let kind = if marked { ChangeKind::Marked } else { ChangeKind::Removed };
    let sequence = match (version, marked) {
        (VersionId::Numbered(sequence), _) => sequence.cast_signed(),
        (VersionId::Null, false) => before.unwrap_or(0),
        (VersionId::Null, true) => {
            let row = tx.query_opt(LAST, &[key.bucket.0.into(), key.key.into()]).await?;
            row.map_or(Ok(0), |row| row.int(0))?
        }
    };
    announce(tx, messages, key, kind, (version, sequence), None).await
}

/// Deletes a key as its bucket's versioning says.
pub(crate) async fn delete_object(tx: &mut Tx, key: &mut LockedKey<'_>, now_ms: u64) -> Outcome {
    if key.versioning == Versioning::Unversioned {
        let version = key.newest.as_ref().map(Head::id);
        key.make_way(tx, now_ms).await?;
        return Ok(Deleted { version, delete_marker: false });
    }
    key.make_way(tx, now_ms).await?;
    let marker = NewVersion { delete_marker: true, now_ms, attributes: "{}", ..NewVersion::EMPTY };
    let sequence = insert(tx, key, &marker).await?;
    Ok(Deleted { version: Some(key.id_of(sequence)), delete_marker: true })
}

/// Removes one version for good. The one before it becomes the current one.
async fn delete_one(tx: &mut Tx, key: &mut LockedKey<'_>, id: VersionId, delete: &DeleteVersion) -> Outcome {
    const NUMBERED: &str = concat!(
        "SELECT ",
        head_columns!(),
        " FROM version v WHERE v.bucket = $1 AND v.key = $2 AND v.sequence = $3 AND v.null_version = 0"
    );
    const NULL: &str = concat!(
        "SELECT ",
        head_columns!(),
        " FROM version v WHERE v.bucket = $1 AND v.key = $2 AND v.null_version = 1"
    );
    let place = [key.bucket.0.into(), key.key.into()];
    let row = match id {
        VersionId::Null => tx.query_opt(NULL, &place).await?,
        VersionId::Numbered(sequence) => {
            let [bucket, name] = place.clone();
            tx.query_opt(NUMBERED, &[bucket, name, sequence.into()]).await?
        }
    };
    let Some(row) = row else { return Ok(Deleted { version: None, delete_marker: false }) };
    let head = head_from_row(&row, 0)?;
    head.check(&delete.condition)?;
    if head.is_locked(delete.now_ms, delete.bypass_governance) {
        return Err(CatalogError::Locked);
    }
    key.remove(tx, &head, delete.now_ms).await?;
    if key.newest.as_ref().is_some_and(|newest| newest.sequence == head.sequence) {
        promote(tx, key).await?;
    }
    Ok(Deleted { version: Some(head.id()), delete_marker: head.delete_marker })
}

/// Lists the version that has become a key's current one.
pub(crate) async fn promote(tx: &mut Tx, key: &LockedKey<'_>) -> Result<(), CatalogError> {
    const PROMOTE: &str = "UPDATE version SET listed = 1 WHERE delete_marker = 0 AND sequence =
         (SELECT x.sequence FROM version x WHERE x.bucket = $1 AND x.key = $2 ORDER BY x.sequence DESC LIMIT 1)";
    tx.execute(PROMOTE, &[key.bucket.0.into(), key.key.into()]).await?;
    Ok(())
}

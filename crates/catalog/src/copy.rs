//! Committing a version that shares another one's bytes.

use std::sync::Arc;

use datamesh_db::{CommitHook, Tx};

use crate::manifest::share;
use crate::outbox::announce;
use crate::put::{NewVersion, insert};
use crate::replace::LockedKey;
use crate::{Catalog, CatalogError, ChangeKind, Committed, CopyVersion, Message, StoredContent};

impl Catalog {
    /// Commits a version that shares the source's manifests, or has a copy of its inline bytes.
    ///
    /// # Errors
    /// [`CatalogError::DomainMismatch`] when the destination's bucket has another dedup domain: stream the bytes
    /// instead. [`CatalogError::NoSuchVersion`] when the source is gone. Else as [`Catalog::put_version`].
    pub async fn copy_version(
        &self,
        copy: CopyVersion,
        hook: Arc<dyn CommitHook>,
    ) -> Result<Committed, CatalogError> {
        let copy = Arc::new(copy);
        let messages = Arc::clone(&self.messages);
        self.db
            .write(move |tx| {
                let (copy, hook, messages) = (Arc::clone(&copy), Arc::clone(&hook), Arc::clone(&messages));
                Box::pin(async move { self::copy(tx, &copy, &*hook, &messages).await })
            })
            .await
    }
}

async fn copy(
    tx: &mut Tx,
    copy: &CopyVersion,
    hook: &dyn CommitHook,
    messages: &Arc<[Message]>,
) -> Result<Committed, CatalogError> {
    const SHARE: &str = share!("$1");
    const SHARE_PARTS: &str = share!("SELECT manifest FROM version_part WHERE version = $1");
    const COPY_PARTS: &str =
        "INSERT INTO version_part (version, start_offset, number, size, etag, checksums, modified_ms, manifest)
         SELECT CAST($2 AS BIGINT), start_offset, number, size, etag, checksums, modified_ms, manifest
         FROM version_part WHERE version = $1";
    const SOURCE_DOMAIN: &str = "SELECT domain FROM bucket WHERE id = $1";
    let source = &copy.source;
    let mut key = LockedKey::lock(tx, copy.bucket, &copy.key).await?;
    key.check(&copy.precondition)?;
    if source.bucket != copy.bucket {
        let row = tx.query_opt(SOURCE_DOMAIN, &[source.bucket.0.into()]).await?;
        if row.ok_or(CatalogError::NoSuchVersion)?.blob(0)? != key.domain.0 {
            return Err(CatalogError::DomainMismatch);
        }
    }
    let mut row = NewVersion {
        size: source.size,
        etag: &copy.etag,
        storage_class: &copy.storage_class,
        attributes: &copy.attributes,
        meta: &copy.meta,
        now_ms: copy.now_ms,
        ..NewVersion::EMPTY
    };
    // References are taken before the destination's old version goes: it may be the source itself.
    match &source.content {
        StoredContent::Empty => {}
        StoredContent::Inline { chunk, sealed } => row.inline = Some((&chunk.0, sealed)),
        StoredContent::Manifest(manifest) => {
            row.manifest = Some(manifest.0);
            if tx.execute(SHARE, &[manifest.0.into()]).await? != 1 {
                return Err(CatalogError::NoSuchVersion);
            }
        }
        StoredContent::Parts { count } => {
            row.part_count = *count;
            if tx.execute(SHARE_PARTS, &[source.sequence.into()]).await? != u64::from(*count) {
                return Err(CatalogError::NoSuchVersion);
            }
        }
    }
    let sequence = if row.part_count > 0 {
        let sequence = insert(tx, &mut key, &row).await?;
        tx.execute(COPY_PARTS, &[source.sequence.into(), sequence.into()]).await?;
        key.make_way(tx, copy.now_ms).await?;
        sequence
    } else {
        key.make_way(tx, copy.now_ms).await?;
        insert(tx, &mut key, &row).await?
    };
    let version = key.id_of(sequence);
    announce(tx, messages, &key, ChangeKind::Written, (version, sequence), Some(source.size)).await?;
    key.settle(tx, hook).await?;
    Ok(Committed { version, etag: copy.etag.clone(), size: source.size, modified_ms: copy.now_ms })
}

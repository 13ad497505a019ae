//! Committing a version.

use std::sync::Arc;

use datamesh_db::{CommitHook, Tx, Value};

use crate::outbox::announce;
use crate::replace::LockedKey;
use crate::{
    Catalog, CatalogError, ChangeKind, Committed, Content, Message, PutVersion, VersionMeta, manifest,
};

impl Catalog {
    /// Commits a version: precondition, chunk references, replacement of the null version, usage, all in one
    /// transaction.
    ///
    /// `hook` always runs, also when the usage does not change, because it settles the reservation.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchBucket`], [`CatalogError::PreconditionFailed`], [`CatalogError::NoSuchKey`] (a failed
    /// If-Match), [`CatalogError::ManifestGone`], [`CatalogError::ChunkGone`], [`CatalogError::SizeMismatch`],
    /// [`CatalogError::DomainMismatch`] or the hook's.
    pub async fn put_version(
        &self,
        put: PutVersion,
        hook: Arc<dyn CommitHook>,
    ) -> Result<Committed, CatalogError> {
        let put = Arc::new(put);
        let messages = Arc::clone(&self.messages);
        self.db
            .write(move |tx| {
                let (put, hook, messages) = (Arc::clone(&put), Arc::clone(&hook), Arc::clone(&messages));
                Box::pin(async move { self::put(tx, &put, &*hook, &messages).await })
            })
            .await
    }
}

async fn put(
    tx: &mut Tx,
    put: &PutVersion,
    hook: &dyn CommitHook,
    messages: &Arc<[Message]>,
) -> Result<Committed, CatalogError> {
    let mut key = LockedKey::lock(tx, put.bucket, &put.key).await?;
    key.check(&put.precondition)?;
    let mut row = NewVersion {
        size: put.size,
        etag: &put.etag,
        storage_class: &put.storage_class,
        attributes: &put.attributes,
        meta: &put.meta,
        now_ms: put.now_ms,
        ..NewVersion::EMPTY
    };
    match &put.content {
        Content::Empty if put.size != 0 => {
            return Err(CatalogError::SizeMismatch { declared: put.size, stored: 0 });
        }
        Content::Empty => {}
        Content::Inline { chunk, sealed } => row.inline = Some((&chunk.0, sealed)),
        Content::Manifest(content) => row.manifest = Some(manifest::commit(tx, content, put.size).await?),
    }
    key.make_way(tx, put.now_ms).await?;
    let sequence = insert(tx, &mut key, &row).await?;
    let version = key.id_of(sequence);
    announce(tx, messages, &key, ChangeKind::Written, (version, sequence), Some(put.size)).await?;
    key.settle(tx, hook).await?;
    Ok(Committed { version, etag: put.etag.clone(), size: put.size, modified_ms: put.now_ms })
}

/// The row of a new version.
pub(crate) struct NewVersion<'a> {
    pub(crate) size: u64,
    pub(crate) etag: &'a str,
    pub(crate) storage_class: &'a str,
    pub(crate) attributes: &'a str,
    pub(crate) meta: &'a VersionMeta,
    pub(crate) now_ms: u64,
    pub(crate) delete_marker: bool,
    pub(crate) manifest: Option<i64>,
    pub(crate) part_count: u16,
    pub(crate) inline: Option<(&'a [u8; 32], &'a [u8])>,
}

impl NewVersion<'_> {
    /// A version without content.
    pub(crate) const EMPTY: NewVersion<'static> = NewVersion {
        size: 0,
        etag: "",
        storage_class: "",
        attributes: "",
        meta: &VersionMeta::NONE,
        now_ms: 0,
        delete_marker: false,
        manifest: None,
        part_count: 0,
        inline: None,
    };
}

/// Inserts the version that [`LockedKey::make_way`] made way for, and counts it; its sequence number.
pub(crate) async fn insert(
    tx: &mut Tx,
    key: &mut LockedKey<'_>,
    row: &NewVersion<'_>,
) -> Result<i64, CatalogError> {
    macro_rules! insert {
        () => {
            "INSERT INTO version (bucket, key, null_version, delete_marker, listed, size, modified_ms,
               manifest, part_count, etag, storage_class, attributes, tags, acl, owner, retention_mode,
               retain_until_ms, legal_hold, inline_chunk, inline_sealed)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)"
        };
    }
    let null = key.id_of(0) == crate::VersionId::Null;
    let (chunk, sealed) = match row.inline {
        Some((chunk, sealed)) => (chunk.into(), sealed.into()),
        None => (Value::Null, Value::Null),
    };
    let [tags, acl, owner, retention_mode, retain_until_ms, legal_hold] = row.meta.params();
    let params = [
        key.bucket.0.into(),
        key.key.into(),
        null.into(),
        row.delete_marker.into(),
        (!row.delete_marker).into(),
        row.size.into(),
        row.now_ms.into(),
        row.manifest.into(),
        row.part_count.into(),
        row.etag.into(),
        row.storage_class.into(),
        row.attributes.into(),
        tags,
        acl,
        owner,
        retention_mode,
        retain_until_ms,
        legal_hold,
        chunk,
        sealed,
    ];
    let sequence = tx.insert(insert!(), concat!(insert!(), " RETURNING sequence"), &params).await?;
    if !row.delete_marker {
        key.count(row.size.cast_signed(), 1);
    }
    manifest::inserted(sequence)
}

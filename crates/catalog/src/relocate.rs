//! Moving a version's bytes to another storage class, and with it to another backend, without changing the version.
//!
//! The mover copies sealed chunks from backend to backend into pending manifests and then commits all of them at
//! once. Nothing is opened on the way: a chunk is sealed under its domain's key, wherever it lies.

use std::sync::Arc;

use datamesh_db::{Row, Tx, Value};
use datamesh_types::DomainId;

use crate::manifest::{self, release};
use crate::outbox::announce;
use crate::plan::segment_chunks;
use crate::replace::LockedKey;
use crate::{
    BucketId, Catalog, CatalogError, ChangeKind, ManifestContent, ManifestId, Message, PlannedChunk,
    StoredContent, Version, VersionId,
};

/// A manifest of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionManifest {
    /// The part that it holds; `None` when it is the whole version.
    pub part: Option<u16>,
    /// The manifest.
    pub manifest: ManifestId,
    /// The dedup domain of its chunks.
    pub domain: DomainId,
    /// The backend that keeps them.
    pub backend: String,
    /// Its length in bytes.
    pub size: u64,
}

/// A version to move.
#[derive(Debug, Clone)]
pub struct RelocateVersion {
    /// Its bucket.
    pub bucket: BucketId,
    /// Its key.
    pub key: Vec<u8>,
    /// Its id.
    pub version: VersionId,
    /// Its place in the order of commits.
    pub sequence: u64,
    /// S3's name of the storage class that it gets.
    pub storage_class: String,
    /// What takes the place of each manifest. Empty when the bytes stay where they are.
    pub moved: Vec<(VersionManifest, ManifestContent)>,
    /// Now.
    pub now_ms: u64,
}

impl Catalog {
    /// The manifests of a version; none when it is empty or inline.
    pub async fn version_manifests(&self, version: &Version) -> Result<Vec<VersionManifest>, CatalogError> {
        const WHOLE: &str =
            "SELECT CAST(NULL AS BIGINT), id, domain, backend, size FROM manifest WHERE id = $1";
        const PARTS: &str = "SELECT p.number, m.id, m.domain, m.backend, m.size FROM version_part p
             JOIN manifest m ON m.id = p.manifest WHERE p.version = $1 ORDER BY p.number";
        let (sql, param): (_, Value) = match &version.content {
            StoredContent::Empty | StoredContent::Inline { .. } => return Ok(Vec::new()),
            StoredContent::Manifest(manifest) => (WHOLE, manifest.0.into()),
            StoredContent::Parts { .. } => (PARTS, version.sequence.into()),
        };
        let manifest = |row: &Row| {
            Ok(VersionManifest {
                part: row.opt_int(0)?.map(|number| number as u16),
                manifest: ManifestId(row.int(1)?),
                domain: DomainId(row.bytes(2)?),
                backend: row.text(3)?.to_owned(),
                size: row.uint(4)?,
            })
        };
        self.db.rows(sql, [param].into()).await?.iter().map(manifest).collect()
    }

    /// The chunks of a manifest from byte `from` on, at most 1,024; the first may begin before it.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchVersion`] when the manifest has been collected, or ends before `from`.
    pub async fn manifest_chunks(
        &self,
        manifest: ManifestId,
        from: u64,
    ) -> Result<Vec<PlannedChunk>, CatalogError> {
        self.db
            .read(move |tx| Box::pin(async move { segment_chunks(tx, manifest.0, from, u64::MAX).await }))
            .await
    }

    /// Commits a move, and the messages about it; `false` when the version is gone or has other manifests than those
    /// that were moved.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchBucket`], and those of committing a manifest.
    pub async fn relocate_version(&self, relocate: RelocateVersion) -> Result<bool, CatalogError> {
        let relocate = Arc::new(relocate);
        let messages = Arc::clone(&self.messages);
        self.db
            .write(move |tx| {
                let (relocate, messages) = (Arc::clone(&relocate), Arc::clone(&messages));
                Box::pin(async move { self::relocate(tx, &relocate, &messages).await })
            })
            .await
    }
}

async fn relocate(
    tx: &mut Tx,
    relocate: &RelocateVersion,
    messages: &Arc<[Message]>,
) -> Result<bool, CatalogError> {
    const RENAME: &str = "UPDATE version SET storage_class = $4
         WHERE bucket = $1 AND key = $2 AND sequence = $3 AND delete_marker = 0";
    const SWITCH: &str = "UPDATE version SET manifest = $3 WHERE sequence = $1 AND manifest = $2";
    const SWITCH_PART: &str =
        "UPDATE version_part SET manifest = $4 WHERE version = $1 AND number = $2 AND manifest = $3";
    const RELEASE: &str = release!("$1");
    let key = LockedKey::lock(tx, relocate.bucket, &relocate.key).await?;
    let version = [
        relocate.bucket.0.into(),
        (&relocate.key).into(),
        relocate.sequence.into(),
        (&relocate.storage_class).into(),
    ];
    if tx.execute(RENAME, &version).await? == 0 {
        return Ok(false);
    }
    for (old, content) in &relocate.moved {
        let new = manifest::commit(tx, content, old.size).await?;
        let switched = match old.part {
            None => {
                tx.execute(SWITCH, &[relocate.sequence.into(), old.manifest.0.into(), new.into()]).await?
            }
            Some(part) => {
                let params = [relocate.sequence.into(), part.into(), old.manifest.0.into(), new.into()];
                tx.execute(SWITCH_PART, &params).await?
            }
        };
        if switched == 0 {
            // Undoes what was done so far: a version's manifests move together or not at all.
            return Err(CatalogError::ManifestGone);
        }
        tx.execute(RELEASE, &[old.manifest.0.into(), relocate.now_ms.into()]).await?;
    }
    let place = (relocate.version, relocate.sequence.cast_signed());
    announce(tx, messages, &key, ChangeKind::Amended, place, None).await?;
    Ok(true)
}

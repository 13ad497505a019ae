//! Completing an upload.

use std::collections::HashMap;
use std::sync::Arc;

use datamesh_db::{CommitHook, Tx, Value};

use crate::manifest::release;
use crate::outbox::announce;
use crate::part::{part_columns, part_from_row};
use crate::put::{NewVersion, insert};
use crate::replace::LockedKey;
use crate::rows::json_rows;
use crate::upload::{lock_upload, upload_params};
use crate::{BucketId, Catalog, CatalogError, ChangeKind, Committed, Message, Part, Precondition, UploadId};

/// A part as Complete names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedPart {
    /// Its number.
    pub number: u16,
    /// What stands for its `ETag`; opaque.
    pub etag: String,
}

/// The completion of an upload.
#[derive(Debug, Clone)]
pub struct CompleteUpload {
    /// The bucket.
    pub bucket: BucketId,
    /// The key.
    pub key: Vec<u8>,
    /// The upload.
    pub upload: UploadId,
    /// The parts, ascending. Uploaded parts that are not named are dropped.
    pub parts: Vec<CompletedPart>,
    /// The least size of every part but the last, in bytes.
    pub minimum_part_size: u64,
    /// The size the object must have, if the client said so.
    pub expected_size: Option<u64>,
    /// What must hold of the key's current version.
    pub precondition: Precondition,
    /// What stands for the object's `ETag`; opaque.
    pub etag: String,
    /// Opaque text of the version.
    pub attributes: String,
    /// Now.
    pub now_ms: u64,
}

impl Catalog {
    /// Makes the parts an object, in one transaction. Repeating it once it is completed returns the same result,
    /// until [`Catalog::expire_uploads`] forgets the upload; the hook does not run then.
    ///
    /// # Errors
    /// [`CatalogError::InvalidPart`], [`CatalogError::InvalidPartOrder`], [`CatalogError::PartTooSmall`],
    /// [`CatalogError::SizeMismatch`], [`CatalogError::NoSuchUpload`], [`CatalogError::PreconditionFailed`],
    /// [`CatalogError::NoSuchKey`] or the hook's. The upload stays open.
    pub async fn complete_upload(
        &self,
        complete: CompleteUpload,
        hook: Arc<dyn CommitHook>,
    ) -> Result<Committed, CatalogError> {
        let complete = Arc::new(complete);
        let messages = Arc::clone(&self.messages);
        self.db
            .write(move |tx| {
                let (complete, hook, messages) =
                    (Arc::clone(&complete), Arc::clone(&hook), Arc::clone(&messages));
                Box::pin(async move { self::complete(tx, &complete, &*hook, &messages).await })
            })
            .await
    }
}

async fn complete(
    tx: &mut Tx,
    complete: &CompleteUpload,
    hook: &dyn CommitHook,
    messages: &Arc<[Message]>,
) -> Result<Committed, CatalogError> {
    const PARTS: &str = concat!("SELECT ", part_columns!(), " FROM upload_part WHERE upload = $1");
    const RECORD: &str =
        "UPDATE upload SET completed_at_ms = $2, completed_version = $3, completed_etag = $4,
         completed_size = $5 WHERE id = $1";
    let mut key = LockedKey::lock(tx, complete.bucket, &complete.key).await?;
    let params = upload_params(complete.bucket, &complete.key, complete.upload);
    let upload = lock_upload(tx, &params).await?;
    if let Some(committed) = upload.completed {
        return Ok(committed);
    }
    key.check(&complete.precondition)?;
    let [id, ..] = params;
    let rows = tx.query(PARTS, std::slice::from_ref(&id)).await?;
    let parts = rows.iter().map(part_from_row).collect::<Result<Vec<_>, _>>()?;
    let uploaded: u64 = parts.iter().map(|part| part.size).sum();
    let (placed, size) = place(complete, &parts)?;
    if let Some(declared) = complete.expected_size.filter(|declared| *declared != size) {
        return Err(CatalogError::SizeMismatch { declared, stored: size });
    }
    key.make_way(tx, complete.now_ms).await?;
    let row = NewVersion {
        size,
        etag: &complete.etag,
        storage_class: &upload.storage_class,
        attributes: &complete.attributes,
        meta: &upload.meta,
        now_ms: complete.now_ms,
        part_count: placed.len() as u16,
        ..NewVersion::EMPTY
    };
    let sequence = insert(tx, &mut key, &row).await?;
    move_parts(tx, &id, sequence, &placed, complete.now_ms).await?;
    let version = key.id_of(sequence);
    let params =
        [id, complete.now_ms.into(), version.to_string().into(), (&complete.etag).into(), size.into()];
    tx.execute(RECORD, &params).await?;
    announce(tx, messages, &key, ChangeKind::Written, (version, sequence), Some(size)).await?;
    // The parts were counted when they were stored.
    key.count(-uploaded.cast_signed(), 0);
    key.settle(tx, hook).await?;
    Ok(Committed { version, etag: complete.etag.clone(), size, modified_ms: complete.now_ms })
}

/// Where each named part starts in the object, as (number, offset), and the object's size.
fn place(complete: &CompleteUpload, stored: &[Part]) -> Result<(Vec<(u16, u64)>, u64), CatalogError> {
    let named = &complete.parts;
    if named.is_empty() || !named.is_sorted_by(|a, b| a.number < b.number) {
        return Err(CatalogError::InvalidPartOrder);
    }
    let stored: HashMap<u16, &Part> = stored.iter().map(|part| (part.number, part)).collect();
    let mut placed = Vec::with_capacity(named.len());
    let mut offset = 0;
    for (position, named_part) in named.iter().enumerate() {
        let number = named_part.number;
        let part = stored.get(&number).filter(|part| part.etag == named_part.etag);
        let part = part.ok_or(CatalogError::InvalidPart { number })?;
        if part.size < complete.minimum_part_size && position + 1 < named.len() {
            let (size, minimum) = (part.size, complete.minimum_part_size);
            return Err(CatalogError::PartTooSmall { number, size, minimum });
        }
        placed.push((number, offset));
        offset += part.size;
    }
    Ok((placed, offset))
}

/// Makes the placed parts the version's, and drops the others.
async fn move_parts(
    tx: &mut Tx,
    upload: &Value,
    version: i64,
    placed: &[(u16, u64)],
    now_ms: u64,
) -> Result<(), CatalogError> {
    const MOVE: &str =
        "INSERT INTO version_part (version, start_offset, number, size, etag, checksums, modified_ms, manifest)
         SELECT CAST($2 AS BIGINT), CAST(j.value ->> 1 AS BIGINT), p.number, p.size, p.etag, p.checksums,
           p.modified_ms, p.manifest
         FROM json_each(CAST($3 AS TEXT)) AS j
         JOIN upload_part p ON p.upload = $1 AND p.number = CAST(j.value ->> 0 AS BIGINT)";
    const RELEASE_DROPPED: &str = release!(
        "SELECT manifest FROM upload_part WHERE upload = $1
           AND number NOT IN (SELECT CAST(j.value ->> 0 AS BIGINT) FROM json_each(CAST($3 AS TEXT)) AS j)"
    );
    const DELETE: &str = "DELETE FROM upload_part WHERE upload = $1";
    tx.execute(MOVE, &[upload.clone(), version.into(), json_rows(placed)?]).await?;
    tx.execute(RELEASE_DROPPED, &[upload.clone(), now_ms.into(), json_rows(placed)?]).await?;
    tx.execute(DELETE, std::slice::from_ref(upload)).await?;
    Ok(())
}

//! Multipart uploads.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use datamesh_db::{CommitHook, DbError, Engine, Row, Tx, UsageChange, Value};
use datamesh_types::AccountId;
use uuid::Uuid;

use crate::manifest::release;
use crate::meta::{meta_columns, meta_from_row};
use crate::replace::keep_bucket;
use crate::{BucketId, Catalog, CatalogError, Committed, ManifestContent, ManifestId, VersionMeta};

/// An upload's id. Ids of one key sort by when their uploads began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId(pub(crate) [u8; 16]);

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl FromStr for UploadId {
    type Err = CatalogError;

    /// # Errors
    /// [`CatalogError::NoSuchUpload`]: a malformed id is the id of no upload.
    fn from_str(text: &str) -> Result<Self, CatalogError> {
        let well_formed =
            text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match u128::from_str_radix(text, 16) {
            Ok(number) if well_formed => Ok(Self(number.to_be_bytes())),
            _ => Err(CatalogError::NoSuchUpload),
        }
    }
}

/// An upload to begin.
#[derive(Debug, Clone)]
pub struct CreateUpload {
    /// The bucket.
    pub bucket: BucketId,
    /// The key.
    pub key: Vec<u8>,
    /// S3's name of the storage class.
    pub storage_class: String,
    /// Opaque text, handed back with the upload.
    pub attributes: String,
    /// What the version will have.
    pub meta: VersionMeta,
    /// Now.
    pub now_ms: u64,
}

/// An upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its id.
    pub id: UploadId,
    /// S3's name of the storage class.
    pub storage_class: String,
    /// Opaque text from its creation.
    pub attributes: String,
    /// What the version will have.
    pub meta: VersionMeta,
    /// When it began.
    pub created_at_ms: u64,
    /// The result, when it is completed and not yet forgotten.
    pub completed: Option<Committed>,
}

/// A part to store.
#[derive(Debug, Clone)]
pub struct PutPart {
    /// The bucket.
    pub bucket: BucketId,
    /// The key.
    pub key: Vec<u8>,
    /// The upload.
    pub upload: UploadId,
    /// The part's number, from 1.
    pub number: u16,
    /// Its bytes.
    pub content: ManifestContent,
    /// Its size in bytes. Checked against the manifest.
    pub size: u64,
    /// What stands for its `ETag`; opaque.
    pub etag: String,
    /// Opaque text, handed back with the part: its checksums.
    pub checksums: String,
    /// Now.
    pub now_ms: u64,
}

/// A stored part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its number.
    pub number: u16,
    /// Its size in bytes.
    pub size: u64,
    /// What stands for its `ETag`; opaque.
    pub etag: String,
    /// Opaque text from [`PutPart::checksums`].
    pub checksums: String,
    /// When it was stored.
    pub modified_ms: u64,
    /// Its bytes.
    pub manifest: ManifestId,
}

/// A page of parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartPage {
    /// Parts by number.
    pub parts: Vec<Part>,
    /// Whether more follow.
    pub truncated: bool,
}

impl Catalog {
    /// Begins an upload.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchBucket`].
    pub async fn create_upload(&self, upload: CreateUpload) -> Result<UploadId, CatalogError> {
        const INSERT: &str = "INSERT INTO upload (id, bucket, key, storage_class, attributes, created_at_ms,
               tags, acl, owner, retention_mode, retain_until_ms, legal_hold)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
        const EXISTS: &str = "SELECT id FROM bucket WHERE id = $1";
        let random = Uuid::new_v4().into_bytes();
        let (random, _) = random.split_first_chunk().expect("16 bytes are more than 10");
        let id = UploadId(
            uuid::Builder::from_unix_timestamp_millis(upload.now_ms, random).into_uuid().into_bytes(),
        );
        let [tags, acl, owner, retention_mode, retain_until_ms, legal_hold] = upload.meta.params();
        let params: [Value; 12] = [
            (&id.0).into(),
            upload.bucket.0.into(),
            upload.key.into(),
            upload.storage_class.into(),
            upload.attributes.into(),
            upload.now_ms.into(),
            tags,
            acl,
            owner,
            retention_mode,
            retain_until_ms,
            legal_hold,
        ];
        self.db
            .write(move |tx| {
                let params = params.clone();
                Box::pin(async move {
                    keep_bucket(tx, upload.bucket).await?;
                    if tx.query_opt(EXISTS, &params[1..2]).await?.is_none() {
                        return Err(CatalogError::NoSuchBucket);
                    }
                    tx.execute(INSERT, &params).await?;
                    Ok(())
                })
            })
            .await?;
        Ok(id)
    }

    /// An upload that is open, or completed and not yet forgotten.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchUpload`], also for another bucket's or key's.
    pub async fn upload(
        &self,
        bucket: BucketId,
        key: &[u8],
        upload: UploadId,
    ) -> Result<Upload, CatalogError> {
        let params = upload_params(bucket, key, upload);
        self.db
            .read(move |tx| {
                let params = params.clone();
                Box::pin(async move {
                    let row = tx.query_opt(SELECT_UPLOAD, &params).await?;
                    upload_from_row(&row.ok_or(CatalogError::NoSuchUpload)?)
                })
            })
            .await
    }

    /// Gives an open upload up, with its parts. `hook` runs if there were any.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchUpload`], also when it is completed.
    pub async fn abort_upload(
        &self,
        bucket: BucketId,
        key: &[u8],
        upload: UploadId,
        now_ms: u64,
        hook: Arc<dyn CommitHook>,
    ) -> Result<(), CatalogError> {
        let params = upload_params(bucket, key, upload);
        self.db
            .write(move |tx| {
                let (params, hook) = (params.clone(), Arc::clone(&hook));
                Box::pin(async move { abort(tx, (bucket, &params), now_ms, &*hook).await })
            })
            .await
    }

    /// Aborts the uploads that began before `begun_before_ms`, but for those that the hook refuses, and forgets those that
    /// were completed before `completed_before_ms`. Returns how many of both. It looks at `page` of them at a time.
    pub async fn expire_uploads(
        &self,
        begun_before_ms: u64,
        completed_before_ms: u64,
        page: usize,
        now_ms: u64,
        hook: Arc<dyn CommitHook>,
    ) -> Result<usize, CatalogError> {
        const BEGUN: &str = "SELECT bucket, key, id, created_at_ms FROM upload
             WHERE completed_at_ms IS NULL AND created_at_ms < $1
               AND (created_at_ms > $2 OR created_at_ms = $2 AND id > $3)
             ORDER BY created_at_ms, id LIMIT $4";
        const FORGET: &str = "DELETE FROM upload WHERE id IN (SELECT id FROM upload
             WHERE completed_at_ms IS NOT NULL AND completed_at_ms < $1 ORDER BY completed_at_ms LIMIT $2)";
        let mut expired = 0;
        let mut after = (0, Vec::new());
        loop {
            let params = [begun_before_ms.into(), after.0.into(), after.1.into(), page.into()];
            let begun = self.db.rows(BEGUN, params.into()).await?;
            let Some(last) = begun.last() else { break };
            after = (last.uint(3)?, last.blob(2)?.to_vec());
            for row in &begun {
                let (bucket, key, id) = (BucketId(row.int(0)?), row.blob(1)?, UploadId(row.bytes(2)?));
                match self.abort_upload(bucket, key, id, now_ms, Arc::clone(&hook)).await {
                    Ok(()) => expired += 1,
                    // Completed or aborted by its owner meanwhile, or held.
                    Err(CatalogError::NoSuchUpload | CatalogError::Db(DbError::Rejected { .. })) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        loop {
            let forgotten = self.db.execute(FORGET, [completed_before_ms.into(), page.into()].into()).await?;
            if forgotten == 0 {
                return Ok(expired);
            }
            expired += forgotten as usize;
        }
    }
}

macro_rules! select_upload {
    ($suffix:literal) => {
        concat!(
            "SELECT id, storage_class, attributes, created_at_ms, completed_at_ms, completed_version, completed_etag,
               completed_size, ",
            meta_columns!(""),
            " FROM upload WHERE id = $1 AND bucket = $2 AND key = $3",
            $suffix
        )
    };
}

const SELECT_UPLOAD: &str = select_upload!("");

/// The upload, which does not change until the transaction ends.
///
/// # Errors
/// [`CatalogError::NoSuchUpload`].
pub(crate) async fn lock_upload(tx: &mut Tx, params: &[Value; 3]) -> Result<Upload, CatalogError> {
    let sql = match tx.engine() {
        Engine::Sqlite => SELECT_UPLOAD,
        Engine::Postgres => select_upload!(" FOR UPDATE"),
    };
    upload_from_row(&tx.query_opt(sql, params).await?.ok_or(CatalogError::NoSuchUpload)?)
}

/// `$1` the upload, `$2` its bucket, `$3` its key.
pub(crate) fn upload_params(bucket: BucketId, key: &[u8], upload: UploadId) -> [Value; 3] {
    [(&upload.0).into(), bucket.0.into(), key.into()]
}

fn upload_from_row(row: &Row) -> Result<Upload, CatalogError> {
    let completed = match row.opt_int(4)? {
        None => None,
        Some(completed_at_ms) => Some(Committed {
            version: row.text(5)?.parse().map_err(|_| CatalogError::Corrupt { what: "upload" })?,
            etag: row.text(6)?.to_owned(),
            size: row.uint(7)?,
            modified_ms: completed_at_ms.cast_unsigned(),
        }),
    };
    Ok(Upload {
        id: UploadId(row.bytes(0)?),
        storage_class: row.text(1)?.to_owned(),
        attributes: row.text(2)?.to_owned(),
        meta: meta_from_row(row, 8)?,
        created_at_ms: row.uint(3)?,
        completed,
    })
}

async fn abort(
    tx: &mut Tx,
    (bucket_id, params): (BucketId, &[Value; 3]),
    now_ms: u64,
    hook: &dyn CommitHook,
) -> Result<(), CatalogError> {
    const STORED: &str = "SELECT b.account, CAST(COALESCE(SUM(p.size), 0) AS BIGINT)
         FROM bucket b LEFT JOIN upload_part p ON p.upload = $2 WHERE b.id = $1 GROUP BY b.account";
    const RELEASE: &str = release!("SELECT manifest FROM upload_part WHERE upload = $1");
    const DELETE_PARTS: &str = "DELETE FROM upload_part WHERE upload = $1";
    const DELETE: &str = "DELETE FROM upload WHERE id = $1";
    if lock_upload(tx, params).await?.completed.is_some() {
        return Err(CatalogError::NoSuchUpload);
    }
    keep_bucket(tx, bucket_id).await?;
    let [id, bucket, _] = params;
    let stored = tx.query_opt(STORED, &[bucket.clone(), id.clone()]).await?;
    let stored = stored.ok_or(CatalogError::NoSuchUpload)?;
    tx.execute(RELEASE, &[id.clone(), now_ms.into()]).await?;
    tx.execute(DELETE_PARTS, std::slice::from_ref(id)).await?;
    tx.execute(DELETE, std::slice::from_ref(id)).await?;
    let bytes = -stored.int(1)?;
    if bytes != 0 {
        let account = AccountId(stored.bytes(0)?);
        hook.run(tx, &UsageChange { account, bucket: bucket_id.0, bytes, objects: 0 }).await?;
    }
    Ok(())
}

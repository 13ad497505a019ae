//! Parts of open uploads.

use std::sync::Arc;

use datamesh_db::{CommitHook, Engine, Row, Tx, UsageChange, Value};
use datamesh_types::AccountId;

use crate::manifest::release;
use crate::upload::upload_params;
use crate::{BucketId, Catalog, CatalogError, ManifestId, Part, PartPage, PutPart, UploadId, manifest};

/// The columns of a [`Part`].
macro_rules! part_columns {
    () => {
        "number, size, etag, checksums, modified_ms, manifest"
    };
}
pub(crate) use part_columns;

/// Reads `part_columns!`.
pub(crate) fn part_from_row(row: &Row) -> Result<Part, CatalogError> {
    Ok(Part {
        number: row.int(0)? as u16,
        size: row.uint(1)?,
        etag: row.text(2)?.to_owned(),
        checksums: row.text(3)?.to_owned(),
        modified_ms: row.uint(4)?,
        manifest: ManifestId(row.int(5)?),
    })
}

impl Catalog {
    /// Stores a part, replacing the one of that number. Parts count as stored bytes. `hook` always runs.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchUpload`] when it is unknown, completed or aborted; else as [`Catalog::put_version`].
    pub async fn put_part(&self, part: PutPart, hook: Arc<dyn CommitHook>) -> Result<Part, CatalogError> {
        let part = Arc::new(part);
        self.db
            .write(move |tx| {
                let (part, hook) = (Arc::clone(&part), Arc::clone(&hook));
                Box::pin(async move { put(tx, &part, &*hook).await })
            })
            .await
    }

    /// Up to `limit` parts of an open upload, by number, after part `after`.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchUpload`].
    pub async fn list_parts(
        &self,
        bucket: BucketId,
        key: &[u8],
        upload: UploadId,
        after: u16,
        limit: usize,
    ) -> Result<PartPage, CatalogError> {
        const OPEN: &str = "SELECT id FROM upload
             WHERE id = $1 AND bucket = $2 AND key = $3 AND completed_at_ms IS NULL";
        const SELECT: &str = concat!(
            "SELECT ",
            part_columns!(),
            " FROM upload_part WHERE upload = $1 AND number > $2 ORDER BY number LIMIT $3"
        );
        let params = upload_params(bucket, key, upload);
        self.db
            .scan(move |tx| {
                let params = params.clone();
                Box::pin(async move {
                    tx.query_opt(OPEN, &params).await?.ok_or(CatalogError::NoSuchUpload)?;
                    let [id, ..] = params;
                    let rows = tx.query(SELECT, &[id, after.into(), (limit + 1).into()]).await?;
                    let parts = rows.iter().take(limit).map(part_from_row).collect::<Result<_, _>>()?;
                    Ok(PartPage { parts, truncated: rows.len() > limit })
                })
            })
            .await
    }
}

async fn put(tx: &mut Tx, part: &PutPart, hook: &dyn CommitHook) -> Result<Part, CatalogError> {
    macro_rules! select {
        ($suffix:literal) => {
            concat!(
                "SELECT b.account, p.size, p.manifest FROM upload u JOIN bucket b ON b.id = u.bucket
                   LEFT JOIN upload_part p ON p.upload = u.id AND p.number = $4
                 WHERE u.id = $1 AND u.bucket = $2 AND u.key = $3 AND u.completed_at_ms IS NULL",
                $suffix
            )
        };
    }
    const STORE: &str =
        "INSERT INTO upload_part (upload, number, size, etag, checksums, modified_ms, manifest)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (upload, number) DO UPDATE SET size = excluded.size,
           etag = excluded.etag, checksums = excluded.checksums, modified_ms = excluded.modified_ms,
           manifest = excluded.manifest";
    const RELEASE: &str = release!("$1");
    let [id, bucket, key] = upload_params(part.bucket, &part.key, part.upload);
    // One writer per part. Writers of other parts go on; completion and abortion wait for all.
    tx.lock(&[b"part".as_slice(), &part.upload.0, &part.number.to_le_bytes()].concat()).await?;
    let sql = match tx.engine() {
        Engine::Sqlite => select!(""),
        Engine::Postgres => select!(" FOR SHARE OF u FOR KEY SHARE OF b"),
    };
    let row = tx.query_opt(sql, &[id.clone(), bucket, key, part.number.into()]).await?;
    let row = row.ok_or(CatalogError::NoSuchUpload)?;
    let manifest = manifest::commit(tx, &part.content, part.size).await?;
    let params = [
        id,
        part.number.into(),
        part.size.into(),
        (&part.etag).into(),
        (&part.checksums).into(),
        part.now_ms.into(),
        manifest.into(),
    ];
    tx.execute(STORE, &params).await?;
    if let Some(replaced) = row.opt_int(2)? {
        tx.execute(RELEASE, &[Value::Int(replaced), part.now_ms.into()]).await?;
    }
    let bytes = part.size.cast_signed() - row.opt_int(1)?.unwrap_or(0);
    let account = AccountId(row.bytes(0)?);
    hook.run(tx, &UsageChange { account, bucket: part.bucket.0, bytes, objects: 0 }).await?;
    Ok(Part {
        number: part.number,
        size: part.size,
        etag: part.etag.clone(),
        checksums: part.checksums.clone(),
        modified_ms: part.now_ms,
        manifest: ManifestId(manifest),
    })
}

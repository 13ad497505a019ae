//! Listing open uploads.

use std::sync::Arc;

use datamesh_db::{Row, Tx};
use datamesh_types::AccountId;

use crate::list::KeyWalk;
use crate::meta::owner_from_row;
use crate::{BucketId, Catalog, CatalogError, UploadId};

/// Which open uploads to list.
#[derive(Debug, Clone)]
pub struct UploadListQuery {
    /// The bucket.
    pub bucket: BucketId,
    /// Only keys that begin with this.
    pub prefix: Vec<u8>,
    /// As in [`crate::ListQuery::delimiter`].
    pub delimiter: Vec<u8>,
    /// Only keys and common prefixes greater than this, except as [`Self::after_upload`] says.
    pub after: Vec<u8>,
    /// Also uploads of the key [`Self::after`] with a greater id than this.
    pub after_upload: Option<UploadId>,
    /// The most uploads and common prefixes together.
    pub limit: usize,
}

impl UploadListQuery {
    /// The first `limit` uploads of a bucket.
    pub const fn all(bucket: BucketId, limit: usize) -> Self {
        Self {
            bucket,
            prefix: Vec::new(),
            delimiter: Vec::new(),
            after: Vec::new(),
            after_upload: None,
            limit,
        }
    }
}

/// An upload in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedUpload {
    /// Its key.
    pub key: Vec<u8>,
    /// Its id.
    pub id: UploadId,
    /// When it began.
    pub created_at_ms: u64,
    /// S3's name of the storage class.
    pub storage_class: String,
    /// Opaque text from its creation.
    pub attributes: String,
    /// The account that the version will be of; `None` is the bucket's owner.
    pub owner: Option<AccountId>,
}

/// A page of open uploads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UploadPage {
    /// Uploads by key, then id.
    pub uploads: Vec<ListedUpload>,
    /// Common prefixes, in byte order.
    pub common_prefixes: Vec<Vec<u8>>,
    /// The key marker and, unless that is a common prefix, upload marker of the next page; `None` at the end.
    pub next: Option<(Vec<u8>, Option<UploadId>)>,
}

impl Catalog {
    /// Lists open uploads by key, then by id. Each common prefix costs one seek.
    pub async fn list_uploads(&self, query: UploadListQuery) -> Result<UploadPage, CatalogError> {
        let query = Arc::new(query);
        self.db
            .scan(move |tx| {
                let query = Arc::clone(&query);
                Box::pin(async move { list(tx, &query).await })
            })
            .await
    }
}

async fn list(tx: &mut Tx, query: &UploadListQuery) -> Result<UploadPage, CatalogError> {
    const FROM: &str = "SELECT key, id, created_at_ms, storage_class, attributes, owner FROM upload
         WHERE bucket = $1 AND completed_at_ms IS NULL AND key >= $2 AND key < $3 AND (key > $2 OR id > $4)
         ORDER BY key, id LIMIT $5";
    let mut page = UploadPage::default();
    let Some((mut walk, mut after_id)) = start(query) else { return Ok(page) };
    let mut last = (Vec::new(), None);
    let mut count = 0;
    if query.limit == 0 {
        return Ok(page);
    }
    loop {
        let fetch = query.limit - count + 1;
        let params = [
            query.bucket.0.into(),
            (&walk.from).into(),
            (&walk.until).into(),
            after_id.map_or(Vec::new(), |id: UploadId| id.0.to_vec()).into(),
            fetch.into(),
        ];
        let rows = tx.query(FROM, &params).await?;
        let exhausted = rows.len() < fetch;
        for row in &rows {
            let upload = upload_from_row(row)?;
            if upload.key < walk.from {
                continue;
            }
            if count == query.limit {
                page.next = Some(last);
                return Ok(page);
            }
            count += 1;
            if let Some(common) = walk.common_prefix(&upload.key) {
                last = (common.to_vec(), None);
                page.common_prefixes.push(last.0.clone());
                after_id = None;
                if !walk.seek_past(&last.0) {
                    return Ok(page);
                }
            } else {
                walk.from.clone_from(&upload.key);
                after_id = Some(upload.id);
                last = (upload.key.clone(), after_id);
                page.uploads.push(upload);
            }
        }
        if exhausted {
            break;
        }
    }
    Ok(page)
}

/// Where the listing starts: a walk, and the id that uploads of its first key must exceed.
fn start(query: &UploadListQuery) -> Option<(KeyWalk<'_>, Option<UploadId>)> {
    let walk = KeyWalk::new(&query.prefix, &query.delimiter, &query.after);
    let Some(after_id) = query.after_upload.filter(|_| query.after.starts_with(&query.prefix)) else {
        return walk.map(|walk| (walk, None));
    };
    let mut walk = KeyWalk::new(&query.prefix, &query.delimiter, b"")?;
    walk.from.clone_from(&query.after);
    Some((walk, Some(after_id)))
}

fn upload_from_row(row: &Row) -> Result<ListedUpload, CatalogError> {
    Ok(ListedUpload {
        key: row.blob(0)?.to_vec(),
        id: UploadId(row.bytes(1)?),
        created_at_ms: row.uint(2)?,
        storage_class: row.text(3)?.to_owned(),
        attributes: row.text(4)?.to_owned(),
        owner: owner_from_row(row, 5)?,
    })
}

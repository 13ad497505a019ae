//! Versions: what S3 sees.

use std::fmt;
use std::str::FromStr;

use datamesh_db::{Row, Value};
use datamesh_types::ChunkId;

use crate::bucket::{BUCKET_COLUMNS, bucket_columns, bucket_from_row};
use crate::meta::{META_COLUMNS, meta_columns, meta_from_row};
use crate::{
    Bucket, BucketId, Catalog, CatalogError, DeleteCondition, ManifestContent, ManifestId, Precondition,
    VersionMeta,
};

/// A version id as S3 shows it: `null`, or an opaque text that sorts by commit order within its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VersionId {
    /// The version of an unversioned bucket, or one written while versioning was suspended.
    Null,
    /// A version by its sequence number.
    Numbered(u64),
}

/// A text that is no version id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the version id is malformed")]
pub struct ParseVersionIdError;

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Numbered(sequence) => write!(f, "{sequence:016x}"),
        }
    }
}

impl FromStr for VersionId {
    type Err = ParseVersionIdError;

    fn from_str(text: &str) -> Result<Self, ParseVersionIdError> {
        if text == "null" {
            return Ok(Self::Null);
        }
        if text.len() != 16 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ParseVersionIdError);
        }
        u64::from_str_radix(text, 16).map(Self::Numbered).map_err(|_| ParseVersionIdError)
    }
}

/// A version's bytes, in a write.
#[derive(Debug, Clone)]
pub enum Content {
    /// No bytes.
    Empty,
    /// One sealed chunk, kept in the version's row.
    Inline {
        /// The chunk's id, which opens it.
        chunk: ChunkId,
        /// The sealed bytes.
        sealed: Vec<u8>,
    },
    /// Chunks in a backend.
    Manifest(ManifestContent),
}

/// A version's bytes, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredContent {
    /// No bytes; also a delete marker's.
    Empty,
    /// One sealed chunk, kept in the version's row.
    Inline {
        /// The chunk's id, which opens it.
        chunk: ChunkId,
        /// The sealed bytes.
        sealed: Vec<u8>,
    },
    /// Chunks in a backend.
    Manifest(ManifestId),
    /// Parts of a multipart upload, with a manifest each.
    Parts {
        /// How many.
        count: u16,
    },
}

/// A stored version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its bucket.
    pub bucket: BucketId,
    /// Its key.
    pub key: Vec<u8>,
    /// Its id.
    pub id: VersionId,
    /// Its place in the order of commits.
    pub sequence: u64,
    /// Whether it marks a deletion.
    pub delete_marker: bool,
    /// Logical size in bytes.
    pub size: u64,
    /// What stands for the `ETag`; opaque.
    pub etag: String,
    /// When it was written, by the writer's clock.
    pub modified_ms: u64,
    /// S3's name of its storage class.
    pub storage_class: String,
    /// What the writer stored beside it: headers, user metadata, checksums. Opaque text.
    pub attributes: String,
    /// What may change after it was written.
    pub meta: VersionMeta,
    /// Its bytes.
    pub content: StoredContent,
}

/// A version to write.
#[derive(Debug, Clone)]
pub struct PutVersion {
    /// The bucket.
    pub bucket: BucketId,
    /// The key, 1 to 1,024 bytes.
    pub key: Vec<u8>,
    /// What must hold of the current version.
    pub precondition: Precondition,
    /// The bytes.
    pub content: Content,
    /// Logical size in bytes. Checked against the manifest.
    pub size: u64,
    /// What stands for the `ETag`; opaque.
    pub etag: String,
    /// S3's name of the storage class.
    pub storage_class: String,
    /// Opaque text, handed back with the version.
    pub attributes: String,
    /// What may change later.
    pub meta: VersionMeta,
    /// Now.
    pub now_ms: u64,
}

/// A version that shares another one's bytes.
#[derive(Debug, Clone)]
pub struct CopyVersion {
    /// The source, as looked up. The copy fails if it has gone meanwhile.
    pub source: Version,
    /// The destination's bucket.
    pub bucket: BucketId,
    /// The destination's key.
    pub key: Vec<u8>,
    /// What must hold of the destination's current version.
    pub precondition: Precondition,
    /// What stands for the `ETag`; opaque.
    pub etag: String,
    /// S3's name of the storage class; the backend does not change.
    pub storage_class: String,
    /// Opaque text.
    pub attributes: String,
    /// The copy's own; nothing is taken over from the source.
    pub meta: VersionMeta,
    /// Now.
    pub now_ms: u64,
}

/// What a write committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The version's id; [`VersionId::Null`] unless versioning is enabled.
    pub version: VersionId,
    /// What stands for the `ETag`; opaque.
    pub etag: String,
    /// Logical size in bytes.
    pub size: u64,
    /// When it was written.
    pub modified_ms: u64,
}

/// A deletion.
#[derive(Debug, Clone)]
pub struct DeleteVersion {
    /// The bucket.
    pub bucket: BucketId,
    /// The key.
    pub key: Vec<u8>,
    /// The version to remove for good; `None` deletes the object as its bucket's versioning says.
    pub version: Option<VersionId>,
    /// What must hold of what is removed.
    pub condition: DeleteCondition,
    /// Removes a version also against a governance retention.
    pub bypass_governance: bool,
    /// Now.
    pub now_ms: u64,
}

/// What a deletion did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deleted {
    /// The version removed, or the delete marker added. `None` when there was nothing to do.
    pub version: Option<VersionId>,
    /// Whether that is a delete marker.
    pub delete_marker: bool,
}

/// The columns of a [`Version`], from the table alias `v`.
macro_rules! version_columns {
    () => {
        concat!(
            "v.sequence, v.bucket, v.key, v.null_version, v.delete_marker, v.size, v.modified_ms, v.manifest, \
             v.part_count, v.etag, v.storage_class, v.attributes, ",
            meta_columns!("v."),
            ", v.inline_chunk, v.inline_sealed"
        )
    };
}

/// The version of the key `$2` that a [`VersionId`] names; `$bucket` is the bucket's number.
macro_rules! newest {
    ($bucket:literal) => {
        concat!(
            "v.sequence = (SELECT x.sequence FROM version x WHERE x.bucket = ",
            $bucket,
            " AND x.key = $2 ORDER BY x.sequence DESC LIMIT 1)"
        )
    };
}
macro_rules! null_version {
    ($bucket:literal) => {
        concat!(
            "v.sequence = (SELECT x.sequence FROM version x WHERE x.bucket = ",
            $bucket,
            " AND x.key = $2 AND x.null_version = 1 ORDER BY x.sequence DESC LIMIT 1)"
        )
    };
}
macro_rules! numbered {
    ($bucket:literal) => {
        concat!("v.sequence = $3 AND v.bucket = ", $bucket, " AND v.key = $2 AND v.null_version = 0")
    };
}

/// Reads `version_columns!` from column `at` on.
pub(crate) fn version_from_row(row: &mut Row, at: usize) -> Result<Version, CatalogError> {
    let sequence = row.uint(at)?;
    let inline = at + 12 + META_COLUMNS;
    let content = match (row.opt_int(at + 7)?, row.int(at + 8)?, row.opt_blob(inline)?) {
        (Some(manifest), 0, None) => StoredContent::Manifest(ManifestId(manifest)),
        (None, 0, Some(chunk)) => StoredContent::Inline {
            chunk: ChunkId::from_slice(chunk).ok_or(CatalogError::Corrupt { what: "version" })?,
            sealed: row.take_blob(inline + 1)?,
        },
        (None, 0, None) => StoredContent::Empty,
        (None, count @ 1..=0xffff, None) => StoredContent::Parts { count: count as u16 },
        _ => return Err(CatalogError::Corrupt { what: "version" }),
    };
    Ok(Version {
        bucket: BucketId(row.int(at + 1)?),
        key: row.take_blob(at + 2)?,
        id: if row.bool(at + 3)? { VersionId::Null } else { VersionId::Numbered(sequence) },
        sequence,
        delete_marker: row.bool(at + 4)?,
        size: row.uint(at + 5)?,
        etag: row.take_text(at + 9)?,
        modified_ms: row.uint(at + 6)?,
        storage_class: row.take_text(at + 10)?,
        attributes: row.take_text(at + 11)?,
        meta: meta_from_row(row, at + 12)?,
        content,
    })
}

impl Catalog {
    /// A version by bucket number; `None` for the id asks for the current one, which may be a delete marker.
    pub async fn version(
        &self,
        bucket: BucketId,
        key: &[u8],
        version: Option<VersionId>,
    ) -> Result<Option<Version>, CatalogError> {
        const NEWEST: &str = concat!("SELECT ", version_columns!(), " FROM version v WHERE ", newest!("$1"));
        const NULL: &str =
            concat!("SELECT ", version_columns!(), " FROM version v WHERE ", null_version!("$1"));
        const NUMBERED: &str =
            concat!("SELECT ", version_columns!(), " FROM version v WHERE ", numbered!("$1"));
        let mut params = vec![bucket.0.into(), key.into()];
        let sql = match version {
            None => NEWEST,
            Some(VersionId::Null) => NULL,
            Some(VersionId::Numbered(sequence)) => {
                params.push(sequence.into());
                NUMBERED
            }
        };
        let row = self.point_read(sql, params).await?;
        row.map(|mut row| version_from_row(&mut row, 0)).transpose()
    }

    /// A bucket and one of its versions, by the bucket's name, both as of one moment: what GET and HEAD need.
    /// `None`: there is no such bucket.
    pub async fn lookup(
        &self,
        bucket: &str,
        key: &[u8],
        version: Option<VersionId>,
    ) -> Result<Option<(Bucket, Option<Version>)>, CatalogError> {
        macro_rules! select {
            ($condition:expr) => {
                concat!(
                    "SELECT ",
                    bucket_columns!(),
                    ", ",
                    version_columns!(),
                    " FROM bucket b LEFT JOIN version v ON ",
                    $condition,
                    " WHERE b.name = $1"
                )
            };
        }
        let buckets = self.buckets.version();
        if let Some(bucket) = buckets.and_then(|buckets| self.buckets.get(buckets, bucket)) {
            let version = self.version(bucket.id, key, version).await?;
            // Else the bucket may have been closed to the caller before the version was written.
            if self.buckets.version() == buckets {
                return Ok(Some((Bucket::clone(&bucket), version)));
            }
        }
        let mut params = vec![bucket.into(), key.into()];
        let sql = match version {
            None => select!(newest!("b.id")),
            Some(VersionId::Null) => select!(null_version!("b.id")),
            Some(VersionId::Numbered(sequence)) => {
                params.push(sequence.into());
                select!(numbered!("b.id"))
            }
        };
        let Some(mut row) = self.point_read(sql, params).await? else { return Ok(None) };
        let bucket = bucket_from_row(&row)?;
        self.buckets.remember(buckets, &bucket);
        if row.opt_int(BUCKET_COLUMNS)?.is_none() {
            return Ok(Some((bucket, None)));
        }
        Ok(Some((bucket, Some(version_from_row(&mut row, BUCKET_COLUMNS)?))))
    }

    async fn point_read(&self, sql: &'static str, params: Vec<Value>) -> Result<Option<Row>, CatalogError> {
        Ok(self.db.row(sql, params.into()).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_id_survives_its_text_form_and_sorts_by_sequence() {
        for id in [VersionId::Null, VersionId::Numbered(1), VersionId::Numbered(u64::MAX)] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert!(VersionId::Numbered(9).to_string() < VersionId::Numbered(10).to_string());
        for text in ["", "NULL", "1", "000000000000000A", "+000000000000001", "00000000000000001"] {
            assert_eq!(text.parse::<VersionId>(), Err(ParseVersionIdError), "{text}");
        }
    }
}

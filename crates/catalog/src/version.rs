//! Versions: what S3 sees.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use datamesh_db::CommitHook;
use datamesh_types::ChunkId;

use crate::{Bucket, BucketId, Catalog, CatalogError, ManifestContent, ManifestId, Precondition};

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
    /// ETag without quotes.
    pub etag: String,
    /// When it was written, by the writer's clock.
    pub modified_ms: u64,
    /// S3's name of its storage class.
    pub storage_class: String,
    /// What the writer stored beside it: headers, user metadata, checksums. Opaque JSON.
    pub attributes: String,
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
    /// ETag without quotes.
    pub etag: String,
    /// S3's name of the storage class.
    pub storage_class: String,
    /// Opaque JSON, handed back with the version.
    pub attributes: String,
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
    /// ETag without quotes.
    pub etag: String,
    /// S3's name of the storage class; the backend does not change.
    pub storage_class: String,
    /// Opaque JSON.
    pub attributes: String,
    /// Now.
    pub now_ms: u64,
}

/// What a write committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The version's id; [`VersionId::Null`] unless versioning is enabled.
    pub version: VersionId,
    /// ETag without quotes.
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
    /// What must hold of the current version.
    pub precondition: Precondition,
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
        let _ = (put, hook);
        todo!()
    }

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
        let _ = (copy, hook);
        todo!()
    }

    /// A version by bucket number; `None` for the id asks for the current one, which may be a delete marker.
    pub async fn version(
        &self,
        bucket: BucketId,
        key: &[u8],
        version: Option<VersionId>,
    ) -> Result<Option<Version>, CatalogError> {
        let _ = (bucket, key, version);
        todo!()
    }

    /// A bucket and one of its versions, by the bucket's name, in one SELECT: what GET and HEAD need.
    /// `None`: there is no such bucket.
    pub async fn lookup(
        &self,
        bucket: &str,
        key: &[u8],
        version: Option<VersionId>,
    ) -> Result<Option<(Bucket, Option<Version>)>, CatalogError> {
        let _ = (bucket, key, version);
        todo!()
    }

    /// Deletes an object or one of its versions. Deleting what does not exist succeeds.
    ///
    /// `hook` runs if the usage changes.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchBucket`], [`CatalogError::PreconditionFailed`], [`CatalogError::NoSuchKey`] (a failed
    /// If-Match).
    pub async fn delete_version(
        &self,
        delete: DeleteVersion,
        hook: Arc<dyn CommitHook>,
    ) -> Result<Deleted, CatalogError> {
        let _ = (delete, hook);
        todo!()
    }

    /// Several deletions in the same bucket, in one transaction. The results stand in the order asked; a failed
    /// precondition fails only its own key.
    pub async fn delete_versions(
        &self,
        deletes: Vec<DeleteVersion>,
        hook: Arc<dyn CommitHook>,
    ) -> Result<Vec<Result<Deleted, CatalogError>>, CatalogError> {
        let _ = (deletes, hook);
        todo!()
    }
}

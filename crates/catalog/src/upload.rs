//! Multipart uploads.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use datamesh_db::CommitHook;

use crate::{BucketId, Catalog, CatalogError, Committed, ManifestContent, ManifestId, Precondition};

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
    /// Opaque JSON, handed back with the upload.
    pub attributes: String,
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
    /// Opaque JSON from its creation.
    pub attributes: String,
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
    /// Its ETag without quotes.
    pub etag: String,
    /// Opaque JSON, handed back with the part: its checksums.
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
    /// Its ETag without quotes.
    pub etag: String,
    /// Opaque JSON from [`PutPart::checksums`].
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
    /// Opaque JSON from its creation.
    pub attributes: String,
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

/// A part as Complete names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedPart {
    /// Its number.
    pub number: u16,
    /// Its ETag without quotes.
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
    /// The object's ETag without quotes.
    pub etag: String,
    /// Opaque JSON of the version.
    pub attributes: String,
    /// Now.
    pub now_ms: u64,
}

impl Catalog {
    /// Begins an upload.
    pub async fn create_upload(&self, upload: CreateUpload) -> Result<UploadId, CatalogError> {
        let _ = upload;
        todo!()
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
        let _ = (bucket, key, upload);
        todo!()
    }

    /// Stores a part, replacing the one of that number. Parts count as stored bytes.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchUpload`] when it is unknown, completed or aborted; else as [`Catalog::put_version`].
    pub async fn put_part(&self, part: PutPart, hook: Arc<dyn CommitHook>) -> Result<Part, CatalogError> {
        let _ = (part, hook);
        todo!()
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
        let _ = (bucket, key, upload, after, limit);
        todo!()
    }

    /// Lists open uploads by key, then by id.
    pub async fn list_uploads(&self, query: UploadListQuery) -> Result<UploadPage, CatalogError> {
        let _ = query;
        todo!()
    }

    /// Makes the parts an object, in one transaction. Repeating it once it is completed returns the same result,
    /// until [`Catalog::expire_uploads`] forgets the upload.
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
        let _ = (complete, hook);
        todo!()
    }

    /// Gives an open upload up, with its parts.
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
        let _ = (bucket, key, upload, now_ms, hook);
        todo!()
    }

    /// Aborts up to `limit` uploads that began before `begun_before_ms`, and forgets up to `limit` that were
    /// completed before `completed_before_ms`. Returns how many of both; call again while that is not 0.
    pub async fn expire_uploads(
        &self,
        begun_before_ms: u64,
        completed_before_ms: u64,
        limit: usize,
        now_ms: u64,
        hook: Arc<dyn CommitHook>,
    ) -> Result<usize, CatalogError> {
        let _ = (begun_before_ms, completed_before_ms, limit, now_ms, hook);
        todo!()
    }
}

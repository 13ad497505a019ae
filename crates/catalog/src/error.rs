//! Why a catalog operation did not take effect.

use datamesh_db::DbError;
use datamesh_types::{AccountId, GroupId};

/// Why a catalog operation did not take effect. Nothing of it has been stored, unless the cause is
/// [`DbError::OutcomeUnknown`].
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The database failed, or the commit hook refused ([`DbError::Rejected`]).
    #[error(transparent)]
    Db(#[from] DbError),
    /// There is no such bucket, or it was deleted meanwhile.
    #[error("the bucket does not exist")]
    NoSuchBucket,
    /// The name is taken. Names are unique across accounts.
    #[error("the bucket name is taken")]
    BucketExists {
        /// Whose bucket it is.
        account: AccountId,
    },
    /// The bucket holds versions or unfinished uploads.
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    /// The key has no current object: `If-Match` needs one.
    #[error("the key does not exist")]
    NoSuchKey,
    /// The version does not exist, or was deleted meanwhile.
    #[error("the version does not exist")]
    NoSuchVersion,
    /// The upload does not exist: never created, aborted, or completed too long ago.
    #[error("the upload does not exist")]
    NoSuchUpload,
    /// A precondition did not hold when the commit evaluated it.
    #[error("a precondition does not hold")]
    PreconditionFailed,
    /// The version is held by a retention or a legal hold.
    #[error("the version is locked")]
    Locked,
    /// The bucket's object lock and its versioning do not allow the change.
    #[error("the bucket's state does not allow this")]
    InvalidBucketState,
    /// A pending manifest expired or was released before its commit. Writing the object again is safe.
    #[error("the pending manifest has expired")]
    ManifestGone,
    /// Chunks that were known when they were looked up have been deleted since. Writing the object again is safe.
    #[error("{missing} known chunks have been deleted meanwhile")]
    ChunkGone {
        /// How many.
        missing: usize,
    },
    /// The lengths of the entries do not add up to what the caller says they are.
    #[error("the manifest holds {stored} bytes, not {declared}")]
    SizeMismatch {
        /// What the caller says.
        declared: u64,
        /// What the entries sum to.
        stored: u64,
    },
    /// Complete names a part that was not uploaded, or with another `ETag`.
    #[error("part {number} was not uploaded, or its ETag differs")]
    InvalidPart {
        /// The part.
        number: u16,
    },
    /// Complete names no parts, or not in ascending order.
    #[error("the parts are not in ascending order")]
    InvalidPartOrder,
    /// A part other than the last is too small.
    #[error("part {number} has {size} bytes, fewer than {minimum}")]
    PartTooSmall {
        /// The part.
        number: u16,
        /// Its size in bytes.
        size: u64,
        /// The smallest size allowed in bytes.
        minimum: u64,
    },
    /// Source and destination do not share a dedup domain, so their chunks cannot be shared.
    #[error("source and destination belong to different dedup domains")]
    DomainMismatch,
    /// There is no such placement group.
    #[error("there is no placement group {group}")]
    NoSuchGroup {
        /// The group.
        group: GroupId,
    },
    /// A placement group needs one node per shard.
    #[error("a group of {shards} shards cannot have {nodes} nodes")]
    WrongGroupSize {
        /// The nodes given.
        nodes: usize,
        /// The shards of the profile.
        shards: usize,
    },
    /// The placement group has changed since it was read.
    #[error("placement group {group} has epoch {actual}, not {expected}")]
    GroupChanged {
        /// The group.
        group: GroupId,
        /// The epoch the caller knew.
        expected: u64,
        /// The epoch it has.
        actual: u64,
    },
    /// A stored row makes no sense. `datamesh-admin doctor` says more.
    #[error("the catalog holds a malformed {what}")]
    Corrupt {
        /// What is malformed.
        what: &'static str,
    },
}

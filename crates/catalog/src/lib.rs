//! The catalog: buckets, versions, manifests, chunk references, uploads, placement groups, garbage and leases, in
//! SQL.
//!
//! Every object is a list of versions, also in an unversioned bucket, where there is only the null version. A
//! version's bytes are inline in its row, or a manifest (an ordered list of chunks), or parts with a manifest
//! each. Manifests count who uses them, chunks count the manifest entries that name them.
//!
//! Invariants:
//! - A chunk's count is the number of stored manifest entries that name it; it is condemned exactly when it is 0.
//!   Each append of entries takes its references in its own transaction, so what a stored manifest names exists.
//! - A chunk row is deleted only while condemned, in the transaction that turns its location into garbage.
//! - A manifest's chunks keep their references until collection takes the released manifest apart, a bounded
//!   number of segments per transaction. Deleting an object of any size is therefore cheap.
//! - Versions of a key are ordered by their sequence number, which is drawn under the key's lock. Clocks only ever
//!   decide what is shown to people, and when something unreferenced is old enough to delete; they are passed in.
//! - Locks are taken in the order key or upload, chunks (by row), manifests, hook: the hook runs last, so that an
//!   account's hot row is held as briefly as possible.

mod bucket;
mod bucket_memory;
mod catalog;
mod check;
mod check_configs;
mod chunk;
mod complete;
mod config;
mod copy;
mod delete;
mod error;
mod garbage;
mod group;
mod lease;
mod lifecycle;
mod list;
mod list_versions;
mod locked;
mod manifest;
mod meta;
mod outbox;
mod part;
mod plan;
mod precondition;
mod put;
mod relocate;
mod replace;
mod restore;
mod rows;
mod schema;
mod segment;
mod shards;
mod stored;
mod upload;
mod upload_list;
mod version;

pub use bucket::{Bucket, BucketId, CreateBucket, Versioning};
pub use catalog::Catalog;
pub use check::{AccountUsage, CheckPage, CheckPosition, Finding};
pub use chunk::{ChunkRow, KnownChunk};
pub use complete::{CompleteUpload, CompletedPart};
pub use config::{ConfigKind, ConfigSet};
pub use error::CatalogError;
pub use garbage::{Collected, Garbage, GarbageId};
pub use group::{Backlog, GroupChunk, GroupState, LostChunk, PlacementGroup};
pub use lease::Lease;
pub use lifecycle::{AgeVersion, AgingStep, AgingVersion};
pub use list::{ListPage, ListQuery, ListedObject};
pub use list_versions::{ListedVersion, VersionListQuery, VersionPage};
pub use locked::LockedVersions;
pub use manifest::{ManifestAppend, ManifestContent, ManifestEntry, ManifestId};
pub use meta::{Retention, RetentionMode, VersionMeta};
pub use outbox::{ChangeKind, Message, MessageId, StoredMessage};
pub use plan::{PlannedChunk, ReadPlan};
pub use precondition::{DeleteCondition, EtagCondition, Precondition};
pub use relocate::{RelocateVersion, VersionManifest};
pub use upload::{CreateUpload, Part, PartPage, PutPart, Upload, UploadId};
pub use upload_list::{ListedUpload, UploadListQuery, UploadPage};
pub use version::{
    Committed, Content, CopyVersion, DeleteVersion, Deleted, ParseVersionIdError, PutVersion, StoredContent,
    Version, VersionId,
};

#[cfg(test)]
mod tests;

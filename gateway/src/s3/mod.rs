//! The S3 protocol: every operation, one file per noun.
//!
//! `s3s` speaks HTTP, checks signatures and parses requests; the operations here decide. Each of them resolves
//! its bucket, asks at the `gate` whether the caller may do this, and only then does anything else. What takes bytes
//! takes a quota reservation first. Errors of the crates below become S3's in `errors`, and only there.

mod acls;
mod admission;
mod attributes;
mod auth;
mod beside;
mod bucket_policy;
mod buckets;
mod caller;
pub mod checksums;
mod classes;
mod conditions;
mod configs;
mod copy;
mod cors;
mod delete;
mod deposit;
mod document;
mod encryption;
mod endpoint;
mod errors;
mod gate;
mod grants;
mod growth;
mod hosts;
mod inventory;
mod lifecycle;
mod list;
mod lock;
mod locking;
mod logging;
mod multipart;
mod named_configs;
mod notification;
mod objects;
mod owners;
mod ownership;
mod payment;
mod post;
mod public_access;
mod put;
mod ranges;
mod request_metrics;
mod reserve;
mod restore;
mod service;
mod signing;
mod stated;
mod tagging;
mod tags;
mod token_service;
mod torrent;
mod unconfigured;
mod version_order;
mod versioning;
mod website;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use datamesh_accounts::{Accounts, Keyring};
use datamesh_catalog::{Bucket, Catalog, Version, VersionId, Versioning};
use datamesh_policy::{Action, Level};
use s3s::dto::{ETag, StorageClass, Timestamp};
use s3s::{S3Result, s3_error};

use crate::access_log::AccessLog;
use crate::events::Webhooks;
use crate::ingest::{Destination, Ingest};
use crate::request_metrics::RequestMetrics;
use crate::retrieve::Retrieve;
use crate::row_key::RowKey;

pub use classes::{StorageClasses, StorageClassesError, Tier};
pub use configs::ConfigCache;
pub use endpoint::Endpoint;
pub use service::{OPERATIONS, ServiceConfig, service};

use caller::Caller;
use classes::Class;
use encryption::VersionKey;
use gate::About;

/// What the S3 operations work on.
#[derive(Clone)]
pub struct S3Gateway {
    /// Buckets, versions, manifests.
    pub catalog: Catalog,
    /// Who may do what, and how much of it.
    pub accounts: Accounts,
    /// Buckets' configurations.
    pub configs: ConfigCache,
    /// The keys of dedup domains.
    pub keyring: Keyring,
    /// Which backend a storage class means.
    pub classes: StorageClasses,
    /// Writes bodies.
    pub ingest: Ingest,
    /// Reads them.
    pub retrieve: Retrieve,
    /// Checks where messages are to go.
    pub webhooks: Webhooks,
    /// Knows which buckets' requests are logged.
    pub access_log: AccessLog,
    /// Knows which buckets' requests are counted.
    pub request_metrics: RequestMetrics,
    /// The region that buckets are in.
    pub region: String,
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as u64)
}

fn timestamp(ms: u64) -> Timestamp {
    Timestamp::from(UNIX_EPOCH + Duration::from_millis(ms))
}

/// An `ETag` as S3 shows it, for fields that may be absent.
#[allow(clippy::unnecessary_wraps, reason = "all its users want an option")]
fn strong(etag: &str) -> Option<ETag> {
    Some(ETag::Strong(etag.to_owned()))
}

/// The id of a version that is read: an unversioned bucket's answers name none.
fn shown_version(bucket: &Bucket, id: VersionId) -> Option<String> {
    (bucket.versioning != Versioning::Unversioned).then(|| id.to_string())
}

/// The id of a version that was written: S3 names it only while versioning is enabled.
fn written_version(id: VersionId) -> Option<String> {
    match id {
        VersionId::Null => None,
        numbered @ VersionId::Numbered(_) => Some(numbered.to_string()),
    }
}

/// The storage class to show: S3 leaves STANDARD out of headers.
fn shown_class(class: &str) -> Option<StorageClass> {
    (class != StorageClass::STANDARD).then(|| StorageClass::from(class.to_owned()))
}

/// # Errors
/// `AccessDenied` when the client believes the bucket to be somebody else's.
fn check_owner(bucket: &Bucket, expected: Option<&str>) -> S3Result<()> {
    match expected {
        Some(expected) if expected != bucket.account.to_string() => Err(s3_error!(AccessDenied)),
        _ => Ok(()),
    }
}

fn parse_version_id(id: Option<&str>) -> S3Result<Option<VersionId>> {
    let parse =
        |text: &str| text.parse().map_err(|_| s3_error!(InvalidArgument, "Invalid version id specified"));
    id.filter(|text| !text.is_empty()).map(parse).transpose()
}

impl S3Gateway {
    /// A bucket that the caller may do `action` to, which is about the bucket itself.
    async fn bucket(
        &self,
        caller: &Caller<'_>,
        name: &str,
        action: Action,
        expected_owner: Option<&str>,
    ) -> S3Result<Bucket> {
        debug_assert_ne!(action.level(), Level::Object, "{action} needs a key");
        self.bucket_about(caller, name, action, About::Bucket, expected_owner).await
    }

    /// A bucket in which the caller may do `action` to a key, whatever is there.
    async fn bucket_for_key(
        &self,
        caller: &Caller<'_>,
        (bucket, key): (&str, &str),
        action: Action,
        expected_owner: Option<&str>,
    ) -> S3Result<Bucket> {
        self.bucket_about(caller, bucket, action, About::Key(key), expected_owner).await
    }

    async fn bucket_about(
        &self,
        caller: &Caller<'_>,
        name: &str,
        action: Action,
        about: About<'_>,
        expected_owner: Option<&str>,
    ) -> S3Result<Bucket> {
        let bucket = self.any_bucket(name, expected_owner).await?;
        self.gate(caller, &bucket).await?.check(action, about)?;
        self.enter_bucket(caller, &bucket).await?;
        Ok(bucket)
    }

    /// A bucket of which nobody has asked yet what the caller may do.
    async fn any_bucket(&self, name: &str, expected_owner: Option<&str>) -> S3Result<Bucket> {
        let bucket = self.catalog.bucket(name).await.map_err(errors::catalog)?;
        let bucket = bucket.ok_or_else(|| s3_error!(NoSuchBucket))?;
        check_owner(&bucket, expected_owner)?;
        Ok(bucket)
    }

    /// What opens and seals what the rows of a bucket say.
    async fn row_key(&self, bucket: &Bucket) -> S3Result<RowKey> {
        RowKey::of(&self.keyring, bucket).await.map_err(errors::accounts)
    }

    /// An object's version that the caller may do `action` to: the current one unless another is named.
    ///
    /// `action` is the one for the current version; naming one asks for its sibling.
    async fn version(
        &self,
        caller: &Caller<'_>,
        (bucket, key): (&str, &str),
        id: Option<&str>,
        action: Action,
        expected_owner: Option<&str>,
    ) -> S3Result<(Bucket, Version)> {
        let id = parse_version_id(id)?;
        let action = if id.is_some() { action.of_version() } else { action };
        let found = self.catalog.lookup(bucket, key.as_bytes(), id).await.map_err(errors::catalog)?;
        let (bucket, version) = found.ok_or_else(|| s3_error!(NoSuchBucket))?;
        check_owner(&bucket, expected_owner)?;
        let gate = self.gate(caller, &bucket).await?;
        match version {
            Some(mut version) if !version.delete_marker => {
                gate.check(action, About::Stored(key, &version.meta))?;
                self.enter_bucket(caller, &bucket).await?;
                self.row_key(&bucket).await?.open_version(&mut version).map_err(errors::row)?;
                Ok((bucket, version))
            }
            _ if !gate.allows_to_miss(action, key) => Err(s3_error!(AccessDenied)),
            Some(marker) => Err(errors::deleted(&marker, id.is_some())),
            None if id.is_some() => Err(s3_error!(NoSuchVersion)),
            None => Err(errors::no_such_key()),
        }
    }
}

/// Where a body of this class goes that is sealed with `key`.
fn destination(key: &VersionKey, class: &Class, content_type: Option<String>, inline: bool) -> Destination {
    Destination {
        domain: key.domain,
        key: key.key.clone(),
        backend_name: class.backend_name.clone(),
        backend: class.backend.clone(),
        content_type,
        cold: class.cold,
        inline,
    }
}

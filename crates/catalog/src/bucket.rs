//! Buckets.

use datamesh_types::{AccountId, DomainId};

use crate::{Catalog, CatalogError};

/// A bucket's number. Never used again, so a stale one names nothing rather than a later bucket of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketId(pub i64);

/// Whether a bucket keeps old versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Versioning {
    /// Never enabled: every write replaces the null version.
    #[default]
    Unversioned,
    /// Every write adds a version; a delete adds a delete marker.
    Enabled,
    /// Writes replace the null version again; older versions stay.
    Suspended,
}

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its number.
    pub id: BucketId,
    /// Its name, unique across accounts.
    pub name: String,
    /// Who owns it and pays for it.
    pub account: AccountId,
    /// Whose chunks its objects may share. Fixed for the bucket's life.
    pub domain: DomainId,
    /// The region it was created in.
    pub region: String,
    /// Whether it keeps old versions.
    pub versioning: Versioning,
    /// When it was created.
    pub created_at_ms: u64,
}

/// A bucket to create.
#[derive(Debug, Clone)]
pub struct CreateBucket {
    /// A name that the caller has checked against S3's rules.
    pub name: String,
    /// The owner.
    pub account: AccountId,
    /// The dedup domain of its objects.
    pub domain: DomainId,
    /// The region.
    pub region: String,
    /// Now.
    pub now_ms: u64,
}

impl Catalog {
    /// Creates a bucket.
    ///
    /// # Errors
    /// [`CatalogError::BucketExists`], also when the same account owns it already.
    pub async fn create_bucket(&self, bucket: CreateBucket) -> Result<Bucket, CatalogError> {
        let _ = bucket;
        todo!()
    }

    /// Deletes an empty bucket.
    ///
    /// # Errors
    /// [`CatalogError::BucketNotEmpty`] when it holds a version, a delete marker or an open upload;
    /// [`CatalogError::NoSuchBucket`].
    pub async fn delete_bucket(&self, bucket: BucketId) -> Result<(), CatalogError> {
        let _ = bucket;
        todo!()
    }

    /// The bucket of that name.
    pub async fn bucket(&self, name: &str) -> Result<Option<Bucket>, CatalogError> {
        let _ = name;
        todo!()
    }

    /// Up to `limit` buckets of an account, by name, starting after `after`.
    pub async fn list_buckets(
        &self,
        account: AccountId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Bucket>, CatalogError> {
        let _ = (account, after, limit);
        todo!()
    }

    /// Turns versioning on or off. It never returns to [`Versioning::Unversioned`]; that value is refused as
    /// [`Versioning::Suspended`] is stored.
    pub async fn set_versioning(&self, bucket: BucketId, versioning: Versioning) -> Result<(), CatalogError> {
        let _ = (bucket, versioning);
        todo!()
    }
}

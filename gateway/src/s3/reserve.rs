//! Quota around writes: taken before a body is read, settled inside the commit, given back by deletions.
//!
//! What a write will replace is stored until its commit, so quota is taken for all of the new version. Only an account or a
//! bucket that is too full for that has the old one looked up, and takes what it will grow by. The commit judges again: if
//! the old version has gone meanwhile, its room is not there a second time, and the write is refused.

use std::sync::Arc;

use datamesh_accounts::{AccountsError, Reservation};
use datamesh_catalog::{Bucket, UploadId, VersionId, Versioning};
use datamesh_db::CommitHook;
use s3s::S3Result;

use super::{S3Gateway, errors};

impl S3Gateway {
    /// Takes quota, of the bucket and of its owner, for a version of `bytes` that is about to be written; as a hook it is
    /// settled inside the commit, dropping it gives the quota back.
    ///
    /// # Errors
    /// `QuotaExceeded`, naming the limit and the usage.
    pub(super) async fn reserve_version(
        &self,
        bucket: &Bucket,
        key: &[u8],
        bytes: u64,
    ) -> S3Result<Arc<Reservation>> {
        self.reserve_replacing(bucket, key, bytes).await.map(|(taken, _)| taken)
    }

    /// The same, and the size of the version that will be replaced if that had to be looked up: no quota is taken for as
    /// many bytes of the new one.
    pub(super) async fn reserve_replacing(
        &self,
        bucket: &Bucket,
        key: &[u8],
        bytes: u64,
    ) -> S3Result<(Arc<Reservation>, Option<u64>)> {
        match self.reserve(bucket, bytes, 1).await {
            Err(AccountsError::QuotaExceeded { .. }) => {}
            taken => return taken.map(|taken| (taken, None)).map_err(errors::accounts),
        }
        let replaced = Box::pin(self.replaced_size(bucket, key)).await?;
        let (size, objects) = replaced.map_or((0, 1), |size| (size, 0));
        let taken = self.reserve(bucket, bytes.saturating_sub(size), objects).await;
        Ok((taken.map_err(errors::accounts)?, Some(size)))
    }

    /// The same for a part of an upload, which is stored beside what its object will replace.
    pub(super) async fn reserve_part(
        &self,
        bucket: &Bucket,
        key: &[u8],
        (upload, number): (UploadId, u16),
        bytes: u64,
    ) -> S3Result<Arc<Reservation>> {
        match self.reserve(bucket, bytes, 0).await {
            Err(AccountsError::QuotaExceeded { .. }) => {}
            taken => return taken.map_err(errors::accounts),
        }
        let page = self.catalog.list_parts(bucket.id, key, upload, number.saturating_sub(1), 1).await;
        let parts = page.map_err(errors::catalog)?.parts;
        let replaced = parts.first().filter(|part| part.number == number).map_or(0, |part| part.size);
        self.reserve(bucket, bytes.saturating_sub(replaced), 0).await.map_err(errors::accounts)
    }

    /// The size of the version that a write to a key will replace: none in a bucket that keeps all of them.
    pub(super) async fn replaced_size(&self, bucket: &Bucket, key: &[u8]) -> S3Result<Option<u64>> {
        if bucket.versioning == Versioning::Enabled {
            return Ok(None);
        }
        let null = self.catalog.version(bucket.id, key, Some(VersionId::Null)).await;
        let null = null.map_err(errors::catalog)?.filter(|version| !version.delete_marker);
        Ok(null.map(|version| version.size))
    }

    async fn reserve(
        &self,
        bucket: &Bucket,
        bytes: u64,
        objects: u64,
    ) -> Result<Arc<Reservation>, AccountsError> {
        // Boxed: what it needs while it asks the database would be part of every write's future.
        let reserving = self.accounts.reserve_in(bucket.account, bucket.id.0, bytes, objects);
        Ok(Arc::new(Box::pin(reserving).await?))
    }

    /// Gives quota back inside the commit of a deletion, which a legal hold refuses.
    pub(super) fn release(&self) -> Arc<dyn CommitHook> {
        self.accounts.deletion_hook()
    }
}

//! Objects that the gateway itself writes for a bucket's owner: access logs and inventories.

use bytes::Bytes;
use datamesh_catalog::{Bucket, Precondition, PutVersion, VersionMeta};
use s3s::S3Result;
use s3s::checksum::ChecksumHasher;
use s3s::dto::StorageClass;

use super::attributes::Attributes;
use super::encryption::Requested;
use super::{S3Gateway, destination, errors, now_ms};
use crate::ingest::BodyLen;

impl S3Gateway {
    /// Writes an object into a bucket at its owner's expense, whoever else may write there.
    ///
    /// # Errors
    /// `QuotaExceeded`, and those of writing.
    pub async fn deposit(
        &self,
        bucket: &Bucket,
        key: String,
        body: Bytes,
        content_type: &str,
    ) -> S3Result<()> {
        let class = self.classes.named(StorageClass::STANDARD)?;
        let len = body.len() as u64;
        let hook = self.reserve_version(bucket, key.as_bytes(), len).await?;
        let sealing = self.new_key(bucket, Requested::Default).await?;
        let rows = self.row_key(bucket).await?;
        let destination = destination(&sealing, class, Some(content_type.to_owned()), true);
        let body = futures::stream::iter([Ok(body)]);
        let ingested =
            self.ingest.store(body, BodyLen::Exactly(len), ChecksumHasher::default(), destination).await;
        let ingested = ingested.map_err(errors::ingest)?;
        let attributes = Attributes {
            content_type: Some(content_type.to_owned()),
            encryption: sealing.stored.clone(),
            ..Attributes::empty()
        };
        let put = PutVersion {
            bucket: bucket.id,
            key: key.into_bytes(),
            precondition: Precondition::default(),
            content: ingested.content,
            size: ingested.size,
            etag: rows.seal_tag(&sealing.etag(ingested.md5)).map_err(errors::row)?,
            storage_class: class.name.clone(),
            attributes: attributes.seal(&rows)?,
            meta: VersionMeta::NONE,
            now_ms: now_ms(),
        };
        self.catalog.put_version(put, hook).await.map_err(errors::catalog)?;
        ingested.pending.committed();
        Ok(())
    }
}

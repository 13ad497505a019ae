//! The lifecycle configuration of a bucket: put, get, delete; and what it says of an object in answers.

mod document;
mod validate;

use datamesh_catalog::{Bucket, ConfigKind, Version};
use datamesh_policy::Action;
use s3s::dto::{
    DeleteBucketLifecycleInput, DeleteBucketLifecycleOutput, GetBucketLifecycleConfigurationInput,
    GetBucketLifecycleConfigurationOutput, PutBucketLifecycleConfigurationInput,
    PutBucketLifecycleConfigurationOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

use super::S3Gateway;
use super::caller::Caller;
use crate::lifecycle::{Calendar, Lifecycle, Subject, expiry, stored_tags};

/// As in `Fri, 21 Dec 2012 00:00:00 GMT`.
pub(super) const HTTP_DATE: &[FormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

impl S3Gateway {
    pub(super) async fn put_bucket_lifecycle_configuration(
        &self,
        req: S3Request<PutBucketLifecycleConfigurationInput>,
    ) -> S3Result<S3Response<PutBucketLifecycleConfigurationOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket =
            self.bucket(&caller, &input.bucket, Action::PutLifecycleConfiguration, expected_owner).await?;
        let document = input.lifecycle_configuration.ok_or_else(|| s3_error!(MalformedXML))?;
        let lifecycle = validate::rules(document, &self.classes)?;
        self.set_config(&bucket, ConfigKind::Lifecycle, Some(&lifecycle)).await?;
        Ok(S3Response::new(PutBucketLifecycleConfigurationOutput::default()))
    }

    pub(super) async fn get_bucket_lifecycle_configuration(
        &self,
        req: S3Request<GetBucketLifecycleConfigurationInput>,
    ) -> S3Result<S3Response<GetBucketLifecycleConfigurationOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket =
            self.bucket(&caller, &input.bucket, Action::GetLifecycleConfiguration, expected_owner).await?;
        let lifecycle = self.config::<Lifecycle>(&bucket, ConfigKind::Lifecycle).await?;
        let lifecycle = lifecycle.ok_or_else(|| s3_error!(NoSuchLifecycleConfiguration))?;
        Ok(S3Response::new(GetBucketLifecycleConfigurationOutput {
            rules: Some(document::rules(&lifecycle)),
            ..GetBucketLifecycleConfigurationOutput::default()
        }))
    }

    pub(super) async fn delete_bucket_lifecycle(
        &self,
        req: S3Request<DeleteBucketLifecycleInput>,
    ) -> S3Result<S3Response<DeleteBucketLifecycleOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket =
            self.bucket(&caller, &input.bucket, Action::PutLifecycleConfiguration, expected_owner).await?;
        self.set_config::<Lifecycle>(&bucket, ConfigKind::Lifecycle, None).await?;
        Ok(S3Response::new(DeleteBucketLifecycleOutput::default()))
    }

    /// `x-amz-expiration` of the version that a request reads. One that is named may not be current: it has none.
    pub(super) async fn expiration_of(
        &self,
        bucket: &Bucket,
        version: &Version,
        named: Option<&str>,
    ) -> S3Result<Option<String>> {
        if named.is_some_and(|id| !id.is_empty()) {
            return Ok(None);
        }
        let written = (version.size, version.modified_ms);
        self.expiration(bucket, &version.key, written, version.meta.tags.as_deref()).await
    }

    /// `x-amz-expiration` of a current version: when it expires, and by which rule.
    pub(super) async fn expiration(
        &self,
        bucket: &Bucket,
        key: &[u8],
        (size, modified_ms): (u64, u64),
        tags: Option<&str>,
    ) -> S3Result<Option<String>> {
        let Some(lifecycle) = self.config::<Lifecycle>(bucket, ConfigKind::Lifecycle).await? else {
            return Ok(None);
        };
        let tags = tags.map(stored_tags).unwrap_or_default();
        let subject = Subject { key, tags: &tags, size: Some(size) };
        Ok(expiration_header(&lifecycle, subject, modified_ms))
    }
}

/// `x-amz-expiration`: when the object expires and by which rule. Days are real ones, also where the job counts
/// shorter ones.
fn expiration_header(lifecycle: &Lifecycle, subject: Subject<'_>, modified_ms: u64) -> Option<String> {
    let (due_ms, rule) = expiry(lifecycle, subject, modified_ms, Calendar::Utc)?;
    let date = OffsetDateTime::from_unix_timestamp((due_ms / 1000) as i64).ok()?.format(HTTP_DATE).ok()?;
    Some(format!("expiry-date=\"{date}\", rule-id=\"{}\"", rule.id))
}

//! The tagging operations, of objects and of buckets.

use datamesh_catalog::ConfigKind;
use datamesh_policy::Action;
use s3s::dto::{
    DeleteBucketTaggingInput, DeleteBucketTaggingOutput, DeleteObjectTaggingInput, DeleteObjectTaggingOutput,
    GetBucketTaggingInput, GetBucketTaggingOutput, GetObjectTaggingInput, GetObjectTaggingOutput,
    PutBucketTaggingInput, PutBucketTaggingOutput, PutObjectTaggingInput, PutObjectTaggingOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::caller::Caller;
use super::stated::Stated;
use super::tags::{TagSet, Tagged};
use super::{S3Gateway, errors, shown_version};
use crate::events::{Change, EventKind};

impl S3Gateway {
    pub(super) async fn put_object_tagging(
        &self,
        req: S3Request<PutObjectTaggingInput>,
    ) -> S3Result<S3Response<PutObjectTaggingOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let caller = caller.stating(Stated::tags(&input.tagging.tag_set));
        let name = (input.bucket.as_str(), input.key.as_str());
        let (id, expected_owner) = (input.version_id.as_deref(), input.expected_bucket_owner.as_deref());
        let (bucket, version) =
            self.version(&caller, name, id, Action::PutObjectTagging, expected_owner).await?;
        let tags = TagSet::from_dto(input.tagging, Tagged::Object)?;
        let change = Change::amended(EventKind::TaggingPut, &version);
        let catalog = self.announcing(&bucket, &caller, &[change]).await?;
        catalog.set_version_tags(&version, tags.encode()).await.map_err(errors::catalog)?;
        let version_id = shown_version(&bucket, version.id);
        Ok(S3Response::new(PutObjectTaggingOutput { version_id }))
    }

    pub(super) async fn get_object_tagging(
        &self,
        req: S3Request<GetObjectTaggingInput>,
    ) -> S3Result<S3Response<GetObjectTaggingOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let name = (input.bucket.as_str(), input.key.as_str());
        let (id, expected_owner) = (input.version_id.as_deref(), input.expected_bucket_owner.as_deref());
        let (bucket, version) =
            self.version(&caller, name, id, Action::GetObjectTagging, expected_owner).await?;
        let tags = TagSet::decode(version.meta.tags.as_deref())?;
        let version_id = shown_version(&bucket, version.id);
        Ok(S3Response::new(GetObjectTaggingOutput { tag_set: tags.to_dto(), version_id }))
    }

    pub(super) async fn delete_object_tagging(
        &self,
        req: S3Request<DeleteObjectTaggingInput>,
    ) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let name = (input.bucket.as_str(), input.key.as_str());
        let (id, expected_owner) = (input.version_id.as_deref(), input.expected_bucket_owner.as_deref());
        let (bucket, version) =
            self.version(&caller, name, id, Action::DeleteObjectTagging, expected_owner).await?;
        let change = Change::amended(EventKind::TaggingDelete, &version);
        let catalog = self.announcing(&bucket, &caller, &[change]).await?;
        catalog.set_version_tags(&version, None).await.map_err(errors::catalog)?;
        let version_id = shown_version(&bucket, version.id);
        Ok(S3Response::new(DeleteObjectTaggingOutput { version_id }))
    }

    pub(super) async fn put_bucket_tagging(
        &self,
        req: S3Request<PutBucketTaggingInput>,
    ) -> S3Result<S3Response<PutBucketTaggingOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.bucket(&caller, &input.bucket, Action::PutBucketTagging, expected_owner).await?;
        let tags = TagSet::from_dto(input.tagging, Tagged::Bucket)?;
        self.set_config(&bucket, ConfigKind::Tagging, Some(&tags)).await?;
        Ok(S3Response::new(PutBucketTaggingOutput::default()))
    }

    pub(super) async fn get_bucket_tagging(
        &self,
        req: S3Request<GetBucketTaggingInput>,
    ) -> S3Result<S3Response<GetBucketTaggingOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.bucket(&caller, &input.bucket, Action::GetBucketTagging, expected_owner).await?;
        let tags = self.config::<TagSet>(&bucket, ConfigKind::Tagging).await?;
        let tags = tags.ok_or_else(|| s3_error!(NoSuchTagSet))?;
        Ok(S3Response::new(GetBucketTaggingOutput { tag_set: tags.to_dto() }))
    }

    pub(super) async fn delete_bucket_tagging(
        &self,
        req: S3Request<DeleteBucketTaggingInput>,
    ) -> S3Result<S3Response<DeleteBucketTaggingOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.bucket(&caller, &input.bucket, Action::PutBucketTagging, expected_owner).await?;
        self.set_config::<TagSet>(&bucket, ConfigKind::Tagging, None).await?;
        Ok(S3Response::new(DeleteBucketTaggingOutput::default()))
    }
}

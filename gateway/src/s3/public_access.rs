//! A bucket's public access block.

use datamesh_catalog::ConfigKind;
use datamesh_policy::{Action, PublicAccessBlock};
use s3s::dto::{
    DeletePublicAccessBlockInput, DeletePublicAccessBlockOutput, GetPublicAccessBlockInput,
    GetPublicAccessBlockOutput, PublicAccessBlockConfiguration, PutPublicAccessBlockInput,
    PutPublicAccessBlockOutput,
};
use s3s::{S3Request, S3Response, S3Result};

use super::S3Gateway;
use super::caller::Caller;
use super::unconfigured::none;

impl S3Gateway {
    pub(super) async fn get_public_access_block(
        &self,
        req: S3Request<GetPublicAccessBlockInput>,
    ) -> S3Result<S3Response<GetPublicAccessBlockOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = &req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let action = Action::GetBucketPublicAccessBlock;
        let bucket = self.bucket(&caller, &input.bucket, action, expected_owner).await?;
        let block = self.config::<PublicAccessBlock>(&bucket, ConfigKind::PublicAccessBlock).await?;
        let not_set = || {
            none(
                "NoSuchPublicAccessBlockConfiguration",
                "The public access block configuration was not found",
            )
        };
        let block = block.ok_or_else(not_set)?;
        Ok(S3Response::new(GetPublicAccessBlockOutput {
            public_access_block_configuration: Some(PublicAccessBlockConfiguration {
                block_public_acls: Some(block.block_public_acls),
                block_public_policy: Some(block.block_public_policy),
                ignore_public_acls: Some(block.ignore_public_acls),
                restrict_public_buckets: Some(block.restrict_public_buckets),
            }),
        }))
    }

    pub(super) async fn put_public_access_block(
        &self,
        req: S3Request<PutPublicAccessBlockInput>,
    ) -> S3Result<S3Response<PutPublicAccessBlockOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = &req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let action = Action::PutBucketPublicAccessBlock;
        let bucket = self.bucket(&caller, &input.bucket, action, expected_owner).await?;
        let asked = &input.public_access_block_configuration;
        let block = PublicAccessBlock {
            block_public_acls: asked.block_public_acls.unwrap_or(false),
            ignore_public_acls: asked.ignore_public_acls.unwrap_or(false),
            block_public_policy: asked.block_public_policy.unwrap_or(false),
            restrict_public_buckets: asked.restrict_public_buckets.unwrap_or(false),
        };
        self.set_config(&bucket, ConfigKind::PublicAccessBlock, Some(&block)).await?;
        Ok(S3Response::new(PutPublicAccessBlockOutput::default()))
    }

    pub(super) async fn delete_public_access_block(
        &self,
        req: S3Request<DeletePublicAccessBlockInput>,
    ) -> S3Result<S3Response<DeletePublicAccessBlockOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = &req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let action = Action::PutBucketPublicAccessBlock;
        let bucket = self.bucket(&caller, &input.bucket, action, expected_owner).await?;
        self.set_config::<PublicAccessBlock>(&bucket, ConfigKind::PublicAccessBlock, None).await?;
        Ok(S3Response::new(DeletePublicAccessBlockOutput::default()))
    }
}

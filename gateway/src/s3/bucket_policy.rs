//! A bucket's policy, and whether the bucket is public.

use datamesh_catalog::ConfigKind;
use datamesh_policy::{Acl, Action, BucketPolicy, Ownership, PublicAccessBlock};
use s3s::dto::{
    DeleteBucketPolicyInput, DeleteBucketPolicyOutput, GetBucketPolicyInput, GetBucketPolicyOutput,
    GetBucketPolicyStatusInput, GetBucketPolicyStatusOutput, PolicyStatus, PutBucketPolicyInput,
    PutBucketPolicyOutput,
};
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use super::S3Gateway;
use super::caller::Caller;

impl S3Gateway {
    pub(super) async fn get_bucket_policy(
        &self,
        req: S3Request<GetBucketPolicyInput>,
    ) -> S3Result<S3Response<GetBucketPolicyOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = &req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.bucket(&caller, &input.bucket, Action::GetBucketPolicy, expected_owner).await?;
        let policy = self.config::<BucketPolicy>(&bucket, ConfigKind::Policy).await?;
        let policy = policy.ok_or_else(|| s3_error!(NoSuchBucketPolicy))?;
        Ok(S3Response::new(GetBucketPolicyOutput { policy: Some(policy.text().to_owned()) }))
    }

    pub(super) async fn put_bucket_policy(
        &self,
        req: S3Request<PutBucketPolicyInput>,
    ) -> S3Result<S3Response<PutBucketPolicyOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = &req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.bucket(&caller, &input.bucket, Action::PutBucketPolicy, expected_owner).await?;
        let binds_owner = input.confirm_remove_self_bucket_access.unwrap_or(false);
        let policy = BucketPolicy::parse(&input.policy, &bucket.name, binds_owner)
            .map_err(|error| S3Error::with_message(S3ErrorCode::MalformedPolicy, error.to_string()))?;
        let block = self.config::<PublicAccessBlock>(&bucket, ConfigKind::PublicAccessBlock).await?;
        if policy.is_public() && block.is_some_and(|block| block.block_public_policy) {
            return Err(s3_error!(AccessDenied));
        }
        self.set_config(&bucket, ConfigKind::Policy, Some(&policy)).await?;
        Ok(S3Response::new(PutBucketPolicyOutput::default()))
    }

    pub(super) async fn delete_bucket_policy(
        &self,
        req: S3Request<DeleteBucketPolicyInput>,
    ) -> S3Result<S3Response<DeleteBucketPolicyOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = &req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.bucket(&caller, &input.bucket, Action::DeleteBucketPolicy, expected_owner).await?;
        self.set_config::<BucketPolicy>(&bucket, ConfigKind::Policy, None).await?;
        Ok(S3Response::new(DeleteBucketPolicyOutput::default()))
    }

    /// Public by its policy or by its own list, unless those are void.
    pub(super) async fn get_bucket_policy_status(
        &self,
        req: S3Request<GetBucketPolicyStatusInput>,
    ) -> S3Result<S3Response<GetBucketPolicyStatusOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = &req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let action = Action::GetBucketPolicyStatus;
        let bucket = self.bucket(&caller, &input.bucket, action, expected_owner).await?;
        let block = self.config::<PublicAccessBlock>(&bucket, ConfigKind::PublicAccessBlock).await?;
        let block = block.map_or_else(PublicAccessBlock::default, |block| *block);
        let policy = self.config::<BucketPolicy>(&bucket, ConfigKind::Policy).await?;
        let acl = self.config::<Acl>(&bucket, ConfigKind::Acl).await?;
        let lists_count =
            !block.ignore_public_acls && self.ownership_of(&bucket).await? != Ownership::BucketOwnerEnforced;
        let by_policy = !block.restrict_public_buckets && policy.is_some_and(|policy| policy.is_public());
        let by_list = lists_count && acl.is_some_and(|acl| acl.is_public());
        Ok(S3Response::new(GetBucketPolicyStatusOutput {
            policy_status: Some(PolicyStatus { is_public: Some(by_policy || by_list) }),
        }))
    }
}

//! A bucket's object ownership.

use datamesh_catalog::{Bucket, ConfigKind};
use datamesh_policy::{Acl, Action, Ownership};
use datamesh_types::AccountId;
use s3s::dto::{
    DeleteBucketOwnershipControlsInput, DeleteBucketOwnershipControlsOutput, GetBucketOwnershipControlsInput,
    GetBucketOwnershipControlsOutput, ObjectOwnership, OwnershipControls, OwnershipControlsRule,
    PutBucketOwnershipControlsInput, PutBucketOwnershipControlsOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::S3Gateway;
use super::caller::Caller;

/// The ownership of this name.
///
/// # Errors
/// `InvalidArgument`.
pub(super) fn parse_ownership(name: &ObjectOwnership) -> S3Result<Ownership> {
    match name.as_str() {
        ObjectOwnership::BUCKET_OWNER_ENFORCED => Ok(Ownership::BucketOwnerEnforced),
        ObjectOwnership::BUCKET_OWNER_PREFERRED => Ok(Ownership::BucketOwnerPreferred),
        ObjectOwnership::OBJECT_WRITER => Ok(Ownership::ObjectWriter),
        _ => Err(s3_error!(InvalidArgument, "Invalid x-amz-object-ownership value")),
    }
}

const fn name_of(ownership: Ownership) -> &'static str {
    match ownership {
        Ownership::BucketOwnerEnforced => ObjectOwnership::BUCKET_OWNER_ENFORCED,
        Ownership::BucketOwnerPreferred => ObjectOwnership::BUCKET_OWNER_PREFERRED,
        Ownership::ObjectWriter => ObjectOwnership::OBJECT_WRITER,
    }
}

/// # Errors
/// `InvalidBucketAclWithObjectOwnership` when lists are to be off while the bucket's own grants something to others.
pub(super) fn check_acl_with(
    ownership: Ownership,
    acl: Option<&Acl>,
    bucket: &str,
    owner: AccountId,
) -> S3Result<()> {
    let says_more = acl.is_some_and(|acl| !acl.is_private_to(owner));
    if ownership == Ownership::BucketOwnerEnforced && says_more {
        return Err(s3_error!(
            InvalidBucketAclWithObjectOwnership,
            "Bucket {bucket} cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting"
        ));
    }
    Ok(())
}

impl S3Gateway {
    /// A bucket's object ownership; without a setting, whoever writes an object owns it.
    pub(super) async fn ownership_of(&self, bucket: &Bucket) -> S3Result<Ownership> {
        let set = self.config::<Ownership>(bucket, ConfigKind::Ownership).await?;
        Ok(set.map_or(Ownership::ObjectWriter, |set| *set))
    }

    pub(super) async fn get_bucket_ownership_controls(
        &self,
        req: S3Request<GetBucketOwnershipControlsInput>,
    ) -> S3Result<S3Response<GetBucketOwnershipControlsOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = &req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let action = Action::GetBucketOwnershipControls;
        let bucket = self.bucket(&caller, &input.bucket, action, expected_owner).await?;
        let set = self.config::<Ownership>(&bucket, ConfigKind::Ownership).await?;
        let set = set.ok_or_else(|| s3_error!(OwnershipControlsNotFoundError))?;
        let rule = OwnershipControlsRule { object_ownership: ObjectOwnership::from_static(name_of(*set)) };
        Ok(S3Response::new(GetBucketOwnershipControlsOutput {
            ownership_controls: Some(OwnershipControls { rules: vec![rule] }),
        }))
    }

    pub(super) async fn put_bucket_ownership_controls(
        &self,
        req: S3Request<PutBucketOwnershipControlsInput>,
    ) -> S3Result<S3Response<PutBucketOwnershipControlsOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = &req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let action = Action::PutBucketOwnershipControls;
        let bucket = self.bucket(&caller, &input.bucket, action, expected_owner).await?;
        let [rule] = input.ownership_controls.rules.as_slice() else {
            return Err(s3_error!(MalformedXML));
        };
        let ownership = parse_ownership(&rule.object_ownership).map_err(|_| s3_error!(MalformedXML))?;
        let acl = self.config::<Acl>(&bucket, ConfigKind::Acl).await?;
        check_acl_with(ownership, acl.as_deref(), &bucket.name, bucket.account)?;
        self.set_config(&bucket, ConfigKind::Ownership, Some(&ownership)).await?;
        Ok(S3Response::new(PutBucketOwnershipControlsOutput::default()))
    }

    pub(super) async fn delete_bucket_ownership_controls(
        &self,
        req: S3Request<DeleteBucketOwnershipControlsInput>,
    ) -> S3Result<S3Response<DeleteBucketOwnershipControlsOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = &req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let action = Action::PutBucketOwnershipControls;
        let bucket = self.bucket(&caller, &input.bucket, action, expected_owner).await?;
        self.set_config::<Ownership>(&bucket, ConfigKind::Ownership, None).await?;
        Ok(S3Response::new(DeleteBucketOwnershipControlsOutput::default()))
    }
}

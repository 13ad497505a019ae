//! The access control lists of buckets and objects: reading and replacing them, and what a new object gets.

use datamesh_catalog::{Bucket, ConfigKind, VersionMeta};
use datamesh_policy::{Acl, Action, CannedAcl, Ownership, PublicAccessBlock};
use datamesh_types::AccountId;
use s3s::dto::{
    AccessControlPolicy, GetBucketAclInput, GetBucketAclOutput, GetObjectAclInput, GetObjectAclOutput,
    PutBucketAclInput, PutBucketAclOutput, PutObjectAclInput, PutObjectAclOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::caller::Caller;
use super::configs::encode;
use super::gate::About;
use super::grants::{AskedAcl, HeaderAcl};
use super::{S3Gateway, errors};
use crate::events::{Change, EventKind};

/// Whose a new object is, and who else may do something with it, in the form of [`VersionMeta`].
#[derive(Debug, Default)]
pub(super) struct NewAccess {
    /// The owner, unless it is the bucket's.
    pub owner: Option<AccountId>,
    /// The list, unless it says nothing.
    pub acl: Option<String>,
}

impl S3Gateway {
    pub(super) async fn get_bucket_acl(
        &self,
        req: S3Request<GetBucketAclInput>,
    ) -> S3Result<S3Response<GetBucketAclOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = &req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.bucket(&caller, &input.bucket, Action::GetBucketAcl, expected_owner).await?;
        let acl = self.config::<Acl>(&bucket, ConfigKind::Acl).await?;
        let (owner, grants) = self.shown_acl(acl.as_deref(), bucket.account).await?;
        Ok(S3Response::new(GetBucketAclOutput { grants: Some(grants), owner: Some(owner) }))
    }

    pub(super) async fn put_bucket_acl(
        &self,
        req: S3Request<PutBucketAclInput>,
    ) -> S3Result<S3Response<PutBucketAclOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.bucket(&caller, &input.bucket, Action::PutBucketAcl, expected_owner).await?;
        let asked = AskedAcl::from_headers(&req.headers)?;
        let acl = self.replacement(&bucket, bucket.account, &asked, input.access_control_policy).await?;
        self.set_config(&bucket, ConfigKind::Acl, Some(&acl)).await?;
        Ok(S3Response::new(PutBucketAclOutput::default()))
    }

    pub(super) async fn get_object_acl(
        &self,
        req: S3Request<GetObjectAclInput>,
    ) -> S3Result<S3Response<GetObjectAclOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = &req.input;
        let name = (input.bucket.as_str(), input.key.as_str());
        let expected_owner = input.expected_bucket_owner.as_deref();
        let id = input.version_id.as_deref();
        let (bucket, version) = self.version(&caller, name, id, Action::GetObjectAcl, expected_owner).await?;
        let enforced = self.ownership_of(&bucket).await? == Ownership::BucketOwnerEnforced;
        let (owner, acl) = if enforced { (None, None) } else { (version.meta.owner, version.meta.acl) };
        let acl: Option<Acl> = acl
            .map(|acl| serde_json::from_str(&acl).map_err(|error| s3_error!(error, InternalError)))
            .transpose()?;
        let (owner, grants) = self.shown_acl(acl.as_ref(), owner.unwrap_or(bucket.account)).await?;
        Ok(S3Response::new(GetObjectAclOutput {
            grants: Some(grants),
            owner: Some(owner),
            ..GetObjectAclOutput::default()
        }))
    }

    pub(super) async fn put_object_acl(
        &self,
        req: S3Request<PutObjectAclInput>,
    ) -> S3Result<S3Response<PutObjectAclOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let name = (input.bucket.as_str(), input.key.as_str());
        let expected_owner = input.expected_bucket_owner.as_deref();
        let id = input.version_id.as_deref();
        let (bucket, version) = self.version(&caller, name, id, Action::PutObjectAcl, expected_owner).await?;
        let asked = AskedAcl::from_headers(&req.headers)?;
        let owner = version.meta.owner.unwrap_or(bucket.account);
        let acl = self.replacement(&bucket, owner, &asked, input.access_control_policy).await?;
        let change = Change::amended(EventKind::AclPut, &version);
        let catalog = self.announcing(&bucket, &caller, &[change]).await?;
        catalog.set_version_acl(&version, stored(&acl, owner)?).await.map_err(errors::catalog)?;
        Ok(S3Response::new(PutObjectAclOutput::default()))
    }

    /// The list that a request replaces another with: by name, by headers or by a document.
    async fn replacement(
        &self,
        bucket: &Bucket,
        owner: AccountId,
        asked: &AskedAcl<'_>,
        document: Option<AccessControlPolicy>,
    ) -> S3Result<Acl> {
        if self.ownership_of(bucket).await? == Ownership::BucketOwnerEnforced {
            return Err(s3_error!(AccessControlListNotSupported));
        }
        let acl = match (self.header_acl(asked).await?, document) {
            (HeaderAcl::Unset, Some(document)) => self.document_acl(document, owner).await?,
            (HeaderAcl::Unset, None) => {
                return Err(s3_error!(MissingSecurityHeader, "Your request was missing a required header"));
            }
            (_, Some(_)) => {
                return Err(s3_error!(
                    UnexpectedContent,
                    "This request does not support content: its headers name the list."
                ));
            }
            (HeaderAcl::Canned(canned), None) => Acl::canned(canned, owner, bucket.account),
            (HeaderAcl::Explicit(acl), None) => acl,
        };
        self.check_public(bucket, &acl).await?;
        Ok(acl)
    }

    /// # Errors
    /// `AccessDenied` for a public list where the bucket's public access block forbids them.
    async fn check_public(&self, bucket: &Bucket, acl: &Acl) -> S3Result<()> {
        let block = self.config::<PublicAccessBlock>(bucket, ConfigKind::PublicAccessBlock).await?;
        if acl.is_public() && block.is_some_and(|block| block.block_public_acls) {
            return Err(s3_error!(AccessDenied));
        }
        Ok(())
    }

    /// Whose an object is that the caller writes now, and its list. Costs nothing when the bucket's owner writes and
    /// asks for no list.
    ///
    /// # Errors
    /// `AccessControlListNotSupported` where lists are off; `AccessDenied` when the caller may not set this one.
    pub(super) async fn new_access(
        &self,
        caller: &Caller<'_>,
        bucket: &Bucket,
        key: &str,
        asked: &AskedAcl<'_>,
    ) -> S3Result<NewAccess> {
        // What nobody in particular writes belongs to the bucket.
        let writer = caller.account().unwrap_or(bucket.account);
        if asked.is_unset() && writer == bucket.account {
            return Ok(NewAccess::default());
        }
        let ownership = self.ownership_of(bucket).await?;
        let list = self.header_acl(asked).await?;
        let canned = match &list {
            HeaderAcl::Canned(canned) => Some(*canned),
            HeaderAcl::Unset | HeaderAcl::Explicit(_) => None,
        };
        let owner = ownership.owner_of(writer, bucket.account, canned);
        let foreign = |owner: AccountId| (owner != bucket.account).then_some(owner);
        let acl = match list {
            HeaderAcl::Unset => return Ok(NewAccess { owner: foreign(owner), acl: None }),
            HeaderAcl::Canned(CannedAcl::BucketOwnerFullControl)
                if ownership == Ownership::BucketOwnerEnforced =>
            {
                return Ok(NewAccess::default());
            }
            _ if ownership == Ownership::BucketOwnerEnforced => {
                return Err(s3_error!(AccessControlListNotSupported));
            }
            HeaderAcl::Canned(canned) => Acl::canned(canned, owner, bucket.account),
            HeaderAcl::Explicit(acl) => acl,
        };
        // The writer says who else may use what is its own.
        let own = VersionMeta { owner: foreign(writer), ..VersionMeta::NONE };
        let gate = self.gate(caller, bucket).await?;
        if !gate.is_anonymous_by_list() {
            gate.check(Action::PutObjectAcl, About::Stored(key, &own))?;
        }
        self.check_public(bucket, &acl).await?;
        Ok(NewAccess { owner: foreign(owner), acl: stored(&acl, owner)? })
    }

    /// The list of a bucket that is created with these headers, as it is stored.
    pub(super) async fn new_bucket_acl(
        &self,
        owner: AccountId,
        asked: &AskedAcl<'_>,
    ) -> S3Result<Option<Acl>> {
        let acl = match self.header_acl(asked).await? {
            HeaderAcl::Unset => return Ok(None),
            HeaderAcl::Canned(canned) => Acl::canned(canned, owner, owner),
            HeaderAcl::Explicit(acl) => acl,
        };
        Ok(Some(acl).filter(|acl| *acl != Acl::canned(CannedAcl::Private, owner, owner)))
    }
}

/// A list as it is kept beside a version: not at all, when it says what no list says too.
fn stored(acl: &Acl, owner: AccountId) -> S3Result<Option<String>> {
    let says_nothing = *acl == Acl::canned(CannedAcl::Private, owner, owner);
    if says_nothing { Ok(None) } else { encode(acl).map(Some) }
}

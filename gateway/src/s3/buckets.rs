//! Buckets: create, delete, head, list, location.

use std::collections::BTreeMap;

use datamesh_catalog::{Bucket, CatalogError, ConfigKind, CreateBucket, UploadListQuery, Versioning};
use datamesh_policy::{Action, ResourceName};
use http::HeaderMap;
use s3s::dto::{
    Bucket as ShownBucket, BucketLocationConstraint, CreateBucketInput, CreateBucketOutput,
    DeleteBucketInput, DeleteBucketOutput, GetBucketLocationInput, GetBucketLocationOutput, HeadBucketInput,
    HeadBucketOutput, ListBucketsInput, ListBucketsOutput, Tagging,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::caller::Caller;
use super::configs::encode;
use super::grants::AskedAcl;
use super::lock::ObjectLock;
use super::ownership::{check_acl_with, parse_ownership};
use super::tags::{TagSet, Tagged};
use super::{S3Gateway, errors, now_ms, timestamp};

/// S3's limit on the buckets of one answer, and of an account.
const BUCKETS_MAX: i32 = 10_000;
/// Uploads per query.
const UPLOADS_PAGE: usize = 1000;
/// The region whose buckets have, for history's sake, no location constraint.
const REGION_WITHOUT_NAME: &str = "us-east-1";

impl S3Gateway {
    pub(super) async fn create_bucket(
        &self,
        req: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let resource = ResourceName::Bucket(&input.bucket);
        let owner = caller.on_own_account(Action::CreateBucket, resource)?;
        if input.bucket.contains(".-") || input.bucket.contains("-.") {
            return Err(s3_error!(InvalidBucketName));
        }
        let config = input.create_bucket_configuration.as_ref();
        let constraint = config.and_then(|config| config.location_constraint.as_ref());
        if let Some(asked) = constraint.map(BucketLocationConstraint::as_str)
            && !asked.is_empty()
            && asked != self.region
        {
            return Err(s3_error!(
                IllegalLocationConstraintException,
                "The {asked} location constraint is incompatible for the region specific endpoint this request was \
                 sent to."
            ));
        }
        let configs = self.configs_at_creation(&caller, &req.headers, &input).await?;
        // Object lock needs versioning.
        let versioning = match input.object_lock_enabled_for_bucket {
            Some(true) => Versioning::Enabled,
            _ => Versioning::Unversioned,
        };
        let create = CreateBucket {
            name: input.bucket.clone(),
            account: owner.account,
            domain: owner.domain,
            region: self.region.clone(),
            versioning,
            configs,
            now_ms: now_ms(),
        };
        let asked = create.configs.clone();
        match self.catalog.create_bucket(create).await {
            Ok(_) => {}
            Err(CatalogError::BucketExists { account }) if account == owner.account => {
                self.check_same(&input.bucket, asked).await?;
            }
            Err(error) => return Err(errors::catalog(error)),
        }
        let location = Some(format!("/{}", input.bucket));
        Ok(S3Response::new(CreateBucketOutput { location, ..CreateBucketOutput::default() }))
    }

    /// What a bucket has from the start, because its creation says so: a list, an ownership, tags, object lock.
    ///
    /// # Errors
    /// `AccessDenied` when the caller's key or session may not set it; those of each configuration.
    async fn configs_at_creation(
        &self,
        caller: &Caller<'_>,
        headers: &HeaderMap,
        input: &CreateBucketInput,
    ) -> S3Result<Vec<(ConfigKind, String)>> {
        let resource = ResourceName::Bucket(&input.bucket);
        let owner = caller.on_own_account(Action::CreateBucket, resource)?;
        let asked_acl = AskedAcl::from_headers(headers)?;
        if !asked_acl.is_unset() {
            caller.on_own_account(Action::PutBucketAcl, resource)?;
        }
        let acl = self.new_bucket_acl(owner.account, &asked_acl).await?;
        let mut configs = Vec::new();
        if let Some(acl) = &acl {
            configs.push((ConfigKind::Acl, encode(acl)?));
        }
        if let Some(ownership) = input.object_ownership.as_ref().map(parse_ownership).transpose()? {
            caller.on_own_account(Action::PutBucketOwnershipControls, resource)?;
            check_acl_with(ownership, acl.as_ref(), &input.bucket, owner.account)?;
            configs.push((ConfigKind::Ownership, encode(&ownership)?));
        }
        let config = input.create_bucket_configuration.as_ref();
        let tag_set = config.and_then(|config| config.tags.clone()).unwrap_or_default();
        if !tag_set.is_empty() {
            caller.on_own_account(Action::PutBucketTagging, resource)?;
            let tags = TagSet::from_dto(Tagging { tag_set }, Tagged::Bucket)?;
            configs.push((ConfigKind::Tagging, encode(&tags)?));
        }
        if input.object_lock_enabled_for_bucket == Some(true) {
            configs.push((ConfigKind::ObjectLock, encode(&ObjectLock::default())?));
        }
        Ok(configs)
    }

    /// A bucket may be created again by its owner, if that changes nothing.
    ///
    /// # Errors
    /// `BucketAlreadyExists` when another list, ownership, object lock or other tags are asked for than the bucket has.
    async fn check_same(&self, name: &str, asked: Vec<(ConfigKind, String)>) -> S3Result<()> {
        const GIVEN_AT_CREATION: [ConfigKind; 4] =
            [ConfigKind::Acl, ConfigKind::Ownership, ConfigKind::ObjectLock, ConfigKind::Tagging];
        let mut asked: BTreeMap<ConfigKind, String> = asked.into_iter().collect();
        let bucket = self.any_bucket(name, None).await?;
        for kind in GIVEN_AT_CREATION {
            let asked = asked.remove(&kind);
            let same = match (bucket.configured.contains(kind), asked) {
                (false, None) => true,
                // Tags may have been set since.
                (true, None) if kind == ConfigKind::Tagging => true,
                // A default retention may have been set since.
                (true, Some(_)) if kind == ConfigKind::ObjectLock => true,
                (true, Some(asked)) => {
                    let stored =
                        self.catalog.bucket_config(bucket.id, kind).await.map_err(errors::catalog)?;
                    stored == Some(asked)
                }
                _ => false,
            };
            if !same {
                return Err(s3_error!(BucketAlreadyExists));
            }
        }
        Ok(())
    }

    pub(super) async fn delete_bucket(
        &self,
        req: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.bucket(&caller, &input.bucket, Action::DeleteBucket, expected_owner).await?;
        let deleted = match self.catalog.delete_bucket(bucket.id).await {
            Err(CatalogError::BucketNotEmpty) => {
                self.abort_uploads(&bucket).await?;
                self.catalog.delete_bucket(bucket.id).await
            }
            deleted => deleted,
        };
        deleted.map_err(errors::catalog)?;
        Ok(S3Response::new(DeleteBucketOutput::default()))
    }

    /// Aborts the uploads of a bucket that has nothing else: they do not keep it from being deleted.
    ///
    /// # Errors
    /// `BucketNotEmpty` when there is a version.
    async fn abort_uploads(&self, bucket: &Bucket) -> S3Result<()> {
        let versions = self.catalog.aging_versions(bucket.id, None, 1).await.map_err(errors::catalog)?;
        if !versions.is_empty() {
            return Err(s3_error!(BucketNotEmpty));
        }
        let mut query = UploadListQuery::all(bucket.id, UPLOADS_PAGE);
        loop {
            let page = self.catalog.list_uploads(query.clone()).await.map_err(errors::catalog)?;
            for upload in page.uploads {
                let hook = self.release();
                match self.catalog.abort_upload(bucket.id, &upload.key, upload.id, now_ms(), hook).await {
                    // Somebody else was faster.
                    Ok(()) | Err(CatalogError::NoSuchUpload) => {}
                    Err(error) => return Err(errors::catalog(error)),
                }
            }
            let Some((after, after_upload)) = page.next else { return Ok(()) };
            (query.after, query.after_upload) = (after, after_upload);
        }
    }

    pub(super) async fn head_bucket(
        &self,
        req: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.bucket(&caller, &input.bucket, Action::ListBucket, expected_owner).await?;
        let bucket_region = Some(bucket.region);
        Ok(S3Response::new(HeadBucketOutput { bucket_region, ..HeadBucketOutput::default() }))
    }

    pub(super) async fn list_buckets(
        &self,
        req: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let account = caller.on_own_account(Action::ListAllMyBuckets, ResourceName::Account)?.account;
        let input = req.input;
        let limit = input.max_buckets.unwrap_or(BUCKETS_MAX);
        if !(1..=BUCKETS_MAX).contains(&limit) {
            return Err(s3_error!(InvalidArgument, "max-buckets must be between 1 and {BUCKETS_MAX}"));
        }
        let limit = limit as usize;
        let prefix = input.prefix.unwrap_or_default();
        let after = input.continuation_token.as_deref();
        let listed = self.catalog.list_buckets(account, after, limit + 1).await;
        let mut listed = listed.map_err(errors::catalog)?;
        let truncated = listed.len() > limit;
        listed.truncate(limit);
        let next = listed.last().filter(|_| truncated).map(|bucket| bucket.name.clone());
        let here = input.bucket_region;
        let shown = listed.into_iter().filter(|bucket| {
            bucket.name.starts_with(&prefix) && here.as_ref().is_none_or(|region| *region == bucket.region)
        });
        let shown = shown.map(|bucket| ShownBucket {
            bucket_region: Some(bucket.region),
            creation_date: Some(timestamp(bucket.created_at_ms)),
            name: Some(bucket.name),
            ..ShownBucket::default()
        });
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(shown.collect()),
            continuation_token: next,
            owner: Some(self.shown_owner(account).await?),
            prefix: (!prefix.is_empty()).then_some(prefix),
        }))
    }

    pub(super) async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.bucket(&caller, &input.bucket, Action::GetBucketLocation, expected_owner).await?;
        let named = (bucket.region != REGION_WITHOUT_NAME).then_some(bucket.region);
        let location_constraint = named.map(BucketLocationConstraint::from);
        Ok(S3Response::new(GetBucketLocationOutput { location_constraint }))
    }
}

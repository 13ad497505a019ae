//! Versioning: turning it on, suspending it, and listing versions.

use datamesh_catalog::{Bucket, ListedVersion, VersionId, VersionListQuery, VersionPage, Versioning};
use datamesh_policy::Action;
use s3s::dto::{
    BucketVersioningStatus, DeleteMarkerEntry, GetBucketVersioningInput, GetBucketVersioningOutput,
    ListObjectVersionsInput, ListObjectVersionsOutput, MFADelete, ObjectVersion, ObjectVersionStorageClass,
    PutBucketVersioningInput, PutBucketVersioningOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::caller::Caller;
use super::list::{Encoding, common_prefixes, page_limit};
use super::owners::Owners;
use super::version_order::VersionOrder;
use super::{S3Gateway, errors, parse_version_id, strong, timestamp};

impl S3Gateway {
    pub(super) async fn put_bucket_versioning(
        &self,
        req: S3Request<PutBucketVersioningInput>,
    ) -> S3Result<S3Response<PutBucketVersioningOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.bucket(&caller, &input.bucket, Action::PutBucketVersioning, expected_owner).await?;
        let config = input.versioning_configuration;
        if config.mfa_delete.is_some_and(|mfa| mfa.as_str() != MFADelete::DISABLED) {
            return Err(s3_error!(NotImplemented, "MFA delete is not implemented."));
        }
        let versioning = match config.status.as_ref().map(BucketVersioningStatus::as_str) {
            Some(BucketVersioningStatus::ENABLED) => Versioning::Enabled,
            Some(BucketVersioningStatus::SUSPENDED) => Versioning::Suspended,
            Some(_) => return Err(s3_error!(MalformedXML)),
            None => {
                return Err(s3_error!(
                    IllegalVersioningConfigurationException,
                    "The Versioning element must be specified"
                ));
            }
        };
        self.catalog.set_versioning(bucket.id, versioning).await.map_err(errors::catalog)?;
        Ok(S3Response::new(PutBucketVersioningOutput::default()))
    }

    pub(super) async fn get_bucket_versioning(
        &self,
        req: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.bucket(&caller, &input.bucket, Action::GetBucketVersioning, expected_owner).await?;
        let status = match bucket.versioning {
            Versioning::Unversioned => None,
            Versioning::Enabled => Some(BucketVersioningStatus::ENABLED),
            Versioning::Suspended => Some(BucketVersioningStatus::SUSPENDED),
        };
        let status = status.map(BucketVersioningStatus::from_static);
        Ok(S3Response::new(GetBucketVersioningOutput { status, mfa_delete: None }))
    }

    pub(super) async fn list_object_versions(
        &self,
        req: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.bucket(&caller, &input.bucket, Action::ListBucketVersions, expected_owner).await?;
        let encoding = Encoding::new(input.encoding_type.as_ref())?;
        let limit = page_limit(input.max_keys, "max-keys")?;
        let (prefix, delimiter) = (input.prefix.unwrap_or_default(), input.delimiter.unwrap_or_default());
        let marker = input.key_marker.unwrap_or_default();
        let after_version = parse_version_id(input.version_id_marker.as_deref())?;
        if after_version.is_some() && marker.is_empty() {
            return Err(s3_error!(
                InvalidArgument,
                "A version-id marker cannot be specified without a key marker."
            ));
        }
        let query = VersionListQuery {
            bucket: bucket.id,
            prefix: prefix.as_bytes().to_vec(),
            delimiter: delimiter.as_bytes().to_vec(),
            after: marker.as_bytes().to_vec(),
            after_version,
            limit: limit as usize,
        };
        let mut page = self.catalog.list_versions(query).await.map_err(errors::catalog)?;
        let rows = self.row_key(&bucket).await?;
        for listed in &mut page.versions {
            listed.etag = rows.open_tag(&listed.etag).map_err(errors::row)?;
        }
        let owner_of = |listed: &ListedVersion| listed.owner.unwrap_or(bucket.account);
        let owners = self.shown_owners(page.versions.iter().map(owner_of)).await?;
        let (versions, delete_markers) = entries(&page, encoding, &bucket, &owners);
        let order = page.versions.iter().map(|listed| listed.delete_marker).collect();
        let (next_key, next_version) = page.next.unzip();
        let mut response = S3Response::new(ListObjectVersionsOutput {
            is_truncated: Some(next_key.is_some()),
            next_key_marker: next_key.map(|key| encoding.write(&key)),
            next_version_id_marker: next_version.flatten().map(|id: VersionId| id.to_string()),
            versions: Some(versions),
            delete_markers: Some(delete_markers),
            common_prefixes: Some(common_prefixes(&page.common_prefixes, encoding)),
            name: Some(bucket.name),
            prefix: Some(encoding.write(prefix.as_bytes())),
            key_marker: Some(encoding.write(marker.as_bytes())),
            version_id_marker: Some(input.version_id_marker.unwrap_or_default()),
            delimiter: (!delimiter.is_empty()).then(|| encoding.write(delimiter.as_bytes())),
            max_keys: Some(limit),
            encoding_type: encoding.dto(),
            ..ListObjectVersionsOutput::default()
        });
        response.extensions.insert(VersionOrder(order));
        Ok(response)
    }
}

fn entries(
    page: &VersionPage,
    encoding: Encoding,
    bucket: &Bucket,
    owners: &Owners,
) -> (Vec<ObjectVersion>, Vec<DeleteMarkerEntry>) {
    let writer = |listed: &ListedVersion| owners.show(listed.owner.unwrap_or(bucket.account));
    let version = |listed: &ListedVersion| ObjectVersion {
        e_tag: strong(&listed.etag),
        is_latest: Some(listed.latest),
        key: Some(encoding.write(&listed.key)),
        last_modified: Some(timestamp(listed.modified_ms)),
        owner: writer(listed),
        size: Some(listed.size as i64),
        storage_class: Some(ObjectVersionStorageClass::from(listed.storage_class.clone())),
        version_id: Some(listed.id.to_string()),
        ..ObjectVersion::default()
    };
    let marker = |listed: &ListedVersion| DeleteMarkerEntry {
        is_latest: Some(listed.latest),
        key: Some(encoding.write(&listed.key)),
        last_modified: Some(timestamp(listed.modified_ms)),
        owner: writer(listed),
        version_id: Some(listed.id.to_string()),
    };
    let (markers, versions): (Vec<_>, Vec<_>) = page.versions.iter().partition(|listed| listed.delete_marker);
    (versions.into_iter().map(version).collect(), markers.into_iter().map(marker).collect())
}

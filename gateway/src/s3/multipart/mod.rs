//! Multipart uploads: create, upload and copy parts, list, complete, abort.
//!
//! An upload's checksum is settled when it is created; parts carry one that can be combined to it. A client
//! that asks for none gets CRC64NVME over the whole object.

mod complete;
mod listing;
mod part;

use datamesh_catalog::{Bucket, Upload, UploadId, VersionMeta};
use datamesh_policy::Action;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, ChecksumType, CreateMultipartUploadInput,
    CreateMultipartUploadOutput,
};
use s3s::{S3ErrorCode, S3Request, S3Response, S3Result, s3_error};

use super::acls::NewAccess;
use super::attributes::{Attributes, PlannedChecksum, attributes_of};
use super::beside::asked_meta;
use super::caller::Caller;
use super::checksums::{Algorithm, Kind, StoredChecksum};
use super::encryption::{requested_encryption, show_encryption};
use super::gate::About;
use super::grants::AskedAcl;
use super::stated::Stated;
use super::{S3Gateway, errors, now_ms};

/// S3's limit on part numbers.
pub(super) const PARTS_MAX: i32 = 10_000;

/// What uploads that were completed by an earlier version have for attributes.
const COMPLETED_WITHOUT_ATTRIBUTES: &str = "{}";

/// A part number, 1 to 10,000.
pub(super) fn part_number(number: i32) -> S3Result<u16> {
    if !(1..=PARTS_MAX).contains(&number) {
        return Err(s3_error!(
            InvalidArgument,
            "Part number must be an integer between 1 and {PARTS_MAX}, inclusive"
        ));
    }
    Ok(number as u16)
}

/// The checksums stored with a part: the upload's own first.
pub(super) fn part_checksums(stored: &str) -> Vec<StoredChecksum> {
    serde_json::from_str(stored).unwrap_or_default()
}

impl S3Gateway {
    /// An upload that the caller may do `action` to. Without one, the caller must be allowed to do it to the key.
    async fn check_upload(
        &self,
        caller: &Caller<'_>,
        bucket: &Bucket,
        key: &str,
        id: UploadId,
        action: Action,
    ) -> S3Result<Upload> {
        let gate = self.gate(caller, bucket).await?;
        match self.catalog.upload(bucket.id, key.as_bytes(), id).await {
            Ok(mut upload) => {
                gate.check(action, About::Stored(key, &upload.meta))?;
                self.enter_bucket(caller, bucket).await?;
                self.row_key(bucket).await?.open_upload(&mut upload).map_err(errors::row)?;
                Ok(upload)
            }
            Err(error) => {
                gate.check(action, About::Key(key))?;
                Err(errors::catalog(error))
            }
        }
    }
}

impl S3Gateway {
    /// An upload that the caller may add to or complete, and its attributes.
    ///
    /// That is `s3:PutObject`, and conditions see the headers that the upload was created with: S3's clients do not
    /// repeat them, and what they said holds for the object.
    async fn writable_upload(
        &self,
        caller: &Caller<'_>,
        bucket: &Bucket,
        (key, id): (&str, &str),
    ) -> S3Result<(Upload, Attributes)> {
        let found = self.upload_with_attributes(bucket, key, id).await;
        let stating = match &found {
            Ok((_, attributes)) => Some(caller.stating(attributes.stated.clone())),
            Err(error) if *error.code() == S3ErrorCode::NoSuchUpload => None,
            Err(_) => return found,
        };
        let writer = stating.as_ref().unwrap_or(caller);
        self.gate(writer, bucket).await?.check(Action::PutObject, About::Key(key))?;
        self.enter_bucket(caller, bucket).await?;
        let (upload, attributes) = found?;
        // The object itself has no use for them.
        Ok((upload, Attributes { stated: Stated::default(), ..attributes }))
    }

    async fn upload_with_attributes(
        &self,
        bucket: &Bucket,
        key: &str,
        id: &str,
    ) -> S3Result<(Upload, Attributes)> {
        let id = parse_upload_id(id)?;
        let upload = self.catalog.upload(bucket.id, key.as_bytes(), id).await;
        let mut upload = upload.map_err(errors::catalog)?;
        self.row_key(bucket).await?.open_upload(&mut upload).map_err(errors::row)?;
        let attributes = attributes_of_upload(&upload)?;
        Ok((upload, attributes))
    }
}

fn attributes_of_upload(upload: &Upload) -> S3Result<Attributes> {
    match upload.attributes.as_str() {
        // Completions left nothing else behind once; a repetition has no use for more.
        COMPLETED_WITHOUT_ATTRIBUTES if upload.completed.is_some() => Ok(Attributes::empty()),
        stored => Attributes::decode(stored),
    }
}

fn parse_upload_id(id: &str) -> S3Result<UploadId> {
    id.parse().map_err(errors::catalog)
}

/// The checksum that an upload's object will have.
fn plan_checksum(input: &CreateMultipartUploadInput) -> S3Result<PlannedChecksum> {
    let declared = input.checksum_algorithm.is_some();
    let algorithm = match &input.checksum_algorithm {
        Some(name) => Algorithm::parse(name)?,
        None if input.checksum_type.is_some() => {
            return Err(s3_error!(
                InvalidRequest,
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header."
            ));
        }
        None => Algorithm::Crc64nvme,
    };
    let asked = input.checksum_type.as_ref().map(ChecksumType::as_str);
    let kind = match (algorithm, asked) {
        (Algorithm::Crc64nvme, None | Some(ChecksumType::FULL_OBJECT))
        | (Algorithm::Crc32 | Algorithm::Crc32c, Some(ChecksumType::FULL_OBJECT)) => Kind::FullObject,
        (Algorithm::Crc64nvme, Some(_))
        | (Algorithm::Sha1 | Algorithm::Sha256, Some(ChecksumType::FULL_OBJECT)) => {
            return Err(s3_error!(
                InvalidRequest,
                "The {} checksum type cannot be used with the {} checksum algorithm.",
                asked.unwrap_or_default(),
                algorithm.name()
            ));
        }
        (_, None | Some(ChecksumType::COMPOSITE)) => Kind::Composite,
        (_, Some(_)) => {
            return Err(s3_error!(InvalidRequest, "Value for x-amz-checksum-type header is invalid."));
        }
    };
    Ok(PlannedChecksum { algorithm, kind, declared })
}

impl S3Gateway {
    pub(super) async fn create_multipart_upload(
        &self,
        mut req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = &mut req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self
            .bucket_for_key(&caller, (&input.bucket, &input.key), Action::PutObject, expected_owner)
            .await?;
        let asked_acl = AskedAcl::from_headers(&req.headers)?;
        let NewAccess { owner, acl } = self.new_access(&caller, &bucket, &input.key, &asked_acl).await?;
        let meta = self.new_meta(&caller, (&bucket, &input.key), asked_meta!(input)).await?;
        let planned = plan_checksum(input)?;
        let class = self.classes.choose(input.storage_class.as_ref())?;
        let key = self.new_key(&bucket, requested_encryption!(input)?).await?;
        let attributes = Attributes {
            planned: Some(planned),
            encryption: key.stored.clone(),
            stated: Stated::by_headers(&req.headers),
            ..attributes_of!(input)?
        };
        // Nobody uploads parts of an object that is one too many; the reservation that counts is the completion's.
        drop(self.reserve_version(&bucket, input.key.as_bytes(), 0).await?);
        let create = datamesh_catalog::CreateUpload {
            bucket: bucket.id,
            key: input.key.clone().into_bytes(),
            storage_class: class.name.clone(),
            attributes: attributes.seal(&self.row_key(&bucket).await?)?,
            meta: VersionMeta { owner, acl, ..meta },
            now_ms: now_ms(),
        };
        let upload = self.catalog.create_upload(create).await.map_err(errors::catalog)?;
        let shown = planned.declared.then_some(planned);
        let mut output = CreateMultipartUploadOutput {
            bucket: Some(bucket.name),
            key: Some(std::mem::take(&mut input.key)),
            upload_id: Some(upload.to_string()),
            checksum_algorithm: shown.map(|planned| planned.algorithm.to_dto()),
            checksum_type: shown.map(|planned| ChecksumType::from_static(planned.kind.name())),
            ssekms_encryption_context: key.shown().context,
            ..CreateMultipartUploadOutput::default()
        };
        show_encryption!(output, key.shown());
        Ok(S3Response::new(output))
    }

    pub(super) async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.any_bucket(&input.bucket, expected_owner).await?;
        let upload = parse_upload_id(&input.upload_id)?;
        self.check_upload(&caller, &bucket, &input.key, upload, Action::AbortMultipartUpload).await?;
        let hook = self.release();
        let aborted =
            self.catalog.abort_upload(bucket.id, input.key.as_bytes(), upload, now_ms(), hook).await;
        aborted.map_err(errors::catalog)?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }
}

#[cfg(test)]
mod tests {
    use datamesh_catalog::{Committed, VersionId};

    use super::*;

    #[test]
    fn an_upload_that_was_completed_without_attributes_can_be_completed_again() {
        let mut upload = Upload {
            id: parse_upload_id(&"0".repeat(32)).unwrap(),
            storage_class: "STANDARD".into(),
            attributes: COMPLETED_WITHOUT_ATTRIBUTES.into(),
            meta: VersionMeta::NONE,
            created_at_ms: 0,
            completed: None,
        };
        assert!(attributes_of_upload(&upload).is_err(), "an open one has to say what it is to be");
        let version = VersionId::Null;
        upload.completed = Some(Committed { version, etag: String::new(), size: 0, modified_ms: 0 });
        assert_eq!(attributes_of_upload(&upload).unwrap(), Attributes::empty());
    }
}

//! `ListParts` and `ListMultipartUploads`.

use datamesh_catalog::{ListedUpload, UploadListQuery};
use datamesh_pipeline::TextKind;
use datamesh_policy::Action;
use s3s::dto::{
    ChecksumType, Initiator, ListMultipartUploadsInput, ListMultipartUploadsOutput, ListPartsInput,
    ListPartsOutput, MultipartUpload, Owner, Part as ShownPart, StorageClass,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::{parse_upload_id, part_checksums};
use crate::s3::attributes::{Attributes, PlannedChecksum};
use crate::s3::caller::Caller;
use crate::s3::checksums::show_checksum;
use crate::s3::list::{Encoding, common_prefixes, page_limit};
use crate::s3::{S3Gateway, errors, strong, timestamp};

impl S3Gateway {
    pub(in crate::s3) async fn list_parts(
        &self,
        req: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.any_bucket(&input.bucket, expected_owner).await?;
        let limit = page_limit(input.max_parts, "max-parts")?;
        let marker = input.part_number_marker.unwrap_or(0);
        if marker < 0 {
            return Err(s3_error!(InvalidArgument, "part-number-marker must not be negative"));
        }
        let after = u16::try_from(marker).unwrap_or(u16::MAX);
        let id = parse_upload_id(&input.upload_id)?;
        let key = input.key.as_bytes();
        let action = Action::ListMultipartUploadParts;
        let upload = self.check_upload(&caller, &bucket, &input.key, id, action).await?;
        let page = self.catalog.list_parts(bucket.id, key, id, after, limit as usize).await;
        let mut page = page.map_err(errors::catalog)?;
        let rows = self.row_key(&bucket).await?;
        page.parts.iter_mut().try_for_each(|part| rows.open_part(part)).map_err(errors::row)?;
        let planned = declared(&upload.attributes);
        let owner = self.shown_owner(upload.meta.owner.unwrap_or(bucket.account)).await?;
        let next = page.parts.last().map_or(after, |part| part.number);
        let shown = page.parts.iter().map(|part| {
            let mut shown = ShownPart {
                part_number: Some(i32::from(part.number)),
                size: Some(part.size as i64),
                e_tag: strong(&part.etag),
                last_modified: Some(timestamp(part.modified_ms)),
                ..ShownPart::default()
            };
            show_checksum!(shown, part_checksums(&part.checksums).first().filter(|_| planned.is_some()));
            shown
        });
        Ok(S3Response::new(ListPartsOutput {
            parts: Some(shown.collect()),
            is_truncated: Some(page.truncated),
            max_parts: Some(limit),
            part_number_marker: Some(i32::from(after)),
            next_part_number_marker: Some(i32::from(next)),
            bucket: Some(bucket.name),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            storage_class: Some(StorageClass::from(upload.storage_class)),
            initiator: Some(initiator(owner.clone())),
            owner: Some(owner),
            checksum_algorithm: planned.map(|planned| planned.algorithm.to_dto()),
            checksum_type: planned.map(|planned| ChecksumType::from_static(planned.kind.name())),
            ..ListPartsOutput::default()
        }))
    }

    pub(in crate::s3) async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket =
            self.bucket(&caller, &input.bucket, Action::ListBucketMultipartUploads, expected_owner).await?;
        let encoding = Encoding::new(input.encoding_type.as_ref())?;
        let limit = page_limit(input.max_uploads, "max-uploads")?.max(1);
        let (prefix, delimiter) = (input.prefix.unwrap_or_default(), input.delimiter.unwrap_or_default());
        let key_marker = input.key_marker.unwrap_or_default();
        let id_marker = input.upload_id_marker.filter(|marker| !marker.is_empty() && !key_marker.is_empty());
        let invalid = || s3_error!(InvalidArgument, "Invalid uploadId marker");
        let after_upload = id_marker.as_deref().map(str::parse).transpose().map_err(|_| invalid())?;
        let query = UploadListQuery {
            bucket: bucket.id,
            prefix: prefix.as_bytes().to_vec(),
            delimiter: delimiter.as_bytes().to_vec(),
            after: key_marker.as_bytes().to_vec(),
            after_upload,
            limit: limit as usize,
        };
        let mut page = self.catalog.list_uploads(query).await.map_err(errors::catalog)?;
        let rows = self.row_key(&bucket).await?;
        for upload in &mut page.uploads {
            let sealed = std::mem::take(&mut upload.attributes);
            upload.attributes = rows.open_text(TextKind::Attributes, sealed).map_err(errors::row)?;
        }
        let (next_key, next_upload) = page.next.clone().unzip();
        let owner_of = |upload: &ListedUpload| upload.owner.unwrap_or(bucket.account);
        let owners = self.shown_owners(page.uploads.iter().map(owner_of)).await?;
        let show = |upload: &ListedUpload| shown(upload, encoding, owners.show(owner_of(upload)));
        Ok(S3Response::new(ListMultipartUploadsOutput {
            uploads: Some(page.uploads.iter().map(show).collect()),
            common_prefixes: Some(common_prefixes(&page.common_prefixes, encoding)),
            is_truncated: Some(page.next.is_some()),
            next_key_marker: next_key.map(|key| encoding.write(&key)),
            next_upload_id_marker: next_upload.flatten().map(|id| id.to_string()),
            bucket: Some(bucket.name.clone()),
            prefix: (!prefix.is_empty()).then(|| encoding.write(prefix.as_bytes())),
            delimiter: (!delimiter.is_empty()).then(|| encoding.write(delimiter.as_bytes())),
            key_marker: Some(encoding.write(key_marker.as_bytes())),
            upload_id_marker: Some(id_marker.unwrap_or_default()),
            max_uploads: Some(limit),
            encoding_type: encoding.dto(),
            ..ListMultipartUploadsOutput::default()
        }))
    }
}

/// Whoever owns what an upload makes began it, for all that is known.
fn shown(upload: &ListedUpload, encoding: Encoding, owner: Option<Owner>) -> MultipartUpload {
    let planned = declared(&upload.attributes);
    MultipartUpload {
        key: Some(encoding.write(&upload.key)),
        upload_id: Some(upload.id.to_string()),
        initiated: Some(timestamp(upload.created_at_ms)),
        storage_class: Some(StorageClass::from(upload.storage_class.clone())),
        initiator: owner.clone().map(initiator),
        owner,
        checksum_algorithm: planned.map(|planned| planned.algorithm.to_dto()),
        checksum_type: planned.map(|planned| ChecksumType::from_static(planned.kind.name())),
    }
}

/// The checksum that the client asked for when it began the upload.
fn declared(attributes: &str) -> Option<PlannedChecksum> {
    Attributes::decode(attributes).ok()?.planned.filter(|planned| planned.declared)
}

fn initiator(Owner { display_name, id }: Owner) -> Initiator {
    Initiator { display_name, id }
}

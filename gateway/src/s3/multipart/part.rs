//! `UploadPart` and `UploadPartCopy`.

use datamesh_catalog::{Bucket, Part, PutPart, Upload, UploadId};
use datamesh_pipeline::TextKind;
use s3s::checksum::ChecksumHasher;
use s3s::dto::{
    CopyPartResult, StreamingBlob, UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput,
    UploadPartOutput,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::part_number;
use crate::ingest::{BodyLen, Ingested};
use crate::s3::attributes::{Attributes, PlannedChecksum};
use crate::s3::caller::Caller;
use crate::s3::checksums::{Algorithm, Declared, Kind, StoredChecksum, show_checksum};
use crate::s3::conditions::ReadConditions;
use crate::s3::copy::check_source_len;
use crate::s3::encryption::{CustomerKey, VersionKey, customer_key, show_encryption, source_customer_key};
use crate::s3::put::{Promise, declared_len};
use crate::s3::{S3Gateway, destination, errors, now_ms, ranges, shown_version, strong, timestamp};

/// An open upload that a part goes to.
struct Target {
    bucket: Bucket,
    key: Vec<u8>,
    number: u16,
    upload: Upload,
    content_type: Option<String>,
    planned: PlannedChecksum,
    key_of_parts: VersionKey,
}

impl S3Gateway {
    pub(in crate::s3) async fn upload_part(
        &self,
        mut req: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = &mut req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.any_bucket(&input.bucket, expected_owner).await?;
        let found = self.writable_upload(&caller, &bucket, (&input.key, &input.upload_id)).await?;
        let customer = customer_key!(input)?;
        let place = (bucket, input.key.as_str(), input.part_number);
        let target = self.target(place, found, customer.as_ref()).await?;
        let planned = target.planned;
        let encryption = target.key_of_parts.shown();
        let checksum =
            Declared::from_headers(&req.headers, input.checksum_algorithm.as_ref(), planned.algorithm)?;
        if planned.declared && checksum.algorithm != planned.algorithm {
            return Err(s3_error!(
                InvalidRequest,
                "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
                planned.algorithm.name(),
                checksum.algorithm.name()
            ));
        }
        let promise = Promise::new(
            declared_len(input.content_length)?,
            input.content_md5.as_deref(),
            checksum,
            req.trailing_headers,
        )?;
        let body = input.body.take().unwrap_or_else(|| StreamingBlob::from_bytes(bytes::Bytes::new()));
        let hasher = hasher(planned.algorithm, promise.checksum.algorithm);
        let verify = |ingested: &Ingested| promise.verify(ingested);
        let (part, shown) = Box::pin(self.store_part(target, body, promise.len, hasher, verify)).await?;
        let mut output = UploadPartOutput { e_tag: strong(&part.etag), ..UploadPartOutput::default() };
        show_checksum!(output, shown.as_ref());
        show_encryption!(output, encryption);
        Ok(S3Response::new(output))
    }

    pub(in crate::s3) async fn upload_part_copy(
        &self,
        req: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.any_bucket(&input.bucket, expected_owner).await?;
        let found = self.writable_upload(&caller, &bucket, (&input.key, &input.upload_id)).await?;
        let customer = customer_key!(input)?;
        let place = (bucket, input.key.as_str(), input.part_number);
        let target = self.target(place, found, customer.as_ref()).await?;
        let conditions = ReadConditions {
            if_match: input.copy_source_if_match.as_ref(),
            if_none_match: input.copy_source_if_none_match.as_ref(),
            if_modified_since: input.copy_source_if_modified_since.as_ref(),
            if_unmodified_since: input.copy_source_if_unmodified_since.as_ref(),
        };
        let expected_owner = input.expected_source_bucket_owner.as_deref();
        let customer = source_customer_key!(input)?;
        let source =
            self.source(&caller, &input.copy_source, &conditions, expected_owner, customer.as_ref()).await?;
        let size = source.version.size;
        let range = match &input.copy_source_range {
            Some(header) => ranges::select_source(header, size)?,
            None => 0..size,
        };
        let len = range.end - range.start;
        check_source_len(len)?;
        let planned = target.planned;
        let encryption = target.key_of_parts.shown();
        let hasher = hasher(planned.algorithm, planned.algorithm);
        let body = self.source_body(&source, range).await?;
        let verify = |ingested: &Ingested| {
            let value =
                planned.algorithm.pick(ingested.sums.clone()).ok_or_else(|| s3_error!(InternalError))?;
            Ok(StoredChecksum { algorithm: planned.algorithm, value, kind: Kind::FullObject })
        };
        let (part, checksum) =
            Box::pin(self.store_part(target, body, BodyLen::Exactly(len), hasher, verify)).await?;
        let mut result = CopyPartResult {
            e_tag: strong(&part.etag),
            last_modified: Some(timestamp(part.modified_ms)),
            ..CopyPartResult::default()
        };
        show_checksum!(result, checksum.as_ref().filter(|_| planned.declared));
        let mut output = UploadPartCopyOutput {
            copy_part_result: Some(result),
            copy_source_version_id: shown_version(&source.bucket, source.version.id),
            ..UploadPartCopyOutput::default()
        };
        show_encryption!(output, encryption);
        Ok(S3Response::new(output))
    }

    async fn target(
        &self,
        (bucket, key, number): (Bucket, &str, i32),
        (upload, attributes): (Upload, Attributes),
        customer: Option<&CustomerKey>,
    ) -> S3Result<Target> {
        let number = part_number(number)?;
        let key = key.as_bytes().to_vec();
        if upload.completed.is_some() {
            return Err(s3_error!(NoSuchUpload));
        }
        let planned = attributes.planned.ok_or_else(|| s3_error!(InternalError))?;
        let key_of_parts = self.key_of_parts(&bucket, attributes.encryption, customer).await?;
        let content_type = attributes.content_type;
        Ok(Target { bucket, key, number, upload, content_type, planned, key_of_parts })
    }

    /// Stores and commits a part whose body `verify` has found to be what was promised.
    async fn store_part(
        &self,
        target: Target,
        body: StreamingBlob,
        len: BodyLen,
        hasher: ChecksumHasher,
        verify: impl FnOnce(&Ingested) -> S3Result<StoredChecksum>,
    ) -> S3Result<(Part, Option<StoredChecksum>)> {
        let Target { bucket, key, number, upload, content_type, planned, key_of_parts } = target;
        self.check_object_size(&bucket, len.max()).await?;
        let hook = self.reserve_part(&bucket, &key, (upload.id, number), len.max()).await?;
        let class = self.classes.named(&upload.storage_class)?;
        let destination = destination(&key_of_parts, class, content_type, false);
        let ingested = self.ingest.store(body, len, hasher, destination.clone()).await;
        let ingested = ingested.map_err(errors::ingest)?;
        let verified = verify(&ingested)?;
        let mut checksums = Vec::with_capacity(2);
        if let Some(value) = planned.algorithm.pick(ingested.sums.clone()) {
            checksums.push(StoredChecksum { algorithm: planned.algorithm, value, kind: Kind::FullObject });
        }
        if verified.algorithm != planned.algorithm {
            checksums.push(verified.clone());
        }
        let upload: UploadId = upload.id;
        let rows = self.row_key(&bucket).await?;
        let etag = key_of_parts.etag(ingested.md5);
        let text = serde_json::to_string(&checksums).map_err(|error| s3_error!(error, InternalError))?;
        let put = PutPart {
            bucket: bucket.id,
            key,
            upload,
            number,
            content: ingested.manifest(&destination),
            size: ingested.size,
            etag: rows.seal_tag(&etag).map_err(errors::row)?,
            checksums: rows.seal_text(TextKind::Checksums, &text).map_err(errors::row)?,
            now_ms: now_ms(),
        };
        let part = self.catalog.put_part(put, hook).await.map_err(errors::catalog)?;
        ingested.pending.committed();
        Ok((Part { etag, ..part }, Some(verified)))
    }
}

/// Computes what the upload's checksum is made of, and what the client sent.
fn hasher(planned: Algorithm, declared: Algorithm) -> ChecksumHasher {
    let mut hasher = planned.hasher();
    if declared != planned {
        let other = declared.hasher();
        hasher.crc32 = hasher.crc32.or(other.crc32);
        hasher.crc32c = hasher.crc32c.or(other.crc32c);
        hasher.crc64nvme = hasher.crc64nvme.or(other.crc64nvme);
        hasher.sha1 = hasher.sha1.or(other.sha1);
        hasher.sha256 = hasher.sha256.or(other.sha256);
    }
    hasher
}

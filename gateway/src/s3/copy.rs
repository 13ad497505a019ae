//! `CopyObject`, and reading a copy's source.

use datamesh_catalog::{Bucket, CatalogError, Committed, CopyVersion, PutVersion, Version, VersionMeta};
use datamesh_policy::Action;
use http::HeaderMap;
use s3s::dto::{
    ChecksumType, CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, MetadataDirective,
    StreamingBlob, TaggingDirective,
};
use s3s::{Body, S3Request, S3Response, S3Result, s3_error};

use super::acls::NewAccess;
use super::attributes::{Attributes, attributes_of};
use super::beside::asked_meta;
use super::caller::Caller;
use super::checksums::{Algorithm, Kind, StoredChecksum, show_checksum};
use super::classes::Class;
use super::conditions::{ReadConditions, precondition};
use super::encryption::{
    CustomerKey, VersionKey, requested_encryption, show_encryption, source_customer_key,
};
use super::gate::About;
use super::grants::AskedAcl;
use super::stated::{Stated, TAGGING};
use super::tags::TagSet;
use super::{S3Gateway, destination, errors, now_ms, shown_version, strong, timestamp, written_version};
use crate::events::{Change, EventKind};
use crate::ingest::BodyLen;
use crate::row_key::RowKey;

/// S3's limit on what one copy reads of its source, in bytes. Larger objects are copied in parts.
const SOURCE_LEN_MAX: u64 = 5 << 30;

/// A copy's source.
pub(super) struct Source {
    pub bucket: Bucket,
    pub version: Version,
    /// What it is sealed with.
    pub key: VersionKey,
}

impl S3Gateway {
    pub(super) async fn copy_object(
        &self,
        mut req: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = &mut req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let replaces_tags = replaces_tags(input.tagging_directive.as_ref())?;
        // Tags that will not be those of the copy satisfy no condition.
        let ignores_tags = req.headers.contains_key(TAGGING) && !replaces_tags;
        let untagged = ignores_tags.then(|| caller.stating(Stated::by_headers(&req.headers).without_tags()));
        let writer = untagged.as_ref().unwrap_or(&caller);
        let bucket = self
            .bucket_for_key(writer, (&input.bucket, &input.key), Action::PutObject, expected_owner)
            .await?;
        let conditions = ReadConditions {
            if_match: input.copy_source_if_match.as_ref(),
            if_none_match: input.copy_source_if_none_match.as_ref(),
            if_modified_since: input.copy_source_if_modified_since.as_ref(),
            if_unmodified_since: input.copy_source_if_unmodified_since.as_ref(),
        };
        let expected_owner = input.expected_source_bucket_owner.as_deref();
        let requested = requested_encryption!(input)?;
        let customer = source_customer_key!(input)?;
        let source =
            self.source(&caller, &input.copy_source, &conditions, expected_owner, customer.as_ref()).await?;
        check_source_len(source.version.size)?;
        let replaces = replaces_metadata(input.metadata_directive.as_ref())?;
        // An older version may be made the current one again.
        let named = matches!(&input.copy_source, CopySource::Bucket { version_id: Some(_), .. });
        let is_self = !named && source.bucket.id == bucket.id && source.version.key == input.key.as_bytes();
        let changes = replaces
            || input.storage_class.is_some()
            || input.website_redirect_location.is_some()
            || requested.is_explicit();
        if is_self && !changes {
            return Err(s3_error!(
                InvalidRequest,
                "This copy request is illegal because it is trying to copy an object to itself without changing the \
                 object's metadata, storage class, website redirect location or encryption attributes."
            ));
        }
        let mut meta = self.new_meta(&caller, (&bucket, &input.key), asked_meta!(input)).await?;
        if !replaces_tags {
            let place = (&bucket, input.key.as_str());
            meta.tags = self.carried_tags(&caller, &req.headers, (&source, named), place).await?;
        }
        let mut attributes = Attributes::decode(&source.version.attributes)?;
        let checksum = attributes.checksum.take();
        if replaces {
            attributes = attributes_of!(input)?;
        } else {
            attributes.website_redirect = input.website_redirect_location.take();
        }
        let asked_acl = AskedAcl::from_headers(&req.headers)?;
        let NewAccess { owner, acl } = self.new_access(&caller, &bucket, &input.key, &asked_acl).await?;
        let wanted = input.checksum_algorithm.as_ref().map(Algorithm::parse).transpose()?;
        let rows = self.row_key(&bucket).await?;
        let write = CopyWrite {
            caller: &caller,
            key: std::mem::take(&mut input.key).into_bytes(),
            precondition: precondition(&rows, input.if_match.as_ref(), input.if_none_match.as_ref())?,
            class: self.classes.choose(input.storage_class.as_ref())?,
            attributes,
            meta: VersionMeta { owner, acl, ..meta },
            sealing: self.new_key(&bucket, requested).await?,
            rows,
        };
        let shown_encryption = write.sealing.shown();
        let (committed, checksum) = Box::pin(self.copy(&source, &bucket, write, checksum, wanted)).await?;
        let mut output = shown(&source, &committed, checksum.as_ref());
        output.ssekms_encryption_context.clone_from(&shown_encryption.context);
        show_encryption!(output, shown_encryption);
        Ok(S3Response::new(output))
    }

    /// The source's tags, which the copy takes along. As S3 has it, that is reading them there and setting them here.
    ///
    /// # Errors
    /// `AccessDenied` for who may not do both.
    async fn carried_tags(
        &self,
        caller: &Caller<'_>,
        headers: &HeaderMap,
        (source, named): (&Source, bool),
        (bucket, key): (&Bucket, &str),
    ) -> S3Result<Option<String>> {
        let meta = &source.version.meta;
        if meta.tags.is_none() {
            return Ok(None);
        }
        let read = if named { Action::GetObjectVersionTagging } else { Action::GetObjectTagging };
        let source_key = String::from_utf8_lossy(&source.version.key);
        self.gate(caller, &source.bucket).await?.check(read, About::Stored(&source_key, meta))?;
        let tags = TagSet::decode(meta.tags.as_deref())?.to_dto();
        let writer = caller.stating(Stated::by_headers(headers).with_tags(&tags));
        self.check_tagging(&writer, (bucket, key)).await?;
        Ok(meta.tags.clone())
    }

    /// Shares the source's bytes where they may be shared, else reads and writes them again.
    async fn copy(
        &self,
        source: &Source,
        bucket: &Bucket,
        write: CopyWrite<'_>,
        checksum: Option<StoredChecksum>,
        wanted: Option<Algorithm>,
    ) -> S3Result<(Committed, Option<StoredChecksum>)> {
        let same_domain = source.bucket.domain == bucket.domain
            && source.key.domain == write.sealing.domain
            && source.key.is_shareable()
            && write.sealing.is_shareable();
        // A class that the configuration has dropped cannot be compared: write into the new one.
        let from = self.classes.named(&source.version.storage_class).ok();
        let same_backend = from.is_some_and(|from| from.backend_name == write.class.backend_name);
        let same_checksum =
            wanted.is_none_or(|wanted| checksum.as_ref().is_some_and(|sum| sum.algorithm == wanted));
        if !(same_domain && same_backend && same_checksum) {
            return Box::pin(self.rewrite(source, bucket, write, wanted)).await;
        }
        self.check_object_size(bucket, source.version.size).await?;
        let hook = self.reserve_version(bucket, &write.key, source.version.size).await?;
        let attributes =
            Attributes { checksum: checksum.clone(), encryption: write.sealing.stored, ..write.attributes };
        let etag = &source.version.etag;
        let copy = CopyVersion {
            source: source.version.clone(),
            bucket: bucket.id,
            key: write.key,
            precondition: write.precondition,
            etag: write.rows.seal_tag(etag).map_err(errors::row)?,
            storage_class: write.class.name.clone(),
            attributes: attributes.seal(&write.rows)?,
            meta: write.meta,
            now_ms: now_ms(),
        };
        let change = Change::written(EventKind::Copy, &copy.key, etag);
        let catalog = self.announcing(bucket, write.caller, &[change]).await?;
        let committed = catalog.copy_version(copy, hook).await.map_err(|error| match error {
            // The source was overwritten or deleted since it was looked up: as if it had been before.
            CatalogError::NoSuchVersion => s3_error!(NoSuchKey),
            error => errors::catalog(error),
        })?;
        Ok((Committed { etag: etag.clone(), ..committed }, checksum))
    }

    async fn rewrite(
        &self,
        source: &Source,
        bucket: &Bucket,
        write: CopyWrite<'_>,
        wanted: Option<Algorithm>,
    ) -> S3Result<(Committed, Option<StoredChecksum>)> {
        let size = source.version.size;
        self.check_object_size(bucket, size).await?;
        let hook = self.reserve_version(bucket, &write.key, size).await?;
        let content_type = write.attributes.content_type.clone();
        let destination = destination(&write.sealing, write.class, content_type, true);
        let body = self.source_body(source, 0..size).await?;
        let algorithm = wanted.unwrap_or(Algorithm::Crc64nvme);
        let ingested = self.ingest.store(body, BodyLen::Exactly(size), algorithm.hasher(), destination).await;
        let ingested = ingested.map_err(errors::ingest)?;
        let value = algorithm.pick(ingested.sums).ok_or_else(|| s3_error!(InternalError))?;
        let checksum = StoredChecksum { algorithm, value, kind: Kind::FullObject };
        let etag = write.sealing.etag(ingested.md5);
        let put = PutVersion {
            bucket: bucket.id,
            key: write.key,
            precondition: write.precondition,
            content: ingested.content,
            size,
            etag: write.rows.seal_tag(&etag).map_err(errors::row)?,
            storage_class: write.class.name.clone(),
            attributes: Attributes {
                checksum: Some(checksum.clone()),
                encryption: write.sealing.stored,
                ..write.attributes
            }
            .seal(&write.rows)?,
            meta: write.meta,
            now_ms: now_ms(),
        };
        let change = Change::written(EventKind::Copy, &put.key, &etag);
        let catalog = self.announcing(bucket, write.caller, &[change]).await?;
        let committed = catalog.put_version(put, hook).await.map_err(errors::catalog)?;
        ingested.pending.committed();
        Ok((Committed { etag, ..committed }, Some(checksum)))
    }

    /// Finds a copy's source, and decides its conditions.
    pub(super) async fn source(
        &self,
        caller: &Caller<'_>,
        source: &CopySource,
        conditions: &ReadConditions<'_>,
        expected_owner: Option<&str>,
        customer: Option<&CustomerKey>,
    ) -> S3Result<Source> {
        let CopySource::Bucket { bucket, key, version_id } = source else {
            return Err(s3_error!(NotImplemented, "Access points are not implemented."));
        };
        let (bucket, version) = self
            .version(caller, (bucket, key), version_id.as_deref(), Action::GetObject, expected_owner)
            .await
            .map_err(|error| match error.code() {
                s3s::S3ErrorCode::MethodNotAllowed => {
                    s3_error!(InvalidRequest, "The source of a copy request may not specifically refer to a delete marker by version id.")
                }
                _ => error,
            })?;
        conditions.check_source(&version)?;
        self.check_readable(&version).await?;
        let encryption = Attributes::decode(&version.attributes)?.encryption;
        let key = self.key_of(&bucket, encryption, customer).await?;
        Ok(Source { bucket, version, key })
    }

    /// A source's bytes.
    pub(super) async fn source_body(
        &self,
        source: &Source,
        range: std::ops::Range<u64>,
    ) -> S3Result<StreamingBlob> {
        let body = self.retrieve.body(&source.version, range, &source.key.key).await;
        let body = body.map_err(errors::retrieve)?;
        Ok(StreamingBlob::from(Body::http_body_unsync(body)))
    }
}

/// # Errors
/// `InvalidRequest` for more bytes of a source than one request may copy.
pub(super) fn check_source_len(len: u64) -> S3Result<()> {
    if len > SOURCE_LEN_MAX {
        return Err(s3_error!(
            InvalidRequest,
            "The specified copy source is larger than the maximum allowable size for a copy source: {SOURCE_LEN_MAX}"
        ));
    }
    Ok(())
}

/// What a copy writes.
struct CopyWrite<'a> {
    caller: &'a Caller<'a>,
    key: Vec<u8>,
    precondition: datamesh_catalog::Precondition,
    class: &'a Class,
    attributes: Attributes,
    meta: VersionMeta,
    /// What it is sealed with.
    sealing: VersionKey,
    /// What its row is sealed with.
    rows: RowKey,
}

fn replaces_metadata(directive: Option<&MetadataDirective>) -> S3Result<bool> {
    match directive.map(MetadataDirective::as_str) {
        None | Some(MetadataDirective::COPY) => Ok(false),
        Some(MetadataDirective::REPLACE) => Ok(true),
        Some(_) => Err(s3_error!(InvalidArgument, "Unknown metadata directive.")),
    }
}

fn replaces_tags(directive: Option<&TaggingDirective>) -> S3Result<bool> {
    match directive.map(TaggingDirective::as_str) {
        None | Some(TaggingDirective::COPY) => Ok(false),
        Some(TaggingDirective::REPLACE) => Ok(true),
        Some(_) => Err(s3_error!(InvalidArgument, "Unknown tagging directive.")),
    }
}

fn shown(source: &Source, committed: &Committed, checksum: Option<&StoredChecksum>) -> CopyObjectOutput {
    let mut result = CopyObjectResult {
        e_tag: strong(&committed.etag),
        last_modified: Some(timestamp(committed.modified_ms)),
        checksum_type: checksum.map(|checksum| ChecksumType::from_static(checksum.kind.name())),
        ..CopyObjectResult::default()
    };
    show_checksum!(result, checksum);
    CopyObjectOutput {
        copy_object_result: Some(result),
        copy_source_version_id: shown_version(&source.bucket, source.version.id),
        version_id: written_version(committed.version),
        ..CopyObjectOutput::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_copies_five_gibibytes_and_not_a_byte_more() {
        assert!(check_source_len(5 << 30).is_ok());
        let refused = check_source_len((5 << 30) + 1).unwrap_err();
        assert_eq!(refused.code().as_str(), "InvalidRequest");
    }
}

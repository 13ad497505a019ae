//! `GetObject`, `HeadObject` and `GetObjectAttributes`.

use std::ops::Range;

use datamesh_catalog::{Bucket, Part, StoredContent, Version, VersionMeta};
use datamesh_policy::Action;
use http::StatusCode;
use s3s::dto::{
    ChecksumMode, ChecksumType, GetObjectAttributesInput, GetObjectAttributesOutput,
    GetObjectAttributesParts, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput,
    ObjectAttributes, ObjectLockLegalHoldStatus, ObjectPart, StorageClass, StreamingBlob,
};
use s3s::{Body, S3Request, S3Response, S3Result, s3_error};

use super::attributes::Attributes;
use super::caller::Caller;
use super::checksums::{StoredChecksum, show_checksum};
use super::conditions::ReadConditions;
use super::encryption::{
    CustomerKey, ShownEncryption, VersionKey, check_read_headers, customer_key, show_encryption,
};
use super::endpoint::answer;
use super::gate::About;
use super::lock::shown_retention;
use super::tags::TagSet;
use super::{S3Gateway, errors, ranges, shown_class, shown_version, strong, timestamp};

/// What S3 gives a version that was written without a `Content-Type`.
const CONTENT_TYPE_DEFAULT: &str = "binary/octet-stream";
const PARTS_PAGE_MAX: i32 = 1000;

/// The bytes of a version that a request asks for.
struct Selection {
    range: Range<u64>,
    /// Whether the answer is a 206.
    partial: bool,
    /// How many parts the version has, when the request names one.
    parts_count: Option<u16>,
    /// The checksum of just these bytes, if it is known.
    checksum: Option<StoredChecksum>,
}

/// Fills in what `GetObject` and `HeadObject` answer alike.
macro_rules! describe {
    ($output:expr, $bucket:expr, $version:expr, $attributes:expr, $selection:expr, $encryption:expr) => {{
        let output = &mut $output;
        let (version, attributes, selection): (&Version, Attributes, &Selection) =
            ($version, $attributes, &$selection);
        let encryption: ShownEncryption = $encryption;
        show_encryption!(output, encryption);
        output.accept_ranges = Some("bytes".to_owned());
        output.content_length = Some((selection.range.end - selection.range.start) as i64);
        output.content_range =
            selection.partial.then(|| ranges::content_range(&selection.range, version.size));
        output.parts_count = selection.parts_count.map(i32::from);
        output.e_tag = strong(&version.etag);
        output.last_modified = Some(timestamp(version.modified_ms));
        output.version_id = shown_version($bucket, version.id);
        output.storage_class = shown_class(&version.storage_class);
        output.metadata = attributes.metadata_dto();
        output.content_type =
            Some(attributes.content_type.unwrap_or_else(|| CONTENT_TYPE_DEFAULT.to_owned()));
        output.content_encoding = attributes.content_encoding;
        output.content_disposition = attributes.content_disposition;
        output.content_language = attributes.content_language;
        output.cache_control = attributes.cache_control;
        output.expires = attributes.expires;
        output.website_redirect_location = attributes.website_redirect;
        if version.meta != VersionMeta::NONE {
            output.tag_count = tag_count(&version.meta)?;
            output.object_lock_legal_hold_status = shown_hold(&version.meta);
            (output.object_lock_mode, output.object_lock_retain_until_date) =
                version.meta.retention.as_ref().map(shown_retention).unzip();
        }
        if let Some(checksum) = &selection.checksum {
            output.checksum_type = Some(ChecksumType::from_static(checksum.kind.name()));
            show_checksum!(output, Some(checksum));
        }
    }};
}

/// What `GetObject` and `HeadObject` are asked alike.
struct Read<'a> {
    /// Bucket and key.
    name: (&'a str, &'a str),
    version_id: Option<&'a str>,
    expected_owner: Option<&'a str>,
    conditions: ReadConditions<'a>,
    range: Option<s3s::dto::Range>,
    part_number: Option<i32>,
    wants_checksum: bool,
    customer: Option<CustomerKey>,
}

/// Their inputs are different types with the same fields.
macro_rules! read {
    ($input:expr) => {
        Read {
            name: ($input.bucket.as_str(), $input.key.as_str()),
            version_id: $input.version_id.as_deref(),
            expected_owner: $input.expected_bucket_owner.as_deref(),
            conditions: ReadConditions {
                if_match: $input.if_match.as_ref(),
                if_none_match: $input.if_none_match.as_ref(),
                if_modified_since: $input.if_modified_since.as_ref(),
                if_unmodified_since: $input.if_unmodified_since.as_ref(),
            },
            range: $input.range,
            part_number: $input.part_number,
            wants_checksum: wants_checksum($input.checksum_mode.as_ref()),
            customer: customer_key!($input)?,
        }
    };
}

/// A version that may be read, and what of it.
struct Opened {
    bucket: Bucket,
    version: Version,
    attributes: Attributes,
    selection: Selection,
    key: VersionKey,
}

impl S3Gateway {
    pub(super) async fn get_object(
        &self,
        req: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        check_read_headers(&req.headers)?;
        let input = &req.input;
        let Opened { bucket, version, attributes, selection, key } = self.open(&caller, read!(input)).await?;
        self.check_readable(&version).await?;
        self.take_egress(&caller, selection.range.end - selection.range.start).await?;
        let body = self.retrieve.body(&version, selection.range.clone(), &key.key).await;
        let mut body = body.map_err(errors::retrieve)?;
        let blob = match body.take_ready() {
            Some(bytes) => StreamingBlob::from_bytes(bytes),
            None => StreamingBlob::from(Body::http_body_unsync(body)),
        };
        let mut output = GetObjectOutput { body: Some(blob), ..GetObjectOutput::default() };
        describe!(output, &bucket, &version, attributes, selection, key.shown());
        output.expiration = self.expiration_of(&bucket, &version, input.version_id.as_deref()).await?;
        output.restore = self.shown_restore(&version).await?;
        Ok(S3Response::new(output))
    }

    pub(super) async fn head_object(
        &self,
        req: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        check_read_headers(&req.headers)?;
        let input = &req.input;
        let Opened { bucket, version, attributes, selection, key } = self.open(&caller, read!(input)).await?;
        let mut output = HeadObjectOutput::default();
        let status = if selection.partial { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        describe!(output, &bucket, &version, attributes, selection, key.shown());
        output.expiration = self.expiration_of(&bucket, &version, input.version_id.as_deref()).await?;
        output.restore = self.shown_restore(&version).await?;
        Ok(answer(output, status))
    }

    async fn open(&self, caller: &Caller<'_>, read: Read<'_>) -> S3Result<Opened> {
        let Read { name, version_id, expected_owner, .. } = read;
        let (bucket, version) =
            self.version(caller, name, version_id, Action::GetObject, expected_owner).await?;
        read.conditions.check_read(&version)?;
        let attributes = Attributes::decode(&version.attributes)?;
        let selection = self
            .select((&bucket, &version), read.range, read.part_number, &attributes, read.wants_checksum)
            .await?;
        let key = self.key_of(&bucket, attributes.encryption.clone(), read.customer.as_ref()).await?;
        Ok(Opened { bucket, version, attributes, selection, key })
    }

    async fn select(
        &self,
        (bucket, version): (&Bucket, &Version),
        range: Option<s3s::dto::Range>,
        part_number: Option<i32>,
        attributes: &Attributes,
        wants_checksum: bool,
    ) -> S3Result<Selection> {
        let whole = 0..version.size;
        match (range, part_number) {
            (Some(_), Some(_)) => Err(s3_error!(
                InvalidRequest,
                "Cannot specify both Range header and partNumber query parameter"
            )),
            (Some(range), None) => {
                let range = ranges::select(range, version.size)?;
                Ok(Selection { range, partial: true, parts_count: None, checksum: None })
            }
            (None, Some(number)) => {
                Box::pin(self.select_part(bucket, version, number, attributes, wants_checksum)).await
            }
            (None, None) => {
                let checksum = attributes.checksum.clone().filter(|_| wants_checksum);
                Ok(Selection { range: whole, partial: false, parts_count: None, checksum })
            }
        }
    }

    async fn select_part(
        &self,
        bucket: &Bucket,
        version: &Version,
        number: i32,
        attributes: &Attributes,
        wants_checksum: bool,
    ) -> S3Result<Selection> {
        let number = super::multipart::part_number(number)?;
        let invalid = || s3_error!(InvalidPart, "The requested partnumber is not satisfiable");
        let found = self.catalog.part_range(version, number).await.map_err(errors::catalog)?;
        let (range, count) = found.ok_or_else(invalid)?;
        let is_multipart = matches!(version.content, StoredContent::Parts { .. });
        let checksum = match (wants_checksum, is_multipart) {
            (false, _) => None,
            (true, false) => attributes.checksum.clone(),
            (true, true) => {
                let part = self.opened_parts(bucket, version, number - 1, 1).await?.pop();
                let sums = part.map(|part| super::multipart::part_checksums(&part.checksums));
                let sum = sums.and_then(|sums| sums.into_iter().next());
                // The part's own value, but the type is the object's.
                let kind = attributes.checksum.as_ref().map(|whole| whole.kind);
                sum.map(|sum| StoredChecksum { kind: kind.unwrap_or(sum.kind), ..sum })
            }
        };
        let partial = !range.is_empty();
        Ok(Selection { range, partial, parts_count: is_multipart.then_some(count), checksum })
    }

    pub(super) async fn get_object_attributes(
        &self,
        req: S3Request<GetObjectAttributesInput>,
    ) -> S3Result<S3Response<GetObjectAttributesOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = &req.input;
        let name = (input.bucket.as_str(), input.key.as_str());
        let expected_owner = input.expected_bucket_owner.as_deref();
        let (bucket, version) = self
            .version(&caller, name, input.version_id.as_deref(), Action::GetObjectAttributes, expected_owner)
            .await?;
        // Whoever may not read the object is not told of its content either.
        let named = input.version_id.as_ref().is_some_and(|id| !id.is_empty());
        let read = if named { Action::GetObjectVersion } else { Action::GetObject };
        self.gate(&caller, &bucket).await?.check(read, About::Stored(&input.key, &version.meta))?;
        let attributes = Attributes::decode(&version.attributes)?;
        self.key_of(&bucket, attributes.encryption.clone(), customer_key!(input)?.as_ref()).await?;
        // Several names may share one header line.
        let asked = || input.object_attributes.iter().flat_map(|asked| asked.as_str().split(','));
        let asks = |name: &str| asked().any(|asked| asked.trim() == name);
        let mut output = GetObjectAttributesOutput {
            last_modified: Some(timestamp(version.modified_ms)),
            version_id: shown_version(&bucket, version.id),
            ..GetObjectAttributesOutput::default()
        };
        if asks(ObjectAttributes::ETAG) {
            output.e_tag = strong(&version.etag);
        }
        if asks(ObjectAttributes::OBJECT_SIZE) {
            output.object_size = Some(version.size as i64);
        }
        if asks(ObjectAttributes::STORAGE_CLASS) {
            output.storage_class = Some(StorageClass::from(version.storage_class.clone()));
        }
        if asks(ObjectAttributes::CHECKSUM) {
            output.checksum = attributes.checksum.as_ref().map(StoredChecksum::to_dto);
        }
        if asks(ObjectAttributes::OBJECT_PARTS) {
            output.object_parts = self.object_parts(&bucket, &version, input).await?;
        }
        Ok(S3Response::new(output))
    }

    /// Up to `limit` parts of a version, after part `after`.
    async fn opened_parts(
        &self,
        bucket: &Bucket,
        version: &Version,
        after: u16,
        limit: usize,
    ) -> S3Result<Vec<Part>> {
        let mut parts = self.catalog.version_parts(version, after, limit).await.map_err(errors::catalog)?;
        let rows = self.row_key(bucket).await?;
        parts.iter_mut().try_for_each(|part| rows.open_part(part)).map_err(errors::row)?;
        Ok(parts)
    }

    async fn object_parts(
        &self,
        bucket: &Bucket,
        version: &Version,
        input: &GetObjectAttributesInput,
    ) -> S3Result<Option<GetObjectAttributesParts>> {
        let StoredContent::Parts { count } = version.content else { return Ok(None) };
        let limit = input.max_parts.unwrap_or(PARTS_PAGE_MAX).clamp(0, PARTS_PAGE_MAX);
        let after = input.part_number_marker.and_then(|marker| u16::try_from(marker).ok()).unwrap_or(0);
        let mut parts = self.opened_parts(bucket, version, after, limit as usize + 1).await?;
        let truncated = parts.len() > limit as usize;
        parts.truncate(limit as usize);
        let next = parts.last().map_or(after, |part| part.number);
        let shown = parts.iter().map(|part| {
            let mut shown = ObjectPart {
                part_number: Some(i32::from(part.number)),
                size: Some(part.size as i64),
                ..ObjectPart::default()
            };
            show_checksum!(shown, super::multipart::part_checksums(&part.checksums).first());
            shown
        });
        Ok(Some(GetObjectAttributesParts {
            is_truncated: Some(truncated),
            max_parts: Some(limit),
            next_part_number_marker: Some(i32::from(next)),
            part_number_marker: Some(i32::from(after)),
            parts: Some(shown.collect()),
            total_parts_count: Some(i32::from(count)),
        }))
    }
}

/// How many tags a version has, unless it has none.
fn tag_count(meta: &VersionMeta) -> S3Result<Option<i32>> {
    let tags = TagSet::decode(meta.tags.as_deref())?;
    Ok(i32::try_from(tags.len()).ok().filter(|count| *count > 0))
}

fn shown_hold(meta: &VersionMeta) -> Option<ObjectLockLegalHoldStatus> {
    meta.legal_hold.then(|| ObjectLockLegalHoldStatus::from_static(ObjectLockLegalHoldStatus::ON))
}

fn wants_checksum(mode: Option<&ChecksumMode>) -> bool {
    mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED)
}

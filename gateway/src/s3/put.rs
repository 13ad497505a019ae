//! `PutObject`, and what all writes of a body share.

use datamesh_catalog::{PutVersion, VersionMeta};
use datamesh_policy::Action;
use s3s::dto::{ChecksumType, PutObjectInput, PutObjectOutput, StreamingBlob};
use s3s::{S3Request, S3Response, S3Result, TrailingHeaders, s3_error};

use super::acls::NewAccess;
use super::attributes::{Attributes, attributes_of};
use super::beside::asked_meta;
use super::caller::Caller;
use super::checksums::{Algorithm, Declared, Kind, StoredChecksum, parse_content_md5, show_checksum};
use super::conditions::precondition;
use super::encryption::{requested_encryption, show_encryption};
use super::grants::AskedAcl;
use super::post::FileLenMax;
use super::{S3Gateway, destination, errors, now_ms, strong, written_version};
use crate::events::{Change, EventKind};
use crate::ingest::{BodyLen, Destination, Ingested};

/// What a client says of a body, to be verified once it has been read.
pub(super) struct Promise {
    pub len: BodyLen,
    pub checksum: Declared,
    pub md5: Option<[u8; 16]>,
    pub trailers: Option<TrailingHeaders>,
}

impl Promise {
    /// Reads it from a request's headers.
    pub(super) fn new(
        len: BodyLen,
        content_md5: Option<&str>,
        checksum: Declared,
        trailers: Option<TrailingHeaders>,
    ) -> S3Result<Self> {
        Ok(Self { len, checksum, md5: content_md5.map(parse_content_md5).transpose()?, trailers })
    }

    /// Checks it against what was read, and returns the checksum to store.
    pub(super) fn verify(&self, ingested: &Ingested) -> S3Result<StoredChecksum> {
        if self.md5.is_some_and(|md5| md5 != ingested.md5) {
            return Err(s3_error!(
                BadDigest,
                "The Content-MD5 you specified did not match what we received."
            ));
        }
        let algorithm = self.checksum.algorithm;
        let value = algorithm.pick(ingested.sums.clone()).ok_or_else(|| s3_error!(InternalError))?;
        self.checksum.verify(&value, self.trailers.as_ref())?;
        Ok(StoredChecksum { algorithm, value, kind: Kind::FullObject })
    }
}

impl S3Gateway {
    pub(super) async fn put_object(
        &self,
        mut req: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let input = &mut req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self
            .bucket_for_key(&caller, (&input.bucket, &input.key), Action::PutObject, expected_owner)
            .await?;
        check_supported(input)?;
        let asked_acl = AskedAcl::from_headers(&req.headers)?;
        let NewAccess { owner, acl } = self.new_access(&caller, &bucket, &input.key, &asked_acl).await?;
        let checksum =
            Declared::from_headers(&req.headers, input.checksum_algorithm.as_ref(), Algorithm::Crc64nvme)?;
        let (len, event) = match req.extensions.get::<FileLenMax>() {
            Some(FileLenMax(max)) => (BodyLen::AtMost(*max), EventKind::Post),
            None => (declared_len(input.content_length)?, EventKind::Put),
        };
        let promise = Promise::new(len, input.content_md5.as_deref(), checksum, req.trailing_headers)?;
        let class = self.classes.choose(input.storage_class.as_ref())?;
        let meta = self.new_meta(&caller, (&bucket, &input.key), asked_meta!(input)).await?;
        let attributes = attributes_of!(input)?;
        let key = self.new_key(&bucket, requested_encryption!(input)?).await?;
        let rows = self.row_key(&bucket).await?;
        let condition = precondition(&rows, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let body = input.body.take().unwrap_or_else(|| StreamingBlob::from_bytes(bytes::Bytes::new()));
        let (hook, body) = self.reserve_body(&bucket, input.key.as_bytes(), promise.len, body).await?;
        let destination = destination(&key, class, attributes.content_type.clone(), true);
        let (ingested, checksum) = self.read_body(body, &promise, destination).await?;
        let etag = key.etag(ingested.md5);
        let put = PutVersion {
            bucket: bucket.id,
            key: std::mem::take(&mut input.key).into_bytes(),
            precondition: condition,
            content: ingested.content,
            size: ingested.size,
            etag: rows.seal_tag(&etag).map_err(errors::row)?,
            storage_class: class.name.clone(),
            attributes: Attributes {
                checksum: Some(checksum.clone()),
                encryption: key.stored.clone(),
                ..attributes
            }
            .seal(&rows)?,
            meta: VersionMeta { owner, acl, ..meta },
            now_ms: now_ms(),
        };
        let expiration =
            self.expiration(&bucket, &put.key, (put.size, put.now_ms), put.meta.tags.as_deref()).await?;
        let change = Change::written(event, &put.key, &etag);
        let catalog = self.announcing(&bucket, &caller, &[change]).await?;
        let committed = catalog.put_version(put, hook).await.map_err(errors::catalog)?;
        ingested.pending.committed();
        let mut output = PutObjectOutput {
            e_tag: strong(&etag),
            version_id: written_version(committed.version),
            expiration,
            checksum_type: Some(ChecksumType::from_static(checksum.kind.name())),
            ssekms_encryption_context: key.shown().context,
            ..PutObjectOutput::default()
        };
        show_checksum!(output, Some(&checksum));
        show_encryption!(output, key.shown());
        Ok(S3Response::new(output))
    }

    /// Stores a body and verifies what the client promised of it. Nothing is visible yet.
    pub(super) async fn read_body(
        &self,
        body: StreamingBlob,
        promise: &Promise,
        destination: Destination,
    ) -> S3Result<(Ingested, StoredChecksum)> {
        let hasher = promise.checksum.algorithm.hasher();
        let ingested =
            self.ingest.store(body, promise.len, hasher, destination).await.map_err(errors::ingest)?;
        let checksum = promise.verify(&ingested)?;
        Ok((ingested, checksum))
    }
}

/// The length that a request declares for its body.
pub(super) fn declared_len(content_length: Option<i64>) -> S3Result<BodyLen> {
    let len = content_length.ok_or_else(|| s3_error!(MissingContentLength))?;
    u64::try_from(len).map(BodyLen::Exactly).map_err(|_| s3_error!(InvalidArgument))
}

/// Refuses what would silently not happen: protection that the client asks for must not be ignored.
fn check_supported(input: &PutObjectInput) -> S3Result<()> {
    if input.write_offset_bytes.is_some() {
        return Err(s3_error!(NotImplemented, "Appending is not implemented."));
    }
    Ok(())
}

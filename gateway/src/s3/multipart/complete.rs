//! `CompleteMultipartUpload`.

use std::collections::BTreeMap;

use datamesh_catalog::{
    Bucket, CatalogError, Committed, CompleteUpload, CompletedPart, Part, Upload, UploadId,
};
use md5::{Digest, Md5};
use s3s::dto::{
    ChecksumType, CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart as NamedPart,
};
use s3s::{S3Request, S3Response, S3Result, s3_error};

use super::{PARTS_MAX, part_checksums};
use crate::events::{Change, EventKind};
use crate::s3::attributes::Attributes;
use crate::s3::caller::Caller;
use crate::s3::checksums::{self, Algorithm, StoredChecksum, show_checksum};
use crate::s3::conditions::precondition;
use crate::s3::encryption::customer_key;
use crate::s3::{S3Gateway, errors, now_ms, strong, written_version};

/// S3's limit on every part but the last, in bytes.
const PART_LEN_MIN: u64 = 5 << 20;

impl S3Gateway {
    pub(in crate::s3) async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let caller = Caller::new(&req.extensions, &req.headers, &req.uri)?;
        let mut input = req.input;
        let expected_owner = input.expected_bucket_owner.as_deref();
        let bucket = self.any_bucket(&input.bucket, expected_owner).await?;
        let (upload, attributes) =
            self.writable_upload(&caller, &bucket, (&input.key, &input.upload_id)).await?;
        let named = input.multipart_upload.take().and_then(|upload| upload.parts).unwrap_or_default();
        check_named(&named)?;
        let key = input.key.clone().into_bytes();
        let attributes = match &upload.completed {
            // A retry: the catalog answers as it did before.
            Some(done) => self.completed_attributes(&bucket, &key, done).await?,
            None => attributes,
        };
        let customer = customer_key!(input)?;
        let key_of_parts =
            self.key_of_parts(&bucket, attributes.encryption.clone(), customer.as_ref()).await?;
        let encryption = key_of_parts.shown();
        let Assembled { etag, attributes, parts } = match &upload.completed {
            Some(done) => Assembled { etag: done.etag.clone(), attributes, parts: Vec::new() },
            None => self.assemble(&bucket, &key, (&upload, attributes), &named, &input).await?,
        };
        let rows = self.row_key(&bucket).await?;
        let checksum = attributes.checksum.clone();
        let expected_size = input.mpu_object_size.map(u64::try_from).transpose();
        let complete = CompleteUpload {
            bucket: bucket.id,
            key,
            upload: upload.id,
            parts,
            minimum_part_size: PART_LEN_MIN,
            expected_size: expected_size.map_err(|_| s3_error!(InvalidArgument))?,
            precondition: precondition(&rows, input.if_match.as_ref(), input.if_none_match.as_ref())?,
            etag: rows.seal_tag(&etag).map_err(errors::row)?,
            attributes: attributes.seal(&rows)?,
            now_ms: now_ms(),
        };
        let hook = match &upload.completed {
            // Nothing is stored a second time, so nothing has to fit.
            Some(_) => self.release(),
            None => self.reserve_version(&bucket, &complete.key, 0).await?,
        };
        let change = Change::written(EventKind::CompleteUpload, &complete.key, &etag);
        let catalog = self.announcing(&bucket, &caller, &[change]).await?;
        let committed = catalog.complete_upload(complete, hook).await.map_err(|error| match error {
            CatalogError::SizeMismatch { .. } => s3_error!(
                InvalidRequest,
                "The provided 'x-amz-mp-object-size' header does not match what was computed."
            ),
            error => errors::catalog(error),
        })?;
        let mut output = CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", bucket.name, input.key)),
            bucket: Some(bucket.name),
            key: Some(input.key),
            e_tag: strong(&rows.open_tag(&committed.etag).map_err(errors::row)?),
            version_id: written_version(committed.version),
            checksum_type: checksum.as_ref().map(|checksum| ChecksumType::from_static(checksum.kind.name())),
            ..CompleteMultipartUploadOutput::default()
        };
        show_checksum!(output, checksum.as_ref());
        let headers = encryption.customer_headers();
        output.server_side_encryption = encryption.algorithm;
        output.ssekms_key_id = encryption.key;
        output.bucket_key_enabled = encryption.bucket_key;
        Ok(S3Response::with_headers(output, headers))
    }

    /// The attributes of the version that an upload was completed to, while it is there.
    async fn completed_attributes(
        &self,
        bucket: &Bucket,
        key: &[u8],
        done: &Committed,
    ) -> S3Result<Attributes> {
        let version = self.catalog.version(bucket.id, key, Some(done.version)).await;
        let Some(mut version) = version.map_err(errors::catalog)? else { return Ok(Attributes::empty()) };
        self.row_key(bucket).await?.open_version(&mut version).map_err(errors::row)?;
        // A null version may have been replaced since.
        if version.etag == done.etag {
            Attributes::decode(&version.attributes)
        } else {
            Ok(Attributes::empty())
        }
    }

    /// The object that the named parts make, once they are what the client says.
    async fn assemble(
        &self,
        bucket: &Bucket,
        key: &[u8],
        (upload, mut attributes): (&Upload, Attributes),
        named: &[NamedPart],
        input: &CompleteMultipartUploadInput,
    ) -> S3Result<Assembled> {
        let planned = attributes.planned.take().ok_or_else(|| s3_error!(InternalError))?;
        let stored = self.stored_parts(bucket, key, upload).await?;
        let chosen = choose(named, &stored)?;
        self.check_object_size(bucket, chosen.iter().map(|stored| stored.part.size).sum()).await?;
        let values =
            chosen.iter().map(|StoredPart { part, .. }| (first_value(part, planned.algorithm), part.size));
        let known: Option<Vec<(String, u64)>> = values.map(|(value, size)| Some((value?, size))).collect();
        attributes.checksum = known.and_then(|known| {
            let parts = known.iter().map(|(value, size)| (value.as_str(), *size));
            checksums::combine(planned.algorithm, planned.kind, parts)
        });
        check_whole(input, attributes.checksum.as_ref())?;
        let name = |stored: &&StoredPart| CompletedPart {
            number: stored.part.number,
            etag: stored.sealed_etag.clone(),
        };
        let parts = chosen.iter().map(name).collect();
        Ok(Assembled { etag: multipart_etag(&chosen)?, attributes, parts })
    }

    /// All parts of an open upload by number: at most 10,000 small rows.
    async fn stored_parts(
        &self,
        bucket: &Bucket,
        key: &[u8],
        upload: &Upload,
    ) -> S3Result<BTreeMap<u16, StoredPart>> {
        let id: UploadId = upload.id;
        let page = self.catalog.list_parts(bucket.id, key, id, 0, PARTS_MAX as usize).await;
        let page = page.map_err(errors::catalog)?;
        let rows = self.row_key(bucket).await?;
        let open = |mut part: Part| {
            let sealed_etag = part.etag.clone();
            rows.open_part(&mut part).map_err(errors::row)?;
            Ok((part.number, StoredPart { part, sealed_etag }))
        };
        page.parts.into_iter().map(open).collect()
    }
}

/// What parts make.
struct Assembled {
    etag: String,
    attributes: Attributes,
    /// The parts as the catalog wants them named.
    parts: Vec<CompletedPart>,
}

struct StoredPart {
    part: Part,
    /// Its `ETag` as the catalog knows it.
    sealed_etag: String,
}

/// Checks what names the parts: numbers in ascending order, each with an `ETag`.
fn check_named(named: &[NamedPart]) -> S3Result<()> {
    if named.is_empty() || named.len() > PARTS_MAX as usize {
        return Err(s3_error!(MalformedXML));
    }
    let number_of = |part: &NamedPart| {
        let number = part.part_number.and_then(|number| u16::try_from(number).ok());
        let number = number.filter(|number| *number >= 1).ok_or_else(|| s3_error!(InvalidPart))?;
        if part.e_tag.is_some() { Ok(number) } else { Err(s3_error!(MalformedXML)) }
    };
    let numbers = named.iter().map(number_of).collect::<S3Result<Vec<_>>>()?;
    if numbers.is_sorted_by(|left, right| left < right) { Ok(()) } else { Err(s3_error!(InvalidPartOrder)) }
}

/// The stored parts that are named, each compared with what the client says of it.
fn choose<'a>(named: &[NamedPart], stored: &'a BTreeMap<u16, StoredPart>) -> S3Result<Vec<&'a StoredPart>> {
    let find = |part: &NamedPart| {
        let number = part.part_number.and_then(|number| u16::try_from(number).ok());
        let found = number.and_then(|number| stored.get(&number)).ok_or_else(|| s3_error!(InvalidPart))?;
        if part.e_tag.as_ref().is_some_and(|etag| etag.value() != found.part.etag) {
            return Err(s3_error!(InvalidPart));
        }
        let known = part_checksums(&found.part.checksums);
        let agrees = |(algorithm, value): &(Algorithm, &String)| {
            known.iter().any(|sum| sum.algorithm == *algorithm && sum.value == **value)
        };
        if declared_sums(part).iter().all(agrees) { Ok(found) } else { Err(s3_error!(InvalidPart)) }
    };
    named.iter().map(find).collect()
}

fn declared_sums(part: &NamedPart) -> Vec<(Algorithm, &String)> {
    let sums = [
        (Algorithm::Crc32, &part.checksum_crc32),
        (Algorithm::Crc32c, &part.checksum_crc32c),
        (Algorithm::Crc64nvme, &part.checksum_crc64nvme),
        (Algorithm::Sha1, &part.checksum_sha1),
        (Algorithm::Sha256, &part.checksum_sha256),
    ];
    sums.into_iter().filter_map(|(algorithm, sum)| Some((algorithm, sum.as_ref()?))).collect()
}

fn first_value(part: &Part, algorithm: Algorithm) -> Option<String> {
    part_checksums(&part.checksums).into_iter().find(|sum| sum.algorithm == algorithm).map(|sum| sum.value)
}

/// Compares the object's checksum with the one in the request, which may leave the `-N` of a composite one out.
fn check_whole(input: &CompleteMultipartUploadInput, computed: Option<&StoredChecksum>) -> S3Result<()> {
    let declared = [
        (Algorithm::Crc32, &input.checksum_crc32),
        (Algorithm::Crc32c, &input.checksum_crc32c),
        (Algorithm::Crc64nvme, &input.checksum_crc64nvme),
        (Algorithm::Sha1, &input.checksum_sha1),
        (Algorithm::Sha256, &input.checksum_sha256),
    ];
    for (algorithm, value) in declared {
        let Some(value) = value else { continue };
        let agrees = computed.is_some_and(|sum| {
            let bare = sum.value.split('-').next();
            sum.algorithm == algorithm && (sum.value == *value || bare == Some(value.as_str()))
        });
        if !agrees {
            return Err(checksums::mismatch(algorithm));
        }
    }
    let asked = input.checksum_type.as_ref().map(ChecksumType::as_str);
    if let (Some(asked), Some(computed)) = (asked, computed)
        && asked != computed.kind.name()
    {
        return Err(s3_error!(
            InvalidRequest,
            "The upload was created with the {} checksum type, not {asked}.",
            computed.kind.name()
        ));
    }
    Ok(())
}

/// MD5 over the parts' MD5s, then how many there are.
fn multipart_etag(parts: &[&StoredPart]) -> S3Result<String> {
    let mut md5 = Md5::new();
    for StoredPart { part, .. } in parts {
        let digest = u128::from_str_radix(&part.etag, 16).map_err(|error| s3_error!(error, InternalError))?;
        md5.update(digest.to_be_bytes());
    }
    Ok(format!("{}-{}", hex::encode(md5.finalize()), parts.len()))
}

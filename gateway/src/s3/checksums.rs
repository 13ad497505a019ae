//! S3's object checksums: what a client declares, what is computed, what is stored and shown.
//!
//! One checksum per object or part. A client that declares none gets CRC64NVME, as S3 does since December 2024. All
//! are verified against the bytes as they were received, headers and trailers alike. Of the algorithms, the CRCs
//! can be combined from those of parts, so that a multipart object can have one over its whole content.
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use http::HeaderMap;
use s3s::checksum::ChecksumHasher;
use s3s::dto::{Checksum, ChecksumAlgorithm, ChecksumType};
use s3s::{S3Error, S3ErrorCode, S3Result, TrailingHeaders, s3_error};
use serde::{Deserialize, Serialize};

/// A checksum algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// CRC-32 as in ISO-HDLC.
    Crc32,
    /// CRC-32C (Castagnoli).
    Crc32c,
    /// CRC-64/NVME.
    Crc64nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl Algorithm {
    const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64nvme, Self::Sha1, Self::Sha256];

    /// S3's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    const fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    const fn len(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    const fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }

    /// The algorithm that a request names.
    pub fn parse(name: &ChecksumAlgorithm) -> S3Result<Self> {
        let known = Self::ALL.into_iter().find(|algorithm| algorithm.name() == name.as_str());
        known.ok_or_else(|| {
            s3_error!(InvalidRequest, "Checksum algorithm {} is not supported.", name.as_str())
        })
    }

    /// As the protocol library wants it.
    pub fn to_dto(self) -> ChecksumAlgorithm {
        ChecksumAlgorithm::from(self.name().to_owned())
    }

    /// A hasher that computes this algorithm only.
    pub fn hasher(self) -> ChecksumHasher {
        let mut hasher = ChecksumHasher::default();
        match self {
            Self::Crc32 => hasher.crc32 = Some(s3s::crypto::Crc32::default()),
            Self::Crc32c => hasher.crc32c = Some(s3s::crypto::Crc32c::default()),
            Self::Crc64nvme => hasher.crc64nvme = Some(s3s::crypto::Crc64Nvme::default()),
            Self::Sha1 => hasher.sha1 = Some(<s3s::crypto::Sha1 as s3s::crypto::Checksum>::new()),
            Self::Sha256 => hasher.sha256 = Some(<s3s::crypto::Sha256 as s3s::crypto::Checksum>::new()),
        }
        hasher
    }

    /// The checksum of this algorithm in `sums`.
    pub fn pick(self, sums: Checksum) -> Option<String> {
        match self {
            Self::Crc32 => sums.checksum_crc32,
            Self::Crc32c => sums.checksum_crc32c,
            Self::Crc64nvme => sums.checksum_crc64nvme,
            Self::Sha1 => sums.checksum_sha1,
            Self::Sha256 => sums.checksum_sha256,
        }
    }
}

/// How an object's checksum comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Over the whole content.
    #[serde(rename = "full")]
    FullObject,
    /// Over the checksums of the parts, with `-N` behind it.
    #[serde(rename = "composite")]
    Composite,
}

impl Kind {
    /// S3's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FullObject => ChecksumType::FULL_OBJECT,
            Self::Composite => ChecksumType::COMPOSITE,
        }
    }
}

/// A checksum as it is stored with a version or a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredChecksum {
    /// The algorithm.
    #[serde(rename = "a")]
    pub algorithm: Algorithm,
    /// Base64, with `-N` behind it when it is composite.
    #[serde(rename = "v")]
    pub value: String,
    /// How it came about.
    #[serde(rename = "k")]
    pub kind: Kind,
}

impl StoredChecksum {
    /// As the protocol library wants it.
    pub fn to_dto(&self) -> Checksum {
        let mut sums = Checksum::default();
        let value = Some(self.value.clone());
        match self.algorithm {
            Algorithm::Crc32 => sums.checksum_crc32 = value,
            Algorithm::Crc32c => sums.checksum_crc32c = value,
            Algorithm::Crc64nvme => sums.checksum_crc64nvme = value,
            Algorithm::Sha1 => sums.checksum_sha1 = value,
            Algorithm::Sha256 => sums.checksum_sha256 = value,
        }
        sums.checksum_type = Some(ChecksumType::from_static(self.kind.name()));
        sums
    }
}

/// Puts a checksum's fields into an output that has them.
macro_rules! show_checksum {
    ($output:expr, $checksum:expr) => {
        if let Some(checksum) = $checksum {
            let sums = $crate::s3::checksums::StoredChecksum::to_dto(checksum);
            $output.checksum_crc32 = sums.checksum_crc32;
            $output.checksum_crc32c = sums.checksum_crc32c;
            $output.checksum_crc64nvme = sums.checksum_crc64nvme;
            $output.checksum_sha1 = sums.checksum_sha1;
            $output.checksum_sha256 = sums.checksum_sha256;
        }
    };
}
pub(super) use show_checksum;

/// What a client says of the bytes it sends.
#[derive(Debug, Clone)]
pub struct Declared {
    /// What to compute.
    pub algorithm: Algorithm,
    expected: Expected,
}

#[derive(Debug, Clone)]
enum Expected {
    Nothing,
    Value(String),
    Trailer,
}

impl Declared {
    /// What the request's headers declare. `named` is the algorithm of `x-amz-sdk-checksum-algorithm`, or of the
    /// upload that a part belongs to; `fallback` is computed when nothing is declared.
    pub fn from_headers(
        headers: &HeaderMap,
        named: Option<&ChecksumAlgorithm>,
        fallback: Algorithm,
    ) -> S3Result<Self> {
        if let Some(declared) = Self::in_headers(headers)? {
            return Ok(declared);
        }
        let trailers = headers.get_all("x-amz-trailer").iter().filter_map(|value| value.to_str().ok());
        for name in trailers.flat_map(|value| value.split(',')).map(str::trim) {
            let is_named = |algorithm: &Algorithm| algorithm.header().eq_ignore_ascii_case(name);
            if let Some(algorithm) = Algorithm::ALL.into_iter().find(is_named) {
                return Ok(Self { algorithm, expected: Expected::Trailer });
            }
            if name.to_ascii_lowercase().starts_with("x-amz-checksum-") {
                return Err(unsupported(name));
            }
        }
        let algorithm = named.map(Algorithm::parse).transpose()?.unwrap_or(fallback);
        Ok(Self { algorithm, expected: Expected::Nothing })
    }

    /// The one checksum value among the headers.
    pub fn in_headers(headers: &HeaderMap) -> S3Result<Option<Self>> {
        let mut found = None;
        for (name, value) in headers {
            let name = name.as_str();
            let Some(short) = name.strip_prefix("x-amz-checksum-") else { continue };
            if matches!(short, "mode" | "type" | "algorithm") {
                continue;
            }
            let algorithm = Algorithm::ALL.into_iter().find(|algorithm| algorithm.header() == name);
            let algorithm = algorithm.ok_or_else(|| unsupported(name))?;
            if found.is_some() {
                return Err(s3_error!(
                    InvalidRequest,
                    "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
                ));
            }
            let value = value.to_str().map_err(|_| invalid_value(algorithm))?;
            check_shape(algorithm, value)?;
            found = Some(Self { algorithm, expected: Expected::Value(value.to_owned()) });
        }
        Ok(found)
    }

    /// Compares with what the bytes sum to. Call it after the body's clean end, when trailers are there.
    pub fn verify(&self, computed: &str, trailers: Option<&TrailingHeaders>) -> S3Result<()> {
        let name = self.algorithm.header();
        let trailer;
        let expected = match &self.expected {
            Expected::Nothing => return Ok(()),
            Expected::Value(value) => value,
            Expected::Trailer => {
                let read = |headers: &HeaderMap| headers.get(name)?.to_str().ok().map(str::to_owned);
                let value = trailers.and_then(|trailers| trailers.read(read)).flatten();
                trailer = value.ok_or_else(malformed_trailer)?;
                check_shape(self.algorithm, &trailer)?;
                &trailer
            }
        };
        if expected == computed { Ok(()) } else { Err(mismatch(self.algorithm)) }
    }
}

fn check_shape(algorithm: Algorithm, value: &str) -> S3Result<()> {
    match STANDARD.decode(value) {
        Ok(bytes) if bytes.len() == algorithm.len() => Ok(()),
        _ => Err(invalid_value(algorithm)),
    }
}

/// No digest of that algorithm, so it cannot be the content's.
fn invalid_value(algorithm: Algorithm) -> S3Error {
    s3_error!(BadDigest, "Value for {} header is invalid.", algorithm.header())
}

fn unsupported(name: &str) -> S3Error {
    s3_error!(InvalidRequest, "{name} is not supported.")
}

fn malformed_trailer() -> S3Error {
    let code = S3ErrorCode::Custom("MalformedTrailerError".into());
    let mut error =
        S3Error::with_message(code, "The request contained trailing data that was not well-formed.");
    error.set_status_code(http::StatusCode::BAD_REQUEST);
    error
}

/// What a checksum that differs is answered with.
pub fn mismatch(algorithm: Algorithm) -> S3Error {
    s3_error!(BadDigest, "The {} you specified did not match the calculated checksum.", algorithm.name())
}

/// Reads a `Content-MD5` header.
pub fn parse_content_md5(value: &str) -> S3Result<[u8; 16]> {
    let bytes = STANDARD.decode(value).map_err(|_| s3_error!(InvalidDigest))?;
    bytes.try_into().map_err(|_| s3_error!(InvalidDigest))
}

/// The checksum of a multipart object from its parts' checksums (base64) and sizes in bytes.
///
/// `None` when a part's checksum is missing or malformed, or when the algorithm cannot be combined into a full one.
pub fn combine<'a>(
    algorithm: Algorithm,
    kind: Kind,
    parts: impl Iterator<Item = (&'a str, u64)>,
) -> Option<StoredChecksum> {
    let mut count = 0;
    let mut hasher = algorithm.hasher();
    let mut crc = 0;
    for (value, size) in parts {
        let bytes = STANDARD.decode(value).ok().filter(|bytes| bytes.len() == algorithm.len())?;
        match kind {
            Kind::Composite => hasher.update(&bytes),
            Kind::FullObject => {
                let part = bytes.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
                let crc_algorithm = algorithm.crc()?;
                crc = if count == 0 { part } else { combine_two(crc_algorithm, crc, part, size) };
            }
        }
        count += 1;
    }
    let value = match kind {
        Kind::Composite => format!("{}-{count}", algorithm.pick(hasher.finalize())?),
        Kind::FullObject => STANDARD.encode(&crc.to_be_bytes()[8 - algorithm.len()..]),
    };
    Some(StoredChecksum { algorithm, value, kind })
}

fn combine_two(algorithm: CrcAlgorithm, first: u64, second: u64, second_len: u64) -> u64 {
    crc_fast::checksum_combine(algorithm, first, second, second_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(algorithm: Algorithm, bytes: &[u8]) -> String {
        let mut hasher = algorithm.hasher();
        hasher.update(bytes);
        algorithm.pick(hasher.finalize()).unwrap()
    }

    #[test]
    fn full_checksums_of_parts_combine_to_that_of_the_whole() {
        let whole: Vec<u8> = (0..100_000_u32).map(|i| (i * 31 % 251) as u8).collect();
        for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64nvme] {
            for cuts in [vec![1, 99_999], vec![50_000, 50_000], vec![33_333, 33_333, 33_334], vec![100_000]] {
                let mut rest = whole.as_slice();
                let parts: Vec<(String, u64)> = cuts
                    .iter()
                    .map(|len| {
                        let (part, tail) = rest.split_at(*len);
                        rest = tail;
                        (sum(algorithm, part), *len as u64)
                    })
                    .collect();
                let parts = parts.iter().map(|(value, len)| (value.as_str(), *len));
                let combined = combine(algorithm, Kind::FullObject, parts).unwrap();
                assert_eq!(combined.value, sum(algorithm, &whole), "{algorithm:?} {cuts:?}");
            }
        }
    }

    #[test]
    fn a_composite_checksum_is_taken_over_the_parts_checksums() {
        let parts = [sum(Algorithm::Sha256, b"a"), sum(Algorithm::Sha256, b"b")];
        let raw: Vec<u8> = parts.iter().flat_map(|part| STANDARD.decode(part).unwrap()).collect();
        let combined =
            combine(Algorithm::Sha256, Kind::Composite, parts.iter().map(|part| (part.as_str(), 1))).unwrap();
        assert_eq!(combined.value, format!("{}-2", sum(Algorithm::Sha256, &raw)));
        assert!(combine(Algorithm::Sha256, Kind::FullObject, [(parts[0].as_str(), 1)].into_iter()).is_none());
    }

    #[test]
    fn a_declared_checksum_is_refused_unless_it_is_one_well_formed_value() {
        let declare = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            Declared::from_headers(&pairs.collect::<HeaderMap>(), None, Algorithm::Crc64nvme)
        };
        assert_eq!(declare(&[]).unwrap().algorithm, Algorithm::Crc64nvme);
        let declared = declare(&[("x-amz-checksum-crc32", "NSRBwg==")]).unwrap();
        assert!(declared.verify("NSRBwg==", None).is_ok());
        assert_eq!(*declared.verify("AAAAAA==", None).unwrap_err().code(), s3s::S3ErrorCode::BadDigest);
        for bad in [
            &[("x-amz-checksum-crc32", "NSRBwg=="), ("x-amz-checksum-crc32c", "NSRBwg==")][..],
            &[("x-amz-checksum-xxhash3", "NSRBwg==")],
        ] {
            assert_eq!(*declare(bad).unwrap_err().code(), s3s::S3ErrorCode::InvalidRequest, "{bad:?}");
        }
        for bad in ["NSRB", "?"] {
            let error = declare(&[("x-amz-checksum-crc32", bad)]).unwrap_err();
            assert_eq!(*error.code(), s3s::S3ErrorCode::BadDigest, "{bad}");
        }
    }
}

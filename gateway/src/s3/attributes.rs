//! What is stored beside a version's bytes: system headers, user metadata, the checksum.
//!
//! The catalog keeps it as JSON, sealed, which it cannot read. Field names are short because every row has them; what is
//! absent takes no space. `v` is the format's version.

use std::collections::BTreeMap;

use datamesh_pipeline::TextKind;
use s3s::{S3Result, s3_error};
use serde::{Deserialize, Serialize};

use super::checksums::{Algorithm, Kind, StoredChecksum};
use super::encryption::StoredEncryption;
use super::errors;
use super::stated::Stated;
use crate::row_key::RowKey;

/// S3's limit on user metadata: names and values together, in bytes.
const METADATA_LEN_MAX: usize = 2 << 10;

/// Attributes of a version or, before it is completed, of an upload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Version of this format.
    pub v: u8,
    /// `Content-Type`.
    #[serde(rename = "ct", default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// `Content-Encoding`, without the `aws-chunked` of the transfer.
    #[serde(rename = "ce", default, skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// `Content-Disposition`.
    #[serde(rename = "cd", default, skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    /// `Content-Language`.
    #[serde(rename = "cl", default, skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    /// `Cache-Control`.
    #[serde(rename = "cc", default, skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// `Expires`, as it was sent.
    #[serde(rename = "ex", default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// `x-amz-website-redirect-location`.
    #[serde(rename = "wr", default, skip_serializing_if = "Option::is_none")]
    pub website_redirect: Option<String>,
    /// `x-amz-meta-*`, names in lower case without the prefix.
    #[serde(rename = "m", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The checksum of the whole.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<StoredChecksum>,
    /// How it is encrypted, if not with its account's key.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<StoredEncryption>,
    /// Of an upload: the checksum that its completion will have.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<PlannedChecksum>,
    /// Of an upload: what its creation said of the object, which conditions see when parts and the completion come.
    #[serde(rename = "s", default, skip_serializing_if = "Stated::is_empty")]
    pub stated: Stated,
}

/// The checksum that an upload's completion computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedChecksum {
    /// The algorithm.
    #[serde(rename = "a")]
    pub algorithm: Algorithm,
    /// How it comes about.
    #[serde(rename = "k")]
    pub kind: Kind,
    /// Whether the client asked for it: otherwise listings do not mention it.
    #[serde(rename = "d")]
    pub declared: bool,
}

const FORMAT: u8 = 1;

impl Attributes {
    /// Attributes without anything.
    pub fn empty() -> Self {
        Self { v: FORMAT, ..Self::default() }
    }

    /// The stored form.
    pub fn seal(&self, rows: &RowKey) -> S3Result<String> {
        rows.seal_text(TextKind::Attributes, &self.encode()).map_err(errors::row)
    }

    fn encode(&self) -> String {
        serde_json::to_string(self).expect("attributes have only string keys")
    }

    /// Reads what a row said, once that was opened.
    ///
    /// # Errors
    /// `InternalError` when it was written by a later release, or is damaged.
    pub fn decode(text: &str) -> S3Result<Self> {
        let attributes: Self = serde_json::from_str(text).map_err(|error| s3_error!(error, InternalError))?;
        if attributes.v == FORMAT { Ok(attributes) } else { Err(s3_error!(InternalError)) }
    }

    /// Takes over user metadata.
    ///
    /// # Errors
    /// `MetadataTooLarge`.
    pub fn set_metadata(&mut self, metadata: Option<s3s::dto::Metadata>) -> S3Result<()> {
        let metadata = metadata.unwrap_or_default();
        let len: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
        if len > METADATA_LEN_MAX {
            return Err(s3_error!(MetadataTooLarge));
        }
        self.metadata =
            metadata.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        Ok(())
    }

    /// User metadata as the protocol library wants it.
    pub fn metadata_dto(&self) -> Option<s3s::dto::Metadata> {
        let pairs = || self.metadata.iter().map(|(name, value)| (name.clone(), value.clone()));
        (!self.metadata.is_empty()).then(|| pairs().collect())
    }
}

/// The stored `Content-Encoding`: `aws-chunked` describes the transfer, not the object.
pub fn stored_encoding(encoding: Option<String>) -> Option<String> {
    let encoding = encoding?;
    let is_chunked = |name: &str| name.trim().eq_ignore_ascii_case("aws-chunked");
    if !encoding.split(',').any(is_chunked) {
        return Some(encoding);
    }
    let kept = encoding.split(',').map(str::trim).filter(|name| !name.eq_ignore_ascii_case("aws-chunked"));
    let kept: Vec<&str> = kept.filter(|name| !name.is_empty()).collect();
    (!kept.is_empty()).then(|| kept.join(", "))
}

/// Takes the system headers that PUT, COPY and `CreateMultipartUpload` share out of an input.
macro_rules! attributes_of {
    ($input:expr) => {{
        let mut attributes = $crate::s3::attributes::Attributes::empty();
        attributes.content_type = $input.content_type.take();
        attributes.content_encoding = $crate::s3::attributes::stored_encoding($input.content_encoding.take());
        attributes.content_disposition = $input.content_disposition.take();
        attributes.content_language = $input.content_language.take();
        attributes.cache_control = $input.cache_control.take();
        attributes.expires = $input.expires.take();
        attributes.website_redirect = $input.website_redirect_location.take();
        attributes.set_metadata($input.metadata.take()).map(|()| attributes)
    }};
}
pub(super) use attributes_of;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_attributes_keep_their_form() {
        let mut attributes = Attributes::empty();
        assert_eq!(attributes.encode(), r#"{"v":1}"#);
        attributes.content_type = Some("text/plain".into());
        attributes.metadata.insert("a".into(), "b".into());
        attributes.checksum = Some(StoredChecksum {
            algorithm: Algorithm::Crc64nvme,
            value: "AAAAAAAAAAA=".into(),
            kind: Kind::FullObject,
        });
        let stored =
            r#"{"v":1,"ct":"text/plain","m":{"a":"b"},"c":{"a":"crc64nvme","v":"AAAAAAAAAAA=","k":"full"}}"#;
        assert_eq!(attributes.encode(), stored);
        assert_eq!(Attributes::decode(stored).unwrap(), attributes);
        assert!(Attributes::decode(r#"{"v":2}"#).is_err());
    }

    #[test]
    fn the_transfer_encoding_is_not_stored() {
        assert_eq!(stored_encoding(Some("aws-chunked".into())), None);
        assert_eq!(stored_encoding(Some("aws-chunked, gzip".into())).as_deref(), Some("gzip"));
        for kept in ["gzip", "deflate, gzip", "deflate,gzip"] {
            assert_eq!(stored_encoding(Some(kept.into())).as_deref(), Some(kept));
        }
    }
}

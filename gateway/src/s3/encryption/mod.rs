//! Server-side encryption: which key a version is sealed with, and what answers say of it.
//!
//! Everything is sealed, always; the three kinds of S3 differ in the key that takes part in it:
//!
//! | kind | key | dedup domain | stored with the version |
//! |---|---|---|---|
//! | SSE-S3 | the account's domain key | the account's | nothing |
//! | SSE-KMS | a named key of the bucket's account | one for each named key | the key's name |
//! | SSE-C | an object key of its own | the object's own | the object key's envelope, which only the customer's key opens |
//!
//! A version's key seals its inline bytes, its chunks and all of its parts alike; ranges are cut after opening. Whoever
//! names a version that is sealed with a customer's key must show that key, also to learn of it with HEAD. Copies with
//! such a version on either side write the bytes anew. The `ETag` of such a version is made
//! with the object key, and is no MD5 of the plaintext. What rows say of any version is sealed with the domain key besides,
//! see [`crate::row_key`].

mod bucket;
mod customer;
mod requested;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use datamesh_catalog::{Bucket, ConfigKind};
use datamesh_pipeline::{DomainKey, PipelineError, open_object_key, seal_object_key};
use datamesh_types::DomainId;
use http::{HeaderMap, HeaderValue, StatusCode};
use s3s::dto::ServerSideEncryption;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use serde::{Deserialize, Serialize};

use super::{S3Gateway, errors};

use bucket::BucketEncryption;
pub(super) use customer::{CustomerKey, customer_key, source_customer_key};
pub(super) use requested::{EncryptionHeaders, Requested, requested_encryption};

/// The named key that a request means which names none.
const DEFAULT_KEY: &str = "aws/s3";

/// How a version is encrypted, if not with its account's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "t")]
pub enum StoredEncryption {
    /// With an object key that a customer's key opens.
    #[serde(rename = "c")]
    Customer {
        /// The object key's envelope, in base64.
        #[serde(rename = "e")]
        envelope: String,
    },
    /// Under a named key.
    #[serde(rename = "n")]
    Named {
        /// The key, as the request or the bucket's default named it.
        #[serde(rename = "k")]
        key: String,
        /// The encryption context, as it was sent.
        #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
        context: Option<String>,
        /// Whether a bucket key was asked for.
        #[serde(rename = "b", default, skip_serializing_if = "std::ops::Not::not")]
        bucket_key: bool,
    },
}

/// The key of a version, or of an upload's parts.
pub(super) struct VersionKey {
    /// Seals and opens.
    pub key: DomainKey,
    /// The dedup domain of its chunks.
    pub domain: DomainId,
    /// What is stored with the version.
    pub stored: Option<StoredEncryption>,
    shown: ShownEncryption,
}

impl VersionKey {
    /// A key that is a dedup domain of its own.
    fn own(key: DomainKey, stored: StoredEncryption, customer: Option<&CustomerKey>) -> Self {
        let shown = ShownEncryption::new(Some(&stored), customer);
        Self { domain: key.own_domain(), key, stored: Some(stored), shown }
    }

    /// The `ETag` of content with this MD5.
    pub fn etag(&self, md5: [u8; 16]) -> String {
        match self.stored {
            Some(StoredEncryption::Customer { .. }) => hex::encode(self.key.entity_tag(&md5)),
            Some(StoredEncryption::Named { .. }) | None => hex::encode(md5),
        }
    }

    /// Whether a copy may share chunks that were sealed with this key.
    pub fn is_shareable(&self) -> bool {
        !matches!(self.stored, Some(StoredEncryption::Customer { .. }))
    }

    pub fn shown(&self) -> ShownEncryption {
        self.shown.clone()
    }
}

/// What an answer says of a version's encryption.
#[derive(Debug, Clone, Default)]
pub(super) struct ShownEncryption {
    pub algorithm: Option<ServerSideEncryption>,
    pub key: Option<String>,
    pub context: Option<String>,
    pub bucket_key: Option<bool>,
    pub customer_md5: Option<String>,
}

impl ShownEncryption {
    fn new(stored: Option<&StoredEncryption>, customer: Option<&CustomerKey>) -> Self {
        match stored {
            None => Self {
                algorithm: Some(ServerSideEncryption::from_static(ServerSideEncryption::AES256)),
                ..Self::default()
            },
            Some(StoredEncryption::Named { key, context, bucket_key }) => Self {
                algorithm: Some(ServerSideEncryption::from_static(ServerSideEncryption::AWS_KMS)),
                key: Some(key.clone()),
                context: context.clone(),
                bucket_key: bucket_key.then_some(true),
                ..Self::default()
            },
            Some(StoredEncryption::Customer { .. }) => {
                Self { customer_md5: customer.map(|key| key.md5().to_owned()), ..Self::default() }
            }
        }
    }

    pub fn customer_algorithm(&self) -> Option<String> {
        self.customer_md5.as_ref().map(|_| ServerSideEncryption::AES256.to_owned())
    }

    /// The customer's headers, for an answer whose output has no fields for them.
    pub fn customer_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(md5) = self.customer_md5.as_deref().and_then(|md5| HeaderValue::from_str(md5).ok()) {
            let algorithm = HeaderValue::from_static(ServerSideEncryption::AES256);
            headers.insert("x-amz-server-side-encryption-customer-algorithm", algorithm);
            headers.insert("x-amz-server-side-encryption-customer-key-md5", md5);
        }
        headers
    }
}

/// Puts what is shown of encryption into an output that has all the fields.
macro_rules! show_encryption {
    ($output:expr, $shown:expr) => {{
        let shown: $crate::s3::encryption::ShownEncryption = $shown;
        $output.sse_customer_algorithm = shown.customer_algorithm();
        $output.sse_customer_key_md5 = shown.customer_md5;
        $output.server_side_encryption = shown.algorithm;
        $output.ssekms_key_id = shown.key;
        $output.bucket_key_enabled = shown.bucket_key;
    }};
}
pub(super) use show_encryption;

impl S3Gateway {
    /// The key that a new version of the bucket is sealed with.
    ///
    /// # Errors
    /// `KMS.NotFoundException` for a named key that the account lacks; `AccessDenied` for an encryption that the
    /// bucket forbids.
    pub(super) async fn new_key(&self, bucket: &Bucket, requested: Requested) -> S3Result<VersionKey> {
        let default = self.config::<BucketEncryption>(bucket, ConfigKind::Encryption).await?;
        match requested {
            Requested::Customer(customer) => {
                if default.is_some_and(|default| default.refuses_customer_keys()) {
                    return Err(s3_error!(AccessDenied, "The bucket does not allow SSE-C encryption."));
                }
                self.new_customer_key(bucket, &customer).await
            }
            Requested::Named { key, context, bucket_key } => {
                let key = key.unwrap_or_else(|| DEFAULT_KEY.to_owned());
                self.key_of(bucket, Some(StoredEncryption::Named { key, context, bucket_key }), None).await
            }
            Requested::Default => {
                self.key_of(bucket, default.and_then(|default| default.stored()), None).await
            }
            Requested::Gateway => self.account_key(bucket).await,
        }
    }

    /// The key that a version, or an upload's parts, were and are sealed with.
    ///
    /// # Errors
    /// `InvalidRequest` without the customer's key where it takes one, with another, or with one where it takes none.
    pub(super) async fn key_of(
        &self,
        bucket: &Bucket,
        stored: Option<StoredEncryption>,
        customer: Option<&CustomerKey>,
    ) -> S3Result<VersionKey> {
        match (stored, customer) {
            (None, None) => self.account_key(bucket).await,
            (Some(StoredEncryption::Named { key: name, context, bucket_key }), None) => {
                let key = self.named_key(bucket, &name).await?;
                Ok(VersionKey::own(key, StoredEncryption::Named { key: name, context, bucket_key }, None))
            }
            (Some(StoredEncryption::Customer { envelope }), Some(customer)) => {
                let key = self.object_key(bucket, &envelope, customer).await?;
                Ok(VersionKey::own(key, StoredEncryption::Customer { envelope }, Some(customer)))
            }
            (Some(StoredEncryption::Customer { .. }), None) => Err(s3_error!(
                InvalidRequest,
                "The object was stored using a form of Server Side Encryption. The correct parameters must be provided \
                 to retrieve the object."
            )),
            (None | Some(StoredEncryption::Named { .. }), Some(_)) => {
                Err(s3_error!(InvalidRequest, "The encryption parameters are not applicable to this object."))
            }
        }
    }

    /// [`Self::key_of`], for the parts of an upload: what a client has to do is said in other words.
    pub(super) async fn key_of_parts(
        &self,
        bucket: &Bucket,
        stored: Option<StoredEncryption>,
        customer: Option<&CustomerKey>,
    ) -> S3Result<VersionKey> {
        match (&stored, customer) {
            (Some(StoredEncryption::Customer { .. }), None) => Err(s3_error!(
                InvalidRequest,
                "The multipart upload initiate requested encryption. Subsequent part requests must include the \
                 appropriate encryption parameters."
            )),
            (None | Some(StoredEncryption::Named { .. }), Some(_)) => Err(s3_error!(
                InvalidRequest,
                "The multipart upload initiate did not request encryption. Please resend the request without sending \
                 encryption parameters."
            )),
            _ => self.key_of(bucket, stored, customer).await,
        }
    }

    async fn account_key(&self, bucket: &Bucket) -> S3Result<VersionKey> {
        let key = self.keyring.domain_key(bucket.domain).await.map_err(errors::accounts)?;
        let shown = ShownEncryption::new(None, None);
        Ok(VersionKey { key, domain: bucket.domain, stored: None, shown })
    }

    async fn named_key(&self, bucket: &Bucket, name: &str) -> S3Result<DomainKey> {
        let key = self.keyring.named_key(bucket.account, bare_name(name)).await.map_err(errors::accounts)?;
        key.ok_or_else(|| no_such_key(name))
    }

    async fn new_customer_key(&self, bucket: &Bucket, customer: &CustomerKey) -> S3Result<VersionKey> {
        let domain = self.keyring.domain_key(bucket.domain).await.map_err(errors::accounts)?;
        let (key, envelope) = seal_object_key(&domain, customer.bytes()).map_err(internal)?;
        let stored = StoredEncryption::Customer { envelope: STANDARD.encode(envelope) };
        Ok(VersionKey::own(key, stored, Some(customer)))
    }

    async fn object_key(
        &self,
        bucket: &Bucket,
        envelope: &str,
        customer: &CustomerKey,
    ) -> S3Result<DomainKey> {
        let envelope = STANDARD.decode(envelope).map_err(|error| s3_error!(error, InternalError))?;
        let domain = self.keyring.domain_key(bucket.domain).await.map_err(errors::accounts)?;
        open_object_key(&domain, customer.bytes(), &envelope).map_err(|error| match error {
            PipelineError::NotAuthentic => s3_error!(
                InvalidRequest,
                "The provided encryption parameters did not match the ones used originally."
            ),
            error => internal(error),
        })
    }
}

/// Reads name no encryption but the customer's: which other a version has is not for the reader to say.
pub(super) fn check_read_headers(headers: &HeaderMap) -> S3Result<()> {
    if headers.contains_key("x-amz-server-side-encryption") {
        return Err(s3_error!(
            InvalidArgument,
            "x-amz-server-side-encryption header is not supported for this operation."
        ));
    }
    Ok(())
}

/// The name in an ARN, of a key or of an alias, or the text itself.
fn bare_name(key: &str) -> &str {
    let name = match key.strip_prefix("arn:").and_then(|arn| arn.splitn(5, ':').nth(4)) {
        Some(resource) => resource.strip_prefix("key/").unwrap_or(resource),
        None => key,
    };
    name.strip_prefix("alias/").unwrap_or(name)
}

fn no_such_key(name: &str) -> S3Error {
    let code = S3ErrorCode::Custom("KMS.NotFoundException".into());
    let mut error = S3Error::with_message(code, format!("Key '{name}' does not exist"));
    error.set_status_code(StatusCode::BAD_REQUEST);
    error
}

fn internal(error: PipelineError) -> S3Error {
    s3_error!(error, InternalError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_itself_its_arn_or_its_alias() {
        for text in [
            "k",
            "alias/k",
            "arn:aws:kms:eu-1:123456789012:key/k",
            "arn:aws:kms:eu-1:123456789012:alias/k",
            "arn:aws:kms:::key/k",
        ] {
            assert_eq!(bare_name(text), "k", "{text}");
        }
        assert_eq!(bare_name("a/b"), "a/b");
        assert_eq!(bare_name("alias/aws/s3"), DEFAULT_KEY);
    }

    #[test]
    fn stored_encryption_keeps_its_form() {
        let named = StoredEncryption::Named { key: "k".into(), context: None, bucket_key: false };
        let customer = StoredEncryption::Customer { envelope: "AA==".into() };
        for (encryption, form) in [(named, r#"{"t":"n","k":"k"}"#), (customer, r#"{"t":"c","e":"AA=="}"#)] {
            assert_eq!(serde_json::to_string(&encryption).unwrap(), form);
            assert_eq!(serde_json::from_str::<StoredEncryption>(form).unwrap(), encryption);
        }
    }
}

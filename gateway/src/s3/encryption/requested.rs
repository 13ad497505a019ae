//! What encryption a write asks for in its headers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use s3s::dto::ServerSideEncryption;
use s3s::{S3Result, s3_error};

use super::CustomerKey;

/// S3's limit on an encryption context, in bytes.
const CONTEXT_LEN_MAX: usize = 8 << 10;

/// The encryption that a write asks for.
#[derive(Debug)]
pub(in crate::s3) enum Requested {
    /// None: the bucket's default applies.
    Default,
    /// With keys of the gateway's (SSE-S3).
    Gateway,
    /// Under a named key of the bucket owner's (SSE-KMS).
    Named {
        /// The key; `None` asks for the account's default key.
        key: Option<String>,
        /// The encryption context as it was sent.
        context: Option<String>,
        /// Whether the client asked for a bucket key; it makes no difference here but is shown.
        bucket_key: bool,
    },
    /// With a key that only the customer has (SSE-C).
    Customer(CustomerKey),
}

/// The headers, as inputs hold them.
pub(in crate::s3) struct EncryptionHeaders<'a> {
    pub algorithm: Option<&'a ServerSideEncryption>,
    pub key: Option<&'a str>,
    pub context: Option<&'a str>,
    pub bucket_key: Option<bool>,
    pub customer: Option<CustomerKey>,
}

impl Requested {
    /// # Errors
    /// `InvalidArgument` for an unknown algorithm and for headers that exclude each other.
    pub fn new(headers: EncryptionHeaders<'_>) -> S3Result<Self> {
        let EncryptionHeaders { algorithm, key, context, bucket_key, customer } = headers;
        let algorithm = algorithm.map(ServerSideEncryption::as_str);
        if let Some(customer) = customer {
            if algorithm.is_some() || key.is_some() {
                return Err(s3_error!(
                    InvalidArgument,
                    "Server Side Encryption with Customer provided key is incompatible with the encryption method specified"
                ));
            }
            return Ok(Self::Customer(customer));
        }
        match algorithm {
            Some(ServerSideEncryption::AWS_KMS) => {
                context.map(check_context).transpose()?;
                Ok(Self::Named {
                    key: key.map(str::to_owned),
                    context: context.map(str::to_owned),
                    bucket_key: bucket_key.unwrap_or_default(),
                })
            }
            None | Some(ServerSideEncryption::AES256) if key.is_some() || context.is_some() => {
                Err(s3_error!(
                    InvalidArgument,
                    "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : \
                 aws:kms"
                ))
            }
            None => Ok(Self::Default),
            Some(ServerSideEncryption::AES256) => Ok(Self::Gateway),
            Some(_) => Err(s3_error!(InvalidArgument, "The encryption method specified is not supported")),
        }
    }

    /// Whether the request says anything of encryption.
    pub fn is_explicit(&self) -> bool {
        !matches!(self, Self::Default)
    }
}

/// A context is a JSON object of strings, in base64.
fn check_context(context: &str) -> S3Result<()> {
    let parse = || {
        let json = STANDARD.decode(context).ok()?;
        serde_json::from_slice::<std::collections::BTreeMap<String, String>>(&json).ok()
    };
    match parse() {
        Some(_) if context.len() <= CONTEXT_LEN_MAX => Ok(()),
        _ => Err(s3_error!(
            InvalidArgument,
            "The header 'x-amz-server-side-encryption-context' shall be Base64-encoded UTF-8 string holding JSON \
             which represents a string-string map"
        )),
    }
}

/// The encryption that an input of PUT, COPY or `CreateMultipartUpload` asks for.
macro_rules! requested_encryption {
    ($input:expr) => {
        $crate::s3::encryption::customer_key!($input).and_then(|customer| {
            $crate::s3::encryption::Requested::new($crate::s3::encryption::EncryptionHeaders {
                algorithm: $input.server_side_encryption.as_ref(),
                key: $input.ssekms_key_id.as_deref(),
                context: $input.ssekms_encryption_context.as_deref(),
                bucket_key: $input.bucket_key_enabled,
                customer,
            })
        })
    };
}
pub(in crate::s3) use requested_encryption;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(algorithm: Option<&'static str>, key: Option<&str>, customer: bool) -> S3Result<Requested> {
        let algorithm = algorithm.map(ServerSideEncryption::from_static);
        let customer = CustomerKey::new(
            customer.then_some("AES256"),
            customer.then_some("pO3upElrwuEXSoFwCfnZPdSsmt/xWeFa0N9KgDijwVs="),
            customer.then_some("DWygnHRtgiJ77HCm+1rvHw=="),
        );
        Requested::new(EncryptionHeaders {
            algorithm: algorithm.as_ref(),
            key,
            context: None,
            bucket_key: None,
            customer: customer.unwrap(),
        })
    }

    #[test]
    fn headers_ask_for_one_encryption_or_are_refused() {
        assert!(matches!(request(None, None, false), Ok(Requested::Default)));
        assert!(matches!(request(Some("AES256"), None, false), Ok(Requested::Gateway)));
        assert!(matches!(request(Some("aws:kms"), None, false), Ok(Requested::Named { key: None, .. })));
        assert!(matches!(
            request(Some("aws:kms"), Some("k"), false),
            Ok(Requested::Named { key: Some(_), .. })
        ));
        assert!(matches!(request(None, None, true), Ok(Requested::Customer(_))));
        for (algorithm, key, customer) in [
            (Some("AES256"), None, true),
            (Some("aws:kms"), Some("k"), true),
            (None, Some("k"), true),
            (Some("AES256"), Some("k"), false),
            (None, Some("k"), false),
            (Some("aes:kms"), None, false),
            (Some("aws:kms:dsse"), Some("k"), false),
        ] {
            let error = request(algorithm, key, customer).unwrap_err();
            let what = format!("{algorithm:?} {key:?} {customer}");
            assert_eq!(*error.code(), s3s::S3ErrorCode::InvalidArgument, "{what}");
        }
    }

    #[test]
    fn a_context_is_a_map_of_strings_in_base64() {
        check_context(&STANDARD.encode(r#"{"a":"b"}"#)).unwrap();
        for context in ["?", &STANDARD.encode("[]"), &STANDARD.encode(r#"{"a":1}"#)] {
            assert!(check_context(context).is_err(), "{context}");
        }
    }
}

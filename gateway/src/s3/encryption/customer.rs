//! A customer's own key (SSE-C), as it comes with each request. It is never stored, nor anything it could be told by.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use s3s::dto::ServerSideEncryption;
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};
use zeroize::{Zeroize, Zeroizing};

const KEY_LEN: usize = 32;

/// The key of a request.
pub(in crate::s3) struct CustomerKey {
    bytes: Zeroizing<[u8; KEY_LEN]>,
    /// As the client sent it: answers repeat it.
    md5: String,
}

impl CustomerKey {
    /// The key that three headers give, all of which a client must send. `None` without any of them.
    ///
    /// # Errors
    /// `InvalidArgument` when they are incomplete or contradict each other, `InvalidEncryptionAlgorithmError`.
    pub fn new(algorithm: Option<&str>, key: Option<&str>, md5: Option<&str>) -> S3Result<Option<Self>> {
        let Some(algorithm) = algorithm else {
            return match (key, md5) {
                (None, None) => Ok(None),
                _ => Err(incomplete("a valid encryption algorithm")),
            };
        };
        if algorithm != ServerSideEncryption::AES256 {
            return Err(invalid_algorithm());
        }
        let key = key.ok_or_else(|| incomplete("an appropriate secret key"))?;
        let md5 = md5.ok_or_else(|| incomplete("the client calculated MD5 of the secret key"))?;
        let bytes = decode(key).ok_or_else(|| {
            s3_error!(InvalidArgument, "The secret key was invalid for the specified algorithm.")
        })?;
        let digest: [u8; 16] = Md5::digest(*bytes).into();
        if STANDARD.decode(md5).ok().as_deref() != Some(&digest[..]) {
            return Err(s3_error!(
                InvalidArgument,
                "The calculated MD5 hash of the key did not match the hash that was provided."
            ));
        }
        Ok(Some(Self { bytes, md5: md5.to_owned() }))
    }

    pub fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.bytes
    }

    /// MD5 of the key in base64, as the client sent it.
    pub fn md5(&self) -> &str {
        &self.md5
    }
}

impl fmt::Debug for CustomerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CustomerKey(..)")
    }
}

fn decode(key: &str) -> Option<Zeroizing<[u8; KEY_LEN]>> {
    let mut decoded = STANDARD.decode(key).ok()?;
    let bytes = decoded.as_slice().try_into().ok().map(Zeroizing::new);
    decoded.zeroize();
    bytes
}

fn incomplete(what: &str) -> S3Error {
    s3_error!(
        InvalidArgument,
        "Requests specifying Server Side Encryption with Customer provided keys must provide {what}."
    )
}

fn invalid_algorithm() -> S3Error {
    S3Error::with_message(
        S3ErrorCode::InvalidEncryptionAlgorithmError,
        "The encryption request you specified is not valid. The valid value is AES256.",
    )
}

/// The customer's key in an input's fields.
macro_rules! customer_key {
    ($input:expr) => {
        $crate::s3::encryption::CustomerKey::new(
            $input.sse_customer_algorithm.as_deref(),
            $input.sse_customer_key.as_deref(),
            $input.sse_customer_key_md5.as_deref(),
        )
    };
}
pub(in crate::s3) use customer_key;

/// The customer's key that a copy's source is to be read with.
macro_rules! source_customer_key {
    ($input:expr) => {
        $crate::s3::encryption::CustomerKey::new(
            $input.copy_source_sse_customer_algorithm.as_deref(),
            $input.copy_source_sse_customer_key.as_deref(),
            $input.copy_source_sse_customer_key_md5.as_deref(),
        )
    };
}
pub(in crate::s3) use source_customer_key;

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "pO3upElrwuEXSoFwCfnZPdSsmt/xWeFa0N9KgDijwVs=";
    const MD5: &str = "DWygnHRtgiJ77HCm+1rvHw==";

    #[test]
    fn a_key_must_be_complete_and_match_its_digest() {
        assert!(CustomerKey::new(None, None, None).unwrap().is_none());
        let key = CustomerKey::new(Some("AES256"), Some(KEY), Some(MD5)).unwrap().unwrap();
        assert_eq!(STANDARD.encode(key.bytes()), KEY);
        assert_eq!(format!("{key:?}"), "CustomerKey(..)");
        let short = STANDARD.encode([0; 31]);
        for (algorithm, key, md5) in [
            (None, Some(KEY), Some(MD5)),
            (None, None, Some(MD5)),
            (Some("AES256"), None, Some(MD5)),
            (Some("AES256"), Some(KEY), None),
            (Some("AES256"), Some(KEY), Some("AAAAAAAAAAAAAAAAAAAAAA==")),
            (Some("AES256"), Some(KEY), Some("?")),
            (Some("AES256"), Some("?"), Some(MD5)),
            (Some("AES256"), Some(&short), Some(MD5)),
        ] {
            let error = CustomerKey::new(algorithm, key, md5).unwrap_err();
            assert_eq!(*error.code(), S3ErrorCode::InvalidArgument, "{algorithm:?} {key:?} {md5:?}");
        }
        let error = CustomerKey::new(Some("AES192"), Some(KEY), Some(MD5)).unwrap_err();
        assert_eq!(*error.code(), S3ErrorCode::InvalidEncryptionAlgorithmError);
    }
}

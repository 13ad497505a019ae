//! Signatures of forms: over the encoded policy, with Signature Version 4 or, as old forms have it, Version 2.
//!
//! Version 2 is taken for forms only: what it signs is the policy, whose every condition is checked, and HMAC-SHA1 is
//! sound for that.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use s3s::{S3Error, S3Result, s3_error};
use time::macros::format_description;
use time::{Duration, OffsetDateTime, PrimitiveDateTime};

use super::form::Form;
use crate::s3::signing::{Carrier, SignatureVersion, Signing};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How far a form's clock may be ahead.
const SKEW_MAX: Duration = Duration::minutes(15);
/// How long a form may be used after it was signed, whatever its policy says.
const AGE_MAX: Duration = Duration::days(7);

/// Who signed a form, by its own account.
#[derive(Debug)]
pub(super) struct FormSignature<'a> {
    pub access_key: &'a str,
    /// The encoded policy: what is signed.
    pub policy: &'a str,
    tag: Vec<u8>,
    version: Version<'a>,
}

#[derive(Debug)]
enum Version<'a> {
    Two,
    /// Date, region and service of the signing key.
    Four {
        scope: [&'a str; 3],
    },
}

impl<'a> FormSignature<'a> {
    /// The signature of a form; `None` when it has neither signature nor policy.
    ///
    /// # Errors
    /// `InvalidArgument` for one without the other, and for malformed fields; `AccessDenied` for an old one.
    pub fn find(form: &'a Form, now: OffsetDateTime) -> S3Result<Option<Self>> {
        let four = form.field("x-amz-signature");
        let two = form.field("signature");
        let Some(policy) = form.field("policy") else {
            return if four.or(two).is_some() { Err(missing("policy")) } else { Ok(None) };
        };
        if let Some(signature) = four {
            return Self::four(form, policy, signature, now).map(Some);
        }
        let access_key = form.field("awsaccesskeyid").ok_or_else(|| missing("AWSAccessKeyId"))?;
        let signature = two.ok_or_else(|| missing("Signature"))?;
        let tag = STANDARD.decode(signature).map_err(|_| mismatch())?;
        Ok(Some(Self { access_key, policy, tag, version: Version::Two }))
    }

    fn four(form: &'a Form, policy: &'a str, signature: &str, now: OffsetDateTime) -> S3Result<Self> {
        let field = |name: &'static str| form.field(name).ok_or_else(|| missing(name));
        if field("x-amz-algorithm")? != ALGORITHM {
            return Err(s3_error!(InvalidArgument, "X-Amz-Algorithm only supports \"{ALGORITHM}\""));
        }
        let credential = field("x-amz-credential")?;
        let invalid = || s3_error!(InvalidArgument, "Invalid value for X-Amz-Credential");
        let mut parts = credential.rsplitn(5, '/');
        let (Some("aws4_request"), Some(service), Some(region), Some(date), Some(access_key)) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(invalid());
        };
        let signed_at = field("x-amz-date")?;
        if service != "s3" || signed_at.get(..8) != Some(date) {
            return Err(invalid());
        }
        let format = format_description!("[year][month][day]T[hour][minute][second]Z");
        let signed = PrimitiveDateTime::parse(signed_at, format);
        let signed =
            signed.map_err(|_| s3_error!(InvalidArgument, "Invalid value for X-Amz-Date"))?.assume_utc();
        if signed > now + SKEW_MAX || signed < now - AGE_MAX {
            return Err(s3_error!(AccessDenied, "The form was signed too long ago, or in the future."));
        }
        let tag = hex::decode(signature).map_err(|_| mismatch())?;
        Ok(Self { access_key, policy, tag, version: Version::Four { scope: [date, region, service] } })
    }

    /// How the form is signed.
    pub fn signing(&self) -> Signing {
        let version = match self.version {
            Version::Two => SignatureVersion::Two,
            Version::Four { .. } => SignatureVersion::Four,
        };
        Signing { carrier: Carrier::Form, version }
    }

    /// Whether the secret made it. Takes as long for a wrong signature as for a right one.
    ///
    /// # Errors
    /// `SignatureDoesNotMatch`.
    pub fn verify(&self, secret: &str) -> S3Result<()> {
        let key = match self.version {
            Version::Two => hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes()),
            Version::Four { scope } => {
                let first = hmac::Key::new(hmac::HMAC_SHA256, format!("AWS4{secret}").as_bytes());
                scope.iter().chain(&["aws4_request"]).fold(first, |key, part| {
                    hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref())
                })
            }
        };
        hmac::verify(&key, self.policy.as_bytes(), &self.tag).map_err(|_| mismatch())
    }
}

fn missing(field: &str) -> S3Error {
    s3_error!(InvalidArgument, "Bucket POST must contain a field named '{field}'.")
}

fn mismatch() -> S3Error {
    s3_error!(SignatureDoesNotMatch)
}

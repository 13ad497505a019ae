//! At whose expense a request runs: first whoever signed it, then the bucket and its owner.
//!
//! A request waits here while an owner is over a rate, and is refused when that takes too long. What it moves is taken of
//! the month's quota before it moves.

use std::sync::Arc;

use datamesh_accounts::{Accounts, Direction, Effect, Owner, RequestClass};
use datamesh_catalog::Bucket;
use http::{HeaderMap, Method};
use s3s::{S3Error, S3Result};

use super::caller::{Caller, Identity};
use super::{S3Gateway, errors};
use crate::http::RequestTrace;

/// All operations of the token service together.
pub(super) const TOKEN_SERVICE: &str = "TokenService";

/// What holds have to know of an operation.
fn effect(operation: &str, method: &Method) -> Effect {
    match (operation, method) {
        ("DeleteObjects", _) | (_, &Method::DELETE) => Effect::Delete,
        // Credentials are needed for reading, too.
        (TOKEN_SERVICE, _) | (_, &Method::GET | &Method::HEAD | &Method::OPTIONS) => Effect::Read,
        _ => Effect::Write,
    }
}

/// What an operation is metered as: S3's price lists count listings with the writes, and deletions and temporary
/// credentials not at all.
fn class(operation: &str, method: &Method) -> RequestClass {
    match (operation, method) {
        ("DeleteObjects" | TOKEN_SERVICE, _) | (_, &Method::DELETE) => RequestClass::Free,
        (listing, _) if listing.starts_with("List") => RequestClass::A,
        (_, &Method::PUT | &Method::POST) => RequestClass::A,
        _ => RequestClass::B,
    }
}

/// Admits whoever signed the request.
///
/// # Errors
/// `SlowDown`, `AccessDenied` while the account is held.
pub(super) async fn admit(
    accounts: &Accounts,
    trace: &RequestTrace,
    identity: &Identity,
    (operation, method): (&str, &Method),
) -> S3Result<()> {
    let effect = effect(operation, method);
    let admission = trace.admit(accounts.admission(class(operation, method)), effect);
    let (Identity::Key(key) | Identity::Session { key, .. }) = identity else { return Ok(()) };
    let access_key: Arc<str> = key.access_key_id.as_str().into();
    for owner in [Owner::Account(key.account), Owner::Key(Arc::clone(&access_key))] {
        admission.enter(&owner, effect).await.map_err(errors::accounts)?;
    }
    admission.signed_by(key.account, access_key);
    Ok(())
}

impl S3Gateway {
    /// Puts a request at the expense of the bucket that it is about, and of its owner; its body, too.
    ///
    /// # Errors
    /// Those of [`admit`]; `QuotaExceeded`.
    pub(super) async fn enter_bucket(&self, caller: &Caller<'_>, bucket: &Bucket) -> S3Result<()> {
        let Some((admission, effect)) = caller.admission() else { return Ok(()) };
        for owner in [Owner::Account(bucket.account), Owner::Bucket(bucket.id.0)] {
            admission.enter(&owner, effect).await.map_err(errors::accounts)?;
        }
        admission.let_in(bucket.account, bucket.id.0);
        let Some(len) = caller.take_body_len() else { return Ok(()) };
        admission.take(Direction::Received, len).await.map_err(errors::accounts)
    }

    /// Takes what an answer will send of the month's quota.
    ///
    /// # Errors
    /// `QuotaExceeded`.
    pub(super) async fn take_egress(&self, caller: &Caller<'_>, len: u64) -> S3Result<()> {
        let Some((admission, _)) = caller.admission() else { return Ok(()) };
        admission.take(Direction::Sent, len).await.map_err(errors::accounts)
    }

    /// Checks the size of an object to be written.
    ///
    /// # Errors
    /// `QuotaExceeded`.
    pub(super) async fn check_object_size(&self, bucket: &Bucket, size: u64) -> S3Result<()> {
        let owners = [Owner::Account(bucket.account), Owner::Bucket(bucket.id.0)];
        self.accounts.check_object_size(&owners, size).await.map_err(errors::accounts)
    }
}

/// The length of a request's body, if it is declared.
pub(super) fn declared_body_len(headers: &HeaderMap) -> Option<u64> {
    headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A rate is exceeded, and the client should know when it is worth trying again.
pub(super) fn slow_down(retry_after_seconds: u64, message: String) -> S3Error {
    let mut error = S3Error::with_message(s3s::S3ErrorCode::SlowDown, message);
    error.set_status_code(http::StatusCode::SERVICE_UNAVAILABLE);
    let mut headers = HeaderMap::new();
    headers.insert(http::header::RETRY_AFTER, http::HeaderValue::from(retry_after_seconds.max(1)));
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/xml"));
    error.set_headers(headers);
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_know_reading_from_writing_from_deleting() {
        for (operation, method, expected) in [
            ("GetObject", Method::GET, Effect::Read),
            ("HeadObject", Method::HEAD, Effect::Read),
            ("PutObject", Method::PUT, Effect::Write),
            ("CreateMultipartUpload", Method::POST, Effect::Write),
            ("DeleteObject", Method::DELETE, Effect::Delete),
            ("AbortMultipartUpload", Method::DELETE, Effect::Delete),
            ("DeleteObjects", Method::POST, Effect::Delete),
        ] {
            assert_eq!(effect(operation, &method), expected, "{operation}");
        }
    }

    #[test]
    fn requests_are_metered_in_the_classes_of_s3() {
        for (operation, method, expected) in [
            ("PutObject", Method::PUT, RequestClass::A),
            ("CopyObject", Method::PUT, RequestClass::A),
            ("UploadPart", Method::PUT, RequestClass::A),
            ("CompleteMultipartUpload", Method::POST, RequestClass::A),
            ("PostObject", Method::POST, RequestClass::A),
            ("ListObjectsV2", Method::GET, RequestClass::A),
            ("ListBuckets", Method::GET, RequestClass::A),
            ("ListParts", Method::GET, RequestClass::A),
            ("GetObject", Method::GET, RequestClass::B),
            ("HeadObject", Method::HEAD, RequestClass::B),
            ("GetBucketAcl", Method::GET, RequestClass::B),
            ("DeleteObject", Method::DELETE, RequestClass::Free),
            ("AbortMultipartUpload", Method::DELETE, RequestClass::Free),
            ("DeleteObjects", Method::POST, RequestClass::Free),
        ] {
            assert_eq!(class(operation, &method), expected, "{operation}");
        }
    }
}

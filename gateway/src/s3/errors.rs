//! The one mapping from the errors of the crates below to S3's codes.
//!
//! A cause that the client can do something about is in the message. Any other stays in the error's source, for the
//! log; the message is S3's own. A 503 says that trying again may help.

use datamesh_accounts::AccountsError;
use datamesh_backend::BackendError;
use datamesh_catalog::{CatalogError, Version};
use datamesh_db::DbError;
use http::{HeaderMap, HeaderValue, StatusCode};
use s3s::stream::aws_chunked_stream::AwsChunkedStreamError;
use s3s::stream::upload_stream::UploadStreamError;
use s3s::{BodySizeLimitExceeded, S3Error, S3ErrorCode, StdError, s3_error};

use super::admission::slow_down;
use super::post::FormError;
use crate::ingest::IngestError;
use crate::retrieve::RetrieveError;
use crate::row_key::RowError;

type Source = Box<dyn std::error::Error + Send + Sync>;

fn with(code: S3ErrorCode, source: impl Into<Source>) -> S3Error {
    S3Error::with_source(code, source.into())
}

fn internal(source: impl Into<Source>) -> S3Error {
    with(S3ErrorCode::InternalError, source)
}

fn unavailable(source: impl Into<Source>) -> S3Error {
    with(S3ErrorCode::ServiceUnavailable, source)
}

/// There is no code of S3's for a full disk, as S3 has none.
fn full(source: impl Into<Source>) -> S3Error {
    let mut error = with(S3ErrorCode::Custom("InsufficientStorage".into()), source);
    error.set_message("The storage is full.");
    error.set_status_code(StatusCode::INSUFFICIENT_STORAGE);
    error
}

/// Errors of the catalog.
pub(super) fn catalog(error: CatalogError) -> S3Error {
    match error {
        CatalogError::Db(error) => db(error),
        CatalogError::NoSuchBucket => s3_error!(NoSuchBucket),
        CatalogError::BucketExists { .. } => s3_error!(BucketAlreadyExists),
        CatalogError::BucketNotEmpty => s3_error!(BucketNotEmpty),
        CatalogError::NoSuchKey => s3_error!(NoSuchKey),
        CatalogError::NoSuchVersion => s3_error!(NoSuchVersion),
        CatalogError::NoSuchUpload => s3_error!(NoSuchUpload),
        CatalogError::Locked => {
            s3_error!(AccessDenied, "Access Denied because object protected by object lock.")
        }
        CatalogError::InvalidBucketState => s3_error!(InvalidBucketState),
        CatalogError::PreconditionFailed => s3_error!(PreconditionFailed),
        CatalogError::InvalidPart { .. } => s3_error!(InvalidPart),
        CatalogError::InvalidPartOrder => s3_error!(InvalidPartOrder),
        CatalogError::PartTooSmall { .. } => s3_error!(EntityTooSmall),
        // Writing the same object again succeeds, and clients do that on a 503.
        error @ (CatalogError::ManifestGone | CatalogError::ChunkGone { .. }) => unavailable(error),
        error @ (CatalogError::SizeMismatch { .. }
        | CatalogError::DomainMismatch
        | CatalogError::NoSuchGroup { .. }
        | CatalogError::GroupChanged { .. }
        | CatalogError::WrongGroupSize { .. }
        | CatalogError::Corrupt { .. }) => internal(error),
    }
}

fn db(error: DbError) -> S3Error {
    match error {
        DbError::Rejected { source } => match source.downcast::<AccountsError>() {
            Ok(refused) => accounts(*refused),
            Err(source) => internal(source),
        },
        error @ (DbError::Full | DbError::ReadOnly) => full(error),
        error if error.is_transient() => unavailable(error),
        error => internal(error),
    }
}

/// Errors of backends.
pub(super) fn backend(error: BackendError) -> S3Error {
    match error {
        error @ BackendError::Full => full(error),
        error @ BackendError::Unavailable { .. } => unavailable(error),
        error
        @ (BackendError::NotFound { .. } | BackendError::Lost { .. } | BackendError::Corrupt { .. }) => {
            let mut lost = internal(error);
            lost.set_message("The object's data cannot be read.");
            lost
        }
        error @ (BackendError::InvalidLength { .. } | BackendError::Conflict { .. }) => internal(error),
    }
}

/// Errors of what rows say.
pub(super) fn row(error: RowError) -> S3Error {
    internal(error)
}

/// Errors of writing a body.
pub(super) fn ingest(error: IngestError) -> S3Error {
    match error {
        IngestError::Body { source } => body(source),
        IngestError::Length { .. } => s3_error!(IncompleteBody),
        IngestError::Backend(error) => backend(error),
        IngestError::Catalog(error) => catalog(error),
        error @ (IngestError::Pipeline(_) | IngestError::Worker(_)) => internal(error),
    }
}

/// Errors of reading a version.
pub(super) fn retrieve(error: RetrieveError) -> S3Error {
    match error {
        RetrieveError::Catalog(error) => catalog(error),
        RetrieveError::Backend(error) => backend(error),
        error @ (RetrieveError::Pipeline(_)
        | RetrieveError::UnknownBackend { .. }
        | RetrieveError::Length { .. }
        | RetrieveError::Worker(_)) => internal(error),
    }
}

/// Errors of reading a form's fields.
pub(super) fn form(error: FormError) -> S3Error {
    match error {
        FormError::Body { source } => body(source),
        error => {
            let message = error.to_string();
            let mut refused = with(form_code(&error), error);
            refused.set_message(message);
            refused
        }
    }
}

fn form_code(error: &FormError) -> S3ErrorCode {
    match error {
        FormError::Malformed { .. } => S3ErrorCode::MalformedPOSTRequest,
        FormError::Repeated { .. } => S3ErrorCode::InvalidArgument,
        FormError::FieldsTooLong => S3ErrorCode::MaxPostPreDataLengthExceededError,
        FormError::TooLarge { .. } => S3ErrorCode::EntityTooLarge,
        FormError::TooSmall { .. } => S3ErrorCode::EntityTooSmall,
        FormError::Body { .. } => S3ErrorCode::IncompleteBody,
    }
}

/// What broke a body, found among the causes: the protocol library wraps its own errors.
fn body(error: StdError) -> S3Error {
    // It was refused here, in the middle, and not broken.
    let error = match error.downcast::<S3Error>() {
        Ok(refused) => return *refused,
        Err(error) => error,
    };
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&*error);
    let mut code = S3ErrorCode::IncompleteBody;
    let mut is_hash = false;
    while let Some(current) = cause {
        if let Some(error) = current.downcast_ref::<UploadStreamError>() {
            code = match error {
                UploadStreamError::Sha256Mismatch => {
                    is_hash = true;
                    S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into())
                }
                UploadStreamError::Underlying(_) => code,
                error => error.to_s3_error_code(),
            };
        } else if let Some(error) = current.downcast_ref::<AwsChunkedStreamError>() {
            code = match error {
                AwsChunkedStreamError::Underlying(_) => code,
                error => error.to_s3_error_code(),
            };
        } else if current.is::<BodySizeLimitExceeded>() {
            code = S3ErrorCode::EntityTooLarge;
        } else if let Some(error) = current.downcast_ref::<std::io::Error>()
            && error.kind() == std::io::ErrorKind::TimedOut
        {
            code = S3ErrorCode::RequestTimeout;
        } else if let Some(error) = current.downcast_ref::<FormError>() {
            code = form_code(error);
        } else if current.is::<RetrieveError>() {
            // The body of a copy is another object.
            code = S3ErrorCode::InternalError;
        }
        cause = current.source();
    }
    let mut broken = with(code, error);
    if is_hash {
        broken.set_message("The provided 'x-amz-content-sha256' header does not match what was computed.");
        broken.set_status_code(StatusCode::BAD_REQUEST);
    }
    broken
}

/// A key without an object, and without a mark of its deletion.
pub(super) fn no_such_key() -> S3Error {
    let mut error = s3_error!(NoSuchKey);
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-delete-marker", HeaderValue::from_static("false"));
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    error.set_headers(headers);
    error
}

/// A version that marks a deletion: a GET without a version id finds no key, with one it may not GET.
pub(super) fn deleted(version: &Version, named: bool) -> S3Error {
    let mut error = if named { s3_error!(MethodNotAllowed) } else { s3_error!(NoSuchKey) };
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-delete-marker", HeaderValue::from_static("true"));
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    if let Ok(id) = HeaderValue::from_str(&version.id.to_string()) {
        headers.insert("x-amz-version-id", id);
    }
    error.set_headers(headers);
    error
}

/// Errors of accounts.
pub(super) fn accounts(error: AccountsError) -> S3Error {
    match error {
        error @ AccountsError::QuotaExceeded { .. } => quota_exceeded(&error),
        AccountsError::RateExceeded { retry_after, .. } => {
            slow_down(retry_after.as_secs() + 1, error.to_string())
        }
        AccountsError::Held { .. } | AccountsError::Distrusted { .. } => {
            S3Error::with_message(S3ErrorCode::AccessDenied, error.to_string())
        }
        AccountsError::Db(error) => db(error),
        AccountsError::InvalidToken => {
            s3_error!(InvalidToken, "The provided token is malformed or otherwise invalid.")
        }
        AccountsError::ExpiredToken => s3_error!(ExpiredToken, "The provided token has expired."),
        AccountsError::InvalidPolicy(error) => {
            S3Error::with_message(S3ErrorCode::MalformedPolicy, error.to_string())
        }
        error @ (AccountsError::KekFile { .. }
        | AccountsError::KekExposed { .. }
        | AccountsError::KekMalformed { .. }
        | AccountsError::WrongKek
        | AccountsError::UnknownKek { .. }
        | AccountsError::KekInUse { .. }
        | AccountsError::InvalidKeyName
        | AccountsError::KeyNameTaken { .. }
        | AccountsError::Damaged { .. }
        | AccountsError::Random
        | AccountsError::InvalidEmail { .. }
        | AccountsError::EmailTaken
        | AccountsError::UnknownPlan { .. }
        | AccountsError::InvalidPlans { .. }
        | AccountsError::UnknownDimension { .. }
        | AccountsError::InvalidLimit { .. }
        | AccountsError::InvalidHold { .. }
        | AccountsError::InvalidPeriod { .. }
        | AccountsError::InvalidPayment { .. }
        | AccountsError::Billing(_)
        | AccountsError::NoSuchInvoice { .. }
        | AccountsError::InvoiceState { .. }
        | AccountsError::PaymentConflict { .. }
        | AccountsError::UnprovenNotice { .. }
        | AccountsError::NotMetered
        | AccountsError::UnknownProvider { .. }
        | AccountsError::NoSuchIntent { .. }
        | AccountsError::NoSuchHold { .. }
        | AccountsError::InvalidCase { .. }
        | AccountsError::NoSuchCase { .. }
        | AccountsError::NoSuchAccount { .. }
        | AccountsError::InvalidAccessKeyId
        | AccountsError::InvalidSecret
        | AccountsError::AccessKeyExists { .. }
        | AccountsError::NoSuchAccessKey { .. }
        | AccountsError::AuditFile { .. }) => internal(error),
    }
}

/// The account's limit: S3 has no code for it. The message names the limit and the usage.
fn quota_exceeded(error: &AccountsError) -> S3Error {
    let mut refused = S3Error::with_message(S3ErrorCode::Custom("QuotaExceeded".into()), error.to_string());
    refused.set_status_code(StatusCode::FORBIDDEN);
    refused
}

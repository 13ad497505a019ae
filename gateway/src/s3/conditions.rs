//! Conditional requests: those on reads decided here, those on writes translated for the catalog's commit.

use datamesh_catalog::{EtagCondition, Precondition, Version};
use http::HeaderMap;
use http::header::{ETAG, HeaderValue, LAST_MODIFIED};
use s3s::dto::{ETag, ETagCondition, Timestamp, TimestampFormat};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use super::errors;
use crate::row_key::RowKey;

/// The four conditions of a read, or of a copy's source.
#[derive(Debug, Default)]
#[allow(clippy::struct_field_names, reason = "they are the headers' names")]
pub struct ReadConditions<'a> {
    /// `If-Match`.
    pub if_match: Option<&'a ETagCondition>,
    /// `If-None-Match`.
    pub if_none_match: Option<&'a ETagCondition>,
    /// `If-Modified-Since`.
    pub if_modified_since: Option<&'a Timestamp>,
    /// `If-Unmodified-Since`.
    pub if_unmodified_since: Option<&'a Timestamp>,
}

impl ReadConditions<'_> {
    /// Decides in the order of RFC 9110, section 13.2.2, for a read: 412, or 304 with the validators.
    pub fn check_read(&self, version: &Version) -> S3Result<()> {
        match self.decide(version) {
            Decision::Proceed => Ok(()),
            Decision::Failed => Err(s3_error!(PreconditionFailed)),
            Decision::NotModified => Err(not_modified(version)),
        }
    }

    /// Decides for the source of a copy, where all failures are 412.
    pub fn check_source(&self, version: &Version) -> S3Result<()> {
        match self.decide(version) {
            Decision::Proceed => Ok(()),
            Decision::Failed | Decision::NotModified => Err(s3_error!(PreconditionFailed)),
        }
    }

    fn decide(&self, version: &Version) -> Decision {
        if let Some(condition) = self.if_match {
            if !matches(condition, &version.etag) {
                return Decision::Failed;
            }
        } else if self.if_unmodified_since.is_some_and(|time| modified_after(version, time)) {
            return Decision::Failed;
        }
        if let Some(condition) = self.if_none_match {
            if matches(condition, &version.etag) {
                return Decision::NotModified;
            }
        } else if self.if_modified_since.is_some_and(|time| !modified_after(version, time)) {
            return Decision::NotModified;
        }
        Decision::Proceed
    }
}

enum Decision {
    Proceed,
    Failed,
    NotModified,
}

fn matches(condition: &ETagCondition, etag: &str) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(candidate) => candidate.value() == etag,
    }
}

/// HTTP dates have whole seconds, so a version counts as modified in the second it was.
fn modified_after(version: &Version, time: &Timestamp) -> bool {
    i64::try_from(version.modified_ms / 1000).is_ok_and(|modified| modified > unix_seconds(time))
}

fn not_modified(version: &Version) -> S3Error {
    let mut headers = HeaderMap::new();
    if let Ok(etag) = ETag::Strong(version.etag.clone()).to_http_header() {
        headers.insert(ETAG, etag);
    }
    let mut date = Vec::new();
    if super::timestamp(version.modified_ms).format(TimestampFormat::HttpDate, &mut date).is_ok()
        && let Ok(date) = HeaderValue::from_bytes(&date)
    {
        headers.insert(LAST_MODIFIED, date);
    }
    let mut error = S3Error::new(S3ErrorCode::NotModified);
    error.set_headers(headers);
    error
}

/// The condition of a write, for the catalog to evaluate inside its commit.
pub fn precondition(
    rows: &RowKey,
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<Precondition> {
    let translate = |condition: Option<&ETagCondition>| {
        condition.map(|condition| etag_condition(rows, condition)).transpose()
    };
    Ok(Precondition { if_match: translate(if_match)?, if_none_match: translate(if_none_match)? })
}

/// A condition on the `ETag`, as the catalog wants it: it knows sealed ones only.
pub fn etag_condition(rows: &RowKey, condition: &ETagCondition) -> S3Result<EtagCondition> {
    match condition {
        ETagCondition::Any => Ok(EtagCondition::Any),
        ETagCondition::ETag(etag) => {
            rows.stored_forms(etag.value()).map(EtagCondition::OneOf).map_err(errors::row)
        }
    }
}

/// A time in whole seconds since 1970, as HTTP dates have them.
pub fn unix_seconds(time: &Timestamp) -> i64 {
    time::OffsetDateTime::from(time.clone()).unix_timestamp()
}

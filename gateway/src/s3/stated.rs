//! What a request asks to be kept beside an object, as conditions see it: by the names of PUT's headers.
//!
//! A PUT says it in its headers. Some requests say it elsewhere: those that change what is beside a version, in a
//! document; those that upload parts or complete an upload said it when the upload was created. What conditions see of
//! these is what will be done, and headers that say otherwise count for nothing: anybody could send them.

use std::collections::BTreeMap;

use http::HeaderMap;
use s3s::dto::{ObjectLockLegalHoldStatus, ObjectLockRetention, Tag};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(super) const TAGGING: &str = "x-amz-tagging";
pub(super) const LOCK_MODE: &str = "x-amz-object-lock-mode";
pub(super) const LOCK_UNTIL: &str = "x-amz-object-lock-retain-until-date";
pub(super) const LEGAL_HOLD: &str = "x-amz-object-lock-legal-hold";

/// The headers that say what is kept beside an object.
const NAMES: [&str; 15] = [
    "x-amz-acl",
    "x-amz-grant-full-control",
    "x-amz-grant-read",
    "x-amz-grant-read-acp",
    "x-amz-grant-write",
    "x-amz-grant-write-acp",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
    LOCK_MODE,
    LOCK_UNTIL,
    LEGAL_HOLD,
    TAGGING,
];

/// Values by the names of PUT's headers. Stored with uploads as a JSON object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stated(BTreeMap<String, String>);

impl Stated {
    /// What the headers of a request that writes say.
    pub(super) fn by_headers(headers: &HeaderMap) -> Self {
        let stated = NAMES.iter().filter_map(|name| {
            let value = String::from_utf8_lossy(headers.get(*name)?.as_bytes()).into_owned();
            Some(((*name).to_owned(), value))
        });
        Self(stated.collect())
    }

    /// Tags in a document.
    pub(super) fn tags(tags: &[Tag]) -> Self {
        Self::default().with_tags(tags)
    }

    /// The same, with these tags and no others.
    pub(super) fn with_tags(mut self, tags: &[Tag]) -> Self {
        let mut encoded = form_urlencoded::Serializer::new(String::new());
        for tag in tags {
            encoded.append_pair(
                tag.key.as_deref().unwrap_or_default(),
                tag.value.as_deref().unwrap_or_default(),
            );
        }
        self.0.insert(TAGGING.to_owned(), encoded.finish());
        self
    }

    /// The same, without tags.
    pub(super) fn without_tags(mut self) -> Self {
        self.0.remove(TAGGING);
        self
    }

    /// A retention in a document, whatever it says.
    pub(super) fn retention(retention: &ObjectLockRetention) -> Self {
        let mode = retention.mode.as_ref().map(|mode| mode.as_str().to_owned());
        let until = retention.retain_until_date.clone().map(OffsetDateTime::from);
        Self::of([(LOCK_MODE, mode), (LOCK_UNTIL, until.and_then(|until| until.format(&Rfc3339).ok()))])
    }

    /// A legal hold in a document, whatever it says.
    pub(super) fn legal_hold(status: Option<&ObjectLockLegalHoldStatus>) -> Self {
        Self::of([(LEGAL_HOLD, status.map(|status| status.as_str().to_owned()))])
    }

    fn of<const N: usize>(values: [(&str, Option<String>); N]) -> Self {
        Self(values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
    }

    /// Whether that header says what is kept beside an object.
    pub(super) fn covers(name: &str) -> bool {
        NAMES.contains(&name)
    }

    /// The value that a header of that name would have.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Nothing is said.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_is_said_of_an_upload_keeps_its_form_and_leaves_other_headers_out() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-amz-server-side-encryption", "AES256"),
            ("x-amz-tagging", "a=1"),
            ("x-amz-copy-source", "b/k"),
            ("if-match", "*"),
            ("x-amz-server-side-encryption-customer-key", "secret"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let stated = Stated::by_headers(&headers);
        let stored = r#"{"x-amz-server-side-encryption":"AES256","x-amz-tagging":"a=1"}"#;
        assert_eq!(serde_json::to_string(&stated).unwrap(), stored);
        assert_eq!(serde_json::from_str::<Stated>(stored).unwrap(), stated);
        assert!(Stated::by_headers(&HeaderMap::new()).is_empty());
    }

    #[test]
    fn tags_of_a_document_read_like_those_of_a_header() {
        let tag = |key: &str, value: &str| Tag { key: Some(key.into()), value: Some(value.into()) };
        let stated = Stated::tags(&[tag("a b", "1&2"), tag("\u{e9}", "")]);
        assert_eq!(stated.get(TAGGING), Some("a+b=1%262&%C3%A9="));
        assert_eq!(Stated::tags(&[]).get(TAGGING), Some(""));
    }
}

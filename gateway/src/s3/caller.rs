//! Who asks, and what a policy's conditions may know of the request.

use std::borrow::Cow;
use std::sync::Arc;

use datamesh_accounts::{Admission, Credential, Effect, Session};
use datamesh_policy::{Action, Asked, Caller as Asker, Fact, Facts, Member, ResourceName};
use datamesh_types::AccountId;
use http::{Extensions, HeaderMap, HeaderValue, Uri};
use s3s::{S3Result, s3_error};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use super::admission::declared_body_len;
use super::now_ms;
use super::signing::Signing;
use super::stated::{LEGAL_HOLD, LOCK_MODE, LOCK_UNTIL, Stated, TAGGING};
use crate::events::EventSource;
use crate::http::RequestTrace;

/// Whose signature a request carries.
#[derive(Debug, Clone)]
pub enum Identity {
    /// Nobody's.
    Anonymous,
    /// That of an account's key.
    Key(Arc<Credential>),
    /// That of temporary credentials, made with an account's key.
    Session {
        /// The key.
        key: Arc<Credential>,
        /// The session.
        session: Arc<Session>,
        /// The session as policies name it.
        arn: String,
    },
}

impl Identity {
    /// The identity of a session.
    pub(super) fn of_session(key: Arc<Credential>, session: Arc<Session>) -> Self {
        let arn = match &session.role {
            Some((role, name)) => format!("arn:aws:sts::{}:assumed-role/{role}/{name}", key.account),
            None => key.arn.clone(),
        };
        Self::Session { key, session, arn }
    }
}

/// Who asks, with the request it asks by.
pub(super) struct Caller<'a> {
    identity: &'a Identity,
    trace: Option<&'a RequestTrace>,
    headers: &'a HeaderMap,
    uri: &'a Uri,
    /// How it is signed, when that does not show in headers and query: it is a form.
    form: Option<Signing>,
    /// What it asks to be kept beside an object, when its headers don't say that.
    stated: Option<Stated>,
}

impl<'a> Caller<'a> {
    /// Reads the parts of a request.
    ///
    /// # Errors
    /// `AccessDenied` for a request that was never looked at: nothing may be done for it.
    pub(super) fn new(extensions: &'a Extensions, headers: &'a HeaderMap, uri: &'a Uri) -> S3Result<Self> {
        let identity = extensions.get::<Identity>().ok_or_else(|| s3_error!(AccessDenied))?;
        let trace = extensions.get::<Arc<RequestTrace>>().map(Arc::as_ref);
        let form = extensions.get::<Signing>().copied();
        Ok(Self { identity, trace, headers, uri, form, stated: None })
    }

    /// The same caller, asking for what is `stated` instead of what the headers say of it.
    pub(super) fn stating(&self, stated: Stated) -> Self {
        Self { stated: Some(stated), ..*self }
    }

    /// The key that signed, if one did.
    pub(super) fn credential(&self) -> Option<&'a Credential> {
        match self.identity {
            Identity::Anonymous => None,
            Identity::Key(key) | Identity::Session { key, .. } => Some(key),
        }
    }

    /// At whose expense the request runs, and what it does as far as holds care.
    pub(super) fn admission(&self) -> Option<(&'a Admission, Effect)> {
        let trace = self.trace?;
        Some((trace.admission()?, trace.effect()?))
    }

    /// The declared length of the request's body; only the first caller gets it.
    pub(super) fn take_body_len(&self) -> Option<u64> {
        let len = declared_body_len(self.headers)?;
        self.trace.is_some_and(RequestTrace::take_body_len).then_some(len)
    }

    /// The session, if temporary credentials signed.
    pub(super) fn session(&self) -> Option<&'a Session> {
        match self.identity {
            Identity::Anonymous | Identity::Key(_) => None,
            Identity::Session { session, .. } => Some(session),
        }
    }

    /// Who asks, as policies name it.
    pub(super) fn arn(&self) -> Option<&'a str> {
        match self.identity {
            Identity::Anonymous => None,
            Identity::Key(key) => Some(&key.arn),
            Identity::Session { arn, .. } => Some(arn),
        }
    }

    /// The account that asks.
    pub(super) fn account(&self) -> Option<AccountId> {
        self.credential().map(|credential| credential.account)
    }

    /// Whether nothing but the account's own rights limits it.
    pub(super) fn is_unlimited(&self) -> bool {
        let key = self.credential().is_some_and(|key| key.policy.is_none());
        key && self.session().is_none_or(|session| session.policy.is_none())
    }

    /// Whoever signed, when it may do to its own account what it asks.
    ///
    /// # Errors
    /// `AccessDenied`.
    pub(super) fn on_own_account(
        &self,
        action: Action,
        resource: ResourceName<'_>,
    ) -> S3Result<&'a Credential> {
        let facts = RequestFacts { caller: self, bucket_owner: None, tags: None, prefix: None };
        let asked = Asked { caller: self.asker(), action, resource, facts: &facts };
        let credential = self.credential().filter(|_| asked.of_own_account().is_some());
        credential.ok_or_else(|| s3_error!(AccessDenied))
    }

    /// Whose doing a change is, for messages about it.
    pub(super) fn source(&self) -> EventSource {
        EventSource {
            principal: self.account().map(|account| account.to_string()).unwrap_or_default(),
            address: self.trace.map(|trace| trace.peer().address.to_string()).unwrap_or_default(),
            request: self.trace.map(|trace| trace.id().to_owned()).unwrap_or_default(),
        }
    }

    /// Who asks, as the decision sees it.
    pub(super) fn asker(&self) -> Asker<'a> {
        match (self.credential(), self.arn()) {
            (Some(key), Some(arn)) => Asker::Member(Member {
                account: key.account,
                arn,
                key_policy: key.policy.as_ref(),
                session_policy: self.session().and_then(|session| session.policy.as_ref()),
            }),
            _ => Asker::Anonymous,
        }
    }

    fn header(&self, name: &str) -> Vec<Cow<'_, str>> {
        let value = match &self.stated {
            Some(stated) if Stated::covers(name) => stated.get(name),
            _ => self.headers.get(name).and_then(|value| value.to_str().ok()),
        };
        value.map(Cow::Borrowed).into_iter().collect()
    }

    fn query(&self, name: &str) -> Vec<Cow<'a, str>> {
        let pairs = form_urlencoded::parse(self.uri.query().unwrap_or_default().as_bytes());
        pairs.filter(|(key, _)| key == name).map(|(_, value)| value).take(1).collect()
    }

    /// The tags that the object is to have.
    fn tags(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let encoded = match &self.stated {
            Some(stated) => stated.get(TAGGING).map(str::as_bytes),
            None => self.headers.get(TAGGING).map(HeaderValue::as_bytes),
        };
        form_urlencoded::parse(encoded.unwrap_or_default())
    }

    /// How it is signed, if somebody signed it.
    fn signing(&self) -> Option<Signing> {
        self.account()?;
        self.form.or_else(|| Signing::of(self.headers, self.uri))
    }
}

/// What conditions may ask of one request about one thing.
pub(super) struct RequestFacts<'a> {
    pub(super) caller: &'a Caller<'a>,
    /// The account of the bucket.
    pub(super) bucket_owner: Option<AccountId>,
    /// The tags of the object that it is about, as they are stored.
    pub(super) tags: Option<&'a str>,
    /// The prefix asked about, when it is not the request's own.
    pub(super) prefix: Option<&'a str>,
}

impl Facts for RequestFacts<'_> {
    fn values(&self, fact: &Fact) -> Vec<Cow<'_, str>> {
        let caller = self.caller;
        let one = |text: Option<String>| text.map(Cow::Owned).into_iter().collect();
        match fact {
            Fact::CurrentTime => one(OffsetDateTime::now_utc().format(&Rfc3339).ok()),
            Fact::EpochTime => vec![(now_ms() / 1000).to_string().into()],
            Fact::PrincipalAccount => one(caller.account().map(|account| account.to_string())),
            Fact::PrincipalArn => caller.arn().map(Cow::Borrowed).into_iter().collect(),
            Fact::PrincipalType => vec![match caller.identity {
                Identity::Anonymous => "Anonymous".into(),
                Identity::Key(_) => "User".into(),
                Identity::Session { .. } => "AssumedRole".into(),
            }],
            Fact::UserId => one(caller.account().map(|account| account.to_string())),
            Fact::UserName => {
                let key = caller.credential().map(|credential| credential.access_key_id.as_str().into());
                key.into_iter().collect()
            }
            Fact::SourceIp => one(caller.trace.map(|trace| trace.peer().address.to_string())),
            Fact::SecureTransport => one(caller.trace.map(|trace| trace.peer().encrypted.to_string())),
            Fact::ResourceAccount | Fact::S3ResourceAccount => {
                one(self.bucket_owner.map(|owner| owner.to_string()))
            }
            Fact::TokenIssueTime => one(caller.session().and_then(|session| iso_8601(session.issued_at_ms))),
            Fact::IsService => vec!["false".into()],
            Fact::Prefix => match self.prefix {
                Some(prefix) => vec![prefix.into()],
                None => caller.query("prefix"),
            },
            Fact::Delimiter => caller.query("delimiter"),
            Fact::MaxKeys => caller.query("max-keys"),
            Fact::VersionId => caller.query("versionId"),
            Fact::AuthType => {
                caller.signing().map(|signing| signing.auth_type().into()).into_iter().collect()
            }
            Fact::SignatureVersion => {
                caller.signing().map(|signing| signing.version_name().into()).into_iter().collect()
            }
            Fact::SignatureAge => one(signature_age_ms(caller).map(|age| age.to_string())),
            Fact::CopySource => {
                caller.header("x-amz-copy-source").iter().map(|source| copy_source(source)).collect()
            }
            Fact::ExistingObjectTag(key) => one(self.tags.and_then(|tags| stored_tag(tags, key))),
            Fact::RequestObjectTag(key) => {
                caller.tags().filter(|(known, _)| known == key).map(|(_, value)| value).take(1).collect()
            }
            Fact::RequestObjectTagKeys => caller.tags().map(|(key, _)| key).collect(),
            Fact::ObjectLockRemainingDays => one(remaining_days(caller).map(|days| days.to_string())),
            Fact::NeverKnown
            | Fact::RequestedRegion
            | Fact::SourceArn
            | Fact::SourceAccount
            | Fact::LocationConstraint => Vec::new(),
            fact => header_of(fact).map_or_else(Vec::new, |name| caller.header(name)),
        }
    }
}

fn iso_8601(ms: u64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()?.format(&Rfc3339).ok()
}

/// The header that a fact is the value of.
fn header_of(fact: &Fact) -> Option<&'static str> {
    Some(match fact {
        Fact::Referer => "referer",
        Fact::UserAgent => "user-agent",
        Fact::Acl => "x-amz-acl",
        Fact::GrantFullControl => "x-amz-grant-full-control",
        Fact::GrantRead => "x-amz-grant-read",
        Fact::GrantReadAcp => "x-amz-grant-read-acp",
        Fact::GrantWrite => "x-amz-grant-write",
        Fact::GrantWriteAcp => "x-amz-grant-write-acp",
        Fact::MetadataDirective => "x-amz-metadata-directive",
        Fact::Encryption => "x-amz-server-side-encryption",
        Fact::EncryptionKeyId => "x-amz-server-side-encryption-aws-kms-key-id",
        Fact::CustomerAlgorithm => "x-amz-server-side-encryption-customer-algorithm",
        Fact::StorageClass => "x-amz-storage-class",
        Fact::ContentSha256 => "x-amz-content-sha256",
        Fact::WebsiteRedirect => "x-amz-website-redirect-location",
        Fact::ObjectOwnership => "x-amz-object-ownership",
        Fact::ObjectLockMode => LOCK_MODE,
        Fact::ObjectLockRetainUntil => LOCK_UNTIL,
        Fact::ObjectLockLegalHold => LEGAL_HOLD,
        Fact::IfMatch => "if-match",
        Fact::IfNoneMatch => "if-none-match",
        _ => return None,
    })
}

/// `bucket/key`, decoded, without what comes before and after it.
fn copy_source(header: &str) -> Cow<'static, str> {
    let path = header.split_once('?').map_or(header, |(path, _)| path);
    let path = path.strip_prefix('/').unwrap_or(path);
    // A plus stands for itself in a path.
    let escaped = path.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(escaped.as_bytes())
        .next()
        .map_or(Cow::Borrowed(""), |(path, _)| path.into_owned().into())
}

fn signature_age_ms(caller: &Caller<'_>) -> Option<i128> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let date = caller.query("X-Amz-Date").pop()?;
    let signed = time::PrimitiveDateTime::parse(&date, format).ok()?.assume_utc();
    Some((OffsetDateTime::now_utc() - signed).whole_milliseconds())
}

fn remaining_days(caller: &Caller<'_>) -> Option<i64> {
    let until = caller.header(LOCK_UNTIL).pop()?;
    let until = OffsetDateTime::parse(&until, &Rfc3339).ok()?;
    let left = until - OffsetDateTime::now_utc();
    // A day that has begun counts.
    Some(left.whole_days() + i64::from(left > time::Duration::days(left.whole_days())))
}

/// The value of a tag in the stored tags of a version.
fn stored_tag(tags: &str, key: &str) -> Option<String> {
    let tags: Vec<(String, String)> = serde_json::from_str(tags).ok()?;
    tags.into_iter().find(|(known, _)| known == key).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_source_is_decoded_once_and_bare() {
        for (header, expected) in [
            ("bucket/public/foo", "bucket/public/foo"),
            ("/bucket/a%20b+c&d=e?versionId=1", "bucket/a b+c&d=e"),
            ("bucket/%252F", "bucket/%2F"),
            ("", ""),
        ] {
            assert_eq!(copy_source(header), expected);
        }
    }

    #[test]
    fn facts_come_from_the_request_and_the_object() {
        let mut extensions = Extensions::new();
        extensions.insert(Identity::Anonymous);
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-acl", HeaderValue::from_static("private"));
        headers.insert("x-amz-tagging", HeaderValue::from_static("a=1&b=2"));
        let uri = Uri::from_static("/bucket?prefix=a%2Fb&max-keys=5");
        let caller = Caller::new(&extensions, &headers, &uri).unwrap();
        let tags = Some(r#"[["team","red"]]"#);
        let facts = RequestFacts { caller: &caller, bucket_owner: None, tags, prefix: None };
        let cases = [
            ("s3:x-amz-acl", vec!["private"]),
            ("s3:prefix", vec!["a/b"]),
            ("s3:max-keys", vec!["5"]),
            ("s3:ExistingObjectTag/team", vec!["red"]),
            ("s3:ExistingObjectTag/other", vec![]),
            ("s3:RequestObjectTag/b", vec!["2"]),
            ("s3:RequestObjectTagKeys", vec!["a", "b"]),
            ("s3:authType", vec![]),
            ("aws:PrincipalArn", vec![]),
            ("aws:PrincipalType", vec!["Anonymous"]),
        ];
        for (key, expected) in cases {
            assert_eq!(facts.values(&Fact::parse(key).unwrap()), expected, "{key}");
        }
    }

    #[test]
    fn what_is_stated_counts_instead_of_the_headers_that_would_say_it() {
        let mut extensions = Extensions::new();
        extensions.insert(Identity::Anonymous);
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-tagging", HeaderValue::from_static("team=red"));
        headers.insert("x-amz-acl", HeaderValue::from_static("private"));
        headers.insert("referer", HeaderValue::from_static("there"));
        let uri = Uri::from_static("/bucket/key?tagging");
        let tag = s3s::dto::Tag { key: Some("team".into()), value: Some("blue".into()) };
        let caller = Caller::new(&extensions, &headers, &uri).unwrap().stating(Stated::tags(&[tag]));
        let facts = RequestFacts { caller: &caller, bucket_owner: None, tags: None, prefix: None };
        let cases = [
            ("s3:RequestObjectTag/team", vec!["blue"]),
            ("s3:RequestObjectTagKeys", vec!["team"]),
            ("s3:x-amz-acl", vec![]),
            ("aws:Referer", vec!["there"]),
        ];
        for (key, expected) in cases {
            assert_eq!(facts.values(&Fact::parse(key).unwrap()), expected, "{key}");
        }
    }

    #[test]
    fn nothing_is_known_of_a_request_that_was_not_identified() {
        let (extensions, headers, uri) = (Extensions::new(), HeaderMap::new(), Uri::from_static("/"));
        assert!(Caller::new(&extensions, &headers, &uri).is_err());
    }
}

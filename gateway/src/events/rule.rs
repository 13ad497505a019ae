//! What a bucket tells of, as stored, and which changes match.

use serde::{Deserialize, Serialize};
use url::Url;

/// A bucket's notification configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notifications {
    /// The rules.
    pub rules: Vec<NotificationRule>,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotificationRule {
    /// Its id, unique in the bucket.
    pub id: String,
    /// In which element it was put, and is shown.
    pub form: Form,
    /// The ARN that names the destination.
    pub arn: String,
    /// Names of events, some of which end in `*`.
    pub events: Vec<String>,
    /// Which keys.
    #[serde(default)]
    pub filter: Filter,
}

/// The elements of S3's document that a rule can stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// `TopicConfiguration`.
    Topic,
    /// `QueueConfiguration`.
    Queue,
    /// `CloudFunctionConfiguration`.
    Function,
}

/// Which keys a rule is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// The key begins with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The key ends with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix: Option<String>,
}

/// The changes that are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// `PutObject`.
    Put,
    /// A form was uploaded.
    Post,
    /// `CopyObject`.
    Copy,
    /// `CompleteMultipartUpload`.
    CompleteUpload,
    /// A version was removed for good.
    Delete,
    /// A delete marker was added.
    DeleteMarker,
    /// A lifecycle rule removed a version.
    Expire,
    /// A lifecycle rule added a delete marker.
    ExpireMarker,
    /// `PutObjectTagging`.
    TaggingPut,
    /// `DeleteObjectTagging`.
    TaggingDelete,
    /// `PutObjectAcl`.
    AclPut,
    /// `RestoreObject` of what was not restored.
    RestorePost,
    /// A version was restored.
    RestoreCompleted,
    /// A lifecycle rule moved a version to another storage class.
    Transition,
}

impl EventKind {
    /// Its name, as in a record: without the `s3:` that it has in configurations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Put => "ObjectCreated:Put",
            Self::Post => "ObjectCreated:Post",
            Self::Copy => "ObjectCreated:Copy",
            Self::CompleteUpload => "ObjectCreated:CompleteMultipartUpload",
            Self::Delete => "ObjectRemoved:Delete",
            Self::DeleteMarker => "ObjectRemoved:DeleteMarkerCreated",
            Self::Expire => "LifecycleExpiration:Delete",
            Self::ExpireMarker => "LifecycleExpiration:DeleteMarkerCreated",
            Self::TaggingPut => "ObjectTagging:Put",
            Self::TaggingDelete => "ObjectTagging:Delete",
            Self::AclPut => "ObjectAcl:Put",
            Self::RestorePost => "ObjectRestore:Post",
            Self::RestoreCompleted => "ObjectRestore:Completed",
            Self::Transition => "LifecycleTransition",
        }
    }
}

/// The names of events that S3 has. Those that nothing here causes are accepted all the same: asking for them is
/// no error.
const KNOWN: [&str; 28] = [
    "s3:IntelligentTiering",
    "s3:LifecycleExpiration:*",
    "s3:LifecycleExpiration:Delete",
    "s3:LifecycleExpiration:DeleteMarkerCreated",
    "s3:LifecycleTransition",
    "s3:ObjectAcl:Put",
    "s3:ObjectCreated:*",
    "s3:ObjectCreated:CompleteMultipartUpload",
    "s3:ObjectCreated:Copy",
    "s3:ObjectCreated:Post",
    "s3:ObjectCreated:Put",
    "s3:ObjectRemoved:*",
    "s3:ObjectRemoved:Delete",
    "s3:ObjectRemoved:DeleteMarkerCreated",
    "s3:ObjectRestore:*",
    "s3:ObjectRestore:Completed",
    "s3:ObjectRestore:Delete",
    "s3:ObjectRestore:Post",
    "s3:ObjectTagging:*",
    "s3:ObjectTagging:Delete",
    "s3:ObjectTagging:Put",
    "s3:ReducedRedundancyLostObject",
    "s3:Replication:*",
    "s3:Replication:OperationFailedReplication",
    "s3:Replication:OperationMissedThreshold",
    "s3:Replication:OperationNotTracked",
    "s3:Replication:OperationReplicatedAfterThreshold",
    "s3:TestEvent",
];

/// Whether S3 has an event, or a group of events, of that name.
pub fn is_known_event(name: &str) -> bool {
    KNOWN.contains(&name)
}

impl NotificationRule {
    /// Whether the rule is about this change.
    pub fn matches(&self, kind: EventKind, key: &[u8]) -> bool {
        let named = |pattern: &String| {
            let pattern = pattern.strip_prefix("s3:").unwrap_or(pattern);
            pattern.strip_suffix('*').map_or(pattern == kind.name(), |group| kind.name().starts_with(group))
        };
        let Filter { prefix, suffix } = &self.filter;
        self.events.iter().any(named)
            && prefix.as_ref().is_none_or(|prefix| key.starts_with(prefix.as_bytes()))
            && suffix.as_ref().is_none_or(|suffix| key.ends_with(suffix.as_bytes()))
    }
}

/// The webhook that an ARN names: its resource, the sixth field, is the URL, as in
/// `arn:aws:sns:REGION:ACCOUNT:https://example.org/hook`.
pub fn destination_url(arn: &str) -> Option<Url> {
    let mut fields = arn.splitn(6, ':');
    if fields.next() != Some("arn") {
        return None;
    }
    let url = Url::parse(fields.nth(4)?).ok()?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.has_host();
    (matches!(url.scheme(), "http" | "https") && is_plain).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(events: &[&str], prefix: Option<&str>, suffix: Option<&str>) -> NotificationRule {
        let filter = Filter { prefix: prefix.map(str::to_owned), suffix: suffix.map(str::to_owned) };
        let events = events.iter().map(ToString::to_string).collect();
        NotificationRule { id: "r".into(), form: Form::Topic, arn: String::new(), events, filter }
    }

    #[test]
    fn a_rule_matches_by_name_or_group_and_by_both_ends_of_the_key() {
        let created = rule(&["s3:ObjectCreated:*"], Some("in/"), Some(".jpg"));
        assert!(created.matches(EventKind::Put, b"in/a.jpg"));
        assert!(created.matches(EventKind::CompleteUpload, b"in/.jpg"));
        assert!(!created.matches(EventKind::Delete, b"in/a.jpg"));
        assert!(!created.matches(EventKind::Put, b"out/a.jpg"));
        assert!(!created.matches(EventKind::Put, b"in/a.png"));
        let markers = rule(&["s3:ObjectRemoved:DeleteMarkerCreated"], None, None);
        assert!(markers.matches(EventKind::DeleteMarker, b"x"));
        assert!(!markers.matches(EventKind::Delete, b"x"));
    }

    #[test]
    fn every_event_that_is_caused_can_be_asked_for() {
        use EventKind::{
            AclPut, CompleteUpload, Copy, Delete, DeleteMarker, Expire, ExpireMarker, Post, Put,
            RestoreCompleted, RestorePost, TaggingDelete, TaggingPut, Transition,
        };
        let written = [Put, Post, Copy, CompleteUpload, TaggingPut, TaggingDelete, AclPut];
        let other = [Delete, DeleteMarker, Expire, ExpireMarker, RestorePost, RestoreCompleted, Transition];
        for kind in written.into_iter().chain(other) {
            assert!(is_known_event(&format!("s3:{}", kind.name())), "{kind:?}");
        }
        assert!(!is_known_event("s3:ObjectCreated"));
        assert!(!is_known_event("*"));
    }

    #[test]
    fn only_a_plain_web_address_is_a_destination() {
        let url = destination_url("arn:aws:sns:eu:1:https://h.example:8443/p?a:b").unwrap();
        assert_eq!(url.as_str(), "https://h.example:8443/p?a:b");
        for arn in [
            "https://h.example/",
            "arn:aws:sns:us-east-1:123456789012:topic",
            "arn:aws:sns:::file:///etc/passwd",
            "arn:aws:sns:::ftp://h.example/",
            "arn:aws:sns:::https://user:secret@h.example/",
            "arn:aws:sns::https://h.example/",
        ] {
            assert_eq!(destination_url(arn), None, "{arn}");
        }
    }
}

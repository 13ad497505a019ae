//! From a change that is about to be made to the messages that it causes.

use datamesh_catalog::{Bucket, ChangeKind, Message, Version};

use super::record::{EventSource, Record};
use super::rule::{EventKind, Notifications};

/// A change that may be told of.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// What happens.
    pub kind: EventKind,
    /// The key.
    pub key: &'a [u8],
    /// The version's `ETag`; `None` for a deletion.
    pub etag: Option<&'a str>,
}

impl<'a> Change<'a> {
    /// A version is written.
    pub const fn written(kind: EventKind, key: &'a [u8], etag: &'a str) -> Self {
        Self { kind, key, etag: Some(etag) }
    }

    /// Something beside a version is replaced.
    pub fn amended(kind: EventKind, version: &'a Version) -> Self {
        Self { kind, key: &version.key, etag: Some(&version.etag) }
    }

    /// What a client's deletion may turn out to be.
    pub const fn deletion(key: &'a [u8]) -> [Self; 2] {
        [
            Self { kind: EventKind::Delete, key, etag: None },
            Self { kind: EventKind::DeleteMarker, key, etag: None },
        ]
    }

    /// What an expiry may turn out to be.
    pub const fn expiry(key: &'a [u8]) -> [Self; 2] {
        [
            Self { kind: EventKind::Expire, key, etag: None },
            Self { kind: EventKind::ExpireMarker, key, etag: None },
        ]
    }
}

/// The messages that `changes` cause, for the catalog to store with those that are committed.
pub fn messages(
    notifications: &Notifications,
    bucket: &Bucket,
    source: &EventSource,
    changes: &[Change<'_>],
    now_ms: u64,
) -> Vec<Message> {
    let matching = changes.iter().flat_map(|change| {
        let rules = notifications.rules.iter().filter(|rule| rule.matches(change.kind, change.key));
        rules.map(move |rule| (change, rule))
    });
    let message = |(change, rule): (&Change<'_>, &super::rule::NotificationRule)| Message {
        key: change.key.to_vec(),
        kind: committed_as(change.kind),
        destination: rule.arn.clone(),
        document: Record {
            kind: change.kind,
            at_ms: now_ms,
            source,
            rule: &rule.id,
            bucket: &bucket.name,
            bucket_owner: bucket.account.to_string(),
            region: &bucket.region,
            key: change.key,
            etag: change.etag,
        }
        .encode(),
        now_ms,
    };
    matching.map(message).collect()
}

/// What the catalog does for it.
const fn committed_as(kind: EventKind) -> ChangeKind {
    match kind {
        EventKind::Put | EventKind::Post | EventKind::Copy | EventKind::CompleteUpload => ChangeKind::Written,
        EventKind::Delete | EventKind::Expire => ChangeKind::Removed,
        EventKind::DeleteMarker | EventKind::ExpireMarker => ChangeKind::Marked,
        EventKind::TaggingPut | EventKind::TaggingDelete | EventKind::AclPut => ChangeKind::Amended,
    }
}

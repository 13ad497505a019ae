//! From a change that is about to be made to the messages that it causes.

use datamesh_catalog::{Bucket, ChangeKind, Message, Version};

use super::record::{Detail, EventSource, Record};
use super::rule::{EventKind, Notifications};
use crate::row_key::{RowError, RowKey};

/// A change that may be told of.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    /// What happens.
    pub kind: EventKind,
    /// The key.
    pub key: &'a [u8],
    /// The version's `ETag`; `None` for a deletion.
    pub etag: Option<&'a str>,
    /// What is told of it besides.
    pub detail: Detail<'a>,
}

impl<'a> Change<'a> {
    /// A version is written.
    pub const fn written(kind: EventKind, key: &'a [u8], etag: &'a str) -> Self {
        Self { kind, key, etag: Some(etag), detail: Detail::None }
    }

    /// Something beside a version is replaced.
    pub fn amended(kind: EventKind, version: &'a Version) -> Self {
        Self { kind, key: &version.key, etag: Some(&version.etag), detail: Detail::None }
    }

    /// A version of an archived class is restored until `until_ms`: that is asked for and done at once.
    pub fn restored(version: &'a Version, until_ms: u64) -> [Self; 2] {
        let class = &version.storage_class;
        let detail = Detail::Restored { until_ms, class };
        [
            Self::amended(EventKind::RestorePost, version),
            Self { detail, ..Self::amended(EventKind::RestoreCompleted, version) },
        ]
    }

    /// A version is moved to a storage class.
    pub const fn moved(key: &'a [u8], etag: &'a str, class: &'a str) -> Self {
        Self { kind: EventKind::Transition, key, etag: Some(etag), detail: Detail::Moved { class } }
    }

    /// What a client's deletion may turn out to be.
    pub const fn deletion(key: &'a [u8]) -> [Self; 2] {
        [Self::removal(EventKind::Delete, key), Self::removal(EventKind::DeleteMarker, key)]
    }

    /// What an expiry may turn out to be.
    pub const fn expiry(key: &'a [u8]) -> [Self; 2] {
        [Self::removal(EventKind::Expire, key), Self::removal(EventKind::ExpireMarker, key)]
    }

    const fn removal(kind: EventKind, key: &'a [u8]) -> Self {
        Self { kind, key, etag: None, detail: Detail::None }
    }
}

/// The messages that `changes` cause, for the catalog to store with those that are committed.
pub fn messages(
    notifications: &Notifications,
    bucket: &Bucket,
    source: &EventSource,
    changes: &[Change<'_>],
    rows: &RowKey,
    now_ms: u64,
) -> Result<Vec<Message>, RowError> {
    let matching = changes.iter().flat_map(|change| {
        let rules = notifications.rules.iter().filter(|rule| rule.matches(change.kind, change.key));
        rules.map(move |rule| (change, rule))
    });
    let message = |(change, rule): (&Change<'_>, &super::rule::NotificationRule)| {
        let record = Record {
            change: *change,
            at_ms: now_ms,
            source,
            rule: &rule.id,
            bucket: &bucket.name,
            bucket_owner: bucket.account.to_string(),
            region: &bucket.region,
        };
        Ok(Message {
            key: change.key.to_vec(),
            kind: committed_as(change.kind),
            destination: rule.arn.clone(),
            document: rows.seal_message(&record.encode())?,
            now_ms,
        })
    };
    matching.map(message).collect()
}

/// What the catalog does for it.
const fn committed_as(kind: EventKind) -> ChangeKind {
    match kind {
        EventKind::Put | EventKind::Post | EventKind::Copy | EventKind::CompleteUpload => ChangeKind::Written,
        EventKind::Delete | EventKind::Expire => ChangeKind::Removed,
        EventKind::DeleteMarker | EventKind::ExpireMarker => ChangeKind::Marked,
        EventKind::TaggingPut
        | EventKind::TaggingDelete
        | EventKind::AclPut
        | EventKind::RestorePost
        | EventKind::RestoreCompleted
        | EventKind::Transition => ChangeKind::Amended,
    }
}

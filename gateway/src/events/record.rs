//! The message: S3's event record, version 2.

use serde::{Deserialize, Serialize};

use super::message::Change;
use crate::document_time::time_text;

/// What is known of a change before it is committed.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    /// What happens.
    pub change: Change<'a>,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// Whose doing it is.
    pub source: &'a EventSource,
    /// The rule's id.
    pub rule: &'a str,
    /// The bucket's name.
    pub bucket: &'a str,
    /// The account that owns it.
    pub bucket_owner: String,
    /// The region.
    pub region: &'a str,
}

/// What only some records say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail<'a> {
    /// Nothing.
    None,
    /// A version of `class` may be read until `until_ms`.
    Restored {
        /// Milliseconds since 1970.
        until_ms: u64,
        /// The version's storage class.
        class: &'a str,
    },
    /// A version is in `class` now.
    Moved {
        /// The storage class.
        class: &'a str,
    },
}

/// Whose doing a change is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventSource {
    /// The account, or what else acts.
    pub principal: String,
    /// The client's address.
    pub address: String,
    /// The request's id.
    pub request: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    event_version: String,
    event_source: String,
    aws_region: String,
    event_time: String,
    event_name: String,
    user_identity: Principal,
    request_parameters: Parameters,
    response_elements: Elements,
    s3: Subject,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    glacier_event_data: Option<ArchiveData>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lifecycle_event_data: Option<LifecycleData>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchiveData {
    restore_event_data: RestoreData,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RestoreData {
    lifecycle_restoration_expiry_time: String,
    lifecycle_restore_storage_class: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LifecycleData {
    transition_event_data: TransitionData,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TransitionData {
    destination_storage_class: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Principal {
    principal_id: String,
}

#[derive(Serialize, Deserialize)]
struct Parameters {
    #[serde(rename = "sourceIPAddress")]
    source_ip_address: String,
}

#[derive(Serialize, Deserialize)]
struct Elements {
    #[serde(rename = "x-amz-request-id")]
    request: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subject {
    #[serde(rename = "s3SchemaVersion")]
    schema: String,
    configuration_id: String,
    bucket: BucketPart,
    object: ObjectPart,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BucketPart {
    name: String,
    owner_identity: Principal,
    arn: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectPart {
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    e_tag: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sequencer: Option<String>,
}

impl Record<'_> {
    /// The document that goes to the outbox; [`fill_in`] completes it.
    pub fn encode(&self) -> String {
        let document = Document {
            event_version: "2.2".into(),
            event_source: "aws:s3".into(),
            aws_region: self.region.into(),
            event_time: time_text(self.at_ms),
            event_name: self.change.kind.name().into(),
            user_identity: Principal { principal_id: self.source.principal.clone() },
            request_parameters: Parameters { source_ip_address: self.source.address.clone() },
            response_elements: Elements { request: self.source.request.clone() },
            s3: Subject {
                schema: "1.0".into(),
                configuration_id: self.rule.into(),
                bucket: BucketPart {
                    name: self.bucket.into(),
                    owner_identity: Principal { principal_id: self.bucket_owner.clone() },
                    arn: format!("arn:aws:s3:::{}", self.bucket),
                },
                object: ObjectPart {
                    key: form_encode(self.change.key),
                    size: None,
                    e_tag: self.change.etag.map(str::to_owned),
                    version_id: None,
                    sequencer: None,
                },
            },
            glacier_event_data: self.archive_data(),
            lifecycle_event_data: self.lifecycle_data(),
        };
        serde_json::to_string(&document).expect("a record has only string keys")
    }

    fn archive_data(&self) -> Option<ArchiveData> {
        let Detail::Restored { until_ms, class } = self.change.detail else { return None };
        let restore_event_data = RestoreData {
            lifecycle_restoration_expiry_time: time_text(until_ms),
            lifecycle_restore_storage_class: class.to_owned(),
        };
        Some(ArchiveData { restore_event_data })
    }

    fn lifecycle_data(&self) -> Option<LifecycleData> {
        let Detail::Moved { class } = self.change.detail else { return None };
        let transition_event_data = TransitionData { destination_storage_class: class.to_owned() };
        Some(LifecycleData { transition_event_data })
    }
}

/// The message to send: the stored document with what the commit decided. `None` when it can't be read.
pub fn fill_in(document: &str, version: Option<String>, size: Option<u64>, sequence: u64) -> Option<String> {
    let mut record: Document = serde_json::from_str(document).ok()?;
    record.s3.object.version_id = version;
    record.s3.object.size = size;
    // A removal, and a change of what is beside a version, come after its writing.
    let after = if size.is_some() { "00" } else { "01" };
    record.s3.object.sequencer = Some(format!("{sequence:016X}{after}"));
    serde_json::to_string(&serde_json::json!({ "Records": [record] })).ok()
}

/// Keys are form-encoded in records.
fn form_encode(key: &[u8]) -> String {
    form_urlencoded::byte_serialize(key).collect()
}

#[cfg(test)]
mod tests {
    use super::super::rule::EventKind;
    use super::*;

    #[test]
    fn a_record_reads_as_s3s_own() {
        let source = EventSource { principal: "p".into(), address: "192.0.2.1".into(), request: "1F".into() };
        let record = Record {
            change: Change::written(EventKind::Put, b"a b/c", "e"),
            at_ms: 86_400_001,
            source: &source,
            rule: "r",
            bucket: "b",
            bucket_owner: "o".into(),
            region: "eu",
        };
        let expected = concat!(
            r#"{"Records":[{"eventVersion":"2.2","eventSource":"aws:s3","awsRegion":"eu","#,
            r#""eventTime":"1970-01-02T00:00:00.001Z","eventName":"ObjectCreated:Put","#,
            r#""userIdentity":{"principalId":"p"},"requestParameters":{"sourceIPAddress":"192.0.2.1"},"#,
            r#""responseElements":{"x-amz-request-id":"1F"},"s3":{"s3SchemaVersion":"1.0","#,
            r#""configurationId":"r","bucket":{"name":"b","ownerIdentity":{"principalId":"o"},"#,
            r#""arn":"arn:aws:s3:::b"},"object":{"key":"a+b%2Fc","size":3,"eTag":"e","versionId":"v","#,
            r#""sequencer":"000000000000000A00"}}}]}"#
        );
        let sent = fill_in(&record.encode(), Some("v".into()), Some(3), 10).unwrap();
        let (sent, expected): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(&sent).unwrap(), serde_json::from_str(expected).unwrap());
        assert_eq!(sent, expected);
        assert_eq!(fill_in("{}", None, None, 1), None);

        let told = |detail| {
            let changed = Record { change: Change { detail, ..record.change }, ..record.clone() };
            let sent = fill_in(&changed.encode(), None, None, 1).unwrap();
            serde_json::from_str::<serde_json::Value>(&sent).unwrap()["Records"][0].take()
        };
        let restored = told(Detail::Restored { until_ms: 86_400_000, class: "GLACIER" });
        assert_eq!(
            restored["glacierEventData"],
            serde_json::json!({"restoreEventData": {
                "lifecycleRestorationExpiryTime": "1970-01-02T00:00:00.000Z",
                "lifecycleRestoreStorageClass": "GLACIER"
            }})
        );
        let moved = told(Detail::Moved { class: "COLD" });
        assert_eq!(
            moved["lifecycleEventData"],
            serde_json::json!({"transitionEventData": {"destinationStorageClass": "COLD"}})
        );
        assert_eq!(moved["glacierEventData"], serde_json::Value::Null);
    }
}

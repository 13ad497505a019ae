//! One request as a line, in the format of S3's server access logs.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

use crate::http::Ended;

const TIME: &[FormatItem<'_>] =
    format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");

/// What a client asked for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// The client's address.
    pub address: IpAddr,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
    /// The account that signed.
    pub requester: Option<String>,
    /// The request's id.
    pub request: String,
    /// S3's name of the operation.
    pub operation: String,
    /// The method.
    pub method: String,
    /// The path with its query, as sent.
    pub target: String,
    /// The key, decoded.
    pub key: Option<String>,
    /// The `versionId` in the query.
    pub version: Option<String>,
    /// The `Referer` header.
    pub referer: Option<String>,
    /// The `User-Agent` header.
    pub agent: Option<String>,
    /// The `Host` header.
    pub host: Option<String>,
    /// Whether the signature is in the query.
    pub presigned: bool,
    /// The length of the object that is sent, in bytes.
    pub sent_len: Option<u64>,
}

impl Asked {
    /// The line, with a line break.
    pub fn line(&self, owner: &str, bucket: &str, ended: &Ended) -> String {
        let time = OffsetDateTime::from_unix_timestamp((self.at_ms / 1000) as i64);
        let time = time.ok().and_then(|time| time.format(TIME).ok()).unwrap_or_default();
        let ms = |time: Duration| time.as_millis().to_string();
        let signed = |text: &'static str| self.requester.as_ref().map(|_| text);
        let signature = if self.presigned { "QueryString" } else { "AuthHeader" };
        let sent = Some(ended.answer_len).filter(|len| *len > 0).map(|len| len.to_string());
        let none = || "-".to_owned();
        let mut line = [
            plain(Some(owner)),
            plain(Some(bucket)),
            format!("[{time}]"),
            plain(Some(&self.address.to_string())),
            plain(self.requester.as_deref()),
            plain(Some(&self.request)),
            plain(Some(&operation(&self.operation, &self.method))),
            plain(self.key.as_deref()),
            quoted(Some(&format!("{} {} HTTP/1.1", self.method, self.target))),
            ended.status.to_string(),
            plain(ended.error.as_deref()),
            plain(sent.as_deref()),
            plain(self.sent_len.map(|len| len.to_string()).as_deref()),
            ms(ended.total),
            ms(ended.turnaround),
            quoted(self.referer.as_deref()),
            quoted(self.agent.as_deref()),
            plain(self.version.as_deref().or(ended.version.as_deref())),
            none(),
            plain(signed("SigV4")),
            none(),
            plain(signed(signature)),
            plain(self.host.as_deref()),
            plain(self.encrypted.then_some("TLS")),
            none(),
            none(),
        ]
        .join(" ");
        line.push('\n');
        line
    }
}

/// `REST.METHOD.RESOURCE`, as the logs call operations.
fn operation(name: &str, method: &str) -> String {
    let resource = match name {
        "CopyObject" => return "REST.COPY.OBJECT".to_owned(),
        "UploadPartCopy" => return "REST.COPY.PART".to_owned(),
        "PutObject" | "GetObject" | "HeadObject" | "DeleteObject" | "PostObject" => "OBJECT",
        "UploadPart" => "PART",
        "CreateMultipartUpload" | "ListMultipartUploads" => "UPLOADS",
        "CompleteMultipartUpload" | "AbortMultipartUpload" | "ListParts" => "UPLOAD",
        "DeleteObjects" => "MULTI_OBJECT_DELETE",
        "CreateBucket" | "DeleteBucket" | "HeadBucket" | "ListObjects" | "ListObjectsV2" => "BUCKET",
        "ListObjectVersions" => "BUCKETVERSIONS",
        name => return format!("REST.{method}.{}", setting(name)),
    };
    format!("REST.{method}.{resource}")
}

/// `GetBucketLifecycleConfiguration` is about LIFECYCLE.
fn setting(name: &str) -> String {
    let name =
        ["Get", "Put", "Delete", "List"].iter().find_map(|verb| name.strip_prefix(verb)).unwrap_or(name);
    let name = ["Bucket", "Object"].iter().find_map(|noun| name.strip_prefix(noun)).unwrap_or(name);
    let name =
        ["Configurations", "Configuration"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    name.to_ascii_uppercase()
}

/// A field without blanks; `-` when there is none. Keys are written URL-encoded, as S3 does.
fn plain(text: Option<&str>) -> String {
    let mut field = String::new();
    for byte in text.filter(|text| !text.is_empty()).unwrap_or("-").bytes() {
        match byte {
            b'!'..=b'~' if !matches!(byte, b'"' | b'%') => field.push(char::from(byte)),
            byte => {
                let _ = write!(field, "%{byte:02X}");
            }
        }
    }
    field
}

/// A field in quotes. Nothing in it can end it, or the line.
fn quoted(text: Option<&str>) -> String {
    let text = text.filter(|text| !text.is_empty()).unwrap_or("-");
    let inside: String =
        text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
    format!("\"{}\"", inside.replace('"', "%22"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        Asked {
            at_ms: 86_400_000,
            address: IpAddr::from([192, 0, 2, 1]),
            encrypted: false,
            requester: Some("who".into()),
            request: "1F".into(),
            operation: "PutObject".into(),
            method: "PUT".into(),
            target: "/b/a%20b".into(),
            key: Some("a b".into()),
            version: None,
            referer: None,
            agent: Some("agent \"x\"\n1".into()),
            host: Some("h".into()),
            presigned: false,
            sent_len: Some(3),
        }
    }

    fn ended() -> Ended {
        Ended {
            received_len: 0,
            status: 200,
            error: None,
            version: Some("v".into()),
            answer_len: 0,
            total: Duration::from_millis(7),
            turnaround: Duration::from_millis(5),
        }
    }

    #[test]
    fn a_line_has_the_fields_of_s3s_logs() {
        let expected = "owner b [02/Jan/1970:00:00:00 +0000] 192.0.2.1 who 1F REST.PUT.OBJECT a%20b \
             \"PUT /b/a%20b HTTP/1.1\" 200 - - 3 7 5 \"-\" \"agent %22x%22 1\" v - SigV4 - AuthHeader h - - -\n";
        assert_eq!(asked().line("owner", "b", &ended()), expected);
    }

    #[test]
    fn a_client_cannot_forge_a_second_line_or_field() {
        let asked = Asked { key: Some("a\n\"b c".into()), referer: Some("x\r\ny".into()), ..asked() };
        let line = asked.line("owner", "b", &ended());
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.contains(" a%0A%22b%20c "), "{line}");
        assert!(line.contains("\"x  y\""), "{line}");
    }

    #[test]
    fn operations_have_the_names_of_s3s_logs() {
        for (name, method, expected) in [
            ("GetObject", "GET", "REST.GET.OBJECT"),
            ("CopyObject", "PUT", "REST.COPY.OBJECT"),
            ("DeleteObjects", "POST", "REST.POST.MULTI_OBJECT_DELETE"),
            ("CompleteMultipartUpload", "POST", "REST.POST.UPLOAD"),
            ("GetBucketLifecycleConfiguration", "GET", "REST.GET.LIFECYCLE"),
            ("PutObjectTagging", "PUT", "REST.PUT.TAGGING"),
        ] {
            assert_eq!(operation(name, method), expected);
        }
    }
}

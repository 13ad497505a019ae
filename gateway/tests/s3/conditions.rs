//! What conditions of policies see of a request: not only its headers, and not all of them.

use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::forms::{Fields, policy, post, signed_2, signed_4};
use crate::policies::{set, statement};
use crate::service::{SECRET, Service};

/// The policy that AWS shows for "no object without encryption".
const DENY_UNENCRYPTED: &str = r#"{"Version": "2012-10-17", "Statement": [
    {"Sid": "DenyIncorrectEncryptionHeader", "Effect": "Deny", "Principal": "*", "Action": "s3:PutObject",
     "Resource": "arn:aws:s3:::bucket/*",
     "Condition": {"StringNotEquals": {"s3:x-amz-server-side-encryption": "AES256"}}},
    {"Sid": "DenyUnencryptedObjectUploads", "Effect": "Deny", "Principal": "*", "Action": "s3:PutObject",
     "Resource": "arn:aws:s3:::bucket/*",
     "Condition": {"Null": {"s3:x-amz-server-side-encryption": "true"}}}]}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_is_judged_by_the_headers_of_its_creation() {
    let service = Service::start().await;
    let client = &service.client;
    let encrypted = [("x-amz-server-side-encryption", "AES256")];
    let begin =
        async |headers: &[(&str, &str)]| client.send("POST", "/bucket/up?uploads", headers, b"").await;
    let before = begin(&[]).await.expect(200).element("UploadId").unwrap();
    set(client, DENY_UNENCRYPTED).await.expect(204);
    client.put("/bucket/source", b"copied").await.expect_error(403, "AccessDenied");
    client.send("PUT", "/bucket/source", &encrypted, b"copied").await.expect(200);
    begin(&[]).await.expect_error(403, "AccessDenied");
    let upload = begin(&encrypted).await.expect(200).element("UploadId").unwrap();

    let part = |upload: &str| format!("/bucket/up?partNumber=1&uploadId={upload}");
    client.put(&part(&upload), b"part").await.expect(200);
    let source = [("x-amz-copy-source", "bucket/source")];
    let copied = client.send("PUT", &part(&upload), &source, b"").await.expect(200);
    let etag = copied.element("ETag").unwrap();
    let complete = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>\
         </CompleteMultipartUpload>"
    );
    let target = format!("/bucket/up?uploadId={upload}");
    // The second is the repetition of one whose answer was lost.
    for _ in 0..2 {
        client.send("POST", &target, &[], complete.as_bytes()).await.expect(200);
    }
    assert_eq!(client.get("/bucket/up").await.expect(200).body, b"copied");

    // One that is not there is judged by what the request says.
    let missing = format!("/bucket/up?partNumber=1&uploadId={}", "0".repeat(upload.len()));
    client.send("PUT", &missing, &encrypted, b"part").await.expect_error(404, "NoSuchUpload");
    client.put(&missing, b"part").await.expect_error(403, "AccessDenied");

    // A header on a part says nothing of the object.
    client.send("PUT", &part(&before), &encrypted, b"part").await.expect_error(403, "AccessDenied");
    client.put(&part(&before), b"part").await.expect_error(403, "AccessDenied");
    let target = format!("/bucket/up?uploadId={before}");
    client.send("POST", &target, &encrypted, complete.as_bytes()).await.expect_error(403, "AccessDenied");
}

fn tagging(key: &str, value: &str) -> String {
    format!("<Tagging><TagSet><Tag><Key>{key}</Key><Value>{value}</Value></Tag></TagSet></Tagging>")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_in_a_document_are_seen_and_those_in_a_header_beside_it_are_not() {
    let service = Service::start().await;
    let client = &service.client;
    client.put("/bucket/key", b"x").await.expect(200);
    let put = async |headers: &[(&str, &str)], tags: &str| {
        client.send("PUT", "/bucket/key?tagging", headers, tags.as_bytes()).await
    };
    let (red, blue) = (tagging("team", "red"), tagging("team", "blue"));
    let only_red = r#"{"StringNotEquals": {"s3:RequestObjectTag/team": "red"}}"#;
    set(client, &statement("Deny", "\"*\"", "\"s3:PutObjectTagging\"", "bucket/*", only_red))
        .await
        .expect(204);
    put(&[], &red).await.expect(200);
    put(&[], &blue).await.expect_error(403, "AccessDenied");
    put(&[("x-amz-tagging", "team=red")], &blue).await.expect_error(403, "AccessDenied");
    assert_eq!(client.get("/bucket/key?tagging").await.element("Value").as_deref(), Some("red"));
    let no_secret = r#"{"ForAnyValue:StringEquals": {"s3:RequestObjectTagKeys": ["secret", "hidden"]}}"#;
    set(client, &statement("Deny", "\"*\"", "\"s3:PutObjectTagging\"", "bucket/*", no_secret))
        .await
        .expect(204);
    put(&[], &tagging("hidden", "1")).await.expect_error(403, "AccessDenied");
    put(&[], &blue).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_in_a_document_are_seen() {
    let service = Service::start().await;
    let client = &service.client;
    let lock = [("x-amz-bucket-object-lock-enabled", "true")];
    client.send("PUT", "/locked", &lock, b"").await.expect(200);
    let deny = async |action: &str, condition: &str| {
        let policy = statement("Deny", "\"*\"", &format!("\"{action}\""), "locked/*", condition);
        client.put("/locked?policy", policy.as_bytes()).await.expect(204);
    };
    // Of a new version each time, so that nothing but the policy refuses it.
    let retain = async |mode: &str, days: i64| {
        client.put("/locked/key", b"x").await.expect(200);
        let until = OffsetDateTime::now_utc() + Duration::days(days);
        let until = until.replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap();
        let document =
            format!("<Retention><Mode>{mode}</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>");
        client.put("/locked/key?retention", document.as_bytes()).await.status
    };
    let long = r#"{"NumericGreaterThan": {"s3:object-lock-remaining-retention-days": "10"}}"#;
    deny("s3:PutObjectRetention", long).await;
    assert_eq!(retain("GOVERNANCE", 20).await, 403);
    assert_eq!(retain("GOVERNANCE", 5).await, 200);
    let compliance = r#"{"StringEquals": {"s3:object-lock-mode": "COMPLIANCE"}}"#;
    deny("s3:PutObjectRetention", compliance).await;
    assert_eq!(retain("COMPLIANCE", 6).await, 403);
    assert_eq!(retain("GOVERNANCE", 6).await, 200);
    let late = r#"{"DateGreaterThan": {"s3:object-lock-retain-until-date": "2099-01-01T00:00:00Z"}}"#;
    deny("s3:PutObjectRetention", late).await;
    assert_eq!(retain("GOVERNANCE", 36_000).await, 403);
    assert_eq!(retain("GOVERNANCE", 7).await, 200);
    deny("s3:PutObjectLegalHold", r#"{"StringEquals": {"s3:object-lock-legal-hold": "OFF"}}"#).await;
    for (status, expected) in [("ON", 200), ("OFF", 403)] {
        let hold = format!("<LegalHold><Status>{status}</Status></LegalHold>");
        let reply = client.put("/locked/key?legal-hold", hold.as_bytes()).await;
        assert_eq!(reply.status, expected, "{status}: {}", reply.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_a_request_is_signed_is_seen() {
    let service = Service::start().await;
    let client = &service.client;
    let conditions = r#"{"bucket": "bucket"}, ["starts-with", "$key", ""]"#;
    let key: Fields = vec![("key".to_owned(), "by-form".to_owned())];
    let two = || [key.clone(), signed_2("AKIATESTA", SECRET, &policy(600, conditions))].concat();
    let four = || [key.clone(), signed_4("AKIATESTA", SECRET, Duration::ZERO, conditions)].concat();
    let link = client.presigned("PUT", "/bucket/by-link", 0, 60);
    let cases = [
        ("s3:authType", "POST", [403, 403, 200, 200, 200, 200]),
        ("s3:authType", "REST-QUERY-STRING", [204, 204, 403, 403, 403, 200]),
        ("s3:authType", "REST-HEADER", [204, 204, 200, 200, 200, 403]),
        ("s3:signatureversion", "AWS", [403, 204, 200, 200, 200, 200]),
        ("s3:signatureversion", "AWS4-HMAC-SHA256", [204, 403, 403, 403, 403, 403]),
    ];
    for (fact, value, expected) in cases {
        let condition = format!(r#"{{"StringEquals": {{"{fact}": "{value}"}}}}"#);
        set(client, &statement("Deny", "\"*\"", "\"s3:PutObject\"", "bucket/*", &condition))
            .await
            .expect(204);
        let statuses = [
            post(client, &two(), b"file").await.status,
            post(client, &four(), b"file").await.status,
            client.send_unsigned("PUT", &link, &[], b"file").await.status,
            // A header that nobody verifies beside the link's signature.
            client
                .send_unsigned("PUT", &link, &[("authorization", "AWS4-HMAC-SHA256 x")], b"file")
                .await
                .status,
            client.send_unsigned("PUT", &link, &[("authorization", "AWS x")], b"file").await.status,
            client.put("/bucket/by-header", b"file").await.status,
        ];
        assert_eq!(statuses, expected, "{fact} {value}");
    }
}

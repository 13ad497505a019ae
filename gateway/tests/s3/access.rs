//! Who may do what, and how refusals look.

use datamesh_accounts::{Dimension, Owner};

use crate::client::{Client, exchange};
use crate::service::{Service, noise};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_account_can_do_nothing_with_a_bucket() {
    let service = Service::start().await;
    service.client.put("/bucket/key", b"secret").await.expect(200);
    service.other.put("/other", b"").await.expect(200);
    let upload = service.client.send("POST", "/bucket/up?uploads", &[], b"").await.expect(200);
    let upload = upload.element("UploadId").unwrap();
    let part = format!("/bucket/up?partNumber=1&uploadId={upload}");
    let parts = format!("/bucket/up?uploadId={upload}");
    let delete = "<Delete><Object><Key>key</Key></Object></Delete>";
    let complete = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"0\"</ETag></Part></CompleteMultipartUpload>";
    let requests: [(&str, &str, &str); 15] = [
        ("GET", "/bucket/key", ""),
        ("PUT", "/bucket/key", "x"),
        ("DELETE", "/bucket/key", ""),
        ("GET", "/bucket/key?attributes", ""),
        ("GET", "/bucket/key?tagging", ""),
        ("GET", "/bucket?list-type=2", ""),
        ("GET", "/bucket", ""),
        ("GET", "/bucket?location", ""),
        ("GET", "/bucket?acl", ""),
        ("GET", "/bucket?uploads", ""),
        ("DELETE", "/bucket", ""),
        ("POST", "/bucket/up?uploads", ""),
        ("PUT", &part, "x"),
        ("GET", &parts, ""),
        ("POST", &parts, complete),
    ];
    for (method, target, body) in requests {
        let asked = [("x-amz-object-attributes", "ETag")];
        let headers = if target.ends_with("attributes") { &asked[..] } else { &[] };
        let reply = service.other.send(method, target, headers, body.as_bytes()).await;
        reply.expect_error(403, "AccessDenied");
    }
    // Each key has an answer of its own.
    let deleted = service.other.send("POST", "/bucket?delete", &[], delete.as_bytes()).await.expect(200);
    assert_eq!(deleted.element("Code").as_deref(), Some("AccessDenied"), "{}", deleted.text());
    let source = [("x-amz-copy-source", "bucket/key")];
    service.other.send("PUT", "/other/copy", &source, b"").await.expect_error(403, "AccessDenied");
    service.other.send("HEAD", "/bucket/key", &[], b"").await.expect(403);
    service.other.put("/bucket", b"").await.expect_error(409, "BucketAlreadyExists");
    assert_eq!(service.client.get("/bucket/key").await.body, b"secret");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unsigned_and_wrongly_signed_requests_are_refused() {
    let service = Service::start().await;
    let address = service.client.address;
    let plain = format!("GET /bucket HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    exchange(address, plain.as_bytes()).await.expect_error(403, "AccessDenied");
    let wrong = Client { secret: "another-secret".into(), ..service.client.clone() };
    wrong.get("/bucket").await.expect_error(403, "SignatureDoesNotMatch");
    let unknown = Client { access_key: "AKIANOBODY".into(), ..service.client.clone() };
    unknown.get("/bucket").await.expect_error(403, "InvalidAccessKeyId");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presigned_urls_work_until_they_expire_and_only_as_signed() {
    let service = Service::start().await;
    service.client.put("/bucket/key", b"body").await.expect(200);
    let address = service.client.address;
    let fetch = |method: &str, target: &str, extra: &str| {
        let request =
            format!("{method} {target} HTTP/1.1\r\nhost: {address}\r\n{extra}connection: close\r\n\r\n");
        async move { exchange(address, request.as_bytes()).await }
    };
    let good = service.client.presigned("GET", "/bucket/key", 0, 60);
    assert_eq!(fetch("GET", &good, "").await.expect(200).body, b"body");
    let expired = service.client.presigned("GET", "/bucket/key", 120, 60);
    fetch("GET", &expired, "").await.expect_error(403, "AccessDenied");
    fetch("DELETE", &good, "").await.expect(403);
    fetch("GET", &good.replace("/key?", "/other?"), "").await.expect(403);
    let put = service.client.presigned("PUT", "/bucket/new", 0, 60);
    fetch("PUT", &put, "content-length: 0\r\nx-amz-copy-source: bucket/key\r\n").await.expect(403);
    for header in ["x-amz-acl: public-read", "x-amz-storage-class: STANDARD_IA", "x-amz-meta-a: b"] {
        fetch("PUT", &put, &format!("content-length: 0\r\n{header}\r\n")).await.expect(403);
    }
    fetch("PUT", &put, "content-length: 0\r\n").await.expect(200);
    let week = 7 * 24 * 3600;
    fetch("GET", &service.client.presigned("GET", "/bucket/key", 0, week), "").await.expect(200);
    fetch("GET", &service.client.presigned("GET", "/bucket/key", 0, week + 1), "").await.expect(403);
    fetch("GET", &good.replace("AKIATESTA", "AKIATESTB"), "").await.expect(403);
    let elsewhere = format!("GET {good} HTTP/1.1\r\nhost: elsewhere.test\r\nconnection: close\r\n\r\n");
    exchange(address, elsewhere.as_bytes()).await.expect(403);
}

#[tokio::test]
async fn ranges_that_are_none_are_ignored_where_nobody_signed_them() {
    let service = Service::start().await;
    service.client.put("/bucket/key", b"0123456789").await.expect(200);
    let address = service.client.address;
    let link = service.client.presigned("GET", "/bucket/key", 0, 60);
    for (range, status, body) in [
        ("bytes=2-4", 206, "234"),
        ("bytes=-3", 206, "789"),
        ("bytes=0-1,3-4", 200, "0123456789"),
        ("bytes=4-2", 200, "0123456789"),
        ("bytes=a-b", 200, "0123456789"),
        ("lines=0-1", 200, "0123456789"),
    ] {
        let request =
            format!("GET {link} HTTP/1.1\r\nhost: {address}\r\nrange: {range}\r\nconnection: close\r\n\r\n");
        assert_eq!(exchange(address, request.as_bytes()).await.expect(status).text(), body, "{range}");
    }
    let request =
        format!("GET {link} HTTP/1.1\r\nhost: {address}\r\nrange: bytes=10-\r\nconnection: close\r\n\r\n");
    exchange(address, request.as_bytes()).await.expect_error(416, "InvalidRange");
    let signed = service.client.send("GET", "/bucket/key", &[("range", "bytes=4-2")], b"").await;
    signed.expect_error(400, "InvalidArgument");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_is_never_exceeded_and_named_in_the_refusal() {
    let service = Service::start().await;
    service.limit(&Owner::Account(service.account), Dimension::Bytes, 1_000_000).await;
    service.limit(&Owner::Account(service.account), Dimension::Objects, 3).await;
    let client = &service.client;
    client.put("/bucket/a", &noise(1, 600_000)).await.expect(200);
    let refused = client.put("/bucket/b", &noise(2, 600_000)).await.expect_error(403, "QuotaExceeded");
    assert!(refused.element("Message").unwrap().contains("1000000"), "{}", refused.text());
    client.delete("/bucket/a").await.expect(204);
    for key in ["b", "c", "d"] {
        client.put(&format!("/bucket/{key}"), &noise(3, 1000)).await.expect(200);
    }
    client.put("/bucket/e", b"x").await.expect_error(403, "QuotaExceeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_requests_get_the_codes_of_s3() {
    let service = Service::start().await;
    let client = &service.client;
    let long = format!("/bucket/{}", "k".repeat(1025));
    client.put(&long, b"x").await.expect_error(400, "KeyTooLongError");
    client.put(&format!("/bucket/{}", "k".repeat(1024)), b"x").await.expect(200);
    client.put("/Bad_Bucket", b"").await.expect_error(400, "InvalidBucketName");
    let class = [("x-amz-storage-class", "FROZEN")];
    client.send("PUT", "/bucket/key", &class, b"x").await.expect_error(400, "InvalidStorageClass");
    client.get("/none/key").await.expect_error(404, "NoSuchBucket");
    client.send("GET", "/bucket/key", &[("range", "bytes=0-1")], b"").await.expect_error(404, "NoSuchKey");
    client.put("/bucket/key", b"x").await.expect(200);
    client.send("GET", "/bucket/key", &[("range", "bytes=5-")], b"").await.expect_error(416, "InvalidRange");
    let big = [b"<Delete>".to_vec(), vec![b' '; 2 << 20]].concat();
    assert_eq!(client.send("POST", "/bucket?delete", &[], &big).await.status, 400);
    let error = client.get("/bucket/a%26b").await.expect_error(404, "NoSuchKey");
    assert_eq!(error.element("Resource").as_deref(), Some("/bucket/a%26b"));
    assert_eq!(error.element("RequestId").as_deref(), error.header("x-amz-request-id"));
    for (query, code) in [
        ("policy", "NoSuchBucketPolicy"),
        ("cors", "NoSuchCORSConfiguration"),
        ("lifecycle", "NoSuchLifecycleConfiguration"),
        ("tagging", "NoSuchTagSet"),
        ("website", "NoSuchWebsiteConfiguration"),
        ("replication", "ReplicationConfigurationNotFoundError"),
        ("object-lock", "ObjectLockConfigurationNotFoundError"),
        ("publicAccessBlock", "NoSuchPublicAccessBlockConfiguration"),
    ] {
        client.get(&format!("/bucket?{query}")).await.expect_error(404, code);
    }
    for query in ["acl", "versioning", "location", "accelerate", "logging", "requestPayment"] {
        client.get(&format!("/bucket?{query}")).await.expect(200);
    }
    let head = client.send("HEAD", "/bucket", &[], b"").await.expect(200);
    assert_eq!(head.header("x-amz-bucket-region"), Some(crate::client::REGION));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_virtual_host_names_the_bucket() {
    let service = Service::start().await;
    service.client.put("/bucket/key", b"body").await.expect(200);
    let host = [("host", "bucket.s3.test")];
    assert_eq!(service.client.send("GET", "/key", &host, b"").await.expect(200).body, b"body");
}

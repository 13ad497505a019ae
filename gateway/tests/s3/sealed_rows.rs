//! What rows say of contents is sealed, and rows from before that are still read.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use datamesh_catalog::{Content, Precondition, PutVersion, VersionMeta};
use md5::{Digest, Md5};

use crate::client::Client;
use crate::service::Service;

const BODY: &[u8] = b"a content that somebody may guess";
const NOTE: &str = "what its owner wrote about it";
const CRC32: &str = "x-amz-checksum-crc32";
const PART: usize = 5 << 20;

fn md5(content: &[u8]) -> String {
    hex::encode(Md5::digest(content))
}

/// All that rows of the bucket say of contents, and of what lies beside them.
async fn rows(service: &Service, upload: &str) -> String {
    let bucket = service.catalog.bucket("bucket").await.unwrap().unwrap();
    let version = service.catalog.version(bucket.id, b"key", None).await.unwrap().unwrap();
    let large = service.catalog.version(bucket.id, b"large", None).await.unwrap().unwrap();
    let upload = upload.parse().unwrap();
    let open = service.catalog.upload(bucket.id, b"open", upload).await.unwrap();
    let part = service.catalog.list_parts(bucket.id, b"open", upload, 0, 1).await.unwrap().parts.remove(0);
    let large_part = service.catalog.version_parts(&large, 0, 1).await.unwrap().remove(0);
    let messages = service.catalog.due_messages(u64::MAX >> 1, 10).await.unwrap();
    assert!(!messages.is_empty());
    let said = [
        [version.etag, version.attributes],
        [large.etag, large.attributes],
        [open.attributes, String::new()],
        [part.etag, part.checksums],
        [large_part.etag, large_part.checksums],
    ];
    let documents = messages.into_iter().map(|message| message.document);
    said.into_iter().flatten().chain(documents).collect::<Vec<_>>().join("\n")
}

async fn begin(client: &Client, key: &str) -> String {
    let begun =
        client.send("POST", &format!("/bucket/{key}?uploads"), &[("x-amz-meta-note", NOTE)], b"").await;
    begun.expect(200).element("UploadId").unwrap()
}

async fn complete(client: &Client, key: &str, upload: &str, etag: &str) -> String {
    let document = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    );
    let target = format!("/bucket/{key}?uploadId={upload}");
    client.send("POST", &target, &[], document.as_bytes()).await.expect(200).element("ETag").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_who_reads_the_rows_can_confirm_a_guess() {
    let service = Service::start().await;
    let client = &service.client;
    let notification = "<NotificationConfiguration><TopicConfiguration><Topic>arn:aws:sns:::http://127.0.0.1:9/</Topic>\
         <Event>s3:ObjectCreated:*</Event></TopicConfiguration></NotificationConfiguration>";
    client.put("/bucket?notification=", notification.as_bytes()).await.expect(200);
    let crc32 =
        STANDARD.encode(&crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, BODY).to_be_bytes()[4..]);
    let headers = [("x-amz-meta-note", NOTE), (CRC32, crc32.as_str())];
    let put = client.send("PUT", "/bucket/key", &headers, BODY).await.expect(200);
    assert_eq!(put.header("etag"), Some(format!("\"{}\"", md5(BODY)).as_str()));
    let upload = begin(client, "open").await;
    let part = client.put(&format!("/bucket/open?partNumber=1&uploadId={upload}"), BODY).await.expect(200);
    assert_eq!(part.header("etag"), Some(format!("\"{}\"", md5(BODY)).as_str()));
    let large = vec![7; PART];
    let whole = begin(client, "large").await;
    client.put(&format!("/bucket/large?partNumber=1&uploadId={whole}"), &large).await.expect(200);
    let etag = complete(client, "large", &whole, &md5(&large)).await;
    let whole_md5 = md5(&Md5::digest(&large));
    assert!(etag.contains(&format!("{whole_md5}-1")), "{etag}");
    // The repetition of one whose answer was lost.
    assert_eq!(complete(client, "large", &whole, &md5(&large)).await, etag);

    let said = rows(&service, &upload).await;
    for hidden in [md5(BODY), md5(&large), whole_md5, crc32.clone(), NOTE.to_owned(), "{".to_owned()] {
        assert!(!said.contains(&hidden), "{hidden} is in {said}");
    }
    let head =
        client.send("HEAD", "/bucket/key", &[("x-amz-checksum-mode", "ENABLED")], b"").await.expect(200);
    assert_eq!(head.header("x-amz-meta-note"), Some(NOTE));
    assert_eq!(head.header(CRC32), Some(headers[1].1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_compare_what_is_sealed() {
    let service = Service::start().await;
    let client = &service.client;
    client.put("/bucket/key", BODY).await.expect(200);
    let bucket = service.catalog.bucket("bucket").await.unwrap().unwrap();
    let sealed = service.catalog.version(bucket.id, b"key", None).await.unwrap().unwrap().etag;
    let (ours, other) = (format!("\"{}\"", md5(BODY)), format!("\"{}\"", md5(b"other")));
    let sealed = format!("\"{sealed}\"");
    for wrong in [&other, &sealed, &"\"abc\"".to_owned()] {
        let condition = [("if-match", wrong.as_str())];
        client.send("PUT", "/bucket/key", &condition, b"x").await.expect_error(412, "PreconditionFailed");
        client.send("DELETE", "/bucket/key", &condition, b"").await.expect_error(412, "PreconditionFailed");
        client.send("GET", "/bucket/key", &condition, b"").await.expect_error(412, "PreconditionFailed");
    }
    let absent = [("if-none-match", ours.as_str())];
    client.send("PUT", "/bucket/key", &absent, b"x").await.expect_error(412, "PreconditionFailed");
    client.send("GET", "/bucket/key", &absent, b"").await.expect(304);
    client.send("PUT", "/bucket/key", &[("if-match", ours.as_str())], BODY).await.expect(200);
    client.send("DELETE", "/bucket/key", &[("if-match", ours.as_str())], b"").await.expect(204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_from_before_anything_was_sealed_are_read_copied_compared_and_deleted() {
    let service = Service::start().await;
    let client = &service.client;
    let bucket = service.catalog.bucket("bucket").await.unwrap().unwrap();
    let etag = md5(b"");
    let put = PutVersion {
        bucket: bucket.id,
        key: b"old".to_vec(),
        precondition: Precondition::NONE,
        content: Content::Empty,
        size: 0,
        etag: etag.clone(),
        storage_class: "STANDARD".to_owned(),
        attributes: r#"{"v":1,"ct":"text/plain","m":{"note":"n"}}"#.to_owned(),
        meta: VersionMeta::NONE,
        now_ms: 1,
    };
    let hook = service.accounts.reserve_in(service.account, bucket.id.0, 0, 1).await.unwrap();
    service.catalog.put_version(put, Arc::new(hook)).await.unwrap();
    let quoted = format!("\"{etag}\"");
    let head = client.send("HEAD", "/bucket/old", &[("if-match", quoted.as_str())], b"").await.expect(200);
    assert_eq!((head.header("etag"), head.header("x-amz-meta-note")), (Some(quoted.as_str()), Some("n")));
    assert!(client.get("/bucket").await.expect(200).text().contains(&etag));
    assert!(client.get("/bucket?versions").await.expect(200).text().contains(&etag));
    client.send("PUT", "/bucket/copy", &[("x-amz-copy-source", "/bucket/old")], b"").await.expect(200);
    let copy = service.catalog.version(bucket.id, b"copy", None).await.unwrap().unwrap();
    assert!(!copy.etag.contains(&etag) && !copy.attributes.contains("note"), "{copy:?}");
    let head = client.send("HEAD", "/bucket/copy", &[], b"").await.expect(200);
    assert_eq!((head.header("etag"), head.header("x-amz-meta-note")), (Some(quoted.as_str()), Some("n")));
    let wrong = format!("\"{}\"", md5(b"x"));
    client.send("DELETE", "/bucket/old", &[("if-match", wrong.as_str())], b"").await.expect(412);
    client.send("DELETE", "/bucket/old", &[("if-match", quoted.as_str())], b"").await.expect(204);
}

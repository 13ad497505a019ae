//! Multipart uploads, from their creation to a completion that can be repeated.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};

use crate::client::{Client, Reply};
use crate::service::{Service, noise};

const PART: usize = 5 << 20;

async fn begin(client: &Client, headers: &[(&str, &str)]) -> String {
    let reply = client.send("POST", "/bucket/key?uploads", headers, b"").await.expect(200);
    reply.element("UploadId").unwrap()
}

async fn put_part(client: &Client, upload: &str, number: u16, body: &[u8]) -> String {
    let target = format!("/bucket/key?partNumber={number}&uploadId={upload}");
    client.put(&target, body).await.expect(200).header("etag").unwrap().to_owned()
}

async fn complete(client: &Client, upload: &str, parts: &[(u16, &str)]) -> Reply {
    let mut document = "<CompleteMultipartUpload>".to_owned();
    for (number, etag) in parts {
        document += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
    }
    document += "</CompleteMultipartUpload>";
    let target = format!("/bucket/key?uploadId={upload}");
    client.send("POST", &target, &[], document.as_bytes()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_become_one_object_and_completing_can_be_repeated() {
    let service = Service::start().await;
    let client = &service.client;
    let (first, second) = (noise(1, PART), noise(2, 1_234_567));
    let upload = begin(client, &[("content-type", "a/b"), ("x-amz-meta-m", "1")]).await;
    let two = put_part(client, &upload, 7, &second).await;
    put_part(client, &upload, 3, &noise(9, 100)).await;
    let one = put_part(client, &upload, 3, &first).await;
    let listed = client.get(&format!("/bucket/key?uploadId={upload}")).await.expect(200);
    assert_eq!(listed.text().matches("<Part>").count(), 2);
    client.get("/bucket/key").await.expect_error(404, "NoSuchKey");
    assert!(client.get("/bucket?uploads").await.expect(200).text().contains(&upload));

    complete(client, &upload, &[(7, &two), (3, &one)]).await.expect_error(400, "InvalidPartOrder");
    complete(client, &upload, &[(3, "\"00000000000000000000000000000000\"")])
        .await
        .expect_error(400, "InvalidPart");
    complete(client, &upload, &[(4, &one)]).await.expect_error(400, "InvalidPart");
    let done = complete(client, &upload, &[(3, &one), (7, &two)]).await.expect(200);
    let digests = [Md5::digest(&first), Md5::digest(&second)].concat();
    let etag = format!("{}-2", hex::encode(Md5::digest(&digests)));
    assert!(done.element("ETag").unwrap().contains(&etag), "{}", done.text());
    let again = complete(client, &upload, &[(3, &one), (7, &two)]).await.expect(200);
    assert_eq!(again.element("ETag"), done.element("ETag"));

    let whole = [first.as_slice(), &second].concat();
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &whole).to_be_bytes();
    let asked = [("x-amz-checksum-mode", "ENABLED")];
    let got = client.send("GET", "/bucket/key", &asked, b"").await.expect(200);
    assert!(got.body == whole);
    assert_eq!((got.header("content-type"), got.header("x-amz-meta-m")), (Some("a/b"), Some("1")));
    assert_eq!(got.header("x-amz-checksum-crc64nvme"), Some(STANDARD.encode(sum).as_str()));
    let across = [("range", format!("bytes={}-{}", PART - 10, PART + 9))];
    let got = client.send("GET", "/bucket/key", &[(across[0].0, &across[0].1)], b"").await.expect(206);
    assert_eq!(got.body, whole[PART - 10..PART + 10]);
    let part = client.get("/bucket/key?partNumber=7").await.expect(206);
    assert_eq!((part.body == second, part.header("x-amz-mp-parts-count")), (true, Some("2")));
    client.get("/bucket/key?partNumber=4").await.expect_error(400, "InvalidPart");
    let head = client.head("/bucket/key?partNumber=7").await.expect(206);
    assert_eq!(head.header("content-length"), Some("1234567"));
    assert_eq!(head.header("x-amz-mp-parts-count"), Some("2"));
    let range = format!("bytes {PART}-{}/{}", whole.len() - 1, whole.len());
    assert_eq!(head.header("content-range"), Some(range.as_str()));
    client.head("/bucket/key?partNumber=4").await.expect(400);
    client.head("/bucket/key").await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attributes_tell_the_parts_page_by_page() {
    let service = Service::start().await;
    let client = &service.client;
    let upload = begin(client, &[("x-amz-checksum-algorithm", "SHA256")]).await;
    let parts = [(2, noise(1, PART)), (5, noise(2, PART)), (9, noise(3, 1000))];
    let mut etags = Vec::new();
    for (number, body) in &parts {
        etags.push(put_part(client, &upload, *number, body).await);
    }
    let named: Vec<(u16, &str)> =
        parts.iter().map(|part| part.0).zip(etags.iter().map(String::as_str)).collect();
    complete(client, &upload, &named).await.expect(200);
    let ask = async |asked: &str, paging: &[(&str, &str)]| {
        let headers = [&[("x-amz-object-attributes", asked)][..], paging].concat();
        client.send("GET", "/bucket/key?attributes", &headers, b"").await.expect(200)
    };
    let sha256 = |bytes: &[u8]| aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let sums: Vec<String> = parts.iter().map(|(_, body)| STANDARD.encode(sha256(body))).collect();

    let all = ask("Checksum,ETag,ObjectParts,ObjectSize,StorageClass", &[]).await;
    assert_eq!(all.element("ObjectSize"), Some((2 * PART + 1000).to_string()));
    assert_eq!(all.element("StorageClass").as_deref(), Some("STANDARD"));
    assert!(all.element("ETag").unwrap().contains("-3"), "{}", all.text());
    let digests: Vec<u8> = parts.iter().flat_map(|(_, body)| sha256(body).as_ref().to_vec()).collect();
    let checksum = all.element("Checksum").unwrap();
    let whole = format!("<ChecksumSHA256>{}-3</ChecksumSHA256>", STANDARD.encode(sha256(&digests)));
    assert!(checksum.contains(&whole), "{checksum}");
    assert!(checksum.contains("<ChecksumType>COMPOSITE</ChecksumType>"), "{checksum}");
    assert_eq!(all.element("PartsCount").as_deref(), Some("3"));
    assert_eq!(all.elements("PartNumber"), ["2", "5", "9"]);
    assert_eq!(all.elements("Size"), [PART.to_string(), PART.to_string(), "1000".to_owned()]);
    assert_eq!(all.element("IsTruncated").as_deref(), Some("false"));
    let shown = all.element("ObjectParts").unwrap();
    assert!(sums.iter().all(|sum| shown.contains(sum.as_str())), "{shown}");

    let first = ask("ObjectParts", &[("x-amz-max-parts", "2")]).await;
    assert_eq!(first.elements("PartNumber"), ["2", "5"]);
    assert_eq!(first.element("IsTruncated").as_deref(), Some("true"));
    assert_eq!(first.element("NextPartNumberMarker").as_deref(), Some("5"));
    assert_eq!(first.element("ETag"), None);
    let paging = [("x-amz-max-parts", "2"), ("x-amz-part-number-marker", "5")];
    let last = ask("ObjectParts", &paging).await;
    assert_eq!(last.elements("PartNumber"), ["9"]);
    assert_eq!(last.element("IsTruncated").as_deref(), Some("false"));
    assert_eq!(last.element("PartNumberMarker").as_deref(), Some("5"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_composite_checksum_is_that_of_the_parts_checksums() {
    let service = Service::start().await;
    let client = &service.client;
    let upload = begin(client, &[("x-amz-checksum-algorithm", "SHA256")]).await;
    let body = noise(1, 100_000);
    let etag = put_part(client, &upload, 1, &body).await;
    let done = complete(client, &upload, &[(1, &etag)]).await.expect(200);
    let sha256 = |bytes: &[u8]| aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let expected = format!("{}-1", STANDARD.encode(sha256(sha256(&body).as_ref())));
    assert_eq!(done.element("ChecksumSHA256"), Some(expected));
    assert_eq!(done.element("ChecksumType").as_deref(), Some("COMPOSITE"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_parts_wrong_numbers_and_gone_uploads_are_refused() {
    let service = Service::start().await;
    let client = &service.client;
    let upload = begin(client, &[]).await;
    let one = put_part(client, &upload, 1, &noise(1, 100_000)).await;
    let two = put_part(client, &upload, 2, b"x").await;
    complete(client, &upload, &[(1, &one), (2, &two)]).await.expect_error(400, "EntityTooSmall");
    complete(client, &upload, &[]).await.expect_error(400, "MalformedXML");
    for number in ["0", "10001"] {
        let target = format!("/bucket/key?partNumber={number}&uploadId={upload}");
        client.put(&target, b"x").await.expect_error(400, "InvalidArgument");
    }
    client.delete(&format!("/bucket/key?uploadId={upload}")).await.expect(204);
    client.delete(&format!("/bucket/key?uploadId={upload}")).await.expect_error(404, "NoSuchUpload");
    let target = format!("/bucket/key?partNumber=1&uploadId={upload}");
    client.put(&target, b"x").await.expect_error(404, "NoSuchUpload");
    client.put("/bucket/key?partNumber=1&uploadId=bad", b"x").await.expect_error(404, "NoSuchUpload");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_are_copied_from_ranges_of_other_objects() {
    let service = Service::start().await;
    let client = &service.client;
    let source = noise(4, 6_000_000);
    client.put("/bucket/source", &source).await.expect(200);
    let upload = begin(client, &[]).await;
    let mut etags = Vec::new();
    for (number, range) in [(1, format!("bytes=100-{}", 100 + PART - 1)), (2, "bytes=0-99".to_owned())] {
        let target = format!("/bucket/key?partNumber={number}&uploadId={upload}");
        let headers = [("x-amz-copy-source", "bucket/source"), ("x-amz-copy-source-range", range.as_str())];
        let reply = client.send("PUT", &target, &headers, b"").await.expect(200);
        etags.push(reply.element("ETag").unwrap());
    }
    let beyond = [("x-amz-copy-source", "bucket/source"), ("x-amz-copy-source-range", "bytes=0-6000000")];
    let target = format!("/bucket/key?partNumber=3&uploadId={upload}");
    client.send("PUT", &target, &beyond, b"").await.expect_error(416, "InvalidRange");
    complete(client, &upload, &[(1, &etags[0]), (2, &etags[1])]).await.expect(200);
    let expected = [&source[100..100 + PART], &source[..100]].concat();
    assert!(client.get("/bucket/key").await.expect(200).body == expected);
}

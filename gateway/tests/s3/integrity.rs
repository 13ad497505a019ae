//! Wrong digests, broken bodies, lost chunks: errors, and never a wrong or a short success.

use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use datamesh_gateway::http::HttpConfig;
use datamesh_gateway::retrieve::RetrieveConfig;
use md5::{Digest, Md5};

use crate::client::{UNSIGNED, exchange};
use crate::service::{Service, noise};

pub const TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

pub fn crc32(body: &[u8]) -> String {
    STANDARD.encode((crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, body) as u32).to_be_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn declared_digests_are_verified_and_wrong_ones_store_nothing() {
    let service = Service::start().await;
    let client = &service.client;
    for (size, key) in [(100, "small"), (200_000, "large")] {
        let body = noise(1, size);
        let target = format!("/bucket/{key}");
        let right = crc32(&body);
        let wrong = crc32(&noise(2, size));
        let md5 = STANDARD.encode(Md5::digest(&body));
        let wrong_md5 = STANDARD.encode(Md5::digest(noise(2, size)));
        for (header, value) in [("x-amz-checksum-crc32", wrong.as_str()), ("content-md5", wrong_md5.as_str())]
        {
            client.send("PUT", &target, &[(header, value)], &body).await.expect_error(400, "BadDigest");
            client.get(&target).await.expect_error(404, "NoSuchKey");
        }
        client
            .send("PUT", &target, &[("content-md5", "abc")], &body)
            .await
            .expect_error(400, "InvalidDigest");
        let headers = [("x-amz-checksum-crc32", right.as_str()), ("content-md5", md5.as_str())];
        let put = client.send("PUT", &target, &headers, &body).await.expect(200);
        assert_eq!(put.header("x-amz-checksum-crc32"), Some(right.as_str()));
        let asked = [("x-amz-checksum-mode", "ENABLED")];
        let got = client.send("GET", &target, &asked, b"").await.expect(200);
        assert_eq!(got.header("x-amz-checksum-crc32"), Some(right.as_str()));
        let part = [asked[0], ("range", "bytes=0-9")];
        let got = client.send("GET", &target, &part, b"").await.expect(206);
        assert_eq!(got.header("x-amz-checksum-crc32"), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trailing_checksum_is_verified() {
    let service = Service::start().await;
    let client = &service.client;
    let body = noise(5, 150_000);
    for (checksum, status) in [(crc32(&noise(6, 10)), 400), (crc32(&body), 200)] {
        let mut framed = Vec::new();
        for piece in body.chunks(65_536) {
            framed.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            framed.extend_from_slice(piece);
            framed.extend_from_slice(b"\r\n");
        }
        framed.extend_from_slice(format!("0\r\nx-amz-checksum-crc32:{checksum}\r\n\r\n").as_bytes());
        let len = body.len().to_string();
        let headers = [
            ("content-encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", len.as_str()),
            ("x-amz-trailer", "x-amz-checksum-crc32"),
        ];
        let reply = client.send_hashed("PUT", "/bucket/key", &headers, &framed, TRAILER).await;
        assert_eq!(reply.status, status, "{}", reply.text());
    }
    let got = client.get("/bucket/key").await.expect(200);
    assert_eq!((got.body == body, got.header("content-encoding")), (true, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_not_the_signed_one_stores_nothing() {
    let service = Service::start().await;
    let client = &service.client;
    for size in [100, 200_000] {
        let other = hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"other"));
        let reply = client.send_hashed("PUT", "/bucket/key", &[], &noise(1, size), &other).await;
        reply.expect_error(400, "XAmzContentSHA256Mismatch");
        client.get("/bucket/key").await.expect_error(404, "NoSuchKey");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_stands_still_is_given_up() {
    let http = HttpConfig { body_idle_timeout: Duration::from_millis(50), ..HttpConfig::default() };
    let service = Service::start_with(http).await;
    let head = service.client.signed("PUT", "/bucket/key", &[], UNSIGNED, 1_000_000);
    let reply = exchange(service.client.address, &[head.as_bytes(), &noise(1, 300_000)].concat()).await;
    reply.expect_error(400, "RequestTimeout");
    service.client.get("/bucket/key").await.expect_error(404, "NoSuchKey");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_chunk_is_an_error_at_the_start_and_a_broken_connection_in_the_middle() {
    let service = Service::start().await;
    service.client.put("/bucket/key", &noise(1, 2_000_000)).await.expect(200);
    // As many as are fetched before the first has been delivered.
    let ahead = RetrieveConfig::default().chunks_in_flight as u64;
    service.backend.reads_left.store(ahead, Ordering::Relaxed);
    let got = service.client.get("/bucket/key").await;
    assert!(matches!(got.status, 0 | 200) && !got.complete, "{} with a whole body", got.status);
    let tail = [("range", "bytes=1900000-")];
    service.client.send("GET", "/bucket/key", &tail, b"").await.expect_error(500, "InternalError");
    service.backend.reads_left.store(u64::MAX, Ordering::Relaxed);
    assert!(service.client.get("/bucket/key").await.expect(200).complete);
}

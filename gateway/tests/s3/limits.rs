//! What one client may take of the listener: connections, requests, time, entries of a document.

use std::time::Duration;

use datamesh_gateway::http::HttpConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{UNSIGNED, exchange};
use crate::service::Service;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_above_the_limit_wait_for_one_that_closes() {
    let service = Service::start_with(HttpConfig { connections_max: 2, ..HttpConfig::default() }).await;
    let address = service.client.address;
    let idle = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
    let client = service.client.clone();
    let mut waiting = tokio::spawn(async move { client.get("/bucket?location").await });
    let early = tokio::time::timeout(Duration::from_millis(200), &mut waiting).await;
    assert!(early.is_err(), "both connections are taken");
    drop(idle);
    waiting.await.unwrap().expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_above_the_limit_are_told_to_slow_down() {
    let service = Service::start_with(HttpConfig { requests_max: 1, ..HttpConfig::default() }).await;
    let client = &service.client;
    let head = client.signed("PUT", "/bucket/key", &[("expect", "100-continue")], UNSIGNED, 5);
    let mut stream = TcpStream::connect(client.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100 "), "the request is under way");
    let refused = client.get("/bucket?location").await.expect_error(503, "SlowDown");
    assert_eq!(refused.header("retry-after"), Some("1"));
    stream.write_all(b"bytes").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(client.get("/bucket/key").await.expect(200).body, b"bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_does_not_end_costs_its_client_the_connection() {
    let http = HttpConfig { header_timeout: Duration::from_millis(50), ..HttpConfig::default() };
    let service = Service::start_with(http).await;
    let reply = exchange(service.client.address, b"GET /bucket HTTP/1.1\r\nhost: a\r\n").await;
    assert!(reply.status == 0 || reply.status == 408, "{reply:?}");
    let long = format!("GET /bucket HTTP/1.1\r\nhost: a\r\nx-amz-meta-a: {}\r\n\r\n", "a".repeat(2 << 20));
    let reply = exchange(service.client.address, long.as_bytes()).await;
    assert!(reply.status == 0 || reply.status == 431, "{}", reply.status);
    service.client.get("/bucket?location").await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_with_more_entries_than_allowed_are_refused() {
    let service = Service::start().await;
    let client = &service.client;
    client.put("/bucket/key", b"x").await.expect(200);
    let delete = |count: usize| {
        let keys: String = (0..count).map(|_| "<Object><Key>key</Key></Object>").collect();
        format!("<Delete>{keys}</Delete>")
    };
    client
        .send("POST", "/bucket?delete", &[], delete(1001).as_bytes())
        .await
        .expect_error(400, "MalformedXML");
    client.get("/bucket/key").await.expect(200);
    client.send("POST", "/bucket?delete", &[], delete(1000).as_bytes()).await.expect(200);
    client.get("/bucket/key").await.expect_error(404, "NoSuchKey");

    let begun = client.send("POST", "/bucket/up?uploads", &[], b"").await.expect(200);
    let upload = format!("/bucket/up?uploadId={}", begun.element("UploadId").unwrap());
    let parts: String =
        (1..=10_001).map(|n| format!("<Part><PartNumber>{n}</PartNumber><ETag>e</ETag></Part>")).collect();
    let document = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    client.send("POST", &upload, &[], document.as_bytes()).await.expect_error(400, "MalformedXML");
    client.get(&upload).await.expect(200);
}

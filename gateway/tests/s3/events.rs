//! Event notifications, from the configuration to the webhook. Delivery happens when the tests say so.

use std::sync::Arc;

use datamesh_gateway::jobs::LifecycleReport;
use datamesh_gateway::s3::now_ms;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use crate::client::Client;
use crate::forms::{ours, post};
use crate::service::{DAY_MS, Service, noise};

/// A webhook: what it was sent, and what it answers next; 200 when nothing is said.
#[derive(Clone)]
struct Hook {
    port: u16,
    received: Arc<Mutex<Vec<Value>>>,
    answers: Arc<Mutex<Vec<&'static str>>>,
}

impl Hook {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let hook = Self { port, received: Arc::default(), answers: Arc::default() };
        let served = hook.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let body = read_body(&mut stream).await;
                served.received.lock().await.push(serde_json::from_slice(&body).unwrap());
                let status = served.answers.lock().await.pop().unwrap_or("200 OK");
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        hook
    }

    fn arn(&self, host: &str) -> String {
        format!("arn:aws:sns:::http://{host}:{}/hook", self.port)
    }

    /// Each message's event, key, size and version.
    async fn events(&self) -> Vec<String> {
        let received = self.received.lock().await;
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        received
            .iter()
            .map(|message| {
                let record = &message["Records"][0];
                let object = &record["s3"]["object"];
                format!("{} {} {}", text(&record["eventName"]), text(&object["key"]), text(&object["size"]))
            })
            .collect()
    }
}

async fn read_body(stream: &mut tokio::net::TcpStream) -> Vec<u8> {
    let mut request = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let len = stream.read(&mut buffer).await.unwrap();
        request.extend_from_slice(&buffer[..len]);
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        let Some(head) = text.find("\r\n\r\n") else { continue };
        let length = text.split("content-length: ").nth(1).unwrap();
        let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
        if request.len() >= head + 4 + length {
            return request.split_off(head + 4);
        }
    }
}

fn configuration(arn: &str, events: &[&str], filter: &str) -> String {
    let events: String = events.iter().map(|event| format!("<Event>{event}</Event>")).collect();
    format!(
        "<NotificationConfiguration><TopicConfiguration><Id>one</Id><Topic>{arn}</Topic>{events}{filter}\
         </TopicConfiguration></NotificationConfiguration>"
    )
}

async fn configure(client: &Client, arn: &str, events: &[&str]) {
    let document = configuration(arn, events, "");
    client.put("/bucket?notification=", document.as_bytes()).await.expect(200);
}

const ALL: [&str; 3] = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:LifecycleExpiration:*"];

#[tokio::test]
async fn every_kind_of_change_is_told_once_it_is_committed() {
    let (service, hook) = (Service::start().await, Hook::start().await);
    let client = &service.client;
    configure(client, &hook.arn("127.0.0.1"), &ALL).await;
    client.put("/bucket/a%20b", b"123").await.expect(200);
    client.send("PUT", "/bucket/copy", &[("x-amz-copy-source", "/bucket/a%20b")], b"").await.expect(200);
    let upload =
        client.send("POST", "/bucket/m?uploads=", &[], b"").await.expect(200).element("UploadId").unwrap();
    let part = client.put(&format!("/bucket/m?partNumber=1&uploadId={upload}"), b"part").await.expect(200);
    let etag = part.header("etag").unwrap();
    let document = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>\
         </CompleteMultipartUpload>"
    );
    let target = format!("/bucket/m?uploadId={upload}");
    client.send("POST", &target, &[], document.as_bytes()).await.expect(200);
    client.delete("/bucket/copy").await.expect(204);
    client.delete("/bucket/never-there").await.expect(204);
    assert_eq!(service.jobs.deliver(now_ms()).await.unwrap(), 4);
    let mut told = hook.events().await;
    told.sort();
    assert_eq!(
        told,
        [
            "ObjectCreated:CompleteMultipartUpload m 4",
            "ObjectCreated:Copy copy 3",
            "ObjectCreated:Put a+b 3",
            "ObjectRemoved:Delete copy null",
        ]
    );
    assert_eq!(service.jobs.deliver(now_ms()).await.unwrap(), 0, "nothing is told twice without need");
}

#[tokio::test]
async fn an_upload_by_a_form_is_told_as_one() {
    let (service, hook) = (Service::start().await, Hook::start().await);
    let client = &service.client;
    configure(client, &hook.arn("127.0.0.1"), &["s3:ObjectCreated:Post"]).await;
    client.put("/bucket/up/by-put", b"123").await.expect(200);
    post(client, &ours(&[("key", "up/by-form")]), b"1234").await.expect(204);
    assert_eq!(service.jobs.deliver(now_ms()).await.unwrap(), 1);
    assert_eq!(hook.events().await, ["ObjectCreated:Post up%2Fby-form 4"]);
}

#[tokio::test]
async fn changes_of_tags_and_lists_are_told_of_the_version_that_has_them() {
    let (service, hook) = (Service::start().await, Hook::start().await);
    let client = &service.client;
    client.put("/bucket/a", b"123").await.expect(200);
    configure(client, &hook.arn("127.0.0.1"), &["s3:ObjectTagging:*", "s3:ObjectAcl:Put"]).await;
    let tags = "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>";
    client.put("/bucket/a?tagging=", tags.as_bytes()).await.expect(200);
    client.send("PUT", "/bucket/a?acl=", &[("x-amz-acl", "public-read")], b"").await.expect(200);
    client.delete("/bucket/a?tagging=").await.expect(204);
    // Neither what changes nothing nor a write that sets tags is such a change.
    client.put("/bucket/none?tagging=", tags.as_bytes()).await.expect(404);
    client.send("PUT", "/bucket/b", &[("x-amz-tagging", "k=v")], b"1").await.expect(200);
    assert_eq!(service.jobs.deliver(now_ms()).await.unwrap(), 3);
    let mut told = hook.events().await;
    told.sort();
    assert_eq!(told, ["ObjectAcl:Put a null", "ObjectTagging:Delete a null", "ObjectTagging:Put a null"]);
    let etag = client.head("/bucket/a").await.header("etag").unwrap().to_owned();
    let received = hook.received.lock().await;
    let named =
        |message: &Value| etag.contains(message["Records"][0]["s3"]["object"]["eTag"].as_str().unwrap());
    assert!(received.iter().all(named), "{received:?}");
}

#[tokio::test]
async fn moves_and_restores_are_told_with_class_and_end() {
    let (service, hook) = (Service::start().await, Hook::start().await);
    let client = &service.client;
    configure(client, &hook.arn("127.0.0.1"), &["s3:LifecycleTransition", "s3:ObjectRestore:*"]).await;
    let rules = "<LifecycleConfiguration><Rule><ID>r</ID><Prefix></Prefix><Status>Enabled</Status>\
         <Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition></Rule></LifecycleConfiguration>";
    client.put("/bucket?lifecycle=", rules.as_bytes()).await.expect(200);
    client.put("/bucket/a", &noise(1, 100_000)).await.expect(200);
    let later = now_ms() + 2 * DAY_MS;
    assert_eq!(service.jobs.age(later).await.unwrap().moved, 1);
    let restore = b"<RestoreRequest><Days>1</Days></RestoreRequest>";
    client.send("POST", "/bucket/a?restore", &[], restore).await.expect(202);
    client.send("POST", "/bucket/a?restore", &[], restore).await.expect(200);
    assert_eq!(service.jobs.deliver(later).await.unwrap(), 3);
    let mut told = hook.events().await;
    told.sort();
    assert_eq!(
        told,
        ["LifecycleTransition a null", "ObjectRestore:Completed a null", "ObjectRestore:Post a null"]
    );
    let received = hook.received.lock().await;
    let record = |name: &str| {
        let mut records = received.iter().map(|message| &message["Records"][0]);
        records.find(|record| record["eventName"] == name).unwrap().clone()
    };
    let moved = record("LifecycleTransition");
    assert_eq!(moved["lifecycleEventData"]["transitionEventData"]["destinationStorageClass"], "GLACIER");
    let restored = record("ObjectRestore:Completed");
    let data = &restored["glacierEventData"]["restoreEventData"];
    assert_eq!(data["lifecycleRestoreStorageClass"], "GLACIER");
    assert!(data["lifecycleRestorationExpiryTime"].as_str().unwrap().ends_with("T00:00:00.000Z"), "{data}");
    let etag = client.head("/bucket/a").await.header("etag").unwrap().to_owned();
    assert!(etag.contains(moved["s3"]["object"]["eTag"].as_str().unwrap()));
}

#[tokio::test]
async fn a_refused_change_is_not_told() {
    let (service, hook) = (Service::start().await, Hook::start().await);
    let client = &service.client;
    configure(client, &hook.arn("127.0.0.1"), &ALL).await;
    client.put("/bucket/a", b"1").await.expect(200);
    client.send("PUT", "/bucket/a", &[("if-none-match", "*")], b"2").await.expect(412);
    client.send("DELETE", "/bucket/a", &[("if-match", "\"other\"")], b"").await.expect(412);
    assert_eq!(service.jobs.deliver(now_ms()).await.unwrap(), 1);
    assert_eq!(hook.events().await, ["ObjectCreated:Put a 1"]);
}

#[tokio::test]
async fn lifecycle_rules_tell_what_they_do() {
    let (service, hook) = (Service::start().await, Hook::start().await);
    let client = &service.client;
    configure(client, &hook.arn("127.0.0.1"), &ALL).await;
    let rules = "<LifecycleConfiguration><Rule><ID>r</ID><Prefix></Prefix><Status>Enabled</Status>\
         <Expiration><Days>1</Days></Expiration></Rule></LifecycleConfiguration>";
    client.put("/bucket?lifecycle=", rules.as_bytes()).await.expect(200);
    client.put("/bucket/old", b"1").await.expect(200);
    let report = service.jobs.age(now_ms() + 2 * DAY_MS).await.unwrap();
    assert_eq!(report, LifecycleReport { expired: 1, ..LifecycleReport::default() });
    assert_eq!(service.jobs.deliver(now_ms() + 2 * DAY_MS).await.unwrap(), 2);
    let mut told = hook.events().await;
    told.sort();
    assert_eq!(told, ["LifecycleExpiration:Delete old null", "ObjectCreated:Put old 1"]);
}

#[tokio::test]
async fn a_message_that_is_not_accepted_is_sent_again_later_and_later() {
    let (service, hook) = (Service::start().await, Hook::start().await);
    let client = &service.client;
    configure(client, &hook.arn("127.0.0.1"), &ALL).await;
    client.put("/bucket/a", b"1").await.expect(200);
    hook.answers.lock().await.extend(["500 Oops", "302 Found"]);
    let now = now_ms();
    assert_eq!(service.jobs.deliver(now).await.unwrap(), 0, "redirects are not followed");
    assert_eq!(service.jobs.deliver(now + 999).await.unwrap(), 0);
    assert_eq!(hook.events().await.len(), 1, "it is not due yet");
    assert_eq!(service.jobs.deliver(now + 1000).await.unwrap(), 0);
    assert_eq!(service.jobs.deliver(now + 2999).await.unwrap(), 0);
    assert_eq!(hook.events().await.len(), 2, "the second delay is longer");
    assert_eq!(service.jobs.deliver(now + 3000).await.unwrap(), 1);
    let told = hook.received.lock().await;
    assert!(told.len() == 3 && told.iter().all(|message| *message == told[0]), "{told:?}");
}

#[tokio::test]
async fn a_message_that_nobody_accepts_for_days_is_given_up() {
    let service = Service::start().await;
    let client = &service.client;
    // Nobody listens there any more.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    configure(client, &format!("arn:aws:sns:::http://127.0.0.1:{port}/"), &ALL).await;
    client.put("/bucket/a", b"1").await.expect(200);
    let late = now_ms() + 4 * 24 * 3600 * 1000;
    assert_eq!(service.jobs.deliver(late).await.unwrap(), 0);
    assert!(service.catalog.due_messages(u64::MAX >> 1, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_webhook_at_a_forbidden_address_is_neither_accepted_nor_called() {
    let (service, hook) = (Service::start().await, Hook::start().await);
    let client = &service.client;
    for host in
        ["127.0.0.2", "localhost.localdomain.invalid", "[::1]", "169.254.169.254", "0.0.0.0", "2130706434"]
    {
        let document = configuration(&hook.arn(host), &ALL, "");
        client.put("/bucket?notification=", document.as_bytes()).await.expect_error(400, "InvalidArgument");
    }
    // Without validation it can be stored; the connection is refused all the same.
    let document = configuration(&hook.arn("127.0.0.2"), &ALL, "");
    let skip = [("x-amz-skip-destination-validation", "true")];
    client.send("PUT", "/bucket?notification=", &skip, document.as_bytes()).await.expect(200);
    client.put("/bucket/a", b"1").await.expect(200);
    assert_eq!(service.jobs.deliver(now_ms()).await.unwrap(), 0);
    assert!(hook.events().await.is_empty());
    assert_eq!(service.catalog.due_messages(u64::MAX >> 1, 10).await.unwrap().len(), 1, "it stays due");
}

#[tokio::test]
async fn only_keys_that_pass_the_filter_are_told() {
    let (service, hook) = (Service::start().await, Hook::start().await);
    let client = &service.client;
    let filter = "<Filter><S3Key><FilterRule><Name>prefix</Name><Value>in/</Value></FilterRule>\
         <FilterRule><Name>suffix</Name><Value>.jpg</Value></FilterRule></S3Key></Filter>";
    let document = configuration(&hook.arn("127.0.0.1"), &["s3:ObjectCreated:Put"], filter);
    client.put("/bucket?notification=", document.as_bytes()).await.expect(200);
    for key in ["in/a.jpg", "in/a.png", "out/a.jpg"] {
        client.put(&format!("/bucket/{key}"), b"1").await.expect(200);
    }
    let names = "<Object><Key>in/a.jpg</Key></Object>";
    let document = format!("<Delete>{names}</Delete>");
    client
        .send("POST", "/bucket?delete=", &[("content-md5", &md5(&document))], document.as_bytes())
        .await
        .expect(200);
    assert_eq!(service.jobs.deliver(now_ms()).await.unwrap(), 1);
    assert_eq!(hook.events().await, ["ObjectCreated:Put in%2Fa.jpg 1"]);
    let shown = client.get("/bucket?notification=").await.expect(200).text();
    assert!(shown.contains("<Id>one</Id>") && shown.contains(".jpg"), "{shown}");
    client.put("/bucket?notification=", b"<NotificationConfiguration/>").await.expect(200);
    let shown = client.get("/bucket?notification=").await.expect(200).text();
    assert!(!shown.contains("<Id>"), "{shown}");
}

#[tokio::test]
async fn nonsense_is_refused() {
    let service = Service::start().await;
    let client = &service.client;
    let good = "arn:aws:sns:::http://127.0.0.1:1/";
    for (arn, event) in [
        (good, "s3:ObjectCreated"),
        (good, "everything"),
        ("arn:aws:sns:us-east-1:123456789012:topic", "s3:ObjectCreated:*"),
        ("arn:aws:sns:::file:///etc/passwd", "s3:ObjectCreated:*"),
        ("http://127.0.0.1:1/", "s3:ObjectCreated:*"),
    ] {
        let document = configuration(arn, &[event], "");
        client.put("/bucket?notification=", document.as_bytes()).await.expect_error(400, "InvalidArgument");
    }
    let other = configuration(good, &ALL, "");
    service.other.put("/bucket?notification=", other.as_bytes()).await.expect_error(403, "AccessDenied");
}

fn md5(document: &str) -> String {
    use base64::Engine as _;
    use md5::{Digest, Md5};
    base64::engine::general_purpose::STANDARD.encode(Md5::digest(document.as_bytes()))
}

//! Server access logging.

use datamesh_gateway::s3::now_ms;

use crate::service::Service;

const ENABLE: &str = "<BucketLoggingStatus><LoggingEnabled><TargetBucket>logs</TargetBucket>\
     <TargetPrefix>b/</TargetPrefix></LoggingEnabled></BucketLoggingStatus>";

/// The lines in the target bucket.
async fn lines(service: &Service) -> Vec<String> {
    service.access_log.flush(&service.gateway).await;
    let listed = service.client.get("/logs?list-type=2&prefix=b%2F").await.expect(200).text();
    let mut lines = Vec::new();
    for key in listed.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap()) {
        let object = service.client.get(&format!("/logs/{key}")).await.expect(200);
        lines.extend(object.text().lines().map(str::to_owned));
    }
    lines
}

#[tokio::test]
async fn requests_are_logged_from_the_moment_they_should_be() {
    let service = Service::start().await;
    let client = &service.client;
    client.put("/logs", b"").await.expect(200);
    client.put("/bucket/before", b"1").await.expect(200);
    client.put("/bucket?logging=", ENABLE.as_bytes()).await.expect(200);
    client.put("/bucket/a%20b", b"123").await.expect(200);
    client.get("/bucket/a%20b").await.expect(200);
    client.get("/bucket/missing").await.expect(404);
    service.other.get("/bucket/a%20b").await.expect(403);
    client.put("/bucket?logging=", b"<BucketLoggingStatus/>").await.expect(200);
    client.get("/bucket/a%20b").await.expect(200);
    let lines = lines(&service).await;
    let wanted = [
        ("REST.PUT.OBJECT a%20b \"PUT /bucket/a%20b HTTP/1.1\" 200 - - 3 ", 1),
        ("REST.GET.OBJECT a%20b \"GET /bucket/a%20b HTTP/1.1\" 200 - 3 - ", 1),
        ("REST.GET.OBJECT missing \"GET /bucket/missing HTTP/1.1\" 404 NoSuchKey ", 1),
        ("REST.GET.OBJECT a%20b \"GET /bucket/a%20b HTTP/1.1\" 403 AccessDenied ", 1),
        ("before", 0),
    ];
    for (part, count) in wanted {
        let found = lines.iter().filter(|line| line.contains(part)).count();
        assert_eq!(found, count, "{part}: {lines:#?}");
    }
    let owner = service.account.to_string();
    assert!(lines.iter().all(|line| line.starts_with(&format!("{owner} bucket ["))), "{lines:#?}");
}

#[tokio::test]
async fn a_key_has_the_time_and_what_the_format_says() {
    let service = Service::start().await;
    let client = &service.client;
    client.put("/logs", b"").await.expect(200);
    let partitioned = ENABLE.replace(
        "</TargetPrefix>",
        "</TargetPrefix><TargetObjectKeyFormat><PartitionedPrefix><PartitionDateSource>DeliveryTime\
         </PartitionDateSource></PartitionedPrefix></TargetObjectKeyFormat>",
    );
    client.put("/bucket?logging=", partitioned.as_bytes()).await.expect(200);
    let shown = client.get("/bucket?logging=").await.expect(200).text();
    assert!(shown.contains("<PartitionDateSource>DeliveryTime</PartitionDateSource>"), "{shown}");
    assert!(!lines(&service).await.is_empty());
    let listed = client.get("/logs?list-type=2").await.expect(200).text();
    let prefix = format!("<Key>b/{}/test-region/bucket/", service.account);
    assert!(listed.contains(&prefix) && now_ms() > 0, "{listed}");
}

#[tokio::test]
async fn logs_go_only_to_another_bucket_of_the_same_account() {
    let service = Service::start().await;
    let client = &service.client;
    client
        .put("/bucket?logging=", ENABLE.as_bytes())
        .await
        .expect_error(400, "InvalidTargetBucketForLogging");
    service.other.put("/logs", b"").await.expect(200);
    client
        .put("/bucket?logging=", ENABLE.as_bytes())
        .await
        .expect_error(400, "InvalidTargetBucketForLogging");
    let itself = ENABLE.replace(">logs<", ">bucket<");
    client.put("/bucket?logging=", itself.as_bytes()).await.expect_error(400, "InvalidArgument");
    let shown = client.get("/bucket?logging=").await.expect(200).text();
    assert!(!shown.contains("LoggingEnabled"), "{shown}");
}

//! Operations that need more than one permission, or one on another resource than the request names.

use crate::client::Client;
use crate::service::Service;

/// A key's policy that allows some actions on some keys, and everything that is about buckets alone.
fn policy(actions: &[&str], resource: &str) -> String {
    let actions: Vec<String> = actions.iter().map(|action| format!("\"{action}\"")).collect();
    let actions = actions.join(", ");
    format!(
        r#"{{"Version": "2012-10-17", "Statement": [
            {{"Effect": "Allow", "Action": [{actions}], "Resource": "arn:aws:s3:::{resource}"}},
            {{"Effect": "Allow", "Action": ["s3:PutBucketLogging", "s3:PutInventoryConfiguration", "s3:CreateBucket"],
              "Resource": "*"}}]}}"#
    )
}

async fn copy(client: &Client, headers: &[(&str, &str)], source: &str) -> u16 {
    let headers = [headers, &[("x-amz-copy-source", source)]].concat();
    client.send("PUT", "/bucket/copy", &headers, b"").await.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_takes_tags_along_only_for_who_may_read_and_set_them() {
    let service = Service::start().await;
    let client = &service.client;
    client.send("PUT", "/bucket/tagged", &[("x-amz-tagging", "team=red")], b"x").await.expect(200);
    client.put("/bucket/plain", b"x").await.expect(200);
    let replace = [("x-amz-tagging-directive", "REPLACE")];
    let objects = ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"];
    let cases: [(&str, &[&str], u16, u16); 5] = [
        ("AKIANONE", &[], 403, 403),
        ("AKIAREAD", &["s3:GetObjectTagging", "s3:GetObjectVersionTagging"], 403, 403),
        ("AKIASET", &["s3:PutObjectTagging"], 403, 403),
        ("AKIABOTH", &["s3:GetObjectTagging", "s3:PutObjectTagging"], 200, 403),
        ("AKIAVERSION", &["s3:GetObjectVersionTagging", "s3:PutObjectTagging"], 403, 200),
    ];
    for (name, more, current, named) in cases {
        let limited = service.key(name, &policy(&[&objects[..], more].concat(), "bucket/*")).await;
        assert_eq!(copy(&limited, &[], "bucket/tagged").await, current, "{name}");
        assert_eq!(copy(&limited, &[], "bucket/tagged?versionId=null").await, named, "{name}, a version");
        assert_eq!(copy(&limited, &replace, "bucket/tagged").await, 200, "{name}, without its tags");
        assert_eq!(copy(&limited, &[], "bucket/plain").await, 200, "{name}, of what has none");
    }
    // What the copy will have is what conditions see.
    let denial = r#"{"Statement": {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObjectTagging",
        "Resource": "arn:aws:s3:::bucket/*", "Condition": {"StringEquals": {"s3:RequestObjectTag/team": "red"}}}}"#;
    client.put("/bucket?policy", denial.as_bytes()).await.expect(204);
    assert_eq!(copy(client, &[], "bucket/tagged").await, 403);
    assert_eq!(copy(client, &replace, "bucket/tagged").await, 200);

    // Tags in a header that counts for nothing satisfy no condition.
    let denial = r#"{"Statement": {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject",
        "Resource": "arn:aws:s3:::bucket/*", "Condition": {"StringNotEquals": {"s3:RequestObjectTag/team": "blue"}}}}"#;
    client.put("/bucket?policy", denial.as_bytes()).await.expect(204);
    let blue = ("x-amz-tagging", "team=blue");
    assert_eq!(copy(client, &[blue], "bucket/plain").await, 403);
    assert_eq!(copy(client, &[blue, replace[0]], "bucket/plain").await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attributes_are_for_who_may_read_the_object() {
    let service = Service::start().await;
    service.client.put("/bucket/key", b"x").await.expect(200);
    let asked = [("x-amz-object-attributes", "ETag,ObjectSize")];
    let cases: [(&str, &[&str], u16, u16); 4] = [
        ("AKIAATTRIBUTES", &["s3:GetObjectAttributes", "s3:GetObjectVersionAttributes"], 403, 403),
        ("AKIAREAD", &["s3:GetObject", "s3:GetObjectVersion"], 403, 403),
        ("AKIABOTH", &["s3:GetObjectAttributes", "s3:GetObject"], 200, 403),
        ("AKIAVERSION", &["s3:GetObjectVersionAttributes", "s3:GetObjectVersion"], 403, 200),
    ];
    for (name, actions, current, named) in cases {
        let limited = service.key(name, &policy(actions, "bucket/*")).await;
        let status = async |target: &str| limited.send("GET", target, &asked, b"").await.status;
        assert_eq!(status("/bucket/key?attributes").await, current, "{name}");
        assert_eq!(status("/bucket/key?attributes&versionId=null").await, named, "{name}, a version");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_delivered_into_a_bucket_is_ordered_by_who_may_write_there() {
    let service = Service::start().await;
    service.client.put("/lists", b"").await.expect(200);
    let logging = |prefix: &str, format: &str| {
        format!(
            "<BucketLoggingStatus><LoggingEnabled><TargetBucket>lists</TargetBucket>\
             <TargetPrefix>{prefix}</TargetPrefix>{format}</LoggingEnabled></BucketLoggingStatus>"
        )
    };
    let inventory = |prefix: &str| {
        format!(
            "<InventoryConfiguration><Id>daily</Id><IsEnabled>true</IsEnabled><Destination><S3BucketDestination>\
             <Bucket>arn:aws:s3:::lists</Bucket><Format>CSV</Format><Prefix>{prefix}</Prefix></S3BucketDestination>\
             </Destination><IncludedObjectVersions>Current</IncludedObjectVersions><Schedule><Frequency>Daily\
             </Frequency></Schedule></InventoryConfiguration>"
        )
    };
    let partitioned = "<TargetObjectKeyFormat><PartitionedPrefix/></TargetObjectKeyFormat>";
    let limited = service.key("AKIALIMITED", &policy(&["s3:PutObject"], "lists/own/*")).await;
    for (prefix, status) in [("own/", 200), ("other/", 403), ("", 403)] {
        for format in ["", partitioned] {
            let reply = limited.put("/bucket?logging=", logging(prefix, format).as_bytes()).await;
            assert_eq!(reply.status, status, "logs into {prefix:?}: {}", reply.text());
        }
        let reply = limited.put("/bucket?inventory=&id=daily", inventory(prefix).as_bytes()).await;
        assert_eq!(reply.status, status, "inventories into {prefix:?}: {}", reply.text());
    }
    // Turning it off writes nothing.
    limited.put("/bucket?logging=", b"<BucketLoggingStatus/>").await.expect(200);
    service.client.put("/bucket?logging=", logging("other/", "").as_bytes()).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_is_created_with_its_tags_by_who_may_tag_it() {
    let service = Service::start().await;
    let client = &service.client;
    let config = |value: &str| {
        format!(
            "<CreateBucketConfiguration><Tags><Tag><Key>team</Key><Value>{value}</Value></Tag></Tags>\
             </CreateBucketConfiguration>"
        )
    };
    let limited = service.key("AKIALIMITED", &policy(&["s3:PutObject"], "*")).await;
    limited.put("/tagged", config("red").as_bytes()).await.expect_error(403, "AccessDenied");
    client.get("/tagged?tagging").await.expect_error(404, "NoSuchBucket");
    client.put("/tagged", config("red").as_bytes()).await.expect(200);
    let tags = client.get("/tagged?tagging").await.expect(200);
    let shown = (tags.element("Key"), tags.element("Value"));
    assert_eq!(shown, (Some("team".to_owned()), Some("red".to_owned())));
    client.put("/tagged", config("red").as_bytes()).await.expect(200);
    client.put("/tagged", b"").await.expect(200);
    client.put("/tagged", config("blue").as_bytes()).await.expect_error(409, "BucketAlreadyExists");
    client.put("/other-tags", config("\u{7}").as_bytes()).await.expect(400);
    client.get("/other-tags?tagging").await.expect_error(404, "NoSuchBucket");
}

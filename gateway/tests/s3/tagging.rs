//! Tags of objects, versions and buckets.

use crate::client::{Client, Reply};
use crate::service::Service;
use crate::versioning::set_versioning;

fn document(tags: &[(&str, &str)]) -> Vec<u8> {
    let tags: String = tags
        .iter()
        .map(|(key, value)| format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>"))
        .collect();
    format!("<Tagging><TagSet>{tags}</TagSet></Tagging>").into_bytes()
}

fn tags(reply: &Reply) -> Vec<(String, String)> {
    reply.elements("Key").into_iter().zip(reply.elements("Value")).collect()
}

fn pairs(tags: &[(&str, &str)]) -> Vec<(String, String)> {
    tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

async fn tags_of(client: &Client, target: &str) -> Vec<(String, String)> {
    tags(&client.get(&format!("{target}?tagging")).await.expect(200))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_objects_tags_are_set_with_it_or_later_and_counted() {
    let service = Service::start().await;
    let client = &service.client;
    client.send("PUT", "/bucket/k", &[("x-amz-tagging", "foo=a%20b&bar")], b"body").await.expect(200);
    assert_eq!(tags_of(client, "/bucket/k").await, pairs(&[("bar", ""), ("foo", "a b")]));
    assert_eq!(client.head("/bucket/k").await.header("x-amz-tagging-count"), Some("2"));
    assert_eq!(client.get("/bucket/k").await.header("x-amz-tagging-count"), Some("2"));
    client.put("/bucket/k?tagging", &document(&[("one", "1")])).await.expect(200);
    assert_eq!(tags_of(client, "/bucket/k").await, pairs(&[("one", "1")]));
    let etag = client.head("/bucket/k").await.header("etag").map(str::to_owned);
    client.delete("/bucket/k?tagging").await.expect(204);
    assert_eq!(tags_of(client, "/bucket/k").await, []);
    let untagged = client.head("/bucket/k").await;
    assert_eq!((untagged.header("x-amz-tagging-count"), untagged.header("etag")), (None, etag.as_deref()));
    client.put("/bucket/none?tagging", &document(&[("one", "1")])).await.expect_error(404, "NoSuchKey");
    service.other.get("/bucket/k?tagging").await.expect_error(403, "AccessDenied");
    service.other.put("/bucket/k?tagging", &document(&[])).await.expect_error(403, "AccessDenied");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn illegal_tags_are_refused_and_change_nothing() {
    let service = Service::start().await;
    let client = &service.client;
    client.send("PUT", "/bucket/k", &[("x-amz-tagging", "a=1")], b"body").await.expect(200);
    let (long_key, long_value) = ("k".repeat(129), "v".repeat(257));
    let many: Vec<String> = (0..11).map(|number| number.to_string()).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|key| (key.as_str(), "")).collect();
    let refused: [&[(&str, &str)]; 6] = [
        &[(&long_key, "")],
        &[("k", &long_value)],
        &[("", "v")],
        &[("aws:k", "")],
        &[("k", ""), ("k", "1")],
        &many,
    ];
    for tags in refused {
        client.put("/bucket/k?tagging", &document(tags)).await.expect_error(400, "InvalidTag");
    }
    client.put("/bucket/k?tagging", &document(&many[..10])).await.expect(200);
    client.put("/bucket/k?tagging", &document(&[("a", "1")])).await.expect(200);
    client
        .put("/bucket/k?tagging", b"<Tagging><TagSet><Tag><Key>a</Key>")
        .await
        .expect_error(400, "MalformedXML");
    let doubled = [("x-amz-tagging", "a=1&a=2")];
    client.send("PUT", "/bucket/k", &doubled, b"other").await.expect_error(400, "InvalidTag");
    assert_eq!(client.get("/bucket/k").await.body, b"body");
    assert_eq!(tags_of(client, "/bucket/k").await, pairs(&[("a", "1")]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_version_has_tags_of_its_own_and_a_copy_takes_them_along_unless_told() {
    let service = Service::start().await;
    let client = &service.client;
    set_versioning(client, "bucket", "Enabled").await;
    let first = client.send("PUT", "/bucket/k", &[("x-amz-tagging", "n=1")], b"1").await.expect(200);
    let first = first.header("x-amz-version-id").unwrap().to_owned();
    client.put("/bucket/k", b"2").await.expect(200);
    let named = format!("/bucket/k?tagging&versionId={first}");
    let tagged = client.get(&named).await.expect(200);
    assert_eq!(
        (tags(&tagged), tagged.header("x-amz-version-id")),
        (pairs(&[("n", "1")]), Some(first.as_str()))
    );
    assert_eq!(tags_of(client, "/bucket/k").await, []);
    let changed = client.put(&named, &document(&[("n", "one")])).await.expect(200);
    assert_eq!(changed.header("x-amz-version-id"), Some(first.as_str()));
    let source = format!("/bucket/k?versionId={first}");
    let copy = |target: &'static str, headers: Vec<(&'static str, &'static str)>| {
        let headers: Vec<_> = headers.into_iter().chain([("x-amz-copy-source", "")]).collect();
        let source = source.clone();
        async move {
            let headers: Vec<(&str, &str)> = headers
                .iter()
                .map(|(name, value)| (*name, if value.is_empty() { source.as_str() } else { *value }))
                .collect();
            client.send("PUT", target, &headers, b"").await
        }
    };
    copy("/bucket/same", vec![]).await.expect(200);
    assert_eq!(tags_of(client, "/bucket/same").await, pairs(&[("n", "one")]));
    copy("/bucket/other", vec![("x-amz-tagging-directive", "REPLACE"), ("x-amz-tagging", "m=2")])
        .await
        .expect(200);
    assert_eq!(tags_of(client, "/bucket/other").await, pairs(&[("m", "2")]));
    copy("/bucket/none", vec![("x-amz-tagging-directive", "REPLACE")]).await.expect(200);
    assert_eq!(tags_of(client, "/bucket/none").await, []);
    let wrong = vec![("x-amz-tagging-directive", "MAYBE")];
    copy("/bucket/none", wrong).await.expect_error(400, "InvalidArgument");
    client.delete("/bucket/k").await.expect(204);
    client.get("/bucket/k?tagging").await.expect(404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_carries_its_tags_to_the_object() {
    let service = Service::start().await;
    let client = &service.client;
    let created =
        client.send("POST", "/bucket/k?uploads", &[("x-amz-tagging", "a=1")], b"").await.expect(200);
    let upload = created.element("UploadId").unwrap();
    let part = client.put(&format!("/bucket/k?partNumber=1&uploadId={upload}"), b"part").await.expect(200);
    let etag = part.header("etag").unwrap();
    let complete = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>\
         </CompleteMultipartUpload>"
    );
    let target = format!("/bucket/k?uploadId={upload}");
    client.send("POST", &target, &[], complete.as_bytes()).await.expect(200);
    assert_eq!(tags_of(client, "/bucket/k").await, pairs(&[("a", "1")]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buckets_tags_are_read_as_they_were_set_last() {
    let service = Service::start().await;
    let client = &service.client;
    client.get("/bucket?tagging").await.expect_error(404, "NoSuchTagSet");
    for value in ["one", "two"] {
        client.put("/bucket?tagging", &document(&[("k", value)])).await.expect(200);
        assert_eq!(tags_of(client, "/bucket").await, pairs(&[("k", value)]));
    }
    client.put("/bucket?tagging", &document(&[("k", ""), ("k", "")])).await.expect_error(400, "InvalidTag");
    assert_eq!(tags_of(client, "/bucket").await, pairs(&[("k", "two")]));
    service.other.put("/bucket?tagging", &document(&[])).await.expect_error(403, "AccessDenied");
    client.delete("/bucket?tagging").await.expect(204);
    client.get("/bucket?tagging").await.expect_error(404, "NoSuchTagSet");
}

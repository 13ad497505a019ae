//! Objects: what is put comes back, in whole, in part, listed, copied, deleted.

use md5::{Digest, Md5};

use crate::service::{Service, noise};

fn md5_hex(bytes: &[u8]) -> String {
    hex::encode(Md5::digest(bytes))
}

/// Around each place where the write path changes its ways.
const SIZES: [usize; 9] = [
    0,        // no bytes, no chunk
    1,        // the least
    8 << 10,  // the largest that the catalog keeps
    8193,     // the smallest that is a chunk
    64 << 10, // one chunk of the largest size
    1 << 20,  // one batch
    (1 << 20) + 1,
    3_000_000, // several batches and flushes
    7_654_321,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_of_all_sizes_come_back_as_they_were_put() {
    let service = Service::start().await;
    for (index, size) in SIZES.into_iter().enumerate() {
        let body = noise(index as u64, size);
        let target = format!("/bucket/size-{size}");
        let put = service.client.put(&target, &body).await.expect(200);
        let etag = format!("\"{}\"", md5_hex(&body));
        assert_eq!(put.header("etag"), Some(etag.as_str()));
        let got = service.client.get(&target).await.expect(200);
        assert!(got.complete && got.body == body, "{size} bytes came back as {}", got.body.len());
        assert_eq!(got.header("etag"), Some(etag.as_str()));
        let head = service.client.send("HEAD", &target, &[], b"").await.expect(200);
        assert_eq!(head.header("content-length"), Some(size.to_string().as_str()));
        for (first, last) in [(0, 0), (size / 2, size / 2 + 70_000), (size.saturating_sub(5), size)] {
            let last = last.min(size.saturating_sub(1));
            if first > last || size == 0 {
                continue;
            }
            let range = format!("bytes={first}-{last}");
            let got = service.client.send("GET", &target, &[("range", &range)], b"").await.expect(206);
            assert_eq!(got.body, body[first..=last], "{range} of {size}");
            assert_eq!(got.header("content-range"), Some(format!("bytes {first}-{last}/{size}").as_str()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_content_is_stored_once_and_read_back() {
    let service = Service::start().await;
    let piece = noise(7, 300_000);
    let body: Vec<u8> = [piece.as_slice(), &piece, &vec![0; 2_000_000], &piece].concat();
    service.client.put("/bucket/a", &body).await.expect(200);
    service.client.put("/bucket/b", &body).await.expect(200);
    for key in ["a", "b"] {
        assert_eq!(service.client.get(&format!("/bucket/{key}")).await.expect(200).body, body);
    }
    let mut findings = Vec::new();
    let mut position = None;
    loop {
        let page = service.catalog.check(position).await.unwrap();
        findings.extend(page.findings);
        position = page.next;
        if position.is_none() {
            break;
        }
    }
    assert_eq!(findings, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_and_metadata_come_back_and_can_be_overridden() {
    let service = Service::start().await;
    let headers = [
        ("content-type", "text/plain; charset=utf-8"),
        ("content-encoding", "gzip,aws-chunked"),
        ("content-disposition", "attachment"),
        ("cache-control", "no-store"),
        ("expires", "Thu, 01 Dec 2033 16:00:00 GMT"),
        ("x-amz-meta-colour", "green"),
    ];
    service.client.send("PUT", "/bucket/key", &headers, b"body").await.expect(200);
    let got = service.client.get("/bucket/key").await.expect(200);
    assert_eq!(got.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(got.header("content-encoding"), Some("gzip"));
    assert_eq!(got.header("expires"), Some("Thu, 01 Dec 2033 16:00:00 GMT"));
    assert_eq!(got.header("x-amz-meta-colour"), Some("green"));
    assert!(got.header("last-modified").is_some() && got.header("x-amz-request-id").is_some());
    let got = service.client.get("/bucket/key?response-content-type=a%2Fb").await.expect(200);
    assert_eq!(got.header("content-type"), Some("a/b"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_decide_reads_and_writes() {
    let service = Service::start().await;
    let client = &service.client;
    let absent = [("if-none-match", "*")];
    client.send("PUT", "/bucket/key", &[("if-match", "\"0\"")], b"a").await.expect_error(404, "NoSuchKey");
    client.send("PUT", "/bucket/key", &absent, b"a").await.expect(200);
    client.send("PUT", "/bucket/key", &absent, b"b").await.expect_error(412, "PreconditionFailed");
    let etag = format!("\"{}\"", md5_hex(b"a"));
    let same = [("if-match", etag.as_str())];
    let changed = [("if-none-match", etag.as_str())];
    client.send("GET", "/bucket/key", &same, b"").await.expect(200);
    client.send("GET", "/bucket/key", &[("if-match", "\"0\"")], b"").await.expect(412);
    let unchanged = client.send("GET", "/bucket/key", &changed, b"").await.expect(304);
    assert_eq!((unchanged.header("etag"), unchanged.body.len()), (Some(etag.as_str()), 0));
    let since = [("if-modified-since", "Thu, 01 Dec 2033 16:00:00 GMT")];
    client.send("GET", "/bucket/key", &since, b"").await.expect(304);
    client.send("PUT", "/bucket/key", &same, b"c").await.expect(200);
    client.send("PUT", "/bucket/key", &same, b"d").await.expect_error(412, "PreconditionFailed");
    assert_eq!(client.get("/bucket/key").await.body, b"c");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listings_page_through_keys_and_prefixes_in_order() {
    let service = Service::start().await;
    let client = &service.client;
    for key in ["a", "b/1", "b/2", "c%20d", "e/x/1", "f"] {
        client.put(&format!("/bucket/{key}"), b"x").await.expect(200);
    }
    let all = client.get("/bucket?list-type=2").await.expect(200);
    assert_eq!(
        (all.element("KeyCount").as_deref(), all.element("IsTruncated").as_deref()),
        (Some("6"), Some("false"))
    );
    let mut seen = Vec::new();
    let mut query = "/bucket?list-type=2&delimiter=%2F&max-keys=2".to_owned();
    loop {
        let page = client.get(&query).await.expect(200);
        let text = page.text();
        for part in text.split(['<', '>']).collect::<Vec<_>>().windows(2) {
            if matches!(part[0], "Key") || (part[0] == "Prefix" && !part[1].is_empty()) {
                seen.push(part[1].to_owned());
            }
        }
        let Some(token) = page.element("NextContinuationToken") else { break };
        query = format!("/bucket?continuation-token={token}&delimiter=%2F&list-type=2&max-keys=2");
    }
    seen.sort();
    assert_eq!(seen, ["a", "b/", "c d", "e/", "f"]);
    let encoded = client.get("/bucket?encoding-type=url&prefix=c").await.expect(200);
    assert_eq!(encoded.element("Key").as_deref(), Some("c%20d"));
    let first = client.get("/bucket?delimiter=%2F&max-keys=1").await.expect(200);
    assert_eq!(first.element("NextMarker").as_deref(), Some("a"));
    client.get("/bucket?list-type=2&max-keys=-1").await.expect_error(400, "InvalidArgument");
    let none = client.get("/bucket?list-type=2&max-keys=0").await.expect(200);
    assert_eq!(none.element("IsTruncated").as_deref(), Some("false"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_share_content_and_follow_their_directive() {
    let service = Service::start().await;
    let client = &service.client;
    let body = noise(3, 500_000);
    client.send("PUT", "/bucket/dir/s%20c", &[("x-amz-meta-a", "1")], &body).await.expect(200);
    let source = ("x-amz-copy-source", "/bucket/dir/s%20c");
    client.send("PUT", "/bucket/copy", &[source], b"").await.expect(200);
    let got = client.get("/bucket/copy").await.expect(200);
    assert_eq!((got.body == body, got.header("x-amz-meta-a")), (true, Some("1")));
    let replace = [source, ("x-amz-metadata-directive", "REPLACE"), ("x-amz-meta-b", "2")];
    client.send("PUT", "/bucket/copy2", &replace, b"").await.expect(200);
    let got = client.send("HEAD", "/bucket/copy2", &[], b"").await.expect(200);
    assert_eq!((got.header("x-amz-meta-a"), got.header("x-amz-meta-b")), (None, Some("2")));
    client.send("PUT", "/bucket/dir/s%20c", &[source], b"").await.expect_error(400, "InvalidRequest");
    client.send("PUT", "/bucket/dir/s%20c", &replace, b"").await.expect(200);
    assert!(client.get("/bucket/dir/s%20c").await.expect(200).body == body);
    let stale = [source, ("x-amz-copy-source-if-match", "\"0\"")];
    client.send("PUT", "/bucket/copy3", &stale, b"").await.expect_error(412, "PreconditionFailed");
    let missing = [("x-amz-copy-source", "bucket/none")];
    client.send("PUT", "/bucket/copy3", &missing, b"").await.expect_error(404, "NoSuchKey");
    let rehashed = [source, ("x-amz-checksum-algorithm", "SHA256")];
    let rewritten = client.send("PUT", "/bucket/copy4", &rehashed, b"").await.expect(200);
    assert!(rewritten.element("ChecksumSHA256").is_some());
    assert!(client.get("/bucket/copy4").await.expect(200).body == body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_on_a_copys_target_decide_in_its_commit() {
    let service = Service::start().await;
    let client = &service.client;
    client.put("/bucket/source", b"new").await.expect(200);
    let copy = async |condition: (&str, &str)| {
        let headers = [("x-amz-copy-source", "bucket/source"), condition];
        client.send("PUT", "/bucket/target", &headers, b"").await
    };
    let old = format!("\"{}\"", md5_hex(b"old"));
    copy(("if-match", &old)).await.expect_error(404, "NoSuchKey");
    copy(("if-none-match", "*")).await.expect(200);
    copy(("if-none-match", "*")).await.expect_error(412, "PreconditionFailed");
    client.put("/bucket/target", b"old").await.expect(200);
    copy(("if-match", "\"0\"")).await.expect_error(412, "PreconditionFailed");
    assert_eq!(client.get("/bucket/target").await.body, b"old");
    copy(("if-match", &old)).await.expect(200);
    assert_eq!(client.get("/bucket/target").await.body, b"new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attributes_of_an_object_without_parts_are_those_that_were_asked_for() {
    let service = Service::start().await;
    let client = &service.client;
    let class = [("x-amz-storage-class", "STANDARD_IA")];
    client.send("PUT", "/bucket/key", &class, b"body").await.expect(200);
    let ask = async |asked: &str| {
        let headers = [("x-amz-object-attributes", asked)];
        client.send("GET", "/bucket/key?attributes", &headers, b"").await.expect(200)
    };
    let all = ask("ETag,Checksum,ObjectParts,StorageClass,ObjectSize").await;
    assert_eq!(all.element("StorageClass").as_deref(), Some("STANDARD_IA"));
    assert_eq!(all.element("ObjectSize").as_deref(), Some("4"));
    assert!(all.element("ETag").unwrap().contains(&md5_hex(b"body")), "{}", all.text());
    assert!(all.element("ChecksumCRC64NVME").is_some(), "{}", all.text());
    assert_eq!(all.element("ChecksumType").as_deref(), Some("FULL_OBJECT"));
    assert_eq!(all.element("ObjectParts"), None);
    let size = ask("ObjectSize").await;
    let others = ["ETag", "Checksum", "StorageClass"].map(|name| size.element(name));
    assert_eq!((size.element("ObjectSize").as_deref(), others), (Some("4"), [None, None, None]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletions_are_idempotent_alone_and_together() {
    let service = Service::start().await;
    let client = &service.client;
    for key in ["a", "b"] {
        client.put(&format!("/bucket/{key}"), b"x").await.expect(200);
    }
    client.delete("/bucket").await.expect_error(409, "BucketNotEmpty");
    client.delete("/bucket/a").await.expect(204);
    client.delete("/bucket/a").await.expect(204);
    client.get("/bucket/a").await.expect_error(404, "NoSuchKey");
    let request = b"<Delete><Object><Key>b</Key></Object><Object><Key>none</Key></Object></Delete>";
    let reply = client.send("POST", "/bucket?delete", &[], request).await.expect(200);
    assert_eq!(reply.text().matches("<Deleted>").count(), 2);
    client.send("POST", "/bucket?delete", &[], b"<Delete></Delete>").await.expect_error(400, "MalformedXML");
    client.delete("/bucket").await.expect(204);
    client.get("/bucket?list-type=2").await.expect_error(404, "NoSuchBucket");
}

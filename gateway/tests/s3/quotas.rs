//! Limits as clients meet them: what is counted, what is refused, and with which answer.

use std::time::{Duration, Instant};

use datamesh_accounts::{Dimension, HoldKind, HoldScope, Limit, NewHold, Owner, Stage};
use datamesh_catalog::Catalog;

use crate::client::Client;
use crate::policies::token_service;
use crate::service::{Service, noise};
use crate::versioning::set_versioning;

const MIB: u64 = 1 << 20;

/// Whether the books are what the catalog counts.
async fn check_books(service: &Service) {
    let found = service.accounts.reconcile(Catalog::stored_count()).await.unwrap();
    assert_eq!(found.drifts, [], "{found:?}");
}

/// Starts an upload, stores one part and completes it.
async fn upload_whole(client: &Client, path: &str, body: &[u8]) {
    let begun = client.send("POST", &format!("{path}?uploads"), &[], b"").await.expect(200);
    let upload = begun.element("UploadId").unwrap();
    let part = client.put(&format!("{path}?partNumber=1&uploadId={upload}"), body).await.expect(200);
    let document = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
        part.header("etag").unwrap()
    );
    let complete = format!("{path}?uploadId={upload}");
    client.send("POST", &complete, &[], document.as_bytes()).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_account_replaces_what_it_has_and_adds_nothing() {
    let service = Service::start().await;
    let client = &service.client;
    let account = Owner::Account(service.account);
    service.limit(&account, Dimension::Bytes, 1_000_000).await;
    service.limit(&account, Dimension::Objects, 2).await;
    client.put("/bucket/a", &noise(1, 600_000)).await.expect(200);
    client.put("/bucket/b", &noise(2, 1_000)).await.expect(200);
    client.put("/bucket/c", b"x").await.expect_error(403, "QuotaExceeded");
    client.put("/bucket/a", &noise(3, 500_000)).await.expect(200);
    client.put("/bucket/a", &noise(4, 999_000)).await.expect(200);
    client.put("/bucket/a", &noise(5, 999_001)).await.expect_error(403, "QuotaExceeded");
    let to_itself = [("x-amz-copy-source", "/bucket/a"), ("x-amz-metadata-directive", "REPLACE")];
    client.send("PUT", "/bucket/a", &to_itself, b"").await.expect(200);
    assert_eq!(service.used(&account, Dimension::Bytes).await, Some(1_000_000));
    client.send("PUT", "/bucket/a", &[("x-amz-copy-source", "/bucket/b")], b"").await.expect(200);
    assert_eq!(service.used(&account, Dimension::Bytes).await, Some(2_000));

    client.send("POST", "/bucket/c?uploads", &[], b"").await.expect_error(403, "QuotaExceeded");
    upload_whole(client, "/bucket/a", &noise(6, 3_000)).await;
    assert_eq!(service.used(&account, Dimension::Bytes).await, Some(4_000));
    assert_eq!(service.used(&account, Dimension::Objects).await, Some(2));
    check_books(&service).await;

    let enabled = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    client.put("/bucket?versioning=", enabled).await.expect(200);
    client.put("/bucket/a", b"another version").await.expect_error(403, "QuotaExceeded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_is_replaced_by_one_that_is_no_larger_however_full_the_account_is() {
    let service = Service::start().await;
    let client = &service.client;
    service.limit(&Owner::Account(service.account), Dimension::Bytes, 100_000).await;
    let begun = client.send("POST", "/bucket/big?uploads", &[], b"").await.expect(200);
    let upload = begun.element("UploadId").unwrap();
    let part = |number| format!("/bucket/big?partNumber={number}&uploadId={upload}");
    client.put(&part(1), &noise(1, 60_000)).await.expect(200);
    client.put(&part(2), &noise(2, 40_000)).await.expect(200);
    client.put(&part(1), &noise(3, 60_000)).await.expect(200);
    client.put(&part(2), &noise(4, 39_999)).await.expect(200);
    client.put(&part(1), &noise(5, 60_002)).await.expect_error(403, "QuotaExceeded");
    client.put(&part(3), b"12").await.expect_error(403, "QuotaExceeded");
    check_books(&service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completion_can_be_repeated_in_an_account_that_it_has_filled() {
    let service = Service::start().await;
    let client = &service.client;
    set_versioning(client, "bucket", "Enabled").await;
    service.limit(&Owner::Account(service.account), Dimension::Objects, 1).await;
    let begun = client.send("POST", "/bucket/a?uploads", &[], b"").await.expect(200);
    let target = format!("/bucket/a?uploadId={}", begun.element("UploadId").unwrap());
    let part = client.put(&format!("{target}&partNumber=1"), &noise(1, 1_000)).await.expect(200);
    let document = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
        part.header("etag").unwrap()
    );
    let complete = || client.send("POST", &target, &[], document.as_bytes());
    let first = complete().await.expect(200);
    client.put("/bucket/a", b"another version").await.expect_error(403, "QuotaExceeded");
    let again = complete().await.expect(200);
    assert_eq!(again.element("ETag"), first.element("ETag"));
    assert_eq!(again.header("x-amz-version-id"), first.header("x-amz-version-id"));
    check_books(&service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_of_account_and_bucket_are_right_after_every_way_to_write() {
    let service = Service::start().await;
    let client = &service.client;
    let account = Owner::Account(service.account);
    client.put("/bucket/early", &noise(1, 10_000)).await.expect(200);
    let bucket = service.bucket("bucket").await;
    // From now on the bucket has a book; it begins with what is there.
    service.limit(&bucket, Dimension::Bytes, 1 << 40).await;
    service.limit(&account, Dimension::Objects, 1 << 40).await;
    let stored = async |bytes: u64, objects: u64| {
        check_books(&service).await;
        for owner in [&account, &bucket] {
            assert_eq!(service.used(owner, Dimension::Bytes).await, Some(bytes), "{owner}");
            assert_eq!(service.used(owner, Dimension::Objects).await, Some(objects), "{owner}");
        }
    };
    stored(10_000, 1).await;
    client.put("/bucket/early", &noise(2, 300)).await.expect(200);
    client.put("/bucket/empty", b"").await.expect(200);
    stored(300, 2).await;
    client.send("PUT", "/bucket/copy", &[("x-amz-copy-source", "/bucket/early")], b"").await.expect(200);
    stored(600, 3).await;

    let begun = client.send("POST", "/bucket/big?uploads", &[], b"").await.expect(200);
    let upload = begun.element("UploadId").unwrap();
    let part = |number| format!("/bucket/big?partNumber={number}&uploadId={upload}");
    client.put(&part(1), &noise(3, 5 << 20)).await.expect(200);
    client.put(&part(2), &noise(4, 7_000)).await.expect(200);
    let etag = client.put(&part(1), &noise(5, (5 << 20) + 1)).await.expect(200);
    stored(600 + 5 * MIB + 1 + 7_000, 3).await;
    let document = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
        etag.header("etag").unwrap()
    );
    let complete = format!("/bucket/big?uploadId={upload}");
    client.send("POST", &complete, &[], document.as_bytes()).await.expect(200);
    stored(600 + 5 * MIB + 1, 4).await;
    let begun = client.send("POST", "/bucket/other?uploads", &[], b"").await.expect(200);
    let aborted = begun.element("UploadId").unwrap();
    client.put(&format!("/bucket/other?partNumber=1&uploadId={aborted}"), &noise(6, 9_000)).await.expect(200);
    client.delete(&format!("/bucket/other?uploadId={aborted}")).await.expect(204);
    client.delete("/bucket/big").await.expect(204);
    stored(600, 3).await;

    let enable = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    client.put("/bucket?versioning", enable.as_bytes()).await.expect(200);
    let version = client.put("/bucket/early", &noise(7, 50)).await.expect(200);
    stored(650, 4).await;
    client.delete("/bucket/early").await.expect(204);
    stored(650, 4).await;
    let version = version.header("x-amz-version-id").unwrap().to_owned();
    client.delete(&format!("/bucket/early?versionId={version}")).await.expect(204);
    stored(600, 3).await;
    client.put("/bucket/broken?partNumber=1&uploadId=none", b"x").await.expect(404);
    client.send("PUT", "/bucket/bad", &[("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")], b"x").await.expect(400);
    stored(600, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_buckets_limit_binds_it_alone() {
    let service = Service::start().await;
    let client = &service.client;
    client.put("/roomy", b"").await.expect(200);
    let bucket = service.bucket("bucket").await;
    service.limit(&bucket, Dimension::Bytes, 1_000).await;
    client.put("/bucket/a", &noise(1, 900)).await.expect(200);
    let refused = client.put("/bucket/b", &noise(2, 101)).await.expect_error(403, "QuotaExceeded");
    let message = refused.element("Message").unwrap();
    assert!(message.contains("1000 bytes of the bucket") && message.contains("900 used"), "{message}");
    client.put("/bucket/b", &noise(2, 100)).await.expect(200);
    client.put("/roomy/b", &noise(2, 5_000)).await.expect(200);
    client.delete("/bucket/a").await.expect(204);
    client.put("/bucket/c", &noise(3, 900)).await.expect(200);
    check_books(&service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_size_of_objects_is_limited_on_every_way_to_make_one() {
    let service = Service::start().await;
    let client = &service.client;
    client.put("/bucket/large", &noise(1, 2_000)).await.expect(200);
    let begun = client.send("POST", "/bucket/parts?uploads", &[], b"").await.expect(200);
    let upload = begun.element("UploadId").unwrap();
    let mut etags = Vec::new();
    for number in [1, 2] {
        let target = format!("/bucket/parts?partNumber={number}&uploadId={upload}");
        etags.push(
            client.put(&target, &noise(number, 5 << 20)).await.expect(200).header("etag").unwrap().to_owned(),
        );
    }
    service.limit(&service.bucket("bucket").await, Dimension::ObjectSize, 6 << 20).await;
    let parts: String = (1..)
        .zip(&etags)
        .map(|(number, etag)| format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"))
        .collect();
    let document = format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>");
    let complete = format!("/bucket/parts?uploadId={upload}");
    let refused = client.send("POST", &complete, &[], document.as_bytes()).await;
    refused.expect_error(403, "QuotaExceeded");
    service.limit(&Owner::Account(service.account), Dimension::ObjectSize, 1_000).await;
    client.put("/bucket/a", &noise(1, 1_001)).await.expect_error(403, "QuotaExceeded");
    client.put("/bucket/a", &noise(1, 1_000)).await.expect(200);
    let copied = client.send("PUT", "/bucket/b", &[("x-amz-copy-source", "/bucket/large")], b"").await;
    copied.expect_error(403, "QuotaExceeded");
    client.get("/bucket/large").await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_over_the_rate_wait_and_then_are_told_to_slow_down() {
    let service = Service::start().await;
    let client = &service.client;
    client.put("/bucket/a", b"a").await.expect(200);
    let key = Owner::Key("AKIATESTA".into());
    service.change_limit(&key, Dimension::Requests, Limit { burst: Some(2), ..Limit::enforced(2) }).await;
    let start = Instant::now();
    for _ in 0..4 {
        client.get("/bucket/a").await.expect(200);
    }
    assert!(start.elapsed() >= Duration::from_millis(900), "the last two wait half a second each");
    let (mut passed, mut refused) = (0, 0);
    let requests = (0..8).map(|_| client.get("/bucket/a"));
    for reply in futures::future::join_all(requests).await {
        if reply.status == 200 {
            passed += 1;
        } else {
            assert!(reply.header("retry-after").is_some());
            reply.expect_error(503, "SlowDown");
            refused += 1;
        }
    }
    assert!(passed >= 1 && refused >= 4, "{passed} passed, {refused} were refused");
    service.other.put("/others", b"").await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn temporary_credentials_are_made_within_the_rate_of_their_key() {
    let service = Service::start().await;
    let client = &service.client;
    let form = "Action=GetSessionToken&Version=2011-06-15";
    let key = Owner::Key("AKIATESTA".into());
    service.change_limit(&key, Dimension::Requests, Limit { burst: Some(1), ..Limit::enforced(1) }).await;
    let (mut passed, mut refused) = (0, 0);
    let requests = (0..20).map(|_| token_service(client, form));
    for reply in futures::future::join_all(requests).await {
        if reply.status == 200 {
            passed += 1;
        } else {
            reply.expect_error(503, "SlowDown");
            refused += 1;
        }
    }
    assert!(passed >= 1 && refused >= 1, "{passed} passed, {refused} were refused");
    token_service(&service.other, form).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_and_received_is_metered_and_limited_by_the_month() {
    let service = Service::start().await;
    let client = &service.client;
    let account = Owner::Account(service.account);
    let owners = [account.clone(), service.bucket("bucket").await, Owner::Key("AKIATESTA".into())];
    client.put("/bucket/a", &noise(1, 100_000)).await.expect(200);
    client.send("GET", "/bucket/a", &[("range", "bytes=0-9999")], b"").await.expect(206);
    client.get("/bucket/a").await.expect(200);
    client.head("/bucket/a").await.expect(200);
    // The meter runs until the request has ended, a moment after its answer.
    for owner in &owners {
        let mut tries = 0;
        while service.used(owner, Dimension::Egress).await != Some(110_000) {
            tries += 1;
            assert!(tries < 1_000, "{owner}: {:?}", service.used(owner, Dimension::Egress).await);
            tokio::task::yield_now().await;
        }
        assert_eq!(service.used(owner, Dimension::Ingress).await, Some(100_000), "{owner}");
    }
    service.limit(&owners[1], Dimension::Egress, 200_000).await;
    let refused = client.get("/bucket/a").await.expect_error(403, "QuotaExceeded");
    assert!(refused.element("Message").unwrap().contains("200000 egress of the bucket"));
    client.send("GET", "/bucket/a", &[("range", "bytes=0-9999")], b"").await.expect(206);
    client.head("/bucket/a").await.expect(200);
    service.limit(&owners[2], Dimension::Ingress, 150_000).await;
    client.put("/bucket/b", &noise(2, 60_000)).await.expect_error(403, "QuotaExceeded");
    client.put("/bucket/b", &noise(2, 50_000)).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_keep_to_their_owners_bandwidth_in_both_directions() {
    let service = Service::start().await;
    let client = &service.client;
    let bucket = service.bucket("bucket").await;
    client.put("/bucket/free", &noise(1, MIB as usize)).await.expect(200);
    service.limit(&bucket, Dimension::Download, MIB).await;
    service.limit(&Owner::Account(service.account), Dimension::Upload, 2 * MIB).await;
    let start = Instant::now();
    let got = client.get("/bucket/free").await.expect(200);
    assert_eq!(got.body, noise(1, MIB as usize));
    let again = client.get("/bucket/free").await.expect(200);
    assert_eq!(again.body.len() as u64, MIB);
    let took = start.elapsed();
    // Two seconds' worth, less what may pass at once: a quarter of a second and the last piece.
    assert!(took >= Duration::from_secs(1), "{took:?}");
    let start = Instant::now();
    client.put("/bucket/up", &noise(2, 3 * MIB as usize)).await.expect(200);
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_account_is_refused_what_its_hold_says() {
    let service = Service::start().await;
    let client = &service.client;
    for key in ["a", "b"] {
        client.put(&format!("/bucket/{key}"), b"kept").await.expect(200);
    }
    let hold = |kind, scope| NewHold { kind, scope, reason: "test".to_owned(), until_ms: None };
    let write =
        service.accounts.hold(service.account, hold(HoldKind::Billing, HoldScope::Write)).await.unwrap();
    let refused = client.put("/bucket/c", b"x").await.expect_error(403, "AccessDenied");
    assert!(refused.element("Message").unwrap().contains("on hold (billing)"), "{}", refused.text());
    client.send("POST", "/bucket/c?uploads", &[], b"").await.expect_error(403, "AccessDenied");
    assert_eq!(client.get("/bucket/a").await.expect(200).body, b"kept");
    client.delete("/bucket/a").await.expect(204);
    let all = service.accounts.hold(service.account, hold(HoldKind::Abuse, HoldScope::All)).await.unwrap();
    client.get("/bucket/b").await.expect_error(403, "AccessDenied");
    client.delete("/bucket/b").await.expect_error(403, "AccessDenied");
    service.accounts.lift_hold(&all.id).await.unwrap();
    service.accounts.lift_hold(&write.id).await.unwrap();
    assert_eq!(client.get("/bucket/b").await.expect(200).body, b"kept");
    client.put("/bucket/c", b"x").await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_is_close_is_told_in_a_header_unless_it_is_only_observed() {
    let service = Service::start().await;
    let client = &service.client;
    let account = Owner::Account(service.account);
    client.put("/bucket/a", &noise(1, 960)).await.expect(200);
    let told = async |stage| {
        let limit = Limit { stage, ..Limit::enforced(1_000) };
        service.change_limit(&account, Dimension::Bytes, limit).await;
        let reply = client.head("/bucket/a").await.expect(200);
        reply.header("x-datamesh-quota-warning").map(str::to_owned)
    };
    assert_eq!(told(Stage::Observe).await, None);
    let expected = Some("account bytes 95%: 960 of 1000".to_owned());
    assert_eq!(told(Stage::Warn).await, expected);
    client.put("/bucket/b", &noise(2, 500)).await.expect(200);
    client.delete("/bucket/b").await.expect(204);
    assert_eq!(told(Stage::Enforce).await, expected);
    client.put("/bucket/b", &noise(2, 500)).await.expect_error(403, "QuotaExceeded");
}

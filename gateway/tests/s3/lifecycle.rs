//! Lifecycle rules, from the document to what the background job does. Time is what the tests say it is.

use datamesh_accounts::{HoldKind, HoldScope, NewHold};
use datamesh_catalog::{ConfigKind, Versioning};
use datamesh_gateway::jobs::LifecycleReport;
use datamesh_gateway::s3::now_ms;

use crate::client::Client;
use crate::service::{DAY_MS, Service, noise};

async fn put_rules(client: &Client, rules: &str) {
    let document = format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>");
    client.put("/bucket?lifecycle=", document.as_bytes()).await.expect(200);
}

async fn enable_versioning(service: &Service) {
    let bucket = service.catalog.bucket("bucket").await.unwrap().unwrap();
    service.catalog.set_versioning(bucket.id, Versioning::Enabled).await.unwrap();
}

/// Passes as if so many days had gone by since the test began.
async fn after_days(service: &Service, begun_ms: u64, days: u64) -> LifecycleReport {
    // A little more, for the writes came after the beginning.
    service.jobs.age(begun_ms + days * DAY_MS + DAY_MS / 2).await.unwrap()
}

const EXPIRE_LOGS: &str = "<Rule><ID>logs</ID><Filter><Prefix>logs/</Prefix></Filter><Status>Enabled</Status>\
     <Expiration><Days>2</Days></Expiration></Rule>";

#[tokio::test]
async fn objects_expire_on_their_day_and_others_stay() {
    let service = Service::start().await;
    let client = &service.client;
    put_rules(client, EXPIRE_LOGS).await;
    let begun = now_ms();
    client.put("/bucket/logs/a", b"a").await.expect(200);
    client.put("/bucket/other", b"b").await.expect(200);
    assert_eq!(after_days(&service, begun, 1).await, LifecycleReport::default());
    client.get("/bucket/logs/a").await.expect(200);
    let report = after_days(&service, begun, 2).await;
    assert_eq!(report, LifecycleReport { expired: 1, ..LifecycleReport::default() });
    client.get("/bucket/logs/a").await.expect_error(404, "NoSuchKey");
    client.get("/bucket/other").await.expect(200);
    assert_eq!(after_days(&service, begun, 3).await, LifecycleReport::default(), "nothing is left to do");
    let usage = service.accounts.usage(service.account).await.unwrap();
    assert_eq!((usage.bytes.used, usage.objects.used), (1, 1), "the quota is given back");
}

#[tokio::test]
async fn nothing_expires_under_a_legal_hold_until_it_is_lifted() {
    let service = Service::start().await;
    let client = &service.client;
    put_rules(client, EXPIRE_LOGS).await;
    let begun = now_ms();
    client.put("/bucket/logs/a", b"a").await.expect(200);
    let hold = |kind| NewHold { kind, scope: HoldScope::Write, reason: "test".to_owned(), until_ms: None };
    let legal = service.accounts.hold(service.account, hold(HoldKind::Legal)).await.unwrap();
    assert_eq!(after_days(&service, begun, 2).await, LifecycleReport::default());
    client.get("/bucket/logs/a").await.expect(200);
    service.accounts.lift_hold(&legal.id).await.unwrap();
    service.accounts.hold(service.account, hold(HoldKind::Billing)).await.unwrap();
    let report = after_days(&service, begun, 2).await;
    assert_eq!(report, LifecycleReport { expired: 1, ..LifecycleReport::default() });
}

#[tokio::test]
async fn the_expiry_is_told_when_it_is_put_and_read() {
    let service = Service::start().await;
    let client = &service.client;
    put_rules(client, EXPIRE_LOGS).await;
    for reply in [
        client.put("/bucket/logs/a", b"a").await.expect(200),
        client.get("/bucket/logs/a").await.expect(200),
        client.send("HEAD", "/bucket/logs/a", &[], b"").await.expect(200),
    ] {
        let told = reply.header("x-amz-expiration").unwrap();
        assert!(
            told.starts_with("expiry-date=\"") && told.ends_with(" 00:00:00 GMT\", rule-id=\"logs\""),
            "{told}"
        );
    }
    let reply = client.put("/bucket/other", b"b").await.expect(200);
    assert_eq!(reply.header("x-amz-expiration"), None);
}

#[tokio::test]
async fn a_versioned_object_expires_into_a_delete_marker_and_its_versions_follow() {
    let service = Service::start().await;
    enable_versioning(&service).await;
    let client = &service.client;
    put_rules(
        client,
        "<Rule><ID>all</ID><Filter></Filter><Status>Enabled</Status><Expiration><Days>1</Days></Expiration>\
         <NoncurrentVersionExpiration><NoncurrentDays>2</NoncurrentDays></NoncurrentVersionExpiration></Rule>",
    )
    .await;
    let begun = now_ms();
    client.put("/bucket/a", b"1").await.expect(200);
    client.put("/bucket/a", b"2").await.expect(200);
    let report = after_days(&service, begun, 1).await;
    assert_eq!(report, LifecycleReport { expired: 1, ..LifecycleReport::default() });
    client.get("/bucket/a").await.expect_error(404, "NoSuchKey");
    let report = after_days(&service, begun, 2).await;
    assert_eq!(report, LifecycleReport { removed: 1, ..LifecycleReport::default() }, "the older version");
    let report = after_days(&service, begun, 4).await;
    assert_eq!(report, LifecycleReport { removed: 1, ..LifecycleReport::default() }, "the younger version");
    let report = after_days(&service, begun, 5).await;
    assert_eq!(report, LifecycleReport { removed: 1, ..LifecycleReport::default() }, "the marker");
    client.delete("/bucket").await.expect(204);
}

#[tokio::test]
async fn a_transition_moves_bytes_to_the_other_backend_and_changes_nothing_else() {
    let service = Service::start().await;
    let client = &service.client;
    put_rules(
        client,
        "<Rule><ID>cool</ID><Prefix></Prefix><Status>Enabled</Status>\
         <Transition><Days>1</Days><StorageClass>STANDARD_IA</StorageClass></Transition>\
         <Transition><Days>3</Days><StorageClass>GLACIER_IR</StorageClass></Transition></Rule>",
    )
    .await;
    let begun = now_ms();
    let big = [noise(1, 200_000), noise(1, 200_000)].concat();
    client.put("/bucket/big", &big).await.expect(200);
    client.put("/bucket/small", b"small").await.expect(200);
    client.put("/bucket/empty", b"").await.expect(200);
    let before = client.get("/bucket/big").await.expect(200);
    for (days, class) in [(1, "STANDARD_IA"), (3, "GLACIER_IR")] {
        let report = after_days(&service, begun, days).await;
        assert_eq!(report, LifecycleReport { moved: 3, ..LifecycleReport::default() }, "day {days}");
        let after = client.get("/bucket/big").await.expect(200);
        assert_eq!(after.header("x-amz-storage-class"), Some(class));
        assert!(after.body == big, "the bytes are the same");
        for name in ["etag", "last-modified"] {
            assert_eq!(after.header(name), before.header(name), "{name}");
        }
        assert_eq!(client.get("/bucket/small").await.expect(200).body, b"small");
        client.get("/bucket/empty").await.expect(200);
    }
    service.backend.reads_left.store(0, std::sync::atomic::Ordering::Relaxed);
    assert!(
        client.get("/bucket/big").await.expect(200).body == big,
        "nothing is read from the first backend"
    );
    assert_eq!(after_days(&service, begun, 9).await, LifecycleReport::default());
}

#[tokio::test]
async fn a_move_that_cannot_read_its_bytes_leaves_the_version_alone_and_is_tried_again() {
    let service = Service::start().await;
    let client = &service.client;
    put_rules(
        client,
        "<Rule><ID>cool</ID><Prefix></Prefix><Status>Enabled</Status>\
         <Transition><Days>0</Days><StorageClass>GLACIER_IR</StorageClass></Transition></Rule>",
    )
    .await;
    let begun = now_ms();
    let body = noise(2, 300_000);
    client.put("/bucket/a", &body).await.expect(200);
    let reads = &service.backend.reads_left;
    reads.store(2, std::sync::atomic::Ordering::Relaxed);
    let report = after_days(&service, begun, 0).await;
    assert_eq!(report, LifecycleReport { failed: 1, ..LifecycleReport::default() });
    reads.store(u64::MAX, std::sync::atomic::Ordering::Relaxed);
    let unmoved = client.get("/bucket/a").await.expect(200);
    assert_eq!((unmoved.header("x-amz-storage-class"), unmoved.body == body), (None, true));
    let report = after_days(&service, begun, 0).await;
    assert_eq!(report, LifecycleReport { moved: 1, ..LifecycleReport::default() });
    assert!(client.get("/bucket/a").await.expect(200).body == body);
}

#[tokio::test]
async fn parts_of_an_upload_move_with_their_object() {
    let service = Service::start().await;
    let client = &service.client;
    let upload =
        client.send("POST", "/bucket/m?uploads=", &[], b"").await.expect(200).element("UploadId").unwrap();
    let parts = [noise(3, 5 << 20), noise(4, 70_000)];
    let mut named = String::new();
    for (number, part) in (1..).zip(&parts) {
        let target = format!("/bucket/m?partNumber={number}&uploadId={upload}");
        let etag = client.put(&target, part).await.expect(200).header("etag").unwrap().to_owned();
        named += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
    }
    let document = format!("<CompleteMultipartUpload>{named}</CompleteMultipartUpload>");
    client.send("POST", &format!("/bucket/m?uploadId={upload}"), &[], document.as_bytes()).await.expect(200);
    put_rules(
        client,
        "<Rule><ID>cool</ID><Prefix>m</Prefix><Status>Enabled</Status>\
         <Transition><Days>0</Days><StorageClass>GLACIER_IR</StorageClass></Transition></Rule>",
    )
    .await;
    let report = service.jobs.age(now_ms() + 1).await.unwrap();
    assert_eq!(report, LifecycleReport { moved: 1, ..LifecycleReport::default() });
    service.backend.reads_left.store(0, std::sync::atomic::Ordering::Relaxed);
    assert!(client.get("/bucket/m").await.expect(200).body == parts.concat());
    assert!(client.get("/bucket/m?partNumber=2").await.expect(206).body == parts[1]);
}

#[tokio::test]
async fn uploads_that_nobody_completes_are_aborted() {
    let service = Service::start().await;
    let client = &service.client;
    put_rules(
        client,
        "<Rule><ID>abort</ID><Prefix>a/</Prefix><Status>Enabled</Status><AbortIncompleteMultipartUpload>\
         <DaysAfterInitiation>2</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>",
    )
    .await;
    let begun = now_ms();
    for key in ["a/1", "b/1"] {
        client.send("POST", &format!("/bucket/{key}?uploads="), &[], b"").await.expect(200);
    }
    assert_eq!(after_days(&service, begun, 1).await, LifecycleReport::default());
    let report = after_days(&service, begun, 2).await;
    assert_eq!(report, LifecycleReport { uploads_aborted: 1, ..LifecycleReport::default() });
    let listed = client.get("/bucket?uploads=").await.expect(200).text();
    assert!(listed.contains("b/1") && !listed.contains("a/1"), "{listed}");
}

#[tokio::test]
async fn a_version_written_after_it_was_judged_is_not_expired() {
    use datamesh_catalog::{AgeVersion, AgingStep};
    let service = Service::start().await;
    let client = &service.client;
    client.put("/bucket/a", b"old").await.expect(200);
    let bucket = service.catalog.bucket("bucket").await.unwrap().unwrap();
    let judged = service.catalog.aging_versions(bucket.id, None, 10).await.unwrap().remove(0);
    client.put("/bucket/a", b"new").await.expect(200);
    let age = AgeVersion {
        bucket: bucket.id,
        key: judged.key,
        sequence: judged.sequence,
        step: AgingStep::ExpireCurrent,
        now_ms: now_ms(),
    };
    let hook = service.accounts.release_hook();
    assert!(!service.catalog.age_version(age, hook).await.unwrap());
    assert_eq!(client.get("/bucket/a").await.expect(200).body, b"new");
}

#[tokio::test]
async fn rules_read_back_as_they_were_put_until_they_are_deleted() {
    let service = Service::start().await;
    let client = &service.client;
    client.get("/bucket?lifecycle=").await.expect_error(404, "NoSuchLifecycleConfiguration");
    let rules = "<Rule><Expiration><Date>2030-01-01T00:00:00.000Z</Date></Expiration><Filter><And>\
         <Prefix>p</Prefix><Tag><Key>k</Key><Value>v</Value></Tag></And></Filter><ID>x</ID>\
         <Status>Disabled</Status></Rule>";
    put_rules(client, rules).await;
    let read = client.get("/bucket?lifecycle=").await.expect(200).text();
    assert!(read.contains(rules), "{read}");
    service.other.get("/bucket?lifecycle=").await.expect_error(403, "AccessDenied");
    client.delete("/bucket?lifecycle=").await.expect(204);
    client.get("/bucket?lifecycle=").await.expect_error(404, "NoSuchLifecycleConfiguration");
    client.delete("/bucket?lifecycle=").await.expect(204);
}

#[tokio::test]
async fn what_s3_refuses_is_refused_and_leaves_no_rules() {
    let service = Service::start().await;
    let client = &service.client;
    let rule =
        |inside: &str| format!("<Rule><ID>a</ID><Prefix></Prefix><Status>Enabled</Status>{inside}</Rule>");
    let days = |days: i32| rule(&format!("<Expiration><Days>{days}</Days></Expiration>"));
    let to = |class: &str| {
        rule(&format!("<Transition><Days>1</Days><StorageClass>{class}</StorageClass></Transition>"))
    };
    let long = days(1).replace(">a<", &format!(">{}<", "i".repeat(256)));
    for (rules, code) in [
        (String::new(), "MalformedXML"),
        (days(0), "InvalidArgument"),
        (days(-1), "InvalidArgument"),
        (days(1) + &days(2), "InvalidArgument"),
        (long, "InvalidArgument"),
        (days(1).replace("Enabled", "enabled"), "MalformedXML"),
        (days(1).replace("<Prefix></Prefix>", ""), "MalformedXML"),
        (days(1).replace("<Prefix></Prefix>", "<Prefix></Prefix><Filter></Filter>"), "MalformedXML"),
        (rule(""), "InvalidRequest"),
        (rule("<Expiration></Expiration>"), "MalformedXML"),
        (rule("<Expiration><Date>2030-01-01T00:00:01Z</Date></Expiration>"), "InvalidArgument"),
        (to("LUKEWARM"), "MalformedXML"),
        (to("DEEP_ARCHIVE"), "InvalidStorageClass"),
        (
            to("GLACIER_IR").replace("</Rule>", "<Expiration><Days>1</Days></Expiration></Rule>"),
            "InvalidArgument",
        ),
    ] {
        let document = format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>");
        let reply = client.put("/bucket?lifecycle=", document.as_bytes()).await;
        assert_eq!((reply.status, reply.element("Code").as_deref()), (400, Some(code)), "{rules}");
    }
    let bucket = service.catalog.bucket("bucket").await.unwrap().unwrap();
    assert!(!bucket.configured.contains(ConfigKind::Lifecycle));
}

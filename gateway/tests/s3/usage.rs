//! Usage as clients make it: every way to write is metered once, and requests in the class that S3 has them in.

use std::collections::BTreeMap;
use std::time::Duration;

use datamesh_accounts::{Freshness, Month, Owner, Traffic, UsageReport};
use datamesh_catalog::Catalog;
use datamesh_types::AccountId;

use crate::service::{Service, noise};

async fn this_month(service: &Service, account: AccountId) -> UsageReport {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    service
        .accounts
        .usage_of_month(account, Month::of(now.as_millis() as u64), Freshness::Current)
        .await
        .unwrap()
}

/// Requests end a moment after their answers.
async fn until<T>(mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    for _ in 0..200 {
        if let Ok(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    look().await.unwrap()
}

/// Traffic by bucket and key.
fn traffic(report: &UsageReport) -> BTreeMap<(i64, &str), Traffic> {
    let used = report.usages.iter().filter(|usage| usage.traffic != Traffic::default());
    used.map(|usage| ((usage.bucket, &*usage.key), usage.traffic)).collect()
}

async fn check(service: &Service, account: AccountId, stored: [i64; 2]) {
    let found = service.accounts.verify_usage(None, Catalog::stored_count()).await.unwrap();
    assert_eq!(found.drifts, []);
    let report = this_month(service, account).await;
    let sum = report.usages.iter().fold([0, 0], |sum, usage| [sum[0] + usage.bytes, sum[1] + usage.objects]);
    assert_eq!(sum, stored);
    assert!(report.usages.iter().all(|usage| usage.byte_ms >= 0 && usage.object_ms >= 0), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_stored_and_removed_is_metered_once() {
    let service = Service::start().await;
    let (client, account) = (&service.client, service.account);
    client.put("/bucket/a", &noise(1, 10_000)).await.expect(200);
    client.put("/bucket/a", &noise(2, 300)).await.expect(200);
    client.put("/bucket/empty", b"").await.expect(200);
    client.send("PUT", "/bucket/copy", &[("x-amz-copy-source", "/bucket/a")], b"").await.expect(200);
    check(&service, account, [600, 3]).await;

    let begun = client.send("POST", "/bucket/big?uploads", &[], b"").await.expect(200);
    let upload = begun.element("UploadId").unwrap();
    let part = |number| format!("/bucket/big?partNumber={number}&uploadId={upload}");
    client.put(&part(1), &noise(3, 5 << 20)).await.expect(200);
    let etag = client.put(&part(1), &noise(4, (5 << 20) + 1)).await.expect(200);
    client.put(&part(2), &noise(5, 7_000)).await.expect(200);
    check(&service, account, [600 + (5 << 20) + 1 + 7_000, 3]).await;
    let document = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
        etag.header("etag").unwrap()
    );
    let complete = format!("/bucket/big?uploadId={upload}");
    client.send("POST", &complete, &[], document.as_bytes()).await.expect(200);
    check(&service, account, [600 + (5 << 20) + 1, 4]).await;
    let begun = client.send("POST", "/bucket/other?uploads", &[], b"").await.expect(200);
    let aborted = begun.element("UploadId").unwrap();
    client.put(&format!("/bucket/other?partNumber=1&uploadId={aborted}"), &noise(6, 9_000)).await.expect(200);
    client.delete(&format!("/bucket/other?uploadId={aborted}")).await.expect(204);
    client.delete("/bucket/big").await.expect(204);
    check(&service, account, [600, 3]).await;

    let enable = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    client.put("/bucket?versioning", enable.as_bytes()).await.expect(200);
    let version = client.put("/bucket/a", &noise(7, 50)).await.expect(200);
    client.delete("/bucket/a").await.expect(204);
    check(&service, account, [650, 4]).await;
    let version = version.header("x-amz-version-id").unwrap().to_owned();
    client.delete(&format!("/bucket/a?versionId={version}")).await.expect(204);
    check(&service, account, [600, 3]).await;
    client.send("PUT", "/bucket/bad", &[("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")], b"x").await.expect(400);
    check(&service, account, [600, 3]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_metered_for_the_bucket_that_let_them_in_by_class_and_key() {
    let service = Service::start().await;
    let (client, other) = (&service.client, &service.other);
    let Owner::Bucket(bucket) = service.bucket("bucket").await else { panic!("a bucket") };
    let settled = async || {
        service.accounts.flush_meters().await;
        this_month(&service, service.account).await
    };
    let before = until(async || {
        let report = settled().await;
        let made = traffic(&report).values().map(|traffic| traffic.class_a).sum::<u64>();
        if made > 0 { Ok(report) } else { Err(format!("the bucket's creation: {report:?}")) }
    })
    .await;
    let sum_before = traffic(&before).values().fold(Traffic::default(), |mut sum, traffic| {
        sum += *traffic;
        sum
    });

    client.put("/bucket/a", &noise(1, 10_000)).await.expect(200);
    client.get("/bucket/a").await.expect(200);
    client.head("/bucket/a").await.expect(200);
    client.get("/bucket?list-type=2").await.expect(200);
    client.delete("/bucket/a").await.expect(204);
    client.get("/").await.expect(200);
    // Refused: the other account pays for having asked, and its bytes are not the owner's.
    other.put("/bucket/b", &noise(2, 5_000)).await.expect(403);

    let report = until(async || {
        let report = settled().await;
        let in_bucket: u64 = traffic(&report)
            .iter()
            .filter(|((of, _), _)| *of == bucket)
            .map(|(_, traffic)| traffic.class_a + traffic.class_b + traffic.free)
            .sum();
        if in_bucket >= 5 { Ok(report) } else { Err(format!("{report:?}")) }
    })
    .await;
    let of_bucket: Vec<_> = traffic(&report).into_iter().filter(|((of, _), _)| *of == bucket).collect();
    let [((_, key), used)] = of_bucket.as_slice() else { panic!("{of_bucket:?}") };
    assert!(!key.is_empty(), "the account's own key signed");
    assert_eq!((used.class_a, used.class_b, used.free), (2, 2, 1), "PUT and LIST, GET and HEAD, DELETE");
    assert_eq!(used.ingress, 10_000);
    assert!((10_000..12_000).contains(&used.egress), "the object and a listing: {}", used.egress);
    let outside = traffic(&report)[&(0, *key)];
    assert_eq!(outside.class_a, sum_before.class_a + 1, "ListBuckets is in no bucket");

    let others = service.accounts.find_user("AKIATESTB@test.org").await.unwrap().unwrap();
    let of_other = until(async || {
        service.accounts.flush_meters().await;
        let report = this_month(&service, others.id).await;
        if report.usages.is_empty() { Err(format!("{report:?}")) } else { Ok(report) }
    })
    .await;
    let expected = [((0, "AKIATESTB"), Traffic { class_a: 1, ..Traffic::default() })];
    let asked = traffic(&of_other)
        .into_iter()
        .map(|(of, traffic)| (of, Traffic { ingress: 0, egress: 0, ..traffic }));
    assert!(asked.eq(expected), "{of_other:?}");
}

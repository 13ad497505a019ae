//! Erasures with everything that an account can store, interrupted after each step, stopped by locks and legal holds.

use std::time::Duration;

use datamesh_accounts::{Dimension, Erasure, ErasureStatus, HoldKind, HoldScope, NewHold, Owner};
use datamesh_catalog::{BucketId, Catalog, UploadListQuery, Versioning};
use datamesh_gateway::privacy::{ErasurePass, ErasureReport, ErasureStep};
use datamesh_gateway::s3::now_ms;

use crate::client::Client;
use crate::service::{Service, noise};

const DONE: ErasureReport = ErasureReport { erased: 1, stopped: 0, failed: 0 };
const STOPPED: ErasureReport = ErasureReport { erased: 0, stopped: 1, failed: 0 };

impl Service {
    fn erasing(&self) -> ErasurePass {
        ErasurePass { accounts: self.accounts.clone(), catalog: self.catalog.clone() }
    }

    /// An erasure of account A that is due.
    async fn due_erasure(&self) -> Erasure {
        self.accounts.open_erasure(self.account, now_ms() + 20).await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
        self.accounts.due_erasures(1).await.unwrap().remove(0)
    }

    /// Begins the erasure of account A and takes its first steps, so many, like a gateway that dies then.
    async fn erase_partly(&self, taken: usize) {
        let (pass, erasure) = (self.erasing(), self.due_erasure().await);
        let running = pass.begin(&erasure).await.unwrap();
        for step in &ErasureStep::ALL[..taken] {
            pass.take(*step, &running).await.unwrap();
        }
    }

    async fn erasure(&self) -> Erasure {
        self.accounts.erasures(Some(self.account), 1).await.unwrap().remove(0)
    }
}

/// Two buckets: versions, delete markers, inline objects, chunks, an upload with a part, and governance.
async fn fill(service: &Service) -> Vec<BucketId> {
    let client = &service.client;
    client.put("/bucket/inline", b"small").await.expect(200);
    client.put("/bucket/large", &noise(1, 300_000)).await.expect(200);
    client.send("PUT", "/locked", &[("x-amz-bucket-object-lock-enabled", "true")], b"").await.expect(200);
    let bucket = service.catalog.bucket("locked").await.unwrap().unwrap();
    assert_eq!(bucket.versioning, Versioning::Enabled);
    for body in [b"1".as_slice(), b"2", b"3"] {
        client.put("/locked/versions", body).await.expect(200);
    }
    client.send("DELETE", "/locked/versions", &[], b"").await.expect(204);
    lock(client, "governed", "GOVERNANCE").await;
    let upload = client.send("POST", "/bucket/upload?uploads=", &[], b"").await.expect(200);
    let upload = upload.element("UploadId").unwrap();
    client
        .put(&format!("/bucket/upload?partNumber=1&uploadId={upload}"), &noise(2, 50_000))
        .await
        .expect(200);
    let buckets = service.catalog.list_buckets(service.account, None, 10).await.unwrap();
    assert_eq!(buckets.len(), 2);
    buckets.iter().map(|bucket| bucket.id).collect()
}

/// An object of bucket `locked` under a retention of a day.
async fn lock(client: &Client, key: &str, mode: &str) {
    let until = now_ms() + 24 * 3600 * 1000;
    let until = time::OffsetDateTime::from_unix_timestamp((until / 1000) as i64).unwrap();
    let until = until.format(&time::format_description::well_known::Rfc3339).unwrap();
    let headers = [("x-amz-object-lock-mode", mode), ("x-amz-object-lock-retain-until-date", until.as_str())];
    client.send("PUT", &format!("/locked/{key}"), &headers, b"kept").await.expect(200);
}

async fn assert_erased(service: &Service, buckets: &[BucketId]) {
    assert_eq!(service.erasure().await.status, ErasureStatus::Done);
    assert_eq!(service.catalog.list_buckets(service.account, None, 10).await.unwrap(), []);
    for bucket in buckets {
        assert_eq!(service.catalog.aging_versions(*bucket, None, 1).await.unwrap(), []);
        let uploads = service.catalog.list_uploads(UploadListQuery::all(*bucket, 1)).await.unwrap();
        assert_eq!(uploads.uploads, []);
    }
    let owner = Owner::Account(service.account);
    for dimension in [Dimension::Bytes, Dimension::Objects] {
        assert_eq!(service.used(&owner, dimension).await, Some(0), "quota is settled");
    }
    assert_eq!(service.accounts.reconcile(Catalog::stored_count()).await.unwrap().drifts, []);
    let erased = service.accounts.user(service.account).await.unwrap().unwrap();
    assert_eq!((erased.email.as_str(), erased.name.as_str()), ("", ""));
    service.client.get("/bucket/inline").await.expect_error(403, "InvalidAccessKeyId");
}

#[tokio::test]
async fn an_erasure_that_dies_after_any_step_is_completed_by_the_next_turn() {
    for taken in 0..=ErasureStep::ALL.len() {
        let service = Service::start().await;
        let buckets = fill(&service).await;
        service.erase_partly(taken).await;
        // Whoever goes on knows nothing but what is in the database, and finds nothing to do once all is done.
        let is_done = taken == ErasureStep::ALL.len();
        let expected = if is_done { ErasureReport::default() } else { DONE };
        assert_eq!(service.erasing().run().await.unwrap(), expected, "after {taken} steps");
        assert_erased(&service, &buckets).await;
        assert_eq!(service.erasing().run().await.unwrap(), ErasureReport::default());
        service.other.put("/others", b"").await.expect(200);
    }
}

#[tokio::test]
async fn steps_may_be_taken_twice_and_cut_off_in_the_middle() {
    let service = Service::start().await;
    let buckets = fill(&service).await;
    for number in 0..500 {
        service.client.put(&format!("/bucket/many/{number}"), b"x").await.expect(200);
    }
    let pass = service.erasing();
    let erasure = pass.begin(&service.due_erasure().await).await.unwrap();
    for step in [ErasureStep::Access, ErasureStep::Uploads] {
        pass.take(step, &erasure).await.unwrap();
        pass.take(step, &erasure).await.unwrap();
    }
    // Dropped at the awaits that it comes to, further each time: the first ones all, later ones in growing steps.
    for polls in std::iter::successors(Some(1_u32), |polls| Some(polls + 1 + polls / 16)) {
        let mut step = Box::pin(pass.take(ErasureStep::Versions, &erasure));
        let mut done = false;
        for _ in 0..polls {
            done = futures::poll!(&mut step).is_ready();
            if done {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if done {
            break;
        }
    }
    assert_eq!(service.erasing().run().await.unwrap(), DONE);
    assert_erased(&service, &buckets).await;
}

#[tokio::test]
async fn an_open_erasure_refuses_writes_and_lets_people_read_and_leave() {
    let service = Service::start().await;
    let client = &service.client;
    client.put("/bucket/a", b"a").await.expect(200);
    let later = now_ms() + 3_600_000;
    service.accounts.open_erasure(service.account, later).await.unwrap();
    client.put("/bucket/b", b"b").await.expect_error(403, "AccessDenied");
    assert_eq!(client.get("/bucket/a").await.expect(200).body, b"a");
    assert_eq!(service.erasing().run().await.unwrap(), ErasureReport::default(), "it is not due");
    service.accounts.withdraw_erasure(service.account).await.unwrap();
    client.put("/bucket/b", b"b").await.expect(200);
    client.send("DELETE", "/bucket/a", &[], b"").await.expect(204);
}

#[tokio::test]
async fn a_locked_version_stops_an_erasure_before_anything_is_lost() {
    let service = Service::start().await;
    fill(&service).await;
    lock(&service.client, "compliant", "COMPLIANCE").await;
    service.due_erasure().await;
    assert_eq!(service.erasing().run().await.unwrap(), STOPPED);
    let erasure = service.erasure().await;
    assert_eq!((erasure.status, erasure.begun_at_ms), (ErasureStatus::Open, None));
    let obstacle = erasure.obstacle.unwrap();
    assert!(obstacle.starts_with("1 versions are locked") && obstacle.contains("retention"), "{obstacle}");
    assert_eq!(service.client.get("/bucket/inline").await.expect(200).body, b"small");
    // It can be withdrawn although it was due: nothing has begun.
    service.accounts.withdraw_erasure(service.account).await.unwrap();
    service.client.put("/bucket/new", b"new").await.expect(200);
}

#[tokio::test]
async fn a_legal_hold_stops_an_erasure_at_any_step_until_it_is_lifted() {
    for taken in 0..ErasureStep::ALL.len() {
        let service = Service::start().await;
        let buckets = fill(&service).await;
        service.erase_partly(taken).await;
        let hold = NewHold {
            kind: HoldKind::Legal,
            scope: HoldScope::Write,
            reason: "order 7".into(),
            until_ms: None,
        };
        let hold = service.accounts.hold(service.account, hold).await.unwrap();
        let versions = async || {
            let mut count = 0;
            for bucket in &buckets {
                count += service.catalog.aging_versions(*bucket, None, 1000).await.unwrap().len();
            }
            count
        };
        let before = versions().await;
        assert_eq!(service.erasing().run().await.unwrap(), STOPPED, "after {taken} steps");
        assert_eq!(versions().await, before);
        let stopped = service.erasure().await;
        assert_eq!(stopped.status, ErasureStatus::Running);
        assert!(stopped.obstacle.unwrap().contains(&hold.id));
        service.accounts.lift_hold(&hold.id).await.unwrap();
        assert_eq!(service.erasing().run().await.unwrap(), DONE);
        assert_erased(&service, &buckets).await;
    }
}

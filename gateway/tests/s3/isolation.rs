//! What accounts learn of each other, and what clients say that is nobody's business but the gateway's.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use datamesh_backend::Backend;
use datamesh_types::SealedId;

use crate::client::{Client, Reply};
use crate::service::{CHUNK_LEN_MAX, SECRET, Service, noise};

/// What says the same of everybody's upload: the status and the headers without those of this one request.
fn told(reply: &Reply) -> (u16, Vec<(String, String)>) {
    let own = ["date", "x-amz-request-id", "x-amz-id-2", "last-modified"];
    let headers = reply.headers.iter().filter(|(name, _)| !own.contains(&name.as_str()));
    (reply.status, headers.cloned().collect())
}

async fn stored(service: &Service) -> BTreeSet<SealedId> {
    let chunks = service.backend.list(None, 10_000).await.unwrap();
    chunks.into_iter().map(|chunk| chunk.sealed).collect()
}

#[tokio::test]
async fn uploading_what_another_account_has_tells_nothing() {
    let service = Service::start().await;
    let data = noise(7, 200_000);
    service.client.put("/bucket/mine", &data).await.expect(200);
    let of_first = stored(&service).await;

    let third = service.accounts.create_user("third@test.org", "third", "unlimited").await.unwrap();
    service.accounts.create_key(third.id, Some(("AKIATESTC".to_owned(), SECRET.to_owned()))).await.unwrap();
    let third_client = Client { access_key: "AKIATESTC".to_owned(), ..service.client.clone() };
    let other = service.accounts.find_user("AKIATESTB@test.org").await.unwrap().unwrap();
    service.other.put("/others", b"").await.expect(200);
    third_client.put("/thirds", b"").await.expect(200);

    // The other uploads what the first has, the third what nobody has: the same happens.
    let calls = || service.backend.calls.load(Ordering::Relaxed);
    let start = calls();
    let known = told(&service.other.put("/others/key", &data).await.expect(200));
    let known_calls = calls() - start;
    let after_known = stored(&service).await;
    let start = calls();
    let mut fresh = told(&third_client.put("/thirds/key", &noise(8, data.len())).await.expect(200));
    let fresh_calls = calls() - start;
    let etag = |told: &mut (u16, Vec<(String, String)>)| {
        let at = told.1.iter().position(|(name, _)| name == "etag").unwrap();
        told.1.remove(at).1
    };
    let mut shown = known.clone();
    assert_ne!(etag(&mut shown), etag(&mut fresh), "these are other bytes");
    let names = |told: &(u16, Vec<(String, String)>)| {
        (told.0, told.1.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>())
    };
    assert_eq!(names(&shown), names(&fresh));
    let usage = service.accounts.usage(other.id).await.unwrap();
    assert_eq!(usage.bytes.used, data.len() as u64, "known bytes count in full");
    assert_eq!(usage.bytes, service.accounts.usage(third.id).await.unwrap().bytes);

    // Nothing of the first account's chunks is used: what is written makes up all of it, as for fresh bytes.
    let added = after_known.difference(&of_first).count() as u64;
    let after_fresh = stored(&service).await;
    let added_fresh = after_fresh.difference(&after_known).count() as u64;
    assert_eq!((added, added_fresh), (known_calls, fresh_calls));
    let least = (data.len() / CHUNK_LEN_MAX) as u64;
    assert!(added >= least && added_fresh >= least, "{added} and {added_fresh} chunks, {least} at least");

    // Within one account the same bytes are stored once.
    let before = stored(&service).await;
    service.other.put("/others/again", &data).await.expect(200);
    assert_eq!(stored(&service).await, before);
    assert_eq!(service.other.get("/others/again").await.expect(200).body, data);
}

#[tokio::test]
async fn headers_and_metadata_that_look_internal_decide_nothing() {
    let service = Service::start().await;
    let client = &service.client;
    let data = noise(9, 100_000);
    let before = stored(&service).await;
    let internal = [
        ("x-amz-meta-x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-meta-x-amz-storage-class", "GLACIER_IR"),
        ("x-amz-meta-x-amz-acl", "public-read"),
        ("x-amz-meta-datamesh-backend", "cold"),
        ("x-datamesh-backend", "cold"),
        ("x-datamesh-account", "another"),
        ("x-datamesh-placement-group", "1"),
        ("x-amz-replication-status", "REPLICA"),
        ("x-amz-bucket-owner", "another"),
        ("x-amz-version-id", "1"),
        ("x-minio-internal-server-side-encryption-seal-algorithm", "DAREv2-HMAC-SHA256"),
        ("x-forwarded-user", "root"),
    ];
    client.send("PUT", "/bucket/key", &internal, &data).await.expect(200);
    let head = client.send("HEAD", "/bucket/key", &[], b"").await.expect(200);
    assert_eq!(head.header("x-amz-server-side-encryption"), Some("AES256"));
    for absent in
        ["x-amz-storage-class", "x-amz-replication-status", "x-amz-version-id", "x-datamesh-backend"]
    {
        assert_eq!(head.header(absent), None, "{absent}");
    }
    assert_eq!(
        head.header("x-amz-meta-x-amz-storage-class"),
        Some("GLACIER_IR"),
        "it is the user's own text"
    );
    assert!(stored(&service).await.len() > before.len(), "the chunks went to the backend of STANDARD");
    service.other.get("/bucket/key").await.expect_error(403, "AccessDenied");
    let version = service.catalog.bucket("bucket").await.unwrap().unwrap();
    assert_eq!(version.account, service.account);

    // What S3 does know as headers does decide.
    let before = stored(&service).await;
    let real = [("x-amz-storage-class", "GLACIER_IR")];
    client.send("PUT", "/bucket/cold", &real, &noise(10, 100_000)).await.expect(200);
    let head = client.send("HEAD", "/bucket/cold", &[], b"").await.expect(200);
    assert_eq!(head.header("x-amz-storage-class"), Some("GLACIER_IR"));
    assert_eq!(stored(&service).await, before, "the chunks went to the cold backend");
}

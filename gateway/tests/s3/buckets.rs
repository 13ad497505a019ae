//! Buckets: created again, and gone.

use crate::service::Service;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_may_be_created_again_by_its_owner_as_long_as_that_changes_nothing() {
    let service = Service::start().await;
    let client = &service.client;
    client.put("/bucket/key", b"kept").await.expect(200);
    client.put("/bucket", b"").await.expect(200);
    let locked = [("x-amz-bucket-object-lock-enabled", "true")];
    client.send("PUT", "/bucket", &locked, b"").await.expect_error(409, "BucketAlreadyExists");
    client.get("/bucket?object-lock").await.expect_error(404, "ObjectLockConfigurationNotFoundError");
    client.send("PUT", "/locked", &locked, b"").await.expect(200);
    client.send("PUT", "/locked", &locked, b"").await.expect(200);
    client.put("/locked", b"").await.expect_error(409, "BucketAlreadyExists");
    assert_eq!(client.get("/bucket/key").await.expect(200).body, b"kept");
    service.other.put("/bucket", b"").await.expect_error(409, "BucketAlreadyExists");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_key_says_that_it_is_no_delete_marker() {
    let service = Service::start().await;
    let missing = service.client.head("/bucket/none").await.expect(404);
    assert_eq!(missing.header("x-amz-delete-marker"), Some("false"));
    let missing = service.client.get("/bucket/none").await.expect_error(404, "NoSuchKey");
    assert_eq!(missing.header("x-amz-delete-marker"), Some("false"));
}

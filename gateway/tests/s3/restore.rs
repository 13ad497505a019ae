//! Archived classes: what is in them is read only after it was restored.

use crate::service::Service;

fn days(days: &str) -> Vec<u8> {
    format!("<RestoreRequest><Days>{days}</Days></RestoreRequest>").into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archived_object_is_read_after_it_was_restored() {
    let service = Service::start().await;
    let client = &service.client;
    let class = [("x-amz-storage-class", "GLACIER")];
    for (key, len) in [("small", 3), ("large", 200_000)] {
        let (target, restore) = (format!("/bucket/{key}"), format!("/bucket/{key}?restore"));
        let body = crate::service::noise(1, len);
        client.send("PUT", &target, &class, &body).await.expect(200);
        client.get(&target).await.expect_error(403, "InvalidObjectState");
        let ranged = client.send("GET", &target, &[("range", "bytes=0-0")], b"").await;
        ranged.expect_error(403, "InvalidObjectState");
        let source = format!("bucket/{key}");
        let copy = [("x-amz-copy-source", source.as_str())];
        client.send("PUT", "/bucket/copy", &copy, b"").await.expect_error(403, "InvalidObjectState");
        let head = client.head(&target).await.expect(200);
        assert_eq!(
            (head.header("x-amz-restore"), head.header("x-amz-storage-class")),
            (None, Some("GLACIER"))
        );

        client.send("POST", &restore, &[], &days("2")).await.expect(202);
        for shown in [client.head(&target).await.expect(200), client.get(&target).await.expect(200)] {
            let restored = shown.header("x-amz-restore").expect("it is restored").to_owned();
            assert!(restored.starts_with("ongoing-request=\"false\", expiry-date=\""), "{restored}");
            assert!(restored.ends_with("00:00:00 GMT\""), "{restored}");
        }
        assert_eq!(client.get(&target).await.expect(200).body, body);
        client.send("PUT", "/bucket/copy", &copy, b"").await.expect(200);
        client.send("POST", &restore, &[], &days("5")).await.expect(200);

        // What is written anew is archived anew.
        client.send("PUT", &target, &class, &body).await.expect(200);
        client.get(&target).await.expect_error(403, "InvalidObjectState");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_ends_and_nonsense_restores_nothing() {
    let service = Service::start().await;
    let client = &service.client;
    let class = [("x-amz-storage-class", "GLACIER")];
    client.send("PUT", "/bucket/key", &class, b"body").await.expect(200);
    for wrong in ["0", "-1", "many", "30001"] {
        let reply = client.send("POST", "/bucket/key?restore", &[], &days(wrong)).await;
        reply.expect_error(400, "MalformedXML");
    }
    client.send("POST", "/bucket/none?restore", &[], &days("1")).await.expect_error(404, "NoSuchKey");
    client.put("/bucket/warm", b"body").await.expect(200);
    let warm = client.send("POST", "/bucket/warm?restore", &[], &days("1")).await;
    warm.expect_error(403, "InvalidObjectState");
    client.get("/bucket/key").await.expect_error(403, "InvalidObjectState");

    client.send("POST", "/bucket/key?restore", &[], &days("1")).await.expect(202);
    client.get("/bucket/key").await.expect(200);
    let (_, version) = service.catalog.lookup("bucket", b"key", None).await.unwrap().unwrap();
    let version = version.unwrap();
    let until_ms = service.catalog.restored_until(&version, 0).await.unwrap().unwrap();
    assert_eq!(service.catalog.restored_until(&version, until_ms).await.unwrap(), None);
    assert_eq!(service.catalog.forget_restored(until_ms - 1).await.unwrap(), 0);
    assert_eq!(service.catalog.forget_restored(until_ms).await.unwrap(), 1);
    client.get("/bucket/key").await.expect_error(403, "InvalidObjectState");
    assert_eq!(client.head("/bucket/key").await.expect(200).header("x-amz-restore"), None);
    client.send("POST", "/bucket/key?restore", &[], &days("1")).await.expect(202);
}

//! Versioning: what a key's versions are, how they are listed, read, copied and removed.

use crate::client::{Client, Reply};
use crate::service::{Service, noise};

/// Turns versioning on or suspends it.
pub async fn set_versioning(client: &Client, bucket: &str, status: &str) {
    let document = format!("<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>");
    client.put(&format!("/{bucket}?versioning"), document.as_bytes()).await.expect(200);
}

fn version_id(reply: &Reply) -> String {
    reply.header("x-amz-version-id").expect("the answer names a version").to_owned()
}

async fn put(client: &Client, target: &str, body: &[u8]) -> String {
    version_id(&client.put(target, body).await.expect(200))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_tells_whether_it_keeps_versions_and_never_goes_back_to_unversioned() {
    let service = Service::start().await;
    let client = &service.client;
    let status = || async { client.get("/bucket?versioning").await.expect(200).element("Status") };
    assert_eq!(status().await, None);
    set_versioning(client, "bucket", "Suspended").await;
    assert_eq!(status().await.as_deref(), Some("Suspended"));
    set_versioning(client, "bucket", "Enabled").await;
    assert_eq!(status().await.as_deref(), Some("Enabled"));
    let refused = [
        ("<VersioningConfiguration><Status>Maybe</Status></VersioningConfiguration>", 400, "MalformedXML"),
        ("<VersioningConfiguration/>", 400, "IllegalVersioningConfigurationException"),
        ("<Versioning", 400, "MalformedXML"),
    ];
    for (document, code, name) in refused {
        client.put("/bucket?versioning", document.as_bytes()).await.expect_error(code, name);
    }
    assert_eq!(status().await.as_deref(), Some("Enabled"), "a refused document changes nothing");
    service.other.get("/bucket?versioning").await.expect_error(403, "AccessDenied");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_version_stays_readable_until_it_is_removed_by_name() {
    let service = Service::start().await;
    let client = &service.client;
    assert_eq!(client.put("/bucket/k", b"zero").await.expect(200).header("x-amz-version-id"), None);
    assert_eq!(client.get("/bucket/k").await.header("x-amz-version-id"), None);
    set_versioning(client, "bucket", "Enabled").await;
    let bodies = [noise(1, 10), noise(2, 100_000), noise(3, 0)];
    let mut ids = Vec::new();
    for body in &bodies {
        ids.push(put(client, "/bucket/k", body).await);
    }
    let current = client.get("/bucket/k").await.expect(200);
    assert_eq!((version_id(&current), &current.body), (ids[2].clone(), &bodies[2]));
    for (id, body) in ids.iter().zip(&bodies) {
        let got = client.get(&format!("/bucket/k?versionId={id}")).await.expect(200);
        assert_eq!((version_id(&got), &got.body), (id.clone(), body));
    }
    let null = client.get("/bucket/k?versionId=null").await.expect(200);
    assert_eq!((version_id(&null).as_str(), null.body.as_slice()), ("null", &b"zero"[..]));
    // Removing the current version uncovers the one before.
    let removed = client.delete(&format!("/bucket/k?versionId={}", ids[2])).await.expect(204);
    assert_eq!((version_id(&removed), removed.header("x-amz-delete-marker")), (ids[2].clone(), None));
    assert_eq!(client.get("/bucket/k").await.expect(200).body, bodies[1]);
    client.get(&format!("/bucket/k?versionId={}", ids[2])).await.expect_error(404, "NoSuchVersion");
    client.get("/bucket/k?versionId=x").await.expect_error(400, "InvalidArgument");
    // Another key's version is not this key's.
    client.get(&format!("/bucket/j?versionId={}", ids[0])).await.expect_error(404, "NoSuchVersion");
    service.other.get(&format!("/bucket/k?versionId={}", ids[0])).await.expect_error(403, "AccessDenied");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_marker_hides_the_object_and_says_so() {
    let service = Service::start().await;
    let client = &service.client;
    set_versioning(client, "bucket", "Enabled").await;
    let id = put(client, "/bucket/k", b"body").await;
    let deleted = client.delete("/bucket/k").await.expect(204);
    let marker = version_id(&deleted);
    assert_eq!(deleted.header("x-amz-delete-marker"), Some("true"));
    for hidden in [client.get("/bucket/k").await, client.head("/bucket/k").await] {
        assert_eq!((hidden.status, hidden.header("x-amz-delete-marker")), (404, Some("true")));
        assert_eq!(version_id(&hidden), marker);
    }
    let named =
        client.get(&format!("/bucket/k?versionId={marker}")).await.expect_error(405, "MethodNotAllowed");
    assert_eq!(named.header("x-amz-delete-marker"), Some("true"));
    assert_eq!(client.get(&format!("/bucket/k?versionId={id}")).await.expect(200).body, b"body");
    let undone = client.delete(&format!("/bucket/k?versionId={marker}")).await.expect(204);
    assert_eq!(undone.header("x-amz-delete-marker"), Some("true"));
    assert_eq!(client.get("/bucket/k").await.expect(200).body, b"body");
    // Deleting what was never there leaves a marker, too.
    assert_eq!(client.delete("/bucket/none").await.expect(204).header("x-amz-delete-marker"), Some("true"));
    client.delete("/bucket").await.expect_error(409, "BucketNotEmpty");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_versioning_is_suspended_only_the_null_version_is_replaced() {
    let service = Service::start().await;
    let client = &service.client;
    set_versioning(client, "bucket", "Enabled").await;
    let kept = put(client, "/bucket/k", b"kept").await;
    set_versioning(client, "bucket", "Suspended").await;
    for body in [b"one", b"two"] {
        assert_eq!(client.put("/bucket/k", body).await.expect(200).header("x-amz-version-id"), None);
    }
    let current = client.get("/bucket/k").await.expect(200);
    assert_eq!((version_id(&current).as_str(), current.body.as_slice()), ("null", &b"two"[..]));
    let listed = client.get("/bucket?versions").await.expect(200);
    assert_eq!(listed.elements("VersionId"), ["null", &kept]);
    let deleted = client.delete("/bucket/k").await.expect(204);
    assert_eq!(
        (version_id(&deleted).as_str(), deleted.header("x-amz-delete-marker")),
        ("null", Some("true"))
    );
    client.get("/bucket/k?versionId=null").await.expect_error(405, "MethodNotAllowed");
    assert_eq!(client.get(&format!("/bucket/k?versionId={kept}")).await.expect(200).body, b"kept");
    client.delete("/bucket/k?versionId=null").await.expect(204);
    assert_eq!(client.get("/bucket/k").await.expect(200).body, b"kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_are_listed_by_key_and_newest_first_page_by_page() {
    let service = Service::start().await;
    let client = &service.client;
    set_versioning(client, "bucket", "Enabled").await;
    let mut expected = Vec::new();
    for key in ["a", "b+%C3%A9", "d/x", "d/y", "e"] {
        let target = format!("/bucket/{key}");
        let mut ids = vec![put(client, &target, b"1").await, put(client, &target, b"2").await];
        ids.push(version_id(&client.delete(&target).await.expect(204)));
        expected.extend(ids.into_iter().rev());
    }
    let whole = client.get("/bucket?versions").await.expect(200);
    assert_eq!(whole.element("IsTruncated").as_deref(), Some("false"));
    assert_eq!(whole.elements("VersionId"), expected, "versions and delete markers are mixed");
    let latest = |reply: &Reply| reply.elements("IsLatest").iter().filter(|latest| *latest == "true").count();
    assert_eq!(
        (whole.elements("Version").len(), whole.elements("DeleteMarker").len(), latest(&whole)),
        (10, 5, 5)
    );
    // Pages of one version each join to the whole, in order.
    let (mut paged, mut query, mut current) = (Vec::new(), String::new(), 0);
    loop {
        let page =
            client.get(&format!("/bucket?encoding-type=url&max-keys=1&versions{query}")).await.expect(200);
        paged.extend(page.elements("VersionId"));
        current += latest(&page);
        if page.element("IsTruncated").as_deref() == Some("false") {
            break;
        }
        let key = page.element("NextKeyMarker").unwrap().replace('/', "%2F");
        query =
            format!("&key-marker={key}&version-id-marker={}", page.element("NextVersionIdMarker").unwrap());
    }
    assert_eq!((paged, current), (expected.clone(), 5));
    let rolled = client.get("/bucket?delimiter=%2F&prefix=d&versions").await.expect(200);
    assert_eq!(rolled.elements("VersionId").len(), 0);
    assert_eq!(rolled.element("CommonPrefixes").as_deref(), Some("<Prefix>d/</Prefix>"));
    let after = client.get("/bucket?key-marker=d%2Fx&versions").await.expect(200);
    assert_eq!(after.elements("VersionId"), expected[9..]);
    let wrong = client.get(&format!("/bucket?version-id-marker={}&versions", expected[0])).await;
    wrong.expect_error(400, "InvalidArgument");
    service.other.get("/bucket?versions").await.expect_error(403, "AccessDenied");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_is_copied_by_name_also_onto_its_own_key() {
    let service = Service::start().await;
    let client = &service.client;
    set_versioning(client, "bucket", "Enabled").await;
    let old = put(client, "/bucket/k", b"old").await;
    let new = put(client, "/bucket/k", b"new").await;
    let copy = |target: &'static str, source: String| async move {
        client.send("PUT", target, &[("x-amz-copy-source", &source)], b"").await
    };
    let copied = copy("/bucket/copy", format!("/bucket/k?versionId={old}")).await.expect(200);
    assert_eq!(copied.header("x-amz-copy-source-version-id"), Some(old.as_str()));
    assert_eq!(client.get("/bucket/copy").await.expect(200).body, b"old");
    let current = copy("/bucket/copy", "/bucket/k".to_owned()).await.expect(200);
    assert_eq!(current.header("x-amz-copy-source-version-id"), Some(new.as_str()));
    assert_eq!(client.get("/bucket/copy").await.expect(200).body, b"new");
    // An older version becomes the current one again; the current one onto itself is no change.
    copy("/bucket/k", "/bucket/k".to_owned()).await.expect_error(400, "InvalidRequest");
    copy("/bucket/k", format!("/bucket/k?versionId={old}")).await.expect(200);
    assert_eq!(client.get("/bucket/k").await.expect(200).body, b"old");
    assert_eq!(client.get("/bucket?prefix=k&versions").await.elements("VersionId").len(), 3);
    let marker = version_id(&client.delete("/bucket/k").await.expect(204));
    copy("/bucket/copy", "/bucket/k".to_owned()).await.expect_error(404, "NoSuchKey");
    copy("/bucket/copy", format!("/bucket/k?versionId={marker}")).await.expect_error(400, "InvalidRequest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_onto_itself_changes_the_storage_class_and_leaves_the_bytes() {
    let service = Service::start().await;
    let client = &service.client;
    set_versioning(client, "bucket", "Enabled").await;
    for (key, size) in [("inline", 100), ("chunks", 300_000)] {
        let (target, body) = (format!("/bucket/{key}"), noise(5, size));
        let headers = [("x-amz-tagging", "a=1"), ("x-amz-meta-colour", "green")];
        client.send("PUT", &target, &headers, &body).await.expect(200);
        let old = version_id(&client.head(&target).await.expect(200));
        for class in ["STANDARD_IA", "GLACIER_IR", "STANDARD"] {
            let headers = [("x-amz-copy-source", target.as_str()), ("x-amz-storage-class", class)];
            client.send("PUT", &target, &headers, b"").await.expect(200);
            let got = client.get(&target).await.expect(200);
            assert_eq!(got.header("x-amz-storage-class").unwrap_or("STANDARD"), class);
            assert!(got.body == body && got.header("x-amz-meta-colour") == Some("green"));
            assert_eq!(got.header("x-amz-tagging-count"), Some("1"));
        }
        let headers = [("x-amz-copy-source", target.as_str()), ("x-amz-storage-class", "NONE")];
        client.send("PUT", &target, &headers, b"").await.expect_error(400, "InvalidStorageClass");
        assert!(client.get(&format!("{target}?versionId={old}")).await.expect(200).body == body);
        let listed = client.get(&format!("/bucket?prefix={key}&versions")).await;
        assert_eq!(listed.elements("StorageClass"), ["STANDARD", "GLACIER_IR", "STANDARD_IA", "STANDARD"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_versions_are_deleted_at_once_and_repeating_it_succeeds() {
    let service = Service::start().await;
    let client = &service.client;
    set_versioning(client, "bucket", "Enabled").await;
    let ids = [put(client, "/bucket/k", b"1").await, put(client, "/bucket/k", b"2").await];
    let named: String =
        ids.iter().map(|id| format!("<Object><Key>k</Key><VersionId>{id}</VersionId></Object>")).collect();
    let document = format!("<Delete>{named}<Object><Key>m</Key></Object></Delete>");
    for _ in 0..2 {
        let deleted = client.send("POST", "/bucket?delete", &[], document.as_bytes()).await.expect(200);
        assert_eq!(deleted.elements("VersionId"), ids, "{}", deleted.text());
        assert_eq!((deleted.elements("Deleted").len(), deleted.elements("Error").len()), (3, 0));
        assert_eq!(deleted.element("DeleteMarker").as_deref(), Some("true"));
        assert!(deleted.element("DeleteMarkerVersionId").is_some());
    }
    let left = client.get("/bucket?versions").await.expect(200);
    assert_eq!((left.elements("Version").len(), left.elements("DeleteMarker").len()), (0, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_may_name_the_etag_the_time_and_the_size_of_what_it_removes() {
    let service = Service::start().await;
    let client = &service.client;
    let delete = |target: &'static str, name: &'static str, value: String| async move {
        client.send("DELETE", target, &[(name, &value)], b"").await
    };
    let put = client.put("/bucket/k", b"body").await.expect(200);
    let etag = put.header("etag").unwrap().to_owned();
    let modified = client.head("/bucket/k").await.expect(200).header("last-modified").unwrap().to_owned();
    let table = [
        ("if-match", "\"0\"".to_owned(), etag),
        ("x-amz-if-match-last-modified-time", "Thu, 01 Jan 2015 00:00:00 GMT".to_owned(), modified),
        ("x-amz-if-match-size", "5".to_owned(), "4".to_owned()),
    ];
    for (name, wrong, right) in table {
        delete("/bucket/k", name, wrong.clone()).await.expect_error(412, "PreconditionFailed");
        client.get("/bucket/k").await.expect(200);
        delete("/bucket/k", name, right).await.expect(204);
        client.get("/bucket/k").await.expect_error(404, "NoSuchKey");
        // There is nothing to compare with, and nothing to do.
        delete("/bucket/k", name, wrong).await.expect(204);
        client.put("/bucket/k", b"body").await.expect(200);
    }
}

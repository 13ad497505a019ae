//! Versions, as S3's versioning will use them, and the cost of small objects.

use std::sync::Arc;

use datamesh_testkit::for_each_engine;

use super::{Fixture, tick};
use crate::{DeleteCondition, DeleteVersion, ListQuery, StoredContent, VersionId, Versioning};

#[tokio::test]
async fn an_object_comes_back_as_it_was_put() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        let key = b"\xff\x00/..//%2F=\xf0\x9f\x98\x80";
        let committed = fixture.put_inline(key).await.unwrap();
        assert_eq!(committed.version, VersionId::Null);
        let version = fixture.newest(key).await.unwrap();
        assert_eq!((version.key.as_slice(), version.size, version.etag.as_str()), (&key[..], 9, "etag-9"));
        assert_eq!(version.attributes, r#"{"content-type":"text/plain"}"#);
        assert_eq!(version.modified_ms, committed.modified_ms);
        assert!(matches!(version.content, StoredContent::Inline { ref sealed, .. } if sealed == key));
        assert_eq!(fixture.newest(&key[..3]).await, None);
        let plan = fixture.catalog.read_plan(&version, 0..9).next_page().await.unwrap();
        assert!(plan.is_empty(), "inline bytes need no plan");
    })
    .await;
}

#[tokio::test]
async fn a_delete_marker_hides_and_its_removal_restores() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        let catalog = &fixture.catalog;
        let listed = || async {
            let query = ListQuery {
                bucket: fixture.bucket.id,
                prefix: vec![],
                delimiter: vec![],
                after: vec![],
                limit: 9,
            };
            catalog.list_objects(query).await.unwrap().objects.len()
        };
        fixture.put_inline(b"k").await.unwrap();
        catalog.set_versioning(fixture.bucket.id, Versioning::Enabled).await.unwrap();
        let second = fixture.put_inline(b"k").await.unwrap().version;
        assert_eq!(listed().await, 1);
        fixture.delete(b"k").await;
        let marker = fixture.newest(b"k").await.unwrap();
        assert!(marker.delete_marker && listed().await == 0);
        assert!(marker.id.to_string() > second.to_string(), "ids sort by commit");
        let remove = |id| {
            let delete = DeleteVersion {
                bucket: fixture.bucket.id,
                key: b"k".to_vec(),
                version: Some(id),
                condition: DeleteCondition::NONE,
                bypass_governance: false,
                now_ms: tick(),
            };
            catalog.delete_version(delete, Arc::clone(&fixture.hook))
        };
        assert!(remove(marker.id).await.unwrap().delete_marker);
        assert_eq!((fixture.newest(b"k").await.unwrap().id, listed().await), (second, 1));
        remove(second).await.unwrap();
        assert_eq!((fixture.newest(b"k").await.unwrap().id, listed().await), (VersionId::Null, 1));
        assert_eq!(remove(second).await.unwrap().version, None);
        assert_eq!(fixture.assert_consistent().await, (9, 1));
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_goes_back_changes_no_order() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        fixture.catalog.set_versioning(fixture.bucket.id, Versioning::Enabled).await.unwrap();
        let mut newest = None;
        for now_ms in [5_000_000, 4_000_000, 0] {
            let mut put = fixture.put_request(b"k", crate::Content::Empty, 0);
            put.now_ms = now_ms;
            newest = Some(fixture.catalog.put_version(put, Arc::clone(&fixture.hook)).await.unwrap());
        }
        let version = fixture.newest(b"k").await.unwrap();
        assert_eq!(Some(version.id), newest.map(|committed| committed.version));
        assert_eq!(version.modified_ms, 0);
    })
    .await;
}

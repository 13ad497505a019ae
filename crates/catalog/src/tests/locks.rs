//! What is kept beside a version, and what holds it.

use std::sync::Arc;

use datamesh_testkit::for_each_engine;
use datamesh_types::AccountId;

use super::{Fixture, tick};
use crate::{
    CatalogError, CompleteUpload, Content, CopyVersion, CreateUpload, DeleteCondition, DeleteVersion,
    Precondition, Retention, RetentionMode, Version, VersionId, VersionMeta, Versioning,
};

fn meta() -> VersionMeta {
    VersionMeta {
        tags: Some(r#"[["a","b"]]"#.to_owned()),
        acl: Some("acl".to_owned()),
        owner: Some(AccountId([7; 16])),
        retention: Some(Retention { mode: RetentionMode::Compliance, until_ms: u64::MAX >> 1 }),
        legal_hold: true,
    }
}

impl Fixture {
    async fn put_with(&self, key: &[u8], meta: VersionMeta) -> Version {
        let put = crate::PutVersion { meta, ..self.put_request(key, Content::Empty, 0) };
        self.catalog.put_version(put, Arc::clone(&self.hook)).await.unwrap();
        self.newest(key).await.unwrap()
    }

    async fn remove(
        &self,
        version: &Version,
        bypass_governance: bool,
        now_ms: u64,
    ) -> Result<(), CatalogError> {
        let delete = DeleteVersion {
            bucket: self.bucket.id,
            key: version.key.clone(),
            version: Some(version.id),
            condition: DeleteCondition::NONE,
            bypass_governance,
            now_ms,
        };
        self.catalog.delete_version(delete, Arc::clone(&self.hook)).await.map(drop)
    }
}

#[tokio::test]
async fn what_is_kept_beside_a_version_comes_back_from_put_copy_and_complete() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        let catalog = &fixture.catalog;
        catalog.set_versioning(fixture.bucket.id, Versioning::Enabled).await.unwrap();
        let source = fixture.put_with(b"put", meta()).await;
        assert_eq!(source.meta, meta());
        let copy = CopyVersion {
            bucket: fixture.bucket.id,
            key: b"copy".to_vec(),
            precondition: Precondition::NONE,
            etag: source.etag.clone(),
            storage_class: source.storage_class.clone(),
            attributes: "{}".to_owned(),
            meta: VersionMeta { legal_hold: true, ..VersionMeta::NONE },
            now_ms: tick(),
            source,
        };
        catalog.copy_version(copy, Arc::clone(&fixture.hook)).await.unwrap();
        let copied = fixture.newest(b"copy").await.unwrap().meta;
        assert_eq!(copied, VersionMeta { legal_hold: true, ..VersionMeta::NONE }, "nothing is taken over");
        let create = CreateUpload {
            bucket: fixture.bucket.id,
            key: b"upload".to_vec(),
            storage_class: "STANDARD".to_owned(),
            attributes: "{}".to_owned(),
            meta: meta(),
            now_ms: tick(),
        };
        let upload = catalog.create_upload(create).await.unwrap();
        assert_eq!(catalog.upload(fixture.bucket.id, b"upload", upload).await.unwrap().meta, meta());
        let part = fixture.put_part(b"upload", upload, 1, &[1]).await.unwrap();
        let complete = CompleteUpload {
            bucket: fixture.bucket.id,
            key: b"upload".to_vec(),
            upload,
            parts: vec![part],
            minimum_part_size: 1,
            expected_size: None,
            precondition: Precondition::NONE,
            etag: "e-1".to_owned(),
            attributes: "{}".to_owned(),
            now_ms: tick(),
        };
        catalog.complete_upload(complete, Arc::clone(&fixture.hook)).await.unwrap();
        assert_eq!(fixture.newest(b"upload").await.unwrap().meta, meta());
    })
    .await;
}

#[tokio::test]
async fn a_change_beside_a_version_lands_on_that_version_or_nowhere() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        let catalog = &fixture.catalog;
        let first = fixture.put_with(b"k", VersionMeta::NONE).await;
        catalog.set_version_tags(&first, Some("tags".into())).await.unwrap();
        catalog.set_version_acl(&first, Some("acl".into())).await.unwrap();
        catalog.set_version_legal_hold(&first, true).await.unwrap();
        let changed = fixture.newest(b"k").await.unwrap();
        let expected = VersionMeta {
            tags: Some("tags".into()),
            acl: Some("acl".into()),
            legal_hold: true,
            ..VersionMeta::NONE
        };
        assert_eq!(changed, Version { meta: expected, ..first.clone() });
        catalog.set_version_tags(&first, None).await.unwrap();
        assert_eq!(fixture.newest(b"k").await.unwrap().meta.tags, None);
        catalog.set_version_legal_hold(&first, false).await.unwrap();
        // The null version is replaced by another with the same id.
        let second = fixture.put_with(b"k", VersionMeta::NONE).await;
        assert_eq!((second.id, first.id), (VersionId::Null, VersionId::Null));
        let gone = [
            catalog.set_version_tags(&first, Some("t".into())).await,
            catalog.set_version_acl(&first, None).await,
            catalog.set_version_legal_hold(&first, false).await,
            catalog.set_version_retention(&first, None, true, tick()).await,
        ];
        for result in gone {
            assert!(matches!(result, Err(CatalogError::NoSuchVersion)));
        }
        assert_eq!(fixture.newest(b"k").await.unwrap(), second);
    })
    .await;
}

#[tokio::test]
async fn a_held_version_cannot_be_removed_but_a_marker_may_hide_it() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        let catalog = &fixture.catalog;
        catalog.set_versioning(fixture.bucket.id, Versioning::Enabled).await.unwrap();
        let until_ms = 10_000_000;
        let version = fixture.put_with(b"k", VersionMeta::NONE).await;
        let retain =
            |mode| catalog.set_version_retention(&version, Some(Retention { mode, until_ms }), true, 0);
        let locked = |result| assert!(matches!(result, Err(CatalogError::Locked)), "{result:?}");
        retain(RetentionMode::Governance).await.unwrap();
        locked(fixture.remove(&version, false, until_ms - 1).await);
        locked(catalog.set_version_retention(&version, None, false, until_ms - 1).await);
        retain(RetentionMode::Compliance).await.unwrap();
        locked(fixture.remove(&version, true, until_ms - 1).await);
        locked(catalog.set_version_retention(&version, None, true, until_ms - 1).await);
        fixture.delete(b"k").await;
        assert!(fixture.newest(b"k").await.unwrap().delete_marker);
        catalog.set_version_legal_hold(&version, true).await.unwrap();
        locked(fixture.remove(&version, true, until_ms).await);
        catalog.set_version_legal_hold(&version, false).await.unwrap();
        fixture.remove(&version, false, until_ms).await.unwrap();
        assert_eq!(catalog.version(fixture.bucket.id, b"k", Some(version.id)).await.unwrap(), None);
        // Governance gives way to a bypass.
        let version = fixture.put_with(b"k", VersionMeta::NONE).await;
        let governed = Retention { mode: RetentionMode::Governance, until_ms };
        catalog.set_version_retention(&version, Some(governed), false, 0).await.unwrap();
        fixture.remove(&version, true, 0).await.unwrap();
        assert_eq!(fixture.assert_consistent().await, (0, 0));
    })
    .await;
}

#[tokio::test]
async fn a_held_null_version_is_not_replaced_either() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        let catalog = &fixture.catalog;
        let held = fixture.put_with(b"k", VersionMeta { legal_hold: true, ..VersionMeta::NONE }).await;
        let put = || fixture.put_inline(b"k");
        assert!(matches!(put().await, Err(CatalogError::Locked)));
        catalog.set_versioning(fixture.bucket.id, Versioning::Enabled).await.unwrap();
        put().await.unwrap();
        catalog.set_versioning(fixture.bucket.id, Versioning::Suspended).await.unwrap();
        assert!(matches!(put().await, Err(CatalogError::Locked)));
        let newest = fixture.newest(b"k").await.unwrap();
        assert_ne!(newest.id, VersionId::Null, "the refused write has changed nothing");
        catalog.set_version_legal_hold(&held, false).await.unwrap();
        assert_eq!(put().await.unwrap().version, VersionId::Null);
        assert_eq!(fixture.assert_consistent().await, (18, 2));
    })
    .await;
}

#[tokio::test]
async fn among_several_deletions_only_the_locked_one_fails() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        fixture.catalog.set_versioning(fixture.bucket.id, Versioning::Enabled).await.unwrap();
        let held = fixture.put_with(b"held", VersionMeta { legal_hold: true, ..VersionMeta::NONE }).await;
        let free = fixture.put_with(b"free", VersionMeta::NONE).await;
        let deletes = [&held, &free].map(|version| DeleteVersion {
            bucket: fixture.bucket.id,
            key: version.key.clone(),
            version: Some(version.id),
            condition: DeleteCondition::NONE,
            bypass_governance: true,
            now_ms: tick(),
        });
        let hook = Arc::clone(&fixture.hook);
        let outcomes = fixture.catalog.delete_versions(deletes.to_vec(), hook).await.unwrap();
        assert!(matches!(outcomes[0], Err(CatalogError::Locked)));
        assert_eq!(outcomes[1].as_ref().unwrap().version, Some(free.id));
        assert_eq!(fixture.newest(b"held").await, Some(held));
        assert_eq!(fixture.newest(b"free").await, None);
        assert_eq!(fixture.assert_consistent().await, (0, 1));
    })
    .await;
}

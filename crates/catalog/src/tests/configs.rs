//! Buckets' configurations.

use datamesh_testkit::for_each_engine;

use super::{Fixture, tick};
use crate::{BucketId, CatalogError, ConfigKind, CreateBucket, Versioning};

#[tokio::test]
async fn a_configuration_its_bit_and_the_epoch_change_together() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        let catalog = &fixture.catalog;
        let bucket = || async { catalog.bucket(&fixture.bucket.name).await.unwrap().unwrap() };
        let id = fixture.bucket.id;
        assert!(bucket().await.configured.is_empty());
        catalog.set_bucket_config(id, ConfigKind::Policy, Some("one".into())).await.unwrap();
        catalog.set_bucket_config(id, ConfigKind::Cors, Some("cors".into())).await.unwrap();
        catalog.set_bucket_config(id, ConfigKind::Policy, Some("two".into())).await.unwrap();
        let set = bucket().await;
        assert_eq!(set.config_epoch, 3);
        for kind in ConfigKind::ALL {
            let expected = match kind {
                ConfigKind::Policy => Some("two".to_owned()),
                ConfigKind::Cors => Some("cors".to_owned()),
                _ => None,
            };
            assert_eq!(set.configured.contains(kind), expected.is_some());
            assert_eq!(catalog.bucket_config(id, kind).await.unwrap(), expected);
        }
        catalog.set_bucket_config(id, ConfigKind::Policy, None).await.unwrap();
        let cleared = bucket().await;
        assert_eq!(cleared.config_epoch, 4);
        assert!(!cleared.configured.contains(ConfigKind::Policy));
        assert!(cleared.configured.contains(ConfigKind::Cors), "the others stay");
        assert_eq!(catalog.bucket_config(id, ConfigKind::Policy).await.unwrap(), None);
        let found = catalog.buckets_configured(ConfigKind::Cors, BucketId(0), 1000).await.unwrap();
        assert!(found.contains(&cleared));
        assert_eq!(catalog.buckets_configured(ConfigKind::Cors, cleared.id, 1000).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn a_bucket_takes_its_configurations_along_when_it_is_deleted() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        let catalog = &fixture.catalog;
        let id = fixture.bucket.id;
        catalog.set_bucket_config(id, ConfigKind::Tagging, Some("{}".into())).await.unwrap();
        catalog.delete_bucket(id).await.unwrap();
        assert_eq!(catalog.bucket_config(id, ConfigKind::Tagging).await.unwrap(), None);
        let set = catalog.set_bucket_config(id, ConfigKind::Tagging, Some("{}".into())).await.unwrap_err();
        assert!(matches!(set, CatalogError::NoSuchBucket));
        assert_eq!(catalog.bucket_config(id, ConfigKind::Tagging).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn object_lock_and_enabled_versioning_cannot_be_parted() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        let catalog = &fixture.catalog;
        let lock = |id, document: Option<&str>| {
            catalog.set_bucket_config(id, ConfigKind::ObjectLock, document.map(str::to_owned))
        };
        let refused = lock(fixture.bucket.id, Some("{}")).await.unwrap_err();
        assert!(matches!(refused, CatalogError::InvalidBucketState));
        assert!(catalog.bucket(&fixture.bucket.name).await.unwrap().unwrap().configured.is_empty());
        let create = CreateBucket {
            name: format!("{}-locked", fixture.bucket.name),
            account: fixture.bucket.account,
            domain: fixture.bucket.domain,
            region: "local".to_owned(),
            versioning: Versioning::Enabled,
            configs: vec![(ConfigKind::ObjectLock, "{}".to_owned())],
            now_ms: tick(),
        };
        let locked = catalog.create_bucket(create).await.unwrap();
        assert_eq!(catalog.bucket(&locked.name).await.unwrap().unwrap(), locked);
        assert_eq!(locked.versioning, Versioning::Enabled);
        assert!(locked.configured.contains(ConfigKind::ObjectLock));
        lock(locked.id, Some("[]")).await.unwrap();
        assert!(matches!(lock(locked.id, None).await.unwrap_err(), CatalogError::InvalidBucketState));
        let suspended = catalog.set_versioning(locked.id, Versioning::Suspended).await.unwrap_err();
        assert!(matches!(suspended, CatalogError::InvalidBucketState));
        catalog.set_versioning(locked.id, Versioning::Enabled).await.unwrap();
        let stored = catalog.bucket_config(locked.id, ConfigKind::ObjectLock).await.unwrap();
        assert_eq!(stored.as_deref(), Some("[]"));
    })
    .await;
}

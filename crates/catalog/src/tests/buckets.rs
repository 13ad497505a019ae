//! Buckets and leases.

use std::sync::Arc;

use datamesh_testkit::for_each_engine;

use super::{Fixture, tick};
use crate::{CatalogError, CreateBucket, Lease, Versioning};

#[tokio::test]
async fn a_bucket_name_is_taken_once_and_free_again_after_deletion() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        let again = CreateBucket {
            name: fixture.bucket.name.clone(),
            account: fixture.bucket.account,
            domain: fixture.bucket.domain,
            region: "local".to_owned(),
            versioning: crate::Versioning::Unversioned,
            configs: vec![],
            now_ms: tick(),
        };
        let taken = fixture.catalog.create_bucket(again.clone()).await.unwrap_err();
        assert!(matches!(taken, CatalogError::BucketExists { account } if account == fixture.bucket.account));
        fixture.catalog.delete_bucket(fixture.bucket.id).await.unwrap();
        assert_eq!(fixture.catalog.bucket(&again.name).await.unwrap(), None);
        assert!(fixture.catalog.lookup(&again.name, b"k", None).await.unwrap().is_none());
        let gone = fixture.catalog.delete_bucket(fixture.bucket.id).await.unwrap_err();
        assert!(matches!(gone, CatalogError::NoSuchBucket));
        assert!(matches!(fixture.put_inline(b"k").await.unwrap_err(), CatalogError::NoSuchBucket));
        let later = fixture.catalog.create_bucket(again).await.unwrap();
        assert_ne!(later.id, fixture.bucket.id, "a number is never used again");
    })
    .await;
}

#[tokio::test]
async fn a_bucket_with_an_object_a_marker_or_an_open_upload_stays() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        let delete = || fixture.catalog.delete_bucket(fixture.bucket.id);
        fixture.put_inline(b"k").await.unwrap();
        assert!(matches!(delete().await.unwrap_err(), CatalogError::BucketNotEmpty));
        fixture.delete(b"k").await;
        let upload = fixture.begin(b"k").await;
        assert!(matches!(delete().await.unwrap_err(), CatalogError::BucketNotEmpty));
        let hook = Arc::clone(&fixture.hook);
        fixture.catalog.abort_upload(fixture.bucket.id, b"k", upload, tick(), hook).await.unwrap();
        fixture.catalog.set_versioning(fixture.bucket.id, Versioning::Enabled).await.unwrap();
        fixture.delete(b"k").await;
        assert!(matches!(delete().await.unwrap_err(), CatalogError::BucketNotEmpty));
    })
    .await;
}

#[tokio::test]
async fn an_account_lists_its_own_buckets_by_name() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        let stranger = Fixture::new(&db).await;
        let mut names = vec![fixture.bucket.name.clone()];
        for name in ["a", "c", "b"] {
            let bucket = CreateBucket {
                name: name.to_owned(),
                account: fixture.bucket.account,
                domain: fixture.bucket.domain,
                region: "local".to_owned(),
                versioning: crate::Versioning::Unversioned,
                configs: vec![],
                now_ms: tick(),
            };
            names.push(fixture.catalog.create_bucket(bucket).await.unwrap().name);
        }
        names.sort();
        let list = |after: Option<&'static str>, limit| {
            let (catalog, account) = (fixture.catalog.clone(), fixture.bucket.account);
            async move {
                let buckets = catalog.list_buckets(account, after, limit).await.unwrap();
                buckets.into_iter().map(|bucket| bucket.name).collect::<Vec<_>>()
            }
        };
        assert_eq!(list(None, 100).await, names);
        assert_eq!(list(Some("a"), 1).await, ["b"]);
        assert!(!names.contains(&stranger.bucket.name));
    })
    .await;
}

#[tokio::test]
async fn a_lease_has_one_holder_until_it_expires() {
    for_each_engine(|db| async move {
        let catalog = Fixture::new(&db).await.catalog;
        let taken = catalog.lease("gc", "a", 100, 1000).await.unwrap();
        assert_eq!(taken, Some(Lease { term: 1, expires_at_ms: 1100 }));
        assert_eq!(catalog.lease("gc", "b", 100, 1099).await.unwrap(), None);
        assert_eq!(
            catalog.lease("gc", "a", 100, 1050).await.unwrap(),
            Some(Lease { term: 1, expires_at_ms: 1150 })
        );
        let stolen = catalog.lease("gc", "b", 100, 1150).await.unwrap();
        assert_eq!(stolen, Some(Lease { term: 2, expires_at_ms: 1250 }));
        catalog.release_lease("gc", "a").await.unwrap();
        assert_eq!(catalog.lease("gc", "a", 100, 1151).await.unwrap(), None);
        catalog.release_lease("gc", "b").await.unwrap();
        assert_eq!(catalog.lease("gc", "a", 100, 1152).await.unwrap().unwrap().term, 3);
    })
    .await;
}

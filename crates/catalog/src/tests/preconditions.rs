//! Preconditions are part of the commit.

use std::sync::Arc;

use datamesh_testkit::for_each_engine;

use super::{Fixture, chunk_id, tick};
use crate::{
    CatalogError, CompleteUpload, Content, DeleteCondition, DeleteVersion, EtagCondition, Precondition,
    Versioning,
};

const TASKS: u64 = 24;

fn if_match(etag: &str) -> Precondition {
    Precondition { if_match: Some(EtagCondition::OneOf(vec![etag.to_owned()])), if_none_match: None }
}

/// Puts an object whose `ETag` is `etag`.
async fn put(fixture: &Fixture, etag: &str, precondition: Precondition) -> Result<(), CatalogError> {
    let content = Content::Inline { chunk: chunk_id(1), sealed: vec![1] };
    let mut put = fixture.put_request(b"k", content, 1);
    put.precondition = precondition;
    put.etag = etag.to_owned();
    fixture.catalog.put_version(put, Arc::clone(&fixture.hook)).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_creators_one_wins() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        for round in 0..4 {
            let mut tasks = tokio::task::JoinSet::new();
            for task in 0..TASKS {
                let fixture = fixture.clone();
                tasks.spawn(async move { put(&fixture, &task.to_string(), Precondition::absent()).await });
            }
            let results = tasks.join_all().await;
            let failed = |result: &Result<(), _>| matches!(result, Err(CatalogError::PreconditionFailed));
            assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "round {round}");
            assert!(results.iter().all(|result| result.is_ok() || failed(result)));
            fixture.delete(b"k").await;
        }
        assert_eq!(fixture.assert_consistent().await, (0, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_under_if_match_loses_no_step() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        put(&fixture, "0", Precondition::NONE).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let fixture = fixture.clone();
            tasks.spawn(async move {
                let mut steps = 0;
                while steps < 5 {
                    let current =
                        fixture.catalog.version(fixture.bucket.id, b"k", None).await.unwrap().unwrap().etag;
                    let next = (current.parse::<u64>().unwrap() + 1).to_string();
                    match put(&fixture, &next, if_match(&current)).await {
                        Ok(()) => steps += 1,
                        Err(CatalogError::PreconditionFailed) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
        tasks.join_all().await;
        assert_eq!(fixture.newest(b"k").await.unwrap().etag, "40");
    })
    .await;
}

#[tokio::test]
async fn a_delete_marker_counts_as_absence() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        fixture.catalog.set_versioning(fixture.bucket.id, Versioning::Enabled).await.unwrap();
        put(&fixture, "a", Precondition::absent()).await.unwrap();
        let error = put(&fixture, "b", Precondition::absent()).await.unwrap_err();
        assert!(matches!(error, CatalogError::PreconditionFailed));
        fixture.delete(b"k").await;
        let error = put(&fixture, "b", if_match("a")).await.unwrap_err();
        assert!(matches!(error, CatalogError::NoSuchKey));
        put(&fixture, "b", Precondition::absent()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn deletions_and_completions_evaluate_them_too() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        put(&fixture, "a", Precondition::NONE).await.unwrap();
        let delete = |key: &[u8], if_match| DeleteVersion {
            bucket: fixture.bucket.id,
            key: key.to_vec(),
            version: None,
            condition: DeleteCondition { if_match, ..DeleteCondition::NONE },
            bypass_governance: false,
            now_ms: tick(),
        };
        let hook = || Arc::clone(&fixture.hook);
        let is = |etag: &str| Some(EtagCondition::OneOf(vec![etag.to_owned()]));
        let deletes = vec![delete(b"z", is("a")), delete(b"k", is("b")), delete(b"j", None)];
        let outcomes = fixture.catalog.delete_versions(deletes, hook()).await.unwrap();
        assert_eq!(outcomes[0].as_ref().unwrap().version, None, "there is nothing to delete");
        assert!(matches!(outcomes[1], Err(CatalogError::PreconditionFailed)));
        assert!(outcomes[2].is_ok());

        let upload = fixture.begin(b"k").await;
        let part = fixture.put_part(b"k", upload, 1, &[1]).await.unwrap();
        let mut complete = CompleteUpload {
            bucket: fixture.bucket.id,
            key: b"k".to_vec(),
            upload,
            parts: vec![part],
            minimum_part_size: 1,
            expected_size: None,
            precondition: Precondition::absent(),
            etag: "c".to_owned(),
            attributes: "{}".to_owned(),
            now_ms: tick(),
        };
        let error = fixture.catalog.complete_upload(complete.clone(), hook()).await.unwrap_err();
        assert!(matches!(error, CatalogError::PreconditionFailed));
        fixture.catalog.delete_version(delete(b"k", is("a")), hook()).await.unwrap();
        fixture.catalog.complete_upload(complete.clone(), hook()).await.unwrap();
        // Repeated: it is this upload's own object that exists now.
        fixture.catalog.complete_upload(complete.clone(), hook()).await.unwrap();
        complete.upload = fixture.begin(b"k").await;
        let error = fixture.catalog.complete_upload(complete, hook()).await.unwrap_err();
        assert!(matches!(error, CatalogError::PreconditionFailed));
        fixture.assert_consistent().await;
    })
    .await;
}

//! Multipart uploads.

use std::sync::Arc;

use datamesh_db::{CommitHook, DbError, Tx, TxFuture, UsageChange};
use datamesh_testkit::for_each_engine;

use super::{Fixture, size_of, tick};
use crate::{
    CatalogError, CompleteUpload, CompletedPart, CopyVersion, Precondition, StoredContent, UploadId,
    UploadListQuery, VersionId, Versioning,
};

fn complete(fixture: &Fixture, key: &[u8], upload: UploadId, parts: Vec<CompletedPart>) -> CompleteUpload {
    CompleteUpload {
        bucket: fixture.bucket.id,
        key: key.to_vec(),
        upload,
        parts,
        minimum_part_size: 100,
        expected_size: None,
        precondition: Precondition::NONE,
        etag: "whole-3".to_owned(),
        attributes: "{}".to_owned(),
        now_ms: tick(),
    }
}

#[tokio::test]
async fn parts_are_invisible_until_complete_and_counted_once() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        let hook = || Arc::clone(&fixture.hook);
        let upload = fixture.begin(b"k").await;
        fixture.put_part(b"k", upload, 5, &[5, 5]).await.unwrap();
        let mut parts = Vec::new();
        for (number, chunks) in [(1, vec![1, 2]), (3, vec![3]), (7, vec![1])] {
            parts.push(fixture.put_part(b"k", upload, number, &chunks).await.unwrap());
        }
        assert_eq!(fixture.newest(b"k").await, None);
        assert_eq!(fixture.assert_consistent().await, (size_of(&[5, 5, 1, 2, 3, 1]), 0));
        let page = fixture.catalog.list_parts(fixture.bucket.id, b"k", upload, 1, 2).await.unwrap();
        assert_eq!(page.parts.iter().map(|part| part.number).collect::<Vec<_>>(), [3, 5]);
        assert!(page.truncated);

        let committed = fixture
            .catalog
            .complete_upload(complete(&fixture, b"k", upload, parts.clone()), hook())
            .await
            .unwrap();
        let size = size_of(&[1, 2, 3, 1]);
        assert_eq!(committed.size, size);
        assert_eq!(fixture.assert_consistent().await, (size, 1));
        let version = fixture.newest(b"k").await.unwrap();
        assert_eq!(version.content, StoredContent::Parts { count: 3 });
        let read: Vec<u8> = fixture.plan(&version).await.iter().map(|(chunk, _)| chunk.0[0]).collect();
        assert_eq!(read, [1, 2, 3, 1]);
        let second = fixture.catalog.part_range(&version, 3).await.unwrap().unwrap();
        assert_eq!(second, (size_of(&[1, 2])..size_of(&[1, 2, 3]), 3));
        assert_eq!(fixture.catalog.part_range(&version, 5).await.unwrap(), None);
        let numbers = fixture.catalog.version_parts(&version, 1, 9).await.unwrap();
        assert_eq!(numbers.iter().map(|part| part.number).collect::<Vec<_>>(), [3, 7]);
        let mut tail = fixture.catalog.read_plan(&version, size - 1..size);
        assert_eq!(tail.next_page().await.unwrap()[0].object_offset, size_of(&[1, 2, 3]));
        assert!(tail.next_page().await.unwrap().is_empty());

        // A repetition gives the same answer, even after the object is gone, until the upload is forgotten.
        fixture.delete(b"k").await;
        let again =
            || fixture.catalog.complete_upload(complete(&fixture, b"k", upload, parts.clone()), hook());
        assert_eq!(again().await.unwrap(), committed);
        let state = fixture.catalog.upload(fixture.bucket.id, b"k", upload).await.unwrap();
        assert_eq!(state.completed, Some(committed));
        assert_eq!(fixture.catalog.expire_uploads(0, tick(), 9, tick(), hook()).await.unwrap(), 1);
        assert!(matches!(again().await.unwrap_err(), CatalogError::NoSuchUpload));
        assert_eq!(fixture.assert_consistent().await, (0, 0));
        fixture.collect(0).await;
        assert_eq!(fixture.findings().await, []);
    })
    .await;
}

#[tokio::test]
async fn a_wrong_completion_leaves_the_upload_open() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        let upload = fixture.begin(b"k").await;
        let mut parts = Vec::new();
        for (number, chunk) in [(1, 1), (2, 2)] {
            parts.push(fixture.put_part(b"k", upload, number, &[chunk]).await.unwrap());
        }
        let refused = |change: fn(&mut CompleteUpload)| {
            let mut request = complete(&fixture, b"k", upload, parts.clone());
            change(&mut request);
            let (catalog, hook) = (fixture.catalog.clone(), Arc::clone(&fixture.hook));
            async move { catalog.complete_upload(request, hook).await.unwrap_err() }
        };
        let error = refused(|request| request.parts.clear()).await;
        assert!(matches!(error, CatalogError::InvalidPartOrder));
        let error = refused(|request| request.parts.reverse()).await;
        assert!(matches!(error, CatalogError::InvalidPartOrder));
        let error = refused(|request| request.parts[1].number = 1).await;
        assert!(matches!(error, CatalogError::InvalidPartOrder));
        let error = refused(|request| request.parts[1].etag.push('x')).await;
        assert!(matches!(error, CatalogError::InvalidPart { number: 2 }));
        let error = refused(|request| request.parts[1].number = 3).await;
        assert!(matches!(error, CatalogError::InvalidPart { number: 3 }));
        let error = refused(|request| request.minimum_part_size = 102).await;
        assert!(matches!(error, CatalogError::PartTooSmall { number: 1, size: 101, minimum: 102 }));
        let error = refused(|request| request.expected_size = Some(7)).await;
        assert!(matches!(error, CatalogError::SizeMismatch { declared: 7, .. }));
        let error = refused(|request| request.key = b"other".to_vec()).await;
        assert!(matches!(error, CatalogError::NoSuchUpload));
        let open = fixture.catalog.upload(fixture.bucket.id, b"k", upload).await.unwrap();
        assert_eq!(open.completed, None);
        // The last part may be small.
        let mut request = complete(&fixture, b"k", upload, parts.clone());
        request.minimum_part_size = 101;
        fixture.catalog.complete_upload(request, Arc::clone(&fixture.hook)).await.unwrap();
        let late = fixture.put_part(b"k", upload, 4, &[1]).await.unwrap_err();
        assert!(matches!(late, CatalogError::NoSuchUpload));
        fixture.assert_consistent().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_concurrent_completions_and_aborts_one_takes_effect() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        for round in 0..8_u8 {
            let key = vec![round];
            let upload = fixture.begin(&key).await;
            let parts = vec![fixture.put_part(&key, upload, 1, &[round]).await.unwrap()];
            let mut tasks = tokio::task::JoinSet::new();
            for task in 0..6 {
                let (fixture, key) = (fixture.clone(), key.clone());
                let request = complete(&fixture, &key, upload, parts.clone());
                tasks.spawn(async move {
                    let hook = Arc::clone(&fixture.hook);
                    match task {
                        0 => fixture
                            .catalog
                            .abort_upload(fixture.bucket.id, &key, upload, tick(), hook)
                            .await
                            .is_ok(),
                        1 => {
                            fixture.put_part(&key, upload, 1, &[round]).await.ok();
                            false
                        }
                        _ => fixture.catalog.complete_upload(request, hook).await.is_err(),
                    }
                });
            }
            // The abort succeeded and every completion failed, or the reverse.
            let aborted = tasks.join_all().await.into_iter().filter(|aborted| *aborted).count();
            assert!(aborted == 0 || aborted == 5, "{aborted}");
            assert_eq!(fixture.newest(&key).await.is_some(), aborted == 0);
            fixture.assert_consistent().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_copy_of_a_multipart_object_outlives_its_source() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        let upload = fixture.begin(b"k").await;
        let parts = vec![fixture.put_part(b"k", upload, 1, &[1, 2]).await.unwrap()];
        let hook = || Arc::clone(&fixture.hook);
        fixture.catalog.complete_upload(complete(&fixture, b"k", upload, parts), hook()).await.unwrap();
        let source = fixture.newest(b"k").await.unwrap();
        let copy = CopyVersion {
            source: source.clone(),
            bucket: fixture.bucket.id,
            key: b"copy".to_vec(),
            precondition: Precondition::NONE,
            etag: source.etag.clone(),
            storage_class: source.storage_class.clone(),
            attributes: "{}".to_owned(),
            meta: crate::VersionMeta::NONE,
            now_ms: tick(),
        };
        // Onto itself as well, as clients do to replace the metadata.
        let onto_itself = CopyVersion { key: b"k".to_vec(), ..copy.clone() };
        fixture.catalog.copy_version(onto_itself, hook()).await.unwrap();
        let late = fixture.catalog.copy_version(copy.clone(), hook()).await.unwrap_err();
        assert!(matches!(late, CatalogError::NoSuchVersion), "the source was replaced");
        let source = fixture.newest(b"k").await.unwrap();
        fixture.catalog.copy_version(CopyVersion { source, ..copy.clone() }, hook()).await.unwrap();
        fixture.delete(b"k").await;
        fixture.collect(0).await;
        let version = fixture.newest(b"copy").await.unwrap();
        assert_eq!(fixture.plan(&version).await.len(), 2);
        assert_eq!(fixture.assert_consistent().await, (size_of(&[1, 2]), 1));

        let stranger = Fixture::new(&db).await;
        let across = CopyVersion { source: version, bucket: stranger.bucket.id, ..copy };
        let error = fixture.catalog.copy_version(across, hook()).await.unwrap_err();
        assert!(matches!(error, CatalogError::DomainMismatch));
    })
    .await;
}

#[tokio::test]
async fn a_copy_of_a_multipart_object_replaces_the_null_version_below_a_numbered_one() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        let hook = || Arc::clone(&fixture.hook);
        let upload = fixture.begin(b"k").await;
        let parts = vec![fixture.put_part(b"k", upload, 1, &[1, 2]).await.unwrap()];
        fixture.catalog.complete_upload(complete(&fixture, b"k", upload, parts), hook()).await.unwrap();
        let source = fixture.newest(b"k").await.unwrap();
        for older_null in [true, false] {
            let key = if older_null { b"with".to_vec() } else { b"without".to_vec() };
            if older_null {
                fixture.put_inline(&key).await.unwrap();
            }
            fixture.catalog.set_versioning(fixture.bucket.id, Versioning::Enabled).await.unwrap();
            let numbered = fixture.put_inline(&key).await.unwrap().version;
            fixture.catalog.set_versioning(fixture.bucket.id, Versioning::Suspended).await.unwrap();
            let copy = CopyVersion {
                source: source.clone(),
                bucket: fixture.bucket.id,
                key: key.clone(),
                precondition: Precondition::NONE,
                etag: source.etag.clone(),
                storage_class: source.storage_class.clone(),
                attributes: "{}".to_owned(),
                meta: crate::VersionMeta::NONE,
                now_ms: tick(),
            };
            fixture.catalog.copy_version(copy, hook()).await.unwrap();
            let newest = fixture.newest(&key).await.unwrap();
            assert_eq!((newest.id, fixture.plan(&newest).await.len()), (VersionId::Null, 2));
            let before = fixture.catalog.version(fixture.bucket.id, &key, Some(numbered)).await.unwrap();
            assert!(before.is_some());
        }
        // The source, and two keys of a numbered version and a copy.
        assert_eq!(fixture.assert_consistent().await, (3 * size_of(&[1, 2]) + 2 * 9, 5));
    })
    .await;
}

#[tokio::test]
async fn open_uploads_are_listed_by_key_and_id() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        let mut begun = Vec::new();
        for key in ["a", "b", "b", "b", "d/1", "d/2", "e"] {
            begun.push((key.as_bytes().to_vec(), fixture.begin(key.as_bytes()).await));
        }
        let query = UploadListQuery {
            bucket: fixture.bucket.id,
            prefix: vec![],
            delimiter: vec![],
            after: vec![],
            after_upload: None,
            limit: 1,
        };
        for (delimiter, limit) in [("", 1), ("", 2), ("", 100), ("/", 1), ("/", 3)] {
            let mut query = UploadListQuery { delimiter: delimiter.into(), limit, ..query.clone() };
            let (mut uploads, mut prefixes) = (Vec::new(), Vec::new());
            loop {
                let page = fixture.catalog.list_uploads(query.clone()).await.unwrap();
                uploads.extend(page.uploads.into_iter().map(|upload| (upload.key, upload.id)));
                prefixes.extend(page.common_prefixes);
                let Some((after, after_upload)) = page.next else { break };
                query = UploadListQuery { after, after_upload, ..query };
            }
            let rolled = |key: &[u8]| !delimiter.is_empty() && key.starts_with(b"d/");
            let expected: Vec<_> = begun.iter().filter(|(key, _)| !rolled(key)).cloned().collect();
            assert_eq!(uploads, expected, "{delimiter:?} {limit}");
            assert_eq!(prefixes.len(), usize::from(!delimiter.is_empty()));
        }
        let after_key = UploadListQuery { after: b"b".to_vec(), limit: 9, ..query.clone() };
        let page = fixture.catalog.list_uploads(after_key).await.unwrap();
        assert_eq!(page.uploads[0].key, b"d/1");
        let prefixed = UploadListQuery { prefix: b"d/".to_vec(), limit: 9, ..query };
        assert_eq!(fixture.catalog.list_uploads(prefixed).await.unwrap().uploads.len(), 2);
    })
    .await;
}

/// Lets nothing be given back that has exactly this many bytes.
struct Keeper(u64);

impl CommitHook for Keeper {
    fn run<'t>(&'t self, _: &'t mut Tx, change: &'t UsageChange) -> TxFuture<'t, (), DbError> {
        let refused = change.bytes == -self.0.cast_signed();
        Box::pin(async move {
            if refused { Err(DbError::Rejected { source: "it is held".into() }) } else { Ok(()) }
        })
    }
}

#[tokio::test]
async fn uploads_that_may_not_be_given_up_do_not_keep_others_from_expiring() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        let mut uploads = Vec::new();
        for (key, chunks) in [(b"a", &[1][..]), (b"b", &[1, 2]), (b"c", &[1]), (b"d", &[3, 1])] {
            let upload = fixture.begin(key).await;
            fixture.put_part(key, upload, 1, chunks).await.unwrap();
            uploads.push((key, upload));
        }
        let keeper = Arc::new(Keeper(size_of(&[1])));
        let expire = |hook: Arc<dyn CommitHook>| {
            fixture.catalog.expire_uploads(u64::MAX >> 1, u64::MAX >> 1, 1, tick(), hook)
        };
        assert_eq!(expire(keeper.clone()).await.unwrap(), 2);
        assert_eq!(expire(keeper).await.unwrap(), 0);
        for (key, upload) in uploads {
            let found = fixture.catalog.upload(fixture.bucket.id, key, upload).await;
            assert_eq!(found.is_ok(), matches!(key, b"a" | b"c"), "{found:?}");
        }
        let hook = Arc::clone(&fixture.hook);
        assert_eq!(expire(hook).await.unwrap(), 2);
    })
    .await;
}

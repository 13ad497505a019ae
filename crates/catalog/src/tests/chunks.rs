//! Chunk references, read plans, collection.

use std::sync::Arc;

use datamesh_testkit::for_each_engine;

use super::{BACKEND, Fixture, chunk_id, new_chunk, plain_len, size_of, tick};
use crate::{CatalogError, ChunkRow, Content, Finding, ManifestAppend, ManifestEntry, PlannedChunk};

#[tokio::test]
async fn the_loser_of_two_writers_of_a_chunk_refers_to_the_winners() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        let (winner, loser) = (new_chunk(1), new_chunk(1));
        let sealed = |entry: &ManifestEntry| match entry {
            ManifestEntry::New { location, .. } => location.sealed,
            ManifestEntry::Known { .. } => unreachable!(),
        };
        fixture.put_entries(b"a", &[1], vec![winner.clone()]).await.unwrap();
        fixture.put_entries(b"b", &[1], vec![loser.clone()]).await.unwrap();
        for key in [b"a", b"b"] {
            let version = fixture.newest(key).await.unwrap();
            assert_eq!(fixture.plan(&version).await, [(chunk_id(1), sealed(&winner))]);
        }
        assert_eq!(fixture.collect(1_000_000).await, [sealed(&loser)].into());
        fixture.delete(b"a").await;
        fixture.assert_consistent().await;
        assert!(fixture.collect(0).await.is_empty());
        fixture.delete(b"b").await;
        assert_eq!(fixture.collect(0).await, [sealed(&winner)].into());
        fixture.assert_consistent().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_writers_of_the_same_chunks_agree() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..16_u8 {
            let fixture = fixture.clone();
            tasks.spawn(async move {
                // Each in another order: the locks must not deadlock.
                let chunks: Vec<u8> = (0..8).map(|chunk| (chunk + task) % 8).collect();
                let entries = chunks.iter().map(|chunk| new_chunk(*chunk)).collect();
                fixture.put_entries(&[task], &chunks, entries).await.unwrap();
                fixture.put_chunks(&[100 + task], &chunks).await.unwrap();
                fixture.delete(&[task]).await;
            });
        }
        tasks.join_all().await;
        assert_eq!(fixture.collect(1_000_000).await.len(), 15 * 8);
        let (bytes, objects) = fixture.assert_consistent().await;
        assert_eq!((bytes, objects), (16 * size_of(&[0, 1, 2, 3, 4, 5, 6, 7]), 16));
    })
    .await;
}

#[tokio::test]
async fn finding_a_condemned_chunk_starts_its_grace_anew() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        let catalog = &fixture.catalog;
        fixture.put_chunks(b"a", &[1]).await.unwrap();
        fixture.delete(b"a").await;
        let base = tick();
        let grace = 1000;
        // The manifest's grace, then the chunk's.
        assert_eq!(catalog.collect_garbage(base + grace, grace, 10).await.unwrap().segments, 1);
        let found = catalog.find_chunks(fixture.bucket.domain, BACKEND, &[chunk_id(1)], base + 1900).await;
        assert!(found.unwrap()[0].is_some());
        assert_eq!(catalog.collect_garbage(base + 2 * grace, grace, 10).await.unwrap().chunks, 0);
        assert_eq!(catalog.collect_garbage(base + 1900 + grace, grace, 10).await.unwrap().chunks, 1);
        let found = catalog.find_chunks(fixture.bucket.domain, BACKEND, &[chunk_id(1)], base + 2900).await;
        assert_eq!(found.unwrap(), [None]);
    })
    .await;
}

#[tokio::test]
async fn domains_and_backends_share_no_chunks() {
    for_each_engine(|db| async move {
        let (one, other) = (Fixture::new(&db).await, Fixture::new(&db).await);
        one.put_chunks(b"a", &[1]).await.unwrap();
        let find = |fixture: Fixture, backend| async move {
            fixture
                .catalog
                .find_chunks(fixture.bucket.domain, backend, &[chunk_id(2), chunk_id(1)], tick())
                .await
                .unwrap()
        };
        assert_eq!(find(one.clone(), BACKEND).await[1].unwrap().plain_len, plain_len(1));
        assert_eq!(find(one.clone(), BACKEND).await[0], None);
        assert_eq!(find(one, "cold").await, [None, None]);
        assert_eq!(find(other, BACKEND).await, [None, None]);
    })
    .await;
}

#[tokio::test]
async fn a_commit_with_a_chunk_that_is_gone_takes_no_effect() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        let gone = ManifestEntry::Known { row: ChunkRow(1 << 40), len: 5 };
        let error = fixture.put_entries(b"a", &[1], vec![new_chunk(1), gone]).await.unwrap_err();
        assert!(matches!(error, CatalogError::ChunkGone { missing: 1 }));
        let error = fixture.put_entries(b"a", &[1, 1], vec![new_chunk(1)]).await.unwrap_err();
        assert!(matches!(error, CatalogError::SizeMismatch { .. }));
        assert_eq!(fixture.newest(b"a").await, None);
        let found = fixture.catalog.find_chunks(fixture.bucket.domain, BACKEND, &[chunk_id(1)], tick()).await;
        assert_eq!(found.unwrap(), [None]);
    })
    .await;
}

async fn pages(fixture: &Fixture, range: std::ops::Range<u64>) -> Vec<Vec<PlannedChunk>> {
    let version = fixture.newest(b"long").await.unwrap();
    let mut plan = fixture.catalog.read_plan(&version, range);
    let mut pages = Vec::new();
    loop {
        let page = plan.next_page().await.unwrap();
        if page.is_empty() {
            return pages;
        }
        pages.push(page);
    }
}

#[tokio::test]
async fn a_range_plans_only_the_chunks_it_touches() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        // Two flushed segments and a tail that takes two more.
        let chunks: Vec<u8> = (0..1300_u32).map(|chunk| (chunk % 7) as u8).collect();
        let mut manifest = None;
        for (segment, start_offset) in [(0..64, 0), (64..128, size_of(&chunks[..64]))] {
            let append = ManifestAppend {
                manifest,
                domain: fixture.bucket.domain,
                backend: BACKEND.to_owned(),
                start_offset,
                entries: fixture.entries(&chunks[segment]).await,
                expires_at_ms: tick() + 1_000_000,
            };
            manifest = Some(fixture.catalog.append_manifest(append.clone()).await.unwrap());
            let again = ManifestAppend { manifest, ..append };
            let error = fixture.catalog.append_manifest(again).await.unwrap_err();
            assert!(matches!(error, CatalogError::SizeMismatch { .. }), "an append counts once");
        }
        let mut content = fixture.content(fixture.entries(&chunks[128..]).await);
        content.pending = manifest;
        let put = fixture.put_request(b"long", Content::Manifest(content), size_of(&chunks));
        fixture.catalog.put_version(put, Arc::clone(&fixture.hook)).await.unwrap();

        let whole = pages(&fixture, 0..u64::MAX).await;
        assert_eq!(whole.iter().map(Vec::len).collect::<Vec<_>>(), [64, 64, 1024, 148]);
        let whole = whole.concat();
        for range in [0..1, 99..101, 100..101, 6000..7000, size_of(&chunks) - 1..size_of(&chunks), 5..5] {
            let touched = |chunk: &&PlannedChunk| {
                chunk.object_offset < range.end
                    && chunk.object_offset + u64::from(chunk.plain_len) > range.start
                    && !range.is_empty()
            };
            let expected: Vec<_> = whole.iter().filter(touched).cloned().collect();
            assert_eq!(pages(&fixture, range.clone()).await.concat(), expected, "{range:?}");
        }
        fixture.assert_consistent().await;
    })
    .await;
}

type Finds = fn(&Finding) -> bool;

#[tokio::test]
async fn a_check_finds_what_is_wrong() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        fixture.put_chunks(b"a", &[1, 2]).await.unwrap();
        assert_eq!(fixture.findings().await, []);
        let broken: [(&'static str, Finds); 6] = [
            ("UPDATE chunk SET refs = 5", |found| {
                matches!(found, Finding::ChunkReferences { stored: 5, .. })
            }),
            ("UPDATE chunk SET condemned_at_ms = 1", |found| matches!(found, Finding::ChunkCondemned { .. })),
            ("DELETE FROM chunk", |found| matches!(found, Finding::MissingChunk { entries: 1, .. })),
            ("UPDATE version SET listed = 0, size = 3", |found| {
                matches!(found, Finding::Listed { .. } | Finding::VersionSize { .. })
            }),
            ("UPDATE bucket SET configured = 2", |found| matches!(found, Finding::BucketConfigs { .. })),
            ("UPDATE manifest SET refs = 7", |found| {
                matches!(found, Finding::ManifestReferences { stored: 7, counted: 1, .. })
            }),
        ];
        for (sql, finds) in broken {
            fixture
                .db
                .write(move |tx| Box::pin(async move { Ok::<_, CatalogError>(tx.execute(sql, &[]).await?) }))
                .await
                .unwrap();
            let findings = fixture.findings().await;
            assert!(findings.iter().any(finds), "{sql}: {findings:?}");
        }
        // Nothing of this reaches a reader: a missing chunk is an error.
        let version = fixture.newest(b"a").await.unwrap();
        let error = fixture.catalog.read_plan(&version, 0..3).next_page().await.unwrap_err();
        assert!(matches!(error, CatalogError::Corrupt { .. }));
    })
    .await;
}

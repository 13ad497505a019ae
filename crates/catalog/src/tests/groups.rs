//! Placement groups, missing shards, lost chunks.

use datamesh_testkit::for_each_engine;
use datamesh_types::{GroupId, Location, NodeId, Profile, SealedId};

use super::{BACKEND, Fixture, chunk_id, new_chunk, plain_len, tick};
use crate::{Backlog, CatalogError, GroupChunk, GroupState, ManifestEntry};

fn node(number: u8) -> NodeId {
    NodeId([number; 32])
}

fn entry(chunk: u8, location: Location, missing: Vec<u8>) -> ManifestEntry {
    ManifestEntry::New { chunk: chunk_id(chunk), len: plain_len(chunk), location, missing }
}

fn location(group: GroupId, sealed: u8) -> Location {
    Location { group, sealed: SealedId([sealed; 16]), sealed_len: u32::from(sealed) }
}

#[tokio::test]
async fn a_member_is_switched_once_per_epoch() {
    for_each_engine(|db| async move {
        let catalog = Fixture::new(&db).await.catalog;
        let profile = Profile::new(1, 1).unwrap();
        let short = catalog.create_group(profile, vec![node(1)]).await.unwrap_err();
        assert!(matches!(short, CatalogError::WrongGroupSize { nodes: 1, shards: 2 }));
        let group = catalog.create_group(profile, vec![node(1), node(2)]).await.unwrap();
        assert_eq!((group.id, group.epoch, group.state), (GroupId(1), 1, GroupState::Open));
        let switched = catalog.switch_member(group.id, 1, node(2), node(3), 1).await.unwrap();
        assert_eq!((switched.epoch, switched.nodes.clone()), (2, vec![node(1), node(3)]));
        for (index, from, epoch) in [(1, node(2), 2), (1, node(3), 1), (2, node(3), 2)] {
            let error = catalog.switch_member(group.id, index, from, node(4), epoch).await.unwrap_err();
            assert!(matches!(error, CatalogError::GroupChanged { actual: 2, .. }));
        }
        let sealed = catalog.set_group_state(group.id, GroupState::Sealed, 2).await.unwrap();
        assert_eq!(catalog.groups().await.unwrap(), [sealed]);
        let missing = catalog.set_group_state(GroupId(9), GroupState::Open, 1).await.unwrap_err();
        assert!(matches!(missing, CatalogError::NoSuchGroup { group: GroupId(9) }));
    })
    .await;
}

#[tokio::test]
async fn missing_shards_are_listed_until_restored() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        let catalog = &fixture.catalog;
        let profile = Profile::new(2, 2).unwrap();
        let group = catalog.create_group(profile, (0..4).map(node).collect()).await.unwrap().id;
        let places = [location(group, 3), location(group, 1), location(group, 2)];
        let entries =
            vec![entry(1, places[0], vec![]), entry(2, places[1], vec![3, 1]), entry(3, places[2], vec![])];
        fixture.put_entries(b"a", &[1, 2, 3], entries).await.unwrap();
        fixture.put_entries(b"b", &[4], vec![new_chunk(4)]).await.unwrap();

        let first = catalog.chunks_in_group(group, None, 2).await.unwrap();
        assert_eq!(first[0], GroupChunk { location: places[1], missing: vec![3, 1] });
        assert_eq!(first[1].location, places[2]);
        let rest = catalog.chunks_in_group(group, Some(first[1].location.sealed), 2).await.unwrap();
        assert_eq!(rest, [GroupChunk { location: places[0], missing: vec![] }]);

        catalog.shards_missing(places[0].sealed, &[0]).await.unwrap();
        catalog.shards_missing(SealedId::random(), &[0]).await.unwrap();
        assert_eq!(catalog.backlog().await.unwrap(), Backlog { incomplete_chunks: 2, ..Backlog::default() });
        let lacking = catalog.chunks_missing_shards(None, 1).await.unwrap();
        assert_eq!(lacking[0].location, places[1]);
        let lacking = catalog.chunks_missing_shards(Some(places[1].sealed), 9).await.unwrap();
        assert_eq!(lacking, [GroupChunk { location: places[0], missing: vec![0] }]);

        catalog.shard_restored(places[1].sealed, 3).await.unwrap();
        let lacking = catalog.chunks_missing_shards(None, 9).await.unwrap();
        assert_eq!(lacking[0].missing, [1]);
        catalog.shard_restored(places[1].sealed, 1).await.unwrap();
        catalog.shard_restored(places[0].sealed, 0).await.unwrap();
        assert_eq!(catalog.chunks_missing_shards(None, 9).await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn a_lost_chunk_is_recorded_kept_and_healed_by_its_next_write() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        let catalog = &fixture.catalog;
        let (old, new) = (location(GroupId::NONE, 1), location(GroupId::NONE, 2));
        fixture.put_entries(b"a", &[1], vec![entry(1, old, vec![])]).await.unwrap();
        catalog.chunk_lost(old.sealed, 0, 500).await.unwrap();
        catalog.chunk_lost(old.sealed, 1, 900).await.unwrap();
        let lost = catalog.lost_chunks(None, 9).await.unwrap();
        assert_eq!((lost.len(), lost[0].location, lost[0].readable_shards), (1, old, 1));
        assert_eq!((lost[0].found_at_ms, lost[0].backend.as_str()), (500, BACKEND));
        assert!(fixture.collect(0).await.is_empty(), "nothing of a lost chunk is deleted");

        let ids = [chunk_id(1)];
        let find = || catalog.find_chunks(fixture.bucket.domain, BACKEND, &ids, 1000);
        assert_eq!(find().await.unwrap(), [None]);
        catalog.chunk_found(old.sealed).await.unwrap();
        assert!(find().await.unwrap()[0].is_some());
        assert_eq!(catalog.lost_chunks(None, 9).await.unwrap(), []);

        catalog.chunk_lost(old.sealed, 1, 1000).await.unwrap();
        fixture.put_entries(b"b", &[1], vec![entry(1, new, vec![])]).await.unwrap();
        let version = fixture.newest(b"a").await.unwrap();
        assert_eq!(fixture.plan(&version).await, [(chunk_id(1), new.sealed)]);
        assert_eq!(fixture.collect(0).await, [old.sealed].into());
        assert_eq!(catalog.lost_chunks(None, 9).await.unwrap(), []);
        fixture.assert_consistent().await;
    })
    .await;
}

#[tokio::test]
async fn only_locations_that_nothing_names_are_unknown() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(&db).await;
        let (live, garbage, orphan) =
            (location(GroupId(0), 1), location(GroupId(0), 2), location(GroupId(0), 3));
        fixture.put_entries(b"a", &[1], vec![entry(1, live, vec![])]).await.unwrap();
        fixture.put_entries(b"b", &[1], vec![entry(1, garbage, vec![])]).await.unwrap();
        let unknown = fixture.catalog.unknown_locations(&[orphan, live, garbage]).await.unwrap();
        assert_eq!(unknown, [orphan]);
        tick();
    })
    .await;
}

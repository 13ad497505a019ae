//! Tests of the whole store: against a model, through crashes, faults and damage.

mod damage;
mod faults;
mod format;
mod model;
mod sim;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use datamesh_types::{GroupId, KIB, MIB, SealedId, ShardHealth, ShardId};
use tokio::runtime::Runtime;

use crate::host::Host;
use crate::segment::{SEGMENT_SUFFIX, segment_path};
use crate::{ShardStore, ShardStoreConfig, StoreError};

fn id(number: u64) -> ShardId {
    let mut sealed = [0; 16];
    sealed[..8].copy_from_slice(&number.to_be_bytes());
    ShardId { group: GroupId(number % 3), sealed: SealedId(sealed), index: (number % 5) as u8 }
}

/// Bytes that differ for each number, and from each other.
fn data(number: u64, len: usize) -> Bytes {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let bytes = (0..len).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    bytes.collect()
}

fn config(dir: &Path) -> ShardStoreConfig {
    ShardStoreConfig {
        segment_bytes: 32 * KIB,
        reserve_bytes: 0,
        auto_compact: false,
        ..ShardStoreConfig::new(dir, 64 * MIB)
    }
}

fn open(config: &ShardStoreConfig, host: &Arc<impl Host>) -> ShardStore {
    let host: Arc<dyn Host> = Arc::clone(host) as Arc<dyn Host>;
    ShardStore::open_on(config.clone(), host).unwrap()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn what_was_put_is_read_back_whole_and_in_ranges() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = ShardStore::open(config(dir.path())).unwrap();
        // Nothing, below and at the alignment, a page, more than a segment, the largest.
        let sizes = [0, 1, 7, 8, 9, 4096, 100_000, crate::MAX_SHARD_LEN as usize];
        for (number, size) in sizes.into_iter().enumerate() {
            let (id, data) = (id(number as u64), data(number as u64, size));
            store.put(id, data.clone()).await.unwrap();
            assert_eq!(store.get(id).await.unwrap(), data);
            let half = size as u32 / 2;
            assert_eq!(
                store.get_range(id, half, 5).await.unwrap(),
                data.slice(size / 2..size.min(size / 2 + 5))
            );
            assert_eq!(store.get_range(id, u32::MAX, u32::MAX).await.unwrap(), Bytes::new());
            assert_eq!(store.stat(id).await.unwrap().unwrap().len as usize, size);
            assert_eq!(store.verify(id).await.unwrap(), ShardHealth::Good);
        }
        let too_large = data(9, crate::MAX_SHARD_LEN as usize + 1);
        assert!(matches!(store.put(id(9), too_large).await, Err(StoreError::TooLarge { .. })));
        assert!(matches!(store.get(id(9)).await, Err(StoreError::NotFound { .. })));
        assert_eq!(store.verify(id(9)).await.unwrap(), ShardHealth::Missing);
        store.close().await.unwrap();
    });
}

#[test]
fn a_shard_may_be_put_twice_but_not_with_other_bytes() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = ShardStore::open(config(dir.path())).unwrap();
        store.put(id(1), data(1, 100)).await.unwrap();
        let used = store.usage().used_bytes;
        store.put(id(1), data(1, 100)).await.unwrap();
        assert_eq!(store.usage().used_bytes, used);
        assert!(matches!(store.put(id(1), data(2, 100)).await, Err(StoreError::Conflict { .. })));
        assert_eq!(store.delete(&[id(1), id(2), id(1)]).await.unwrap(), 1);
        store.put(id(1), data(2, 100)).await.unwrap();
        assert_eq!(store.get(id(1)).await.unwrap(), data(2, 100));
    });
}

#[test]
fn a_listing_goes_by_group_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = ShardStore::open(config(dir.path())).unwrap();
        let mut ids: Vec<_> = (0..30).map(id).collect();
        for id in &ids {
            store.put(*id, Bytes::new()).await.unwrap();
        }
        ids.sort();
        let all = store.list(None, None, 100).await.unwrap();
        assert!(all.iter().map(|stat| stat.id).eq(ids.iter().copied()));
        let group: Vec<_> = ids.iter().copied().filter(|id| id.group == GroupId(1)).collect();
        let first = store.list(Some(GroupId(1)), None, 4).await.unwrap();
        let rest = store.list(Some(GroupId(1)), Some(first[3].id), 100).await.unwrap();
        assert_eq!(first.len(), 4);
        assert!(first.iter().chain(&rest).map(|stat| stat.id).eq(group));
        assert!(store.list(Some(GroupId(u64::MAX)), None, 9).await.unwrap().is_empty());
        assert!(store.list(Some(GroupId(0)), Some(id(1)), 9).await.unwrap().is_empty());
        assert!(store.list(None, None, 0).await.unwrap().is_empty());
    });
}

#[test]
fn a_directory_is_open_only_once() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = ShardStore::open(config(dir.path())).unwrap();
        let clone = store.clone();
        assert!(matches!(ShardStore::open(config(dir.path())), Err(StoreError::Locked { .. })));
        store.close().await.unwrap();
        assert!(matches!(clone.put(id(1), Bytes::new()).await, Err(StoreError::Closed)));
        drop(clone);
        ShardStore::open(config(dir.path())).unwrap().close().await.unwrap();
    });
}

#[test]
fn compaction_gives_the_space_of_deleted_shards_back() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = ShardStore::open(config(dir.path())).unwrap();
        for number in 0..100 {
            store.put(id(number), data(number, 3000)).await.unwrap();
        }
        let doomed: Vec<_> = (0..100).filter(|number| number % 10 != 0).map(id).collect();
        assert_eq!(store.delete(&doomed).await.unwrap(), 90);
        let before = store.usage();
        let report = store.compact().await.unwrap();
        let after = store.usage();
        assert!(report.segments > 5, "{report:?}");
        assert_eq!((after.live_bytes, after.shards), (before.live_bytes, 10));
        assert!(after.used_bytes < 2 * after.live_bytes, "{after:?}");
        // The deletes have served their purpose and went too.
        let on_disk: u64 = std::fs::read_dir(dir.path().join("segments"))
            .unwrap()
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum();
        assert_eq!(on_disk, after.used_bytes);
        for number in (0..100).step_by(10) {
            assert_eq!(store.get(id(number)).await.unwrap(), data(number, 3000));
        }
        assert_eq!(store.compact().await.unwrap(), crate::CompactionReport::default());
    });
}

#[test]
fn reads_go_on_while_segments_are_compacted() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let store = ShardStore::open(ShardStoreConfig { open_files: 2, ..config(dir.path()) }).unwrap();
        for number in 0..200 {
            store.put(id(number), data(number, 2000)).await.unwrap();
        }
        let reader = store.clone();
        let reading = tokio::spawn(async move {
            for number in (150..200).cycle().take(3000) {
                assert_eq!(reader.get(id(number)).await.unwrap(), data(number, 2000), "{number}");
            }
        });
        for doomed in (0..150).collect::<Vec<_>>().chunks(25) {
            let doomed: Vec<_> = doomed.iter().copied().map(id).collect();
            store.delete(&doomed).await.unwrap();
            store.compact().await.unwrap();
        }
        reading.await.unwrap();
    });
}

#[test]
fn the_capacity_refuses_writes_until_deleted_shards_are_compacted() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let config = ShardStoreConfig { capacity_bytes: 256 * KIB, ..config(dir.path()) };
        let store = ShardStore::open(config).unwrap();
        let mut stored = 0;
        while store.put(id(stored), data(stored, 4000)).await.is_ok() {
            stored += 1;
        }
        assert!(matches!(store.put(id(stored), data(stored, 4000)).await, Err(StoreError::Full { .. })));
        assert!(store.usage().used_bytes <= 256 * KIB);
        assert_eq!(store.get(id(0)).await.unwrap(), data(0, 4000));
        let doomed: Vec<_> = (0..stored / 2).map(id).collect();
        assert_eq!(store.delete(&doomed).await.unwrap(), stored / 2);
        store.compact().await.unwrap();
        for number in 0..stored / 3 {
            store.put(id(1000 + number), data(number, 4000)).await.unwrap();
        }
    });
}

#[test]
fn deletes_set_off_compaction_by_themselves() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let config = ShardStoreConfig { auto_compact: true, ..config(dir.path()) };
        let store = ShardStore::open(config.clone()).unwrap();
        for number in 0..100 {
            store.put(id(number), data(number, 3000)).await.unwrap();
        }
        let before = store.usage().used_bytes;
        for number in 0..90 {
            store.delete(&[id(number)]).await.unwrap();
        }
        // Closing waits for what is running.
        let shared = Arc::clone(&store.shared);
        let compactor = shared.compactor.lock().unwrap().take().expect("a compaction was started");
        tokio::task::spawn_blocking(move || compactor.join().unwrap()).await.unwrap();
        assert!(shared.table.totals().0 < before);
    });
}

#[test]
fn a_store_needs_neither_its_index_nor_its_identity_file() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = ShardStore::open(config(dir.path())).unwrap();
        for number in 0..50 {
            store.put(id(number), data(number, 2500)).await.unwrap();
        }
        store.delete(&(0..25).map(id).collect::<Vec<_>>()).await.unwrap();
        store.compact().await.unwrap();
        let (usage, listing) = (store.usage(), store.list(None, None, 100).await.unwrap());
        store.close().await.unwrap();
        std::fs::remove_dir_all(dir.path().join("index")).unwrap();
        std::fs::remove_file(dir.path().join("store")).unwrap();
        let store = ShardStore::open(config(dir.path())).unwrap();
        assert_eq!((store.usage(), store.list(None, None, 100).await.unwrap()), (usage, listing));
        for number in 25..50 {
            assert_eq!(store.get(id(number)).await.unwrap(), data(number, 2500));
        }
    });
}

fn segment_file(dir: &Path, id: u64) -> std::path::PathBuf {
    segment_path(&dir.join("segments"), id, SEGMENT_SUFFIX)
}

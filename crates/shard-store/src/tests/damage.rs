//! F6: bytes on the disk that are no longer what was written.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use datamesh_types::ShardHealth;

use super::{config, data, id, runtime, segment_file};
use crate::format::{RECORD_HEADER_LEN, SEGMENT_HEADER_LEN, record_len};
use crate::index::Entry;
use crate::{ShardStore, StoreError};

const SIZE: usize = 3000;

fn entry(store: &ShardStore, number: u64) -> Entry {
    store.shared.index.get(&id(number)).unwrap().unwrap()
}

fn payload_at(entry: &Entry) -> u64 {
    u64::from(entry.offset) + RECORD_HEADER_LEN
}

fn overwrite(dir: &Path, file: u64, offset: u64, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(segment_file(dir, file)).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

fn flip(dir: &Path, file: u64, offset: u64, mask: u8) {
    let handle = OpenOptions::new().read(true).write(true).open(segment_file(dir, file)).unwrap();
    let mut byte = [0];
    handle.read_exact_at(&mut byte, offset).unwrap();
    handle.write_all_at(&[byte[0] ^ mask], offset).unwrap();
}

/// Fills a store, damages what holds shard 5, and checks that this shard alone is known to be damaged, that
/// storing it anew heals it, and that neither a compaction nor a rebuild of the index changes the picture.
async fn check_damage(name: &str, damage: impl Fn(&Path, &ShardStore)) {
    let dir = tempfile::tempdir().unwrap();
    let store = ShardStore::open(config(dir.path())).unwrap();
    for number in 0..25 {
        store.put(id(number), data(number, SIZE)).await.unwrap();
    }
    damage(dir.path(), &store);
    let check = async |store: &ShardStore| {
        assert!(matches!(store.get(id(5)).await, Err(StoreError::Corrupt { .. })), "{name}");
        assert_eq!(store.verify(id(5)).await.unwrap(), ShardHealth::Corrupt, "{name}");
        let (mut cursor, mut damaged, mut checked) = (None, Vec::new(), 0);
        loop {
            let page = store.scrub(cursor, 2 * SIZE as u64).await.unwrap();
            damaged.extend(page.damaged);
            checked += page.checked;
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!((damaged, checked), (vec![id(5)], store.usage().shards), "{name}");
    };
    check(&store).await;
    store.delete(&[id(1), id(2), id(3), id(6), id(7), id(8)]).await.unwrap();
    store.compact().await.unwrap();
    check(&store).await;
    store.put(id(5), data(5, SIZE)).await.unwrap();
    assert_eq!(store.verify(id(5)).await.unwrap(), ShardHealth::Good, "{name}");
    store.close().await.unwrap();
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let store = ShardStore::open(config(dir.path())).unwrap();
    assert_eq!(store.get(id(5)).await.unwrap(), data(5, SIZE), "{name}");
    assert_eq!(store.usage().shards, 19, "{name}");
    assert_eq!(store.scrub(None, u64::MAX).await.unwrap().damaged, [], "{name}");
    assert!(matches!(store.get(id(1)).await, Err(StoreError::NotFound { .. })), "{name}");
}

#[test]
fn a_damaged_shard_is_told_apart_and_healed_by_storing_it_anew() {
    runtime().block_on(async {
        for (name, at) in [("first bit", 0), ("middle bit", SIZE as u64 / 2), ("last bit", SIZE as u64 - 1)] {
            check_damage(name, |dir, store| {
                let entry = entry(store, 5);
                flip(dir, entry.file, payload_at(&entry) + at, if at == 0 { 1 } else { 0x80 });
            })
            .await;
        }
        check_damage("zeros", |dir, store| {
            let entry = entry(store, 5);
            overwrite(dir, entry.file, payload_at(&entry), &[0; SIZE]);
        })
        .await;
        check_damage("another shard's bytes", |dir, store| {
            let entry = entry(store, 5);
            overwrite(dir, entry.file, payload_at(&entry), &data(6, SIZE));
        })
        .await;
        check_damage("header and payload", |dir, store| {
            let entry = entry(store, 5);
            overwrite(dir, entry.file, u64::from(entry.offset), &[0; SIZE]);
        })
        .await;
    });
}

#[test]
fn a_damaged_header_costs_nothing_while_the_index_stands() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = ShardStore::open(config(dir.path())).unwrap();
        for number in 0..25 {
            store.put(id(number), data(number, SIZE)).await.unwrap();
        }
        overwrite(dir.path(), entry(&store, 5).file, u64::from(entry(&store, 5).offset), &[0; 80]);
        store.delete(&[1, 2, 3, 4, 6, 7, 8].map(id)).await.unwrap();
        // Compaction finds the shard through the index and gives it a new header.
        assert!(store.compact().await.unwrap().segments > 0);
        store.close().await.unwrap();
        std::fs::remove_dir_all(dir.path().join("index")).unwrap();
        let store = ShardStore::open(config(dir.path())).unwrap();
        assert_eq!(store.get(id(5)).await.unwrap(), data(5, SIZE));
        assert_eq!(store.usage().shards, 18);
    });
}

#[test]
fn damage_before_the_end_of_the_log_is_not_mistaken_for_a_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = ShardStore::open(config(dir.path())).unwrap();
        for number in 0..5 {
            store.put(id(number), data(number, SIZE)).await.unwrap();
        }
        let damaged = entry(&store, 2);
        store.close().await.unwrap();
        overwrite(dir.path(), damaged.file, u64::from(damaged.offset), &[0xff; 200]);
        // Without the index everything is read from the log, whose second record no longer says how long it is.
        std::fs::remove_dir_all(dir.path().join("index")).unwrap();
        let store = ShardStore::open(config(dir.path())).unwrap();
        for number in [0, 1, 3, 4] {
            assert_eq!(store.get(id(number)).await.unwrap(), data(number, SIZE));
        }
        assert_eq!(store.verify(id(2)).await.unwrap(), ShardHealth::Missing);
        store.put(id(2), data(2, SIZE)).await.unwrap();
    });
}

#[test]
fn a_payload_cannot_smuggle_a_record_into_the_log() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = ShardStore::open(config(dir.path())).unwrap();
        store.put(id(1), data(1, 8)).await.unwrap();
        // A whole valid segment as a payload, as somebody who saw a disk could send it.
        let segment = std::fs::read(segment_file(dir.path(), 1)).unwrap();
        store.put(id(2), segment[SEGMENT_HEADER_LEN as usize..].to_vec().into()).await.unwrap();
        store.delete(&[id(1)]).await.unwrap();
        let carrier = entry(&store, 2);
        store.close().await.unwrap();
        overwrite(dir.path(), 1, u64::from(carrier.offset), &[0; 80]);
        std::fs::remove_dir_all(dir.path().join("index")).unwrap();
        let store = ShardStore::open(config(dir.path())).unwrap();
        assert_eq!(store.list(None, None, 9).await.unwrap(), []);
    });
}

#[test]
fn a_segment_cut_short_loses_only_what_was_cut() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = ShardStore::open(config(dir.path())).unwrap();
        for number in 0..5 {
            store.put(id(number), data(number, 2996)).await.unwrap();
        }
        store.close().await.unwrap();
        let path = segment_file(dir.path(), 1);
        let len = std::fs::metadata(&path).unwrap().len();
        assert_eq!(len, SEGMENT_HEADER_LEN + 5 * record_len(2996));
        // Four bytes of padding and one of the payload.
        OpenOptions::new().write(true).open(&path).unwrap().set_len(len - 5).unwrap();
        let store = ShardStore::open(config(dir.path())).unwrap();
        assert_eq!(store.verify(id(4)).await.unwrap(), ShardHealth::Corrupt);
        // New shards must not come to lie where the index still expects the lost one.
        store.put(id(9), data(9, 2996)).await.unwrap();
        store.put(id(4), data(4, 2996)).await.unwrap();
        store.close().await.unwrap();
        let store = ShardStore::open(config(dir.path())).unwrap();
        for number in [0, 1, 2, 3, 4, 9] {
            assert_eq!(store.get(id(number)).await.unwrap(), data(number, 2996));
        }
    });
}

#[test]
fn a_lost_segment_makes_its_shards_corrupt_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = ShardStore::open(config(dir.path())).unwrap();
        for number in 0..30 {
            store.put(id(number), data(number, SIZE)).await.unwrap();
        }
        let lost: Vec<_> = (0..30).filter(|number| entry(&store, *number).file == 2).collect();
        store.close().await.unwrap();
        std::fs::remove_file(segment_file(dir.path(), 2)).unwrap();
        let store = ShardStore::open(config(dir.path())).unwrap();
        for number in 0..30 {
            let expected = if lost.contains(&number) { ShardHealth::Corrupt } else { ShardHealth::Good };
            assert_eq!(store.verify(id(number)).await.unwrap(), expected, "{number}");
        }
        for number in &lost {
            store.put(id(*number), data(*number, SIZE)).await.unwrap();
        }
        assert_eq!(store.scrub(None, u64::MAX).await.unwrap().damaged, []);
    });
}

#[test]
fn a_damaged_index_is_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = ShardStore::open(config(dir.path())).unwrap();
        for number in 0..30 {
            store.put(id(number), data(number, SIZE)).await.unwrap();
        }
        store.close().await.unwrap();
        for file in std::fs::read_dir(dir.path().join("index")).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|suffix| suffix == "sst") {
                std::fs::write(&path, vec![0xee; 4096]).unwrap();
            }
        }
        let store = ShardStore::open(config(dir.path())).unwrap();
        for number in 0..30 {
            assert_eq!(store.get(id(number)).await.unwrap(), data(number, SIZE));
        }
    });
}

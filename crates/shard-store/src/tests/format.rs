//! The format of segments, pinned down byte by byte.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::sim::SimHost;
use super::{config, data, id, open, runtime, segment_file};
use crate::{ShardStore, StoreError};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

async fn write_sample(store: &ShardStore) {
    store.put(id(1), Bytes::from_static(b"a shard")).await.unwrap();
    store.put(id(2), data(2, 300)).await.unwrap();
    store.delete(&[id(1)]).await.unwrap();
    store.put(id(1), Bytes::new()).await.unwrap();
}

#[test]
fn version_1_is_written_as_it_always_was() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let store = open(&config(dir.path()), &Arc::new(SimHost::default()));
        write_sample(&store).await;
        store.close().await.unwrap();
    });
    for (written, name) in
        [(dir.path().join("store"), "store-v1"), (segment_file(dir.path(), 1), "segment-v1")]
    {
        let written = std::fs::read(written).unwrap();
        if std::env::var_os("DATAMESH_WRITE_FIXTURES").is_some() {
            std::fs::write(fixture(name), &written).unwrap();
        }
        assert_eq!(hex::encode(written), hex::encode(std::fs::read(fixture(name)).unwrap()), "{name}");
    }
}

#[test]
fn version_1_stays_readable() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("segments")).unwrap();
    std::fs::copy(fixture("store-v1"), dir.path().join("store")).unwrap();
    std::fs::copy(fixture("segment-v1"), segment_file(dir.path(), 1)).unwrap();
    runtime().block_on(async {
        let store = ShardStore::open(config(dir.path())).unwrap();
        let listed = store.list(None, None, 9).await.unwrap();
        assert!(listed.iter().map(|stat| (stat.id, stat.len)).eq([(id(1), 0), (id(2), 300)]));
        assert_eq!(store.get(id(1)).await.unwrap(), Bytes::new());
        assert_eq!(store.get(id(2)).await.unwrap(), data(2, 300));
    });
}

#[test]
fn a_store_of_a_later_version_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("segments")).unwrap();
    let mut identity = std::fs::read(fixture("store-v1")).unwrap();
    identity[8] = 2;
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &identity[..32]);
    identity[32..].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(dir.path().join("store"), &identity).unwrap();
    std::fs::copy(fixture("segment-v1"), segment_file(dir.path(), 1)).unwrap();
    let refused = ShardStore::open(config(dir.path())).map(drop);
    assert!(matches!(refused, Err(StoreError::NewerFormat { found: 2, supported: 1, .. })), "{refused:?}");
    assert_eq!(std::fs::read(dir.path().join("store")).unwrap(), identity);
}

//! F3 (fsync fails) and F4 (the disk is full).

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use datamesh_types::{KIB, ShardHealth};

use super::sim::SimHost;
use super::{config, data, id, open, runtime};
use crate::{ShardStore, ShardStoreConfig, StoreError};

const EIO: i32 = 5;
/// Names the directory in which [`a_child_writes_until_its_fsync_fails`] is to work.
const CHILD_DIR: &str = "DATAMESH_TEST_STORE_DIR";
/// Held by tests that start processes or count on space that removed files give back. A process that is being started
/// has the files of this one open, and keeps the space of those that are removed, until its program is loaded.
static PROCESSES: Mutex<()> = Mutex::new(());

#[test]
fn a_failed_fsync_is_never_acknowledged_and_never_retried() {
    let dir = tempfile::tempdir().unwrap();
    let host = Arc::new(SimHost::default());
    runtime().block_on(async {
        let store = open(&config(dir.path()), &host);
        store.put(id(1), data(1, 5000)).await.unwrap();
        host.fail_syncs(EIO);
        let before = host.syncs();
        for number in 2..5 {
            let refused = store.put(id(number), data(number, 5000)).await;
            assert!(matches!(refused, Err(StoreError::ReadOnly { .. })), "{refused:?}");
        }
        assert!(matches!(store.delete(&[id(1)]).await, Err(StoreError::ReadOnly { .. })));
        assert_eq!(host.syncs(), before + 1);
        assert!(store.usage().read_only);
        assert_eq!(store.get(id(1)).await.unwrap(), data(1, 5000));
        assert!(matches!(store.get(id(2)).await, Err(StoreError::NotFound { .. })));
    });
}

/// Recovery must not believe the page cache: whatever it keeps beyond the last proof of an fsync, it writes and
/// fsyncs again before anybody may rely on it.
#[test]
fn what_a_failed_fsync_left_is_made_durable_before_it_counts() {
    let dir = tempfile::tempdir().unwrap();
    let image = tempfile::tempdir().unwrap();
    let host = Arc::new(SimHost::default());
    runtime().block_on(async {
        let store = open(&config(dir.path()), &host);
        store.put(id(1), data(1, 5000)).await.unwrap();
        host.fail_syncs(EIO);
        store.put(id(2), data(2, 5000)).await.unwrap_err();
        store.close().await.unwrap();

        let host = Arc::new(SimHost::default());
        let store = open(&config(dir.path()), &host);
        host.watch(&store);
        assert!(host.syncs() > 0);
        // Its answer here counts as an acknowledgement, so a power loss right after it must not undo it.
        store.put(id(2), data(2, 5000)).await.unwrap();
        host.crash_after(0, image.path(), 7);
        store.put(id(3), data(3, 10)).await.unwrap();
        assert!(host.crashed());
        let store = open(&config(image.path()), &Arc::new(SimHost::default()));
        assert_eq!(store.get(id(2)).await.unwrap(), data(2, 5000));
    });
}

#[test]
fn an_fsync_that_the_kernel_fails_makes_the_store_read_only() {
    let _alone = PROCESSES.lock().unwrap_or_else(PoisonError::into_inner);
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: strace is not installed (`make test` installs it)");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let segment = super::segment_file(dir.path(), 1);
    let traced = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-P"])
        .arg(&segment)
        // The first one of the writer's thread belongs to the shard that must survive.
        .args(["-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO:when=2+"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "tests::faults::a_child_writes_until_its_fsync_fails", "--nocapture"])
        .env(CHILD_DIR, dir.path())
        .output()
        .unwrap();
    let output =
        String::from_utf8_lossy(&traced.stdout).into_owned() + &String::from_utf8_lossy(&traced.stderr);
    if output.contains("ptrace") && output.contains("not permitted") {
        println!("skipped: this machine does not permit ptrace");
        return;
    }
    assert!(traced.status.success() && output.contains("the child saw EIO"), "{output}");
    runtime().block_on(async {
        let store = ShardStore::open(config(dir.path())).unwrap();
        assert_eq!(store.get(id(1)).await.unwrap(), data(1, 5000));
        store.put(id(9), data(9, 5000)).await.unwrap();
    });
}

/// The child of the test above; on its own it does nothing.
#[test]
fn a_child_writes_until_its_fsync_fails() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    runtime().block_on(async {
        let store = ShardStore::open(config(Path::new(&dir))).unwrap();
        store.put(id(1), data(1, 5000)).await.unwrap();
        for number in 2..4 {
            let refused = store.put(id(number), data(number, 5000)).await;
            assert!(matches!(refused, Err(StoreError::ReadOnly { .. })), "{refused:?}");
        }
        assert_eq!(store.get(id(1)).await.unwrap(), data(1, 5000));
        println!("the child saw EIO");
    });
}

#[test]
fn a_write_that_finds_no_space_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let host = Arc::new(SimHost::default());
    runtime().block_on(async {
        let store = open(&config(dir.path()), &host);
        store.put(id(1), data(1, 5000)).await.unwrap();
        let used = store.usage().used_bytes;
        host.set_writable_bytes(Some(1000));
        assert!(matches!(store.put(id(2), data(2, 900)).await, Ok(())));
        host.set_writable_bytes(Some(10));
        assert!(matches!(store.put(id(3), data(3, 5000)).await, Err(StoreError::Full { .. })));
        assert!(matches!(store.delete(&[id(2)]).await, Err(StoreError::Full { .. })));
        host.set_writable_bytes(Some(100));
        assert_eq!(store.delete(&[id(2)]).await.unwrap(), 1);
        assert_eq!(store.get(id(1)).await.unwrap(), data(1, 5000));
        assert!(!store.usage().read_only);
        host.set_writable_bytes(None);
        store.put(id(3), data(3, 5000)).await.unwrap();
        assert_eq!(store.verify(id(3)).await.unwrap(), ShardHealth::Good);
        assert!(store.usage().used_bytes > used);
        store.close().await.unwrap();
        let store = open(&config(dir.path()), &host);
        assert_eq!(store.usage().shards, 2);
    });
}

/// A file system that is unmounted with its owner.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(dir.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(dir)),
            refused => {
                println!("skipped: no permission to mount a tmpfs ({refused:?})");
                None
            }
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn on_a_full_disk(reserve_bytes: u64) {
    let _alone = PROCESSES.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(tmpfs) = Tmpfs::mount("8m") else { return };
    let config = ShardStoreConfig {
        segment_bytes: 512 * KIB,
        reserve_bytes,
        auto_compact: true,
        ..ShardStoreConfig::new(tmpfs.0.path().join("store"), 1 << 40)
    };
    runtime().block_on(async {
        let store = ShardStore::open(config.clone()).unwrap();
        let size = 60_000;
        let mut stored = 0;
        while let Ok(()) = store.put(id(stored), data(stored, size)).await {
            stored += 1;
        }
        assert!(stored > 50, "only {stored} shards of {size} bytes fit into 8 MiB");
        let refused = store.put(id(stored), data(stored, size)).await;
        assert!(matches!(refused, Err(StoreError::Full { .. })), "{refused:?}");
        for number in 0..stored {
            assert_eq!(store.get(id(number)).await.unwrap(), data(number, size));
        }
        let ballast = tmpfs.0.path().join("ballast");
        if reserve_bytes > 0 {
            // Somebody else takes what the reserve left, or nearly: reads and deletes still go on.
            std::fs::write(&ballast, vec![1; (reserve_bytes - 200 * KIB) as usize]).unwrap();
        }
        let doomed: Vec<_> = (0..stored / 2).map(id).collect();
        assert_eq!(store.delete(&doomed).await.unwrap(), stored / 2);
        assert_eq!(store.get(id(stored - 1)).await.unwrap(), data(stored - 1, size));
        let _ = std::fs::remove_file(&ballast);
        store.compact().await.unwrap();
        for number in 0..stored / 3 {
            store.put(id(number), data(number + 7, size)).await.unwrap();
        }
        store.close().await.unwrap();
        let store = ShardStore::open(config.clone()).unwrap();
        for number in 0..stored {
            let expected = match number {
                _ if number < stored / 3 => Some(data(number + 7, size)),
                _ if number < stored / 2 => None,
                _ => Some(data(number, size)),
            };
            assert_eq!(store.get(id(number)).await.ok(), expected, "{number}");
        }
        store.close().await.unwrap();
    });
}

#[test]
fn a_full_disk_refuses_writes_and_recovers_with_a_reserve() {
    on_a_full_disk(KIB * 1024);
}

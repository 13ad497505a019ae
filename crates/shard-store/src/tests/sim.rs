//! A machine that can lose power, fail an fsync or run out of space at any call.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::ShardStore;
use crate::format::StoreId;
use crate::host::{Host, SystemHost};
use crate::shared::Shared;

/// A change of a directory that is not fsynced yet.
enum DirChange {
    Created(PathBuf),
    Renamed(PathBuf, PathBuf),
    Removed(PathBuf, Vec<u8>),
}

#[derive(Default)]
struct State {
    /// How much of each file survives for sure.
    synced_len: HashMap<PathBuf, u64>,
    dir_changes: Vec<DirChange>,
    store: Weak<Shared>,
    /// After how many more calls the power fails, and where what is left goes.
    crash: Option<(u32, PathBuf, StdRng)>,
    crashed: bool,
    syncs: u32,
    fail_syncs: Option<i32>,
    writable_bytes: Option<u64>,
    now_ms: i64,
}

/// A [`Host`] on real files that remembers what was fsynced.
#[derive(Default)]
pub(super) struct SimHost(Mutex<State>);

impl SimHost {
    /// A machine that finds the files in `dir` on its disk.
    pub(super) fn with_files_in(dir: &Path) -> Self {
        let host = Self::default();
        for entry in std::fs::read_dir(dir.join("segments")).into_iter().flatten() {
            let entry = entry.unwrap();
            host.0.lock().unwrap().synced_len.insert(entry.path(), entry.metadata().unwrap().len());
        }
        host
    }

    /// Lets the power fail at the `calls`-th call from now; what survives is put into `image`.
    pub(super) fn crash_after(&self, calls: u32, image: &Path, seed: u64) {
        let mut state = self.0.lock().unwrap();
        (state.crash, state.crashed) = (Some((calls, image.to_owned(), StdRng::seed_from_u64(seed))), false);
    }

    /// Whether it has failed.
    pub(super) fn crashed(&self) -> bool {
        let mut state = self.0.lock().unwrap();
        state.crash = None;
        state.crashed
    }

    pub(super) fn watch(&self, store: &ShardStore) {
        self.0.lock().unwrap().store = Arc::downgrade(&store.shared);
    }

    /// Every fsync fails with this error number from now on.
    pub(super) fn fail_syncs(&self, errno: i32) {
        self.0.lock().unwrap().fail_syncs = Some(errno);
    }

    /// How many fsyncs there were.
    pub(super) fn syncs(&self) -> u32 {
        self.0.lock().unwrap().syncs
    }

    /// Lets writes fail after this many more bytes, whatever the file system says about its free space.
    pub(super) fn set_writable_bytes(&self, bytes: Option<u64>) {
        self.0.lock().unwrap().writable_bytes = bytes;
    }

    fn call(&self) -> std::sync::MutexGuard<'_, State> {
        let mut state = self.0.lock().unwrap();
        if let Some((calls, image, mut rng)) = state.crash.take() {
            if calls > 0 {
                state.crash = Some((calls - 1, image, rng));
            } else {
                state.leave_image(&image, &mut rng);
                state.crashed = true;
            }
        }
        state
    }
}

impl State {
    /// Writes what a power loss at this moment leaves.
    fn leave_image(&self, image: &Path, rng: &mut StdRng) {
        let Some(shared) = self.store.upgrade() else { return };
        let dir = &shared.config.dir;
        let in_image = |path: &Path| image.join(path.strip_prefix(dir).unwrap());
        std::fs::create_dir_all(image.join("segments")).unwrap();
        std::fs::copy(dir.join("store"), image.join("store")).unwrap();
        for entry in std::fs::read_dir(dir.join("segments")).unwrap() {
            let path = entry.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            let synced = self.synced_len.get(&path).copied().unwrap_or(0) as usize;
            bytes.truncate(rng.random_range(synced..=bytes.len().max(synced)));
            // Blocks reach the disk in any order: what was written but not fsynced may have holes.
            if rng.random_bool(0.5) && synced < bytes.len() {
                for block in bytes[synced..].chunks_mut(512) {
                    if rng.random_bool(0.2) {
                        block.fill(0);
                    }
                }
            }
            std::fs::write(in_image(&path), bytes).unwrap();
        }
        // The journal keeps a prefix of the changes to the directory.
        let kept = rng.random_range(0..=self.dir_changes.len());
        for change in self.dir_changes[kept..].iter().rev() {
            match change {
                DirChange::Created(path) => std::fs::remove_file(in_image(path)).unwrap(),
                DirChange::Renamed(from, to) => {
                    std::fs::rename(in_image(to), in_image(from)).unwrap();
                }
                DirChange::Removed(path, bytes) => std::fs::write(in_image(path), bytes).unwrap(),
            }
        }
        shared.index.copy_durable_state(&image.join("index"));
    }
}

impl Host for SimHost {
    fn create(&self, path: &Path) -> io::Result<File> {
        let mut state = self.call();
        let file = SystemHost.create(path)?;
        state.dir_changes.push(DirChange::Created(path.to_owned()));
        Ok(file)
    }

    fn write_all_at(&self, path: &Path, file: &File, parts: &mut [IoSlice<'_>], at: u64) -> io::Result<()> {
        let mut state = self.call();
        if let Some(free) = &mut state.writable_bytes {
            let len = parts.iter().map(|part| part.len() as u64).sum::<u64>();
            let fits = len.min(*free);
            *free -= fits;
            if fits < len {
                // The part that fits is written before the error, as a real disk does.
                let all: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
                SystemHost.write_all_at(path, file, &mut [IoSlice::new(&all[..fits as usize])], at)?;
                return Err(io::Error::from_raw_os_error(28));
            }
        }
        SystemHost.write_all_at(path, file, parts, at)
    }

    fn sync(&self, path: &Path, file: &File) -> io::Result<()> {
        let mut state = self.call();
        state.syncs += 1;
        if let Some(errno) = state.fail_syncs {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let len = file.metadata()?.len();
        state.synced_len.insert(path.to_owned(), len);
        Ok(())
    }

    fn truncate(&self, path: &Path, file: &File, len: u64) -> io::Result<()> {
        let mut state = self.call();
        if let Some(synced) = state.synced_len.get_mut(path) {
            *synced = len.min(*synced);
        }
        SystemHost.truncate(path, file, len)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.call();
        SystemHost.rename(from, to)?;
        let synced = state.synced_len.remove(from).unwrap_or(0);
        state.synced_len.insert(to.to_owned(), synced);
        state.dir_changes.push(DirChange::Renamed(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.call();
        let bytes = std::fs::read(path)?;
        SystemHost.remove(path)?;
        state.dir_changes.push(DirChange::Removed(path.to_owned(), bytes));
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        self.call().dir_changes.clear();
        Ok(())
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(1 << 40)
    }

    fn now_ms(&self) -> i64 {
        let mut state = self.0.lock().unwrap();
        state.now_ms += 1;
        state.now_ms
    }

    fn new_store_id(&self) -> StoreId {
        StoreId(*b"a store in tests")
    }
}

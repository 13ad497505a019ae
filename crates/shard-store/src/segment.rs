//! Segment files and the table of those that exist.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustix::buffer::spare_capacity;
use rustix::fs::Advice;
use rustix::io::{ReadWriteFlags, preadv2};

use crate::format::{Origin, RECORD_HEADER_LEN};
use crate::index::{Entry, SegmentMeta};

/// Ending of the name of a segment.
pub(crate) const SEGMENT_SUFFIX: &str = "seg";
/// Ending of the name of a compaction's output that isn't complete. Removed when the store is opened.
pub(crate) const UNFINISHED_SUFFIX: &str = "tmp";

/// The file of segment `id` in `dir`.
pub(crate) fn segment_path(dir: &Path, id: u64, suffix: &str) -> PathBuf {
    dir.join(format!("{id:016x}.{suffix}"))
}

/// One segment. Its numbers change only on the writer's thread.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) id: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) origin: Origin,
    pub(crate) path: PathBuf,
    file: Mutex<Option<Arc<File>>>,
    used_at: AtomicU64,
    len: AtomicU64,
    live_bytes: AtomicU64,
    live_shards: AtomicU64,
    kept_bytes: AtomicU64,
}

impl Segment {
    pub(crate) fn new(path: PathBuf, meta: &SegmentMeta, len: u64) -> Self {
        Self {
            id: meta.id,
            first: meta.first,
            last: meta.last,
            origin: meta.origin,
            path,
            file: Mutex::default(),
            used_at: AtomicU64::new(0),
            len: AtomicU64::new(len),
            live_bytes: AtomicU64::new(meta.live_bytes),
            live_shards: AtomicU64::new(meta.live_shards),
            kept_bytes: AtomicU64::new(0),
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    pub(crate) fn set_len(&self, len: u64) {
        self.len.store(len, Ordering::Relaxed);
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn live_shards(&self) -> u64 {
        self.live_shards.load(Ordering::Relaxed)
    }

    /// Deletes that the compaction which wrote this segment could not drop. As long as nothing changes elsewhere,
    /// rewriting the segment would not free them either. Not kept over a restart.
    pub(crate) fn kept_bytes(&self) -> u64 {
        self.kept_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn set_kept_bytes(&self, bytes: u64) {
        self.kept_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Whether the log's part `number` is in this segment.
    pub(crate) fn covers(&self, number: u64) -> bool {
        (self.first..=self.last).contains(&number)
    }

    pub(crate) fn meta_after(&self, change: LiveChange) -> SegmentMeta {
        SegmentMeta {
            id: self.id,
            first: self.first,
            last: self.last,
            origin: self.origin,
            live_bytes: self.live_bytes().saturating_add_signed(change.bytes),
            live_shards: self.live_shards().saturating_add_signed(change.shards),
        }
    }

    pub(crate) fn apply(&self, change: LiveChange) {
        let meta = self.meta_after(change);
        self.live_bytes.store(meta.live_bytes, Ordering::Relaxed);
        self.live_shards.store(meta.live_shards, Ordering::Relaxed);
    }

    fn handle(&self) -> std::sync::MutexGuard<'_, Option<Arc<File>>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much of a segment came alive or died.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LiveChange {
    pub(crate) bytes: i64,
    pub(crate) shards: i64,
}

/// The segments that exist, by id. Keeps a bounded number of their files open.
#[derive(Debug)]
pub(crate) struct SegmentTable {
    segments: RwLock<BTreeMap<u64, Arc<Segment>>>,
    open: AtomicUsize,
    open_max: usize,
    clock: AtomicU64,
}

impl SegmentTable {
    pub(crate) fn new(open_max: usize) -> Self {
        Self {
            segments: RwLock::default(),
            open: AtomicUsize::new(0),
            open_max: open_max.max(1),
            clock: AtomicU64::new(0),
        }
    }

    pub(crate) fn get(&self, id: u64) -> Option<Arc<Segment>> {
        self.read().get(&id).cloned()
    }

    pub(crate) fn insert(&self, segment: Arc<Segment>) {
        self.segments.write().unwrap_or_else(PoisonError::into_inner).insert(segment.id, segment);
    }

    pub(crate) fn remove(&self, id: u64) {
        let removed = self.segments.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if removed.is_some_and(|segment| segment.handle().take().is_some()) {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// All segments in the order of the log.
    pub(crate) fn in_log_order(&self) -> Vec<Arc<Segment>> {
        let mut segments: Vec<_> = self.read().values().cloned().collect();
        segments.sort_by_key(|segment| segment.first);
        segments
    }

    /// Bytes of all files, bytes of live records, and live shards.
    pub(crate) fn totals(&self) -> (u64, u64, u64) {
        self.read().values().fold((0, 0, 0), |(len, live, shards), segment| {
            (len + segment.len(), live + segment.live_bytes(), shards + segment.live_shards())
        })
    }

    /// The segment's file, opened if need be. It stays readable for whoever holds it, also once it is unlinked.
    pub(crate) fn open(&self, segment: &Segment) -> io::Result<Arc<File>> {
        segment.used_at.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        let file = {
            let mut handle = segment.handle();
            if let Some(file) = handle.as_ref() {
                return Ok(Arc::clone(file));
            }
            let file = Arc::new(File::open(&segment.path)?);
            *handle = Some(Arc::clone(&file));
            file
        };
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.open_max {
            self.close_least_recent(segment.id);
        }
        Ok(file)
    }

    fn close_least_recent(&self, except: u64) {
        let segments = self.read();
        let open = segments.values().filter(|segment| segment.id != except && segment.handle().is_some());
        if let Some(oldest) = open.min_by_key(|segment| segment.used_at.load(Ordering::Relaxed))
            && oldest.handle().take().is_some()
        {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<u64, Arc<Segment>>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the payload that `entry` points to, unverified. Fewer bytes than `entry.len` when the file ends early.
pub(crate) fn read_payload(file: &File, entry: &Entry) -> io::Result<Vec<u8>> {
    read_at(file, u64::from(entry.offset) + RECORD_HEADER_LEN, entry.len as usize)
}

/// Reads up to `len` bytes at `offset`; fewer only at the end of the file.
pub(crate) fn read_at(file: &File, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let at = offset + bytes.len() as u64;
        // The allocator may have given more than was asked for, so the end is cut off below.
        match rustix::io::pread(file, spare_capacity(&mut bytes), at) {
            Ok(0) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}

/// Reads the payload that `entry` points to if all of it is in the page cache, without waiting for the disk.
pub(crate) fn read_cached_payload(file: &File, entry: &Entry) -> Option<Vec<u8>> {
    let mut bytes = vec![0; entry.len as usize];
    let offset = u64::from(entry.offset) + RECORD_HEADER_LEN;
    // Any error, and a file system that cannot tell, mean the same: read it the other way.
    let read = preadv2(file, &mut [IoSliceMut::new(&mut bytes)], offset, ReadWriteFlags::NOWAIT);
    (read.ok()? == bytes.len()).then_some(bytes)
}

/// Asks the kernel to forget its copy, so that the next read shows what the disk holds.
pub(crate) fn forget_cached(file: &File, offset: u64, len: u64) {
    let len = std::num::NonZeroU64::new(len);
    // Advice: nothing depends on whether it is taken.
    let _ = rustix::fs::fadvise(file, offset, len, Advice::DontNeed);
}

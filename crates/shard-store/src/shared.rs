//! What the writer, the readers and the compactor of one store share.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use bytes::Bytes;
use datamesh_types::{ShardHealth, ShardId};

use crate::config::ShardStoreConfig;
use crate::dir_lock::DirLock;
use crate::error::StoreError;
use crate::format::{StoreId, payload_crc};
use crate::host::Host;
use crate::index::{Entry, Index};
use crate::segment::{SegmentTable, forget_cached, read_cached_payload, read_payload};

/// A read that raced with compaction looks the shard up again. More than a few rounds mean that the table and
/// the index disagree.
const LOOKUPS_MAX: usize = 8;
/// Cached shards up to this length are read on the caller's thread: copying and checking them takes some 15 us,
/// as long as handing the work to another thread and back.
const AT_ONCE_MAX_BYTES: u32 = 64 << 10;

/// The common state of a store. Only the writer's thread changes the index and the table.
pub(crate) struct Shared {
    pub(crate) config: ShardStoreConfig,
    pub(crate) store: StoreId,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) index: Index,
    pub(crate) table: SegmentTable,
    /// The segment that the log ends in.
    pub(crate) active: AtomicU64,
    /// The id of the next file.
    pub(crate) next_id: AtomicU64,
    /// Why the store is read-only.
    pub(crate) failure: OnceLock<Arc<io::Error>>,
    /// Set when the store is closed: a compaction stops at the next record.
    pub(crate) closing: AtomicBool,
    /// Whether a background compaction runs.
    pub(crate) compacting: AtomicBool,
    /// Held while a compaction runs: two would choose the same segments.
    pub(crate) compaction: Mutex<()>,
    /// The background compaction that was started last.
    pub(crate) compactor: Mutex<Option<JoinHandle<()>>>,
    /// Keeps other stores out. Declared last: it goes when everything else is closed.
    pub(crate) _lock: DirLock,
}

impl Shared {
    pub(crate) fn segments_dir(&self) -> std::path::PathBuf {
        self.config.dir.join(crate::recovery::SEGMENTS_DIR)
    }

    pub(crate) fn take_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn full(&self) -> StoreError {
        StoreError::Full { dir: self.config.dir.clone() }
    }

    /// The refusal that every write gets once one has failed.
    pub(crate) fn check_writable(&self) -> Result<(), StoreError> {
        match self.failure.get() {
            Some(cause) => {
                Err(StoreError::ReadOnly { dir: self.config.dir.clone(), source: Arc::clone(cause) })
            }
            None => Ok(()),
        }
    }

    /// Makes the store read-only, for good.
    pub(crate) fn fail(&self, error: io::Error) -> StoreError {
        let error = Arc::new(error);
        if self.failure.set(Arc::clone(&error)).is_ok() {
            tracing::error!(dir = %self.config.dir.display(), %error, "a write failed: the store is read-only from here on");
        }
        StoreError::ReadOnly { dir: self.config.dir.clone(), source: error }
    }

    /// The shard's bytes, verified.
    pub(crate) fn read(&self, id: ShardId) -> Result<Bytes, StoreError> {
        self.read_with(id, false)
    }

    /// The shard's bytes, verified, if that takes so little time that a thread switch would cost more: `None`
    /// when the shard is large, not in the page cache, or not as it should be.
    pub(crate) fn read_at_once(&self, id: ShardId) -> Result<Option<Bytes>, StoreError> {
        let entry = self.index.get(&id)?.ok_or(StoreError::NotFound { id })?;
        if entry.len > AT_ONCE_MAX_BYTES {
            return Ok(None);
        }
        let segment = self.table.get(entry.file);
        let data = segment
            .and_then(|segment| self.table.open(&segment).ok())
            .and_then(|file| read_cached_payload(&file, &entry));
        Ok(data.filter(|data| payload_crc(&id, data) == entry.crc).map(Bytes::from))
    }

    /// What the disk, not the page cache, holds of the shard; and its length.
    pub(crate) fn verify(&self, id: ShardId) -> Result<(ShardHealth, u64), StoreError> {
        match self.read_with(id, true) {
            Ok(data) => Ok((ShardHealth::Good, data.len() as u64)),
            Err(StoreError::NotFound { .. }) => Ok((ShardHealth::Missing, 0)),
            Err(StoreError::Corrupt { .. }) => Ok((ShardHealth::Corrupt, 0)),
            Err(error) => Err(error),
        }
    }

    fn read_with(&self, id: ShardId, uncached: bool) -> Result<Bytes, StoreError> {
        let mut previous = None;
        for _ in 0..LOOKUPS_MAX {
            let entry = self.index.get(&id)?.ok_or(StoreError::NotFound { id })?;
            // The same record failed twice: nobody moved it meanwhile, so it is the disk.
            if previous == Some(entry) {
                break;
            }
            if let Some(data) = self.read_entry(id, &entry, uncached) {
                return Ok(data);
            }
            previous = Some(entry);
        }
        Err(StoreError::Corrupt { id })
    }

    /// `None` when the record is not where the entry says, because it was moved or because it is damaged.
    pub(crate) fn read_entry(&self, id: ShardId, entry: &Entry, uncached: bool) -> Option<Bytes> {
        let segment = self.table.get(entry.file)?;
        let read = self.table.open(&segment).and_then(|file| {
            if uncached {
                forget_cached(&file, u64::from(entry.offset), crate::format::record_len(entry.len));
            }
            read_payload(&file, entry)
        });
        match read {
            Ok(data) if data.len() == entry.len as usize && payload_crc(&id, &data) == entry.crc => {
                Some(data.into())
            }
            Ok(_) => None,
            Err(error) => {
                tracing::warn!(shard = %id, path = %segment.path.display(), %error, "a shard cannot be read");
                None
            }
        }
    }
}

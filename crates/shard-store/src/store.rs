//! The store as its users see it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use datamesh_types::{GroupId, KIB, MIB, ShardHealth, ShardId, ShardStat};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use crate::compaction::{CompactionReport, compact_all};
use crate::config::ShardStoreConfig;
use crate::error::StoreError;
use crate::format::payload_crc;
use crate::host::{Host, SystemHost};
use crate::recovery::{self, Opened};
use crate::shared::Shared;
use crate::writer::{Operation, Request, Writer};

/// Longest shard, in bytes: 16 MiB and room for the framing around a payload.
pub const MAX_SHARD_LEN: u32 = (16 * MIB + 64 * KIB) as u32;

/// Requests that may wait for the writer. Further callers wait for a place.
const QUEUE_LEN: usize = 256;
/// Deletes that go into one request.
const DELETES_MAX: usize = 1024;

/// How much a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreUsage {
    /// The configured limit on `used_bytes`.
    pub capacity_bytes: u64,
    /// Bytes of all segment files.
    pub used_bytes: u64,
    /// The part of `used_bytes` that holds shards which still exist, headers included.
    pub live_bytes: u64,
    /// Shards that exist.
    pub shards: u64,
    /// Whether the store refuses writes because an earlier one failed.
    pub read_only: bool,
}

/// One step of a scrub.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScrubPage {
    /// Shards read back.
    pub checked: u64,
    /// Their bytes.
    pub checked_bytes: u64,
    /// The ones whose bytes are no longer what was stored.
    pub damaged: Vec<ShardId>,
    /// Where to go on, or `None` when the last shard was reached.
    pub next: Option<ShardId>,
}

/// Immutable shards in one directory. Cheap to clone; all clones share one store.
///
/// Each open store has one thread of its own, and a second one while it compacts. Methods must be called within
/// a tokio runtime. Dropping the last clone saves the index and waits for the threads, for as long as an fsync
/// takes; [`Self::close`] does so without blocking the caller's thread, and tells how it went.
#[derive(Clone)]
pub struct ShardStore {
    pub(crate) shared: Arc<Shared>,
    // Declared before the threads, so dropped before them: the writer ends once there is no sender.
    requests: mpsc::Sender<Request>,
    threads: Arc<Threads>,
}

/// The threads of a store. None outlives it: one that still used RocksDB while the process exits would find
/// RocksDB's statics destroyed, and abort.
struct Threads {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Threads {
    fn join(&self) {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = writer {
            // A panic of the thread has been reported by its hook, and there is nothing left to save.
            let _ = thread.join();
        }
        let compactor = self.shared.compactor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = compactor {
            let _ = thread.join();
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Relaxed);
        self.join();
    }
}

impl ShardStore {
    /// Opens the store in `config.dir`, creating it when there is none.
    ///
    /// After a crash this reads the part of the log that the index has not seen, and after the loss of the index
    /// the headers of all records. It blocks the calling thread.
    ///
    /// # Errors
    ///
    /// [`StoreError::Locked`] when it is open already, [`StoreError::NewerFormat`] when a later version wrote
    /// it. Damage to shards is no error: they are found [`ShardHealth::Corrupt`].
    pub fn open(config: ShardStoreConfig) -> Result<Self, StoreError> {
        Self::open_on(config, Arc::new(SystemHost))
    }

    pub(crate) fn open_on(config: ShardStoreConfig, host: Arc<dyn Host>) -> Result<Self, StoreError> {
        let Opened { shared, active, file } = recovery::open(config, host)?;
        let (requests, queue) = mpsc::channel(QUEUE_LEN);
        let writer = Writer::new(Arc::clone(&shared), requests.downgrade(), active, file);
        let thread = std::thread::Builder::new()
            .name("shard-writer".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(|error| StoreError::io("start a thread for", &shared.config.dir, error))?;
        let threads = Threads { shared: Arc::clone(&shared), writer: Mutex::new(Some(thread)) };
        Ok(Self { shared, requests, threads: Arc::new(threads) })
    }

    /// Stores a shard. Returns once it is fsynced. Storing the same bytes again succeeds and changes nothing,
    /// unless the stored ones turn out to be damaged: then they are replaced.
    ///
    /// Cancel-safe: a shard whose put was dropped is stored whole or not at all.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] when the id exists with other bytes; [`StoreError::Full`] and
    /// [`StoreError::ReadOnly`] as described there; [`StoreError::TooLarge`] beyond [`MAX_SHARD_LEN`]. After any
    /// other error the shard may or may not have been stored, and putting it again is safe.
    pub async fn put(&self, id: ShardId, data: Bytes) -> Result<(), StoreError> {
        if data.len() > MAX_SHARD_LEN as usize {
            return Err(StoreError::TooLarge { len: data.len(), limit: MAX_SHARD_LEN });
        }
        let crc = payload_crc(&id, &data);
        let mut damaged = None;
        if let Some(entry) = self.shared.index.get(&id)? {
            if (entry.len, entry.crc) != (data.len() as u32, crc) {
                return Err(StoreError::Conflict { id });
            }
            if self.verify(id).await? == ShardHealth::Good {
                return Ok(());
            }
            damaged = Some(entry);
        }
        self.log(Operation::Put { id, data, crc, damaged }).await.map(drop)
    }

    /// The shard's bytes, verified.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`]; [`StoreError::Corrupt`] when the bytes are damaged or cannot be read.
    pub async fn get(&self, id: ShardId) -> Result<Bytes, StoreError> {
        match self.shared.read_at_once(id)? {
            Some(data) => Ok(data),
            None => self.on_disk(move |shared| shared.read(id)).await,
        }
    }

    /// `len` of the shard's bytes from `offset` on, fewer at its end. The whole shard is read and verified.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub async fn get_range(&self, id: ShardId, offset: u32, len: u32) -> Result<Bytes, StoreError> {
        let data = self.get(id).await?;
        let start = (offset as usize).min(data.len());
        let end = start.saturating_add(len as usize).min(data.len());
        Ok(data.slice(start..end))
    }

    /// Deletes shards, durably, and returns how many of them existed. It also works when the disk is full, as
    /// long as there is room for 80 bytes a shard.
    ///
    /// Cancel-safe: each shard is deleted or not; some may be and some not.
    pub async fn delete(&self, ids: &[ShardId]) -> Result<u64, StoreError> {
        let mut deleted = 0;
        for ids in ids.chunks(DELETES_MAX) {
            deleted += self.log(Operation::Delete { ids: ids.to_vec() }).await?;
        }
        Ok(deleted)
    }

    /// Up to `limit` shards in id order, after `after`, of one group or of all.
    pub async fn list(
        &self,
        group: Option<GroupId>,
        after: Option<ShardId>,
        limit: usize,
    ) -> Result<Vec<ShardStat>, StoreError> {
        self.on_disk(move |shared| {
            let mut stats = Vec::new();
            if limit > 0 {
                shared.index.scan(group, after, |id, entry| {
                    stats.push(entry.stat(id));
                    stats.len() < limit
                })?;
            }
            Ok(stats)
        })
        .await
    }

    /// What is known about a shard, without reading its bytes.
    #[allow(clippy::unused_async, reason = "the index may move off the caller's thread")]
    pub async fn stat(&self, id: ShardId) -> Result<Option<ShardStat>, StoreError> {
        Ok(self.shared.index.get(&id)?.map(|entry| entry.stat(id)))
    }

    /// Reads the shard back from the disk, past the page cache, and compares it with its checksum.
    pub async fn verify(&self, id: ShardId) -> Result<ShardHealth, StoreError> {
        self.on_disk(move |shared| Ok(shared.verify(id)?.0)).await
    }

    /// Verifies shards in id order after `cursor`, until about `budget_bytes` have been read. Going on at
    /// [`ScrubPage::next`] until it is `None` covers every shard that was there all the time.
    pub async fn scrub(&self, cursor: Option<ShardId>, budget_bytes: u64) -> Result<ScrubPage, StoreError> {
        self.on_disk(move |shared| scrub(shared, cursor, budget_bytes)).await
    }

    /// Compacts what is worth it now, and returns when that is done. Reads and writes go on meanwhile.
    pub async fn compact(&self) -> Result<CompactionReport, StoreError> {
        let requests = self.requests.downgrade();
        self.on_disk(move |shared| compact_all(shared, &requests)).await
    }

    /// How much the store holds.
    pub fn usage(&self) -> StoreUsage {
        let (used_bytes, live_bytes, shards) = self.shared.table.totals();
        StoreUsage {
            capacity_bytes: self.shared.config.capacity_bytes,
            used_bytes,
            live_bytes,
            shards,
            read_only: self.shared.failure.get().is_some(),
        }
    }

    /// Finishes what is queued, saves the index and stops the store's threads. Other clones get
    /// [`StoreError::Closed`] from then on. The directory can be opened again once they are gone.
    ///
    /// # Errors
    ///
    /// [`StoreError::Index`] when the index could not be saved. Nothing is lost: the next opening catches up.
    pub async fn close(self) -> Result<(), StoreError> {
        self.shared.closing.store(true, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request::Close(reply)).await.is_err() {
            return Ok(());
        }
        let closed = answer.await.unwrap_or(Ok(()));
        let Self { threads, .. } = self;
        let _ = spawn_blocking(move || threads.join()).await;
        closed
    }

    async fn log(&self, operation: Operation) -> Result<u64, StoreError> {
        self.shared.check_writable()?;
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Log(operation, reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        body: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        // The runtime only cancels blocking work that has not begun, while it shuts down.
        spawn_blocking(move || body(&shared)).await.map_err(|_| StoreError::Closed)?
    }
}

fn scrub(shared: &Shared, cursor: Option<ShardId>, budget_bytes: u64) -> Result<ScrubPage, StoreError> {
    let mut ids = Vec::new();
    let mut planned_bytes = 0;
    shared.index.scan(None, cursor, |id, entry| {
        ids.push(id);
        planned_bytes += u64::from(entry.len);
        planned_bytes < budget_bytes
    })?;
    let mut page = ScrubPage {
        next: ids.last().copied().filter(|_| planned_bytes >= budget_bytes),
        ..ScrubPage::default()
    };
    for id in ids {
        let (health, len) = shared.verify(id)?;
        page.checked += u64::from(health != ShardHealth::Missing);
        page.checked_bytes += len;
        if health == ShardHealth::Corrupt {
            page.damaged.push(id);
        }
    }
    Ok(page)
}

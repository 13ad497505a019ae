//! The index: which record holds which shard, in RocksDB.
//!
//! It is derived from the segments and never fsynced by a write: entries go to RocksDB's memory without its
//! write-ahead log. Each batch also carries the log position up to which it is complete, and RocksDB flushes
//! its memory in order. What a crash leaves is therefore the state at exactly the position that it names, and
//! opening the store replays the log from there. This makes write amplification 1.0 and saves the second fsync.

use std::path::{Path, PathBuf};

use datamesh_types::{GroupId, SHARD_ID_LEN, ShardId, ShardStat};
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, Direction, ErrorKind, IteratorMode, LogLevel, Options,
    ReadOptions, WriteBatch, WriteOptions,
};

use crate::config::ShardStoreConfig;
use crate::error::StoreError;
use crate::format::{Origin, StoreId};

/// Layout of keys and values. An index of any other version is thrown away and rebuilt.
const INDEX_VERSION: u8 = 1;
const VERSION_KEY: &[u8] = b"v";
const POSITION_KEY: &[u8] = b"p";
const SEGMENT_PREFIX: u8 = b'f';
const SHARD_PREFIX: u8 = b's';

/// Where a shard is and what it must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The segment file.
    pub(crate) file: u64,
    /// Where the record starts in it.
    pub(crate) offset: u32,
    pub(crate) len: u32,
    pub(crate) crc: u64,
    pub(crate) stored_at_ms: i64,
}

impl Entry {
    pub(crate) fn stat(&self, id: ShardId) -> ShardStat {
        ShardStat { id, len: self.len, stored_at_ms: self.stored_at_ms }
    }

    /// Whether both name the same record.
    pub(crate) fn same_place(&self, other: &Self) -> bool {
        (self.file, self.offset) == (other.file, other.offset)
    }

    fn encode(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.file.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.offset.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.len.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.crc.to_le_bytes());
        bytes[24..].copy_from_slice(&self.stored_at_ms.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 32] = bytes.try_into().ok()?;
        Some(Self {
            file: le_u64(&bytes[..8])?,
            offset: u32::from_le_bytes(bytes[8..12].try_into().ok()?),
            len: u32::from_le_bytes(bytes[12..16].try_into().ok()?),
            crc: le_u64(&bytes[16..24])?,
            stored_at_ms: le_u64(&bytes[24..])? as i64,
        })
    }
}

/// What the index knows about a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentMeta {
    pub(crate) id: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) origin: Origin,
    pub(crate) live_bytes: u64,
    pub(crate) live_shards: u64,
}

impl SegmentMeta {
    fn encode(&self) -> [u8; 41] {
        let (kind, through) = match self.origin {
            Origin::Log => (0, 0),
            Origin::Compaction { through } => (1, through),
        };
        let mut bytes = [kind; 41];
        for (slot, value) in bytes[1..].chunks_exact_mut(8).zip([
            self.first,
            self.last,
            through,
            self.live_bytes,
            self.live_shards,
        ]) {
            slot.copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    fn decode(id: u64, bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let mut numbers = rest.chunks(8).map(le_u64);
        let mut number = || numbers.next().flatten();
        let (first, last, through) = (number()?, number()?, number()?);
        let origin = match kind {
            0 => Origin::Log,
            1 => Origin::Compaction { through },
            _ => return None,
        };
        Some(Self { id, first, last, origin, live_bytes: number()?, live_shards: number()? })
    }
}

/// A point in the log: everything in earlier segments, and in `file` everything before `offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) file: u64,
    pub(crate) offset: u64,
}

/// Changes that become visible, and durable, together or not at all.
#[derive(Default)]
pub(crate) struct IndexBatch(WriteBatch);

impl IndexBatch {
    pub(crate) fn put_shard(&mut self, id: &ShardId, entry: &Entry) {
        self.0.put(shard_key(id), entry.encode());
    }

    pub(crate) fn remove_shard(&mut self, id: &ShardId) {
        self.0.delete(shard_key(id));
    }

    pub(crate) fn put_segment(&mut self, meta: &SegmentMeta) {
        self.0.put(segment_key(meta.id), meta.encode());
    }

    pub(crate) fn remove_segment(&mut self, id: u64) {
        self.0.delete(segment_key(id));
    }

    pub(crate) fn set_position(&mut self, position: Position) {
        let mut value = [0; 16];
        value[..8].copy_from_slice(&position.file.to_le_bytes());
        value[8..].copy_from_slice(&position.offset.to_le_bytes());
        self.0.put(POSITION_KEY, value);
    }

    /// Declares the index complete up to its position. Without this mark, opening it starts over.
    pub(crate) fn set_complete(&mut self, store: StoreId) {
        let mut value = vec![INDEX_VERSION];
        value.extend_from_slice(&store.0);
        self.0.put(VERSION_KEY, value);
    }
}

/// An open index.
pub(crate) struct Index {
    db: DB,
    dir: PathBuf,
}

impl Index {
    /// Opens or creates the index in `dir`.
    pub(crate) fn open(dir: &Path, config: &ShardStoreConfig) -> Result<Self, StoreError> {
        let db =
            DB::open(&options(config), dir).map_err(|source| StoreError::Index { action: "open", source })?;
        Ok(Self { db, dir: dir.to_owned() })
    }

    /// Whether it belongs to this store, has the present layout, and was once complete.
    pub(crate) fn is_complete(&self, store: StoreId) -> Result<bool, StoreError> {
        let value = self.db.get(VERSION_KEY).map_err(|source| self.failed("be read", source))?;
        Ok(value.is_some_and(|value| value.split_first() == Some((&INDEX_VERSION, &store.0[..]))))
    }

    pub(crate) fn position(&self) -> Result<Option<Position>, StoreError> {
        let value = self.db.get(POSITION_KEY).map_err(|source| self.failed("be read", source))?;
        Ok(value.and_then(|value| {
            let (file, offset) = value.split_at_checked(8)?;
            Some(Position { file: le_u64(file)?, offset: le_u64(offset)? })
        }))
    }

    pub(crate) fn get(&self, id: &ShardId) -> Result<Option<Entry>, StoreError> {
        let value = self.db.get_pinned(shard_key(id)).map_err(|source| self.failed("be read", source))?;
        let Some(value) = value else { return Ok(None) };
        Entry::decode(&value).map(Some).ok_or_else(|| self.malformed("a shard entry has the wrong length"))
    }

    pub(crate) fn segments(&self) -> Result<Vec<SegmentMeta>, StoreError> {
        let mut metas = Vec::new();
        let mut range = ReadOptions::default();
        range.set_iterate_range([SEGMENT_PREFIX].as_slice()..[SEGMENT_PREFIX + 1].as_slice());
        for item in self.db.iterator_opt(IteratorMode::Start, range) {
            let (key, value) = item.map_err(|source| self.failed("be read", source))?;
            let id = key.get(1..).and_then(|id| id.try_into().ok()).map(u64::from_be_bytes);
            let meta = id.and_then(|id| SegmentMeta::decode(id, &value));
            metas.push(meta.ok_or_else(|| self.malformed("a segment entry is malformed"))?);
        }
        Ok(metas)
    }

    /// Calls `visit` for shards in id order, after `after`, of one group or of all, while it returns true.
    pub(crate) fn scan(
        &self,
        group: Option<GroupId>,
        after: Option<ShardId>,
        mut visit: impl FnMut(ShardId, Entry) -> bool,
    ) -> Result<(), StoreError> {
        let (lower, upper) = bounds(group);
        let start = match after {
            // The smallest key above `after` is its key and a zero byte.
            Some(after) => lower.max([&shard_key(&after)[..], &[0]].concat()),
            None => lower,
        };
        if start >= upper {
            return Ok(());
        }
        let mut range = ReadOptions::default();
        range.set_iterate_upper_bound(upper);
        for item in self.db.iterator_opt(IteratorMode::From(&start, Direction::Forward), range) {
            let (key, value) = item.map_err(|source| self.failed("be read", source))?;
            let id = key.get(1..).and_then(ShardId::from_slice);
            let (Some(id), Some(entry)) = (id, Entry::decode(&value)) else {
                return Err(self.malformed("a shard entry is malformed"));
            };
            if !visit(id, entry) {
                break;
            }
        }
        Ok(())
    }

    /// Applies a batch in memory. It reaches the disk with the next flush, RocksDB's own or [`Self::flush`].
    pub(crate) fn write(&self, batch: IndexBatch) -> Result<(), StoreError> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.write_opt(batch.0, &options).map_err(|source| self.failed("be written", source))
    }

    /// Makes everything written so far survive a power loss.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(|source| self.failed("be flushed", source))
    }

    /// Where the mark lies that makes the next opening rebuild the index.
    pub(crate) fn damage_mark(dir: &Path) -> PathBuf {
        dir.with_extension("damaged")
    }

    fn failed(&self, action: &'static str, source: rocksdb::Error) -> StoreError {
        if source.kind() == ErrorKind::Corruption {
            self.mark_damaged();
        }
        StoreError::Index { action, source }
    }

    fn malformed(&self, what: &'static str) -> StoreError {
        self.mark_damaged();
        StoreError::Damaged { path: self.dir.clone(), what }
    }

    fn mark_damaged(&self) {
        let mark = Self::damage_mark(&self.dir);
        if let Err(error) = std::fs::write(&mark, b"") {
            tracing::warn!(path = %mark.display(), %error, "cannot mark the damaged index for a rebuild");
        }
    }
}

#[cfg(test)]
impl Index {
    /// Copies what would survive a crash of the process at this moment.
    pub(crate) fn copy_durable_state(&self, to: &Path) {
        self.db.disable_file_deletions().unwrap();
        std::fs::create_dir_all(to).unwrap();
        let mut names: Vec<_> =
            std::fs::read_dir(&self.dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        // CURRENT and MANIFEST first: whatever they name exists by the time it is copied.
        names.sort_by_key(|name| {
            let name = name.to_string_lossy().into_owned();
            (!name.starts_with("CURRENT"), !name.starts_with("MANIFEST"))
        });
        for name in names {
            match std::fs::copy(self.dir.join(&name), to.join(&name)) {
                // A background job was still removing what it had replaced: nothing refers to it.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                copied => drop(copied.unwrap()),
            }
        }
        self.db.enable_file_deletions().unwrap();
    }
}

fn options(config: &ShardStoreConfig) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(config.index_cache_bytes));
    table.set_bloom_filter(10.0, false);
    // Counted against the cache, so that memory stays bounded however large the index gets.
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_format_version(5);

    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&table);
    // Ids are random and entries mostly checksums: nothing to compress.
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(config.index_buffer_bytes);
    options.set_max_write_buffer_number(2);
    options.set_arena_block_size(64 << 10);
    options.set_allow_concurrent_memtable_write(false);
    options.set_max_open_files(64);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(1);
    options.set_max_log_file_size(256 << 10);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    // By default RocksDB sets 4 MiB aside, which is much on a small disk.
    options.set_manifest_preallocation_size(64 << 10);
    options.set_max_manifest_file_size(1 << 20);
    options
}

fn bounds(group: Option<GroupId>) -> (Vec<u8>, Vec<u8>) {
    let prefix = |group: u64| [&[SHARD_PREFIX][..], &group.to_be_bytes()].concat();
    match group {
        None => (vec![SHARD_PREFIX], vec![SHARD_PREFIX + 1]),
        Some(GroupId(u64::MAX)) => (prefix(u64::MAX), vec![SHARD_PREFIX + 1]),
        Some(GroupId(group)) => (prefix(group), prefix(group + 1)),
    }
}

fn shard_key(id: &ShardId) -> [u8; SHARD_ID_LEN + 1] {
    let mut key = [SHARD_PREFIX; SHARD_ID_LEN + 1];
    key[1..].copy_from_slice(&id.to_bytes());
    key
}

fn segment_key(id: u64) -> [u8; 9] {
    let mut key = [SEGMENT_PREFIX; 9];
    key[1..].copy_from_slice(&id.to_be_bytes());
    key
}

fn le_u64(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

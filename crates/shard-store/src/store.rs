//! The store as its users see it.

use bytes::Bytes;
use datamesh_types::{GroupId, KIB, MIB, ShardHealth, ShardId, ShardStat};

use crate::config::ShardStoreConfig;
use crate::error::StoreError;

/// Longest shard, in bytes: 16 MiB and room for the framing around a payload.
pub const MAX_SHARD_LEN: u32 = (16 * MIB + 64 * KIB) as u32;

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
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// What one compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompactionReport {
    /// Segments that were replaced.
    pub segments: u64,
    /// Live bytes that had to be written anew.
    pub rewritten_bytes: u64,
    /// Bytes that the disk got back.
    pub freed_bytes: u64,
}

/// Immutable shards in one directory. Cheap to clone; all clones share one store.
#[derive(Clone)]
pub struct ShardStore;

#[allow(clippy::unused_async, clippy::unused_self, reason = "to be filled in")]
impl ShardStore {
    /// Opens the store in `config.dir`, creating it when the directory is empty.
    pub fn open(config: ShardStoreConfig) -> Result<Self, StoreError> {
        config.check()?;
        todo!()
    }

    /// Stores a shard. Returns once it is fsynced.
    pub async fn put(&self, id: ShardId, data: Bytes) -> Result<(), StoreError> {
        todo!("{id} {}", data.len())
    }

    /// The shard's bytes, verified.
    pub async fn get(&self, id: ShardId) -> Result<Bytes, StoreError> {
        todo!("{id}")
    }

    /// `len` of the shard's bytes from `offset`, fewer at its end, verified.
    pub async fn get_range(&self, id: ShardId, offset: u32, len: u32) -> Result<Bytes, StoreError> {
        todo!("{id} {offset} {len}")
    }

    /// Deletes shards and returns how many existed.
    pub async fn delete(&self, ids: &[ShardId]) -> Result<u64, StoreError> {
        todo!("{}", ids.len())
    }

    /// Up to `limit` shards in id order, after `after`, of one group or of all.
    pub async fn list(
        &self,
        group: Option<GroupId>,
        after: Option<ShardId>,
        limit: usize,
    ) -> Result<Vec<ShardStat>, StoreError> {
        todo!("{group:?} {after:?} {limit}")
    }

    /// What is known about a shard, without reading its bytes.
    pub async fn stat(&self, id: ShardId) -> Result<Option<ShardStat>, StoreError> {
        todo!("{id}")
    }

    /// Reads the shard back from disk and compares it with its checksum.
    pub async fn verify(&self, id: ShardId) -> Result<ShardHealth, StoreError> {
        todo!("{id}")
    }

    /// Verifies shards in id order after `cursor`, until about `budget_bytes` have been read.
    pub async fn scrub(&self, cursor: Option<ShardId>, budget_bytes: u64) -> Result<ScrubPage, StoreError> {
        todo!("{cursor:?} {budget_bytes}")
    }

    /// Compacts what is worth it now.
    pub async fn compact(&self) -> Result<CompactionReport, StoreError> {
        todo!()
    }

    /// How much the store holds.
    pub fn usage(&self) -> StoreUsage {
        todo!()
    }

    /// Finishes what is queued, saves the index and stops the store's threads.
    pub async fn close(self) -> Result<(), StoreError> {
        todo!()
    }
}

//! What can go wrong with a store.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use datamesh_types::ShardId;

/// Why a store refused or failed an operation.
///
/// It is `Clone` because one failed write answers every caller whose shard was in it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store has no such shard.
    #[error("no shard {id}")]
    NotFound {
        /// The shard asked for.
        id: ShardId,
    },
    /// The shard is known, but its bytes do not match its checksum or cannot be read.
    #[error("shard {id} is damaged on disk")]
    Corrupt {
        /// The damaged shard.
        id: ShardId,
    },
    /// The store already holds other bytes under this id.
    #[error("shard {id} exists with other bytes")]
    Conflict {
        /// The shard that was to be stored.
        id: ShardId,
    },
    /// The capacity is used up, or the file system has no room beyond the reserve. Reads and deletes go on, and
    /// writes are accepted again once there is space.
    #[error("the store in {} is full", dir.display())]
    Full {
        /// The store.
        dir: PathBuf,
    },
    /// An earlier write or fsync failed, so nothing the disk says about new data can be believed. Reads go on
    /// until the store is opened anew.
    #[error("the store in {} is read-only since a write failed", dir.display())]
    ReadOnly {
        /// The store.
        dir: PathBuf,
        /// The failure that made it read-only.
        source: Arc<io::Error>,
    },
    /// The shard is longer than [`crate::MAX_SHARD_LEN`].
    #[error("a shard of {len} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// Length that was given.
        len: usize,
        /// Longest shard a store takes.
        limit: u32,
    },
    /// Another process, or another store in this one, has the directory open.
    #[error("the store in {} is open elsewhere", dir.display())]
    Locked {
        /// The store.
        dir: PathBuf,
    },
    /// A file was written by a later version of this program.
    #[error("{} has format {found}, and this version reads up to {supported}", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The format version in it.
        found: u8,
        /// The newest format version that can be read.
        supported: u8,
    },
    /// A file of the store is not what it should be, and the store cannot be opened without it.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A setting is out of range.
    #[error("{key} must be {expected}, not {given}")]
    InvalidConfig {
        /// The field of [`crate::ShardStoreConfig`].
        key: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it was.
        given: u64,
    },
    /// The operating system failed a call.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },
    /// The index failed. It is derived from the segments: after its removal, opening the store rebuilds it.
    #[error("the index cannot {action}")]
    Index {
        /// What was tried, as a verb.
        action: &'static str,
        /// RocksDB's answer.
        source: rocksdb::Error,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { action, path: path.into(), source: Arc::new(source) }
    }
}

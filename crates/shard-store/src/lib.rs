//! Shards on a local disk, crash-safe.
//!
//! Shards are immutable. They are appended to segment files, several at a time with one fsync, and an index in
//! RocksDB says where each is. The log is the truth; the index is derived from it and never fsynced by a write.
//!
//! | file | what it is |
//! |---|---|
//! | `format` | the bytes on disk and their checksums |
//! | `segment`, `scan` | segment files, the table of them, reading one from front to back |
//! | `index`, `changes` | the RocksDB index, and steps that it takes |
//! | `writer` | group commit: the only thread that appends, and changes index and table |
//! | `recovery`, `identity` | opening a store, after a crash or not |
//! | `compaction` | giving back the space of deleted shards |
//! | `store` | the store as its users see it |
//! | `host` | the operating system, as a trait for tests to fail |
//!
//! Invariants:
//!
//! - nothing is acknowledged, and nothing enters the index, before the fsync of its record succeeded;
//! - after a failed write or fsync nothing more is written until the store is opened anew;
//! - no byte is handed out that does not match the checksum taken when it was stored;
//! - the order of the log never changes, and a delete stays in it as long as what it deleted.

mod changes;
mod compaction;
mod config;
mod dir_lock;
mod error;
mod format;
mod host;
mod identity;
mod index;
mod recovery;
mod scan;
mod segment;
mod shared;
mod store;
#[cfg(test)]
mod tests;
mod writer;

pub use compaction::CompactionReport;
pub use config::ShardStoreConfig;
pub use datamesh_types::{ShardHealth, ShardStat};
pub use error::StoreError;
pub use store::{MAX_SHARD_LEN, ScrubPage, ShardStore, StoreUsage};

//! Shards on a local disk, crash-safe.

mod config;
mod error;
mod store;

pub use config::ShardStoreConfig;
pub use datamesh_types::{ShardHealth, ShardStat};
pub use error::StoreError;
pub use store::{CompactionReport, MAX_SHARD_LEN, ScrubPage, ShardStore, StoreUsage};

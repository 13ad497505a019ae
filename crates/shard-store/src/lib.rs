//! Shards on a local disk, crash-safe.

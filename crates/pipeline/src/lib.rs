//! Bytes to chunks, sealed chunks and shards, and back.

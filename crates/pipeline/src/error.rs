//! What can go wrong between bytes and shards.

use datamesh_types::{Profile, ShardId};

use crate::Compression;

/// Why the pipeline refused its input. Every variant is about the bytes or the numbers it was given; nothing here
/// is worth retrying with the same input.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// Chunk sizes that FastCDC cannot cut at.
    #[error(
        "chunk sizes {min}/{avg}/{max} are out of range: they must be even and ascending, with a minimum of 64 B to \
         1 MiB, an average of 1 KiB to 4 MiB and a maximum of at most 16 MiB"
    )]
    ChunkSizes {
        /// Smallest chunk, bytes.
        min: usize,
        /// Average chunk, bytes.
        avg: usize,
        /// Largest chunk, bytes.
        max: usize,
    },
    /// A chunk longer than [`crate::CHUNK_LEN_MAX`].
    #[error("a chunk of {len} bytes exceeds the limit of {max} bytes")]
    ChunkTooLong {
        /// Its length, or the length that a sealed chunk declares.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// Shorter than the header and tag of a sealed chunk.
    #[error("a sealed chunk of {len} bytes is truncated")]
    SealedTruncated {
        /// Its length in bytes.
        len: usize,
    },
    /// Sealed by a version of the format that this build doesn't know.
    #[error("sealed chunk format {version} is unknown")]
    SealedVersion {
        /// The version byte.
        version: u8,
    },
    /// Compressed by a method that this build doesn't know.
    #[error("compression method {code} is unknown")]
    CompressionCode {
        /// The compression byte.
        code: u8,
    },
    /// Not the bytes that were sealed under this key and chunk id: wrong key, wrong chunk, or changed on the way.
    #[error("a sealed chunk does not authenticate: its bytes, its key or its chunk id are wrong")]
    NotAuthentic,
    /// The system's random generator or the cipher refused to work.
    #[error("the cryptographic library failed to {action}")]
    Crypto {
        /// What was asked of it.
        action: &'static str,
    },
    /// A compressor failed.
    #[error("{compression} compression failed")]
    Compress {
        /// Which one.
        compression: Compression,
        /// Its complaint.
        source: std::io::Error,
    },
    /// An authentic sealed chunk whose content doesn't decompress to the declared length.
    #[error("{compression} content does not decompress to the declared {plain_len} bytes")]
    Decompress {
        /// Which decompressor.
        compression: Compression,
        /// The declared length.
        plain_len: usize,
    },
    /// A slice of shards that doesn't have one place for each shard of the profile.
    #[error("{given} shard places were given for profile {profile}")]
    ShardCount {
        /// The coder's profile.
        profile: Profile,
        /// Places given.
        given: usize,
    },
    /// Fewer shards than the profile needs.
    #[error("{present} shards of a chunk are there, profile {profile} needs {}", .profile.data())]
    TooFewShards {
        /// The coder's profile.
        profile: Profile,
        /// Shards given.
        present: usize,
    },
    /// A shard whose length doesn't fit the sealed chunk or its fellows.
    #[error("shard {index} has {len} bytes instead of {expected}")]
    ShardLength {
        /// Which shard.
        index: usize,
        /// Its length.
        len: usize,
        /// The length it should have.
        expected: usize,
    },
    /// No such shard in the profile.
    #[error("profile {profile} has no shard {index}")]
    ShardIndex {
        /// The coder's profile.
        profile: Profile,
        /// The index asked for.
        index: u8,
    },
    /// The erasure code refused its input, although its shape was checked.
    #[error("the erasure code failed")]
    Code {
        /// Its complaint.
        source: reed_solomon_erasure::Error,
    },
    /// A framed shard shorter than its frame.
    #[error("shard {id} is truncated: {len} bytes")]
    ShardTruncated {
        /// Which shard.
        id: ShardId,
        /// Its length in bytes.
        len: usize,
    },
    /// A shard framed by a version of the format that this build doesn't know.
    #[error("shard {id} has the unknown frame format {version}")]
    ShardVersion {
        /// Which shard.
        id: ShardId,
        /// The version byte.
        version: u8,
    },
    /// Not the bytes that were framed under this key and id.
    #[error("shard {id} does not match its tag")]
    ShardTag {
        /// Which shard.
        id: ShardId,
    },
}

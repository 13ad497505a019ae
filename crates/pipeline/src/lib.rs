//! Bytes to chunks, sealed chunks and shards, and back.
//!
//! Everything here is pure and synchronous: no I/O, no clock, no tasks; the only randomness is a nonce per sealed
//! chunk. The caller decides on which threads it runs, and a panic is a bug whatever bytes come in.
//!
//! ```text
//! write: Chunker -> chunk_id -> seal (probe, compress, encrypt) -> Coder::encode_framed -> n framed shards
//! read:  check_shard -> Coder::decode (any k; a concatenation when the data shards are there) -> open
//! ```
//!
//! # Stored formats
//!
//! Integers are little-endian. Golden fixtures under `tests/` hold each of them in place.
//!
//! * Sealed chunk, version 1: `version u8 | compression u8 | plain_len u32 | nonce [12] | ciphertext | tag [16]`.
//!   AES-256-GCM; the 18 bytes before the ciphertext are its additional data. The key is BLAKE3 keyed by the
//!   domain's sealing key over the chunk id. Compression: 0 none, 1 LZ4 block, 2 Zstandard frame, 3 Brotli stream.
//! * Framed shard, version 1: `payload | tag [16] | version u8`. The tag is the first half of BLAKE3 keyed by the
//!   shard's own key over the payload; that key is BLAKE3 keyed by the shard auth key over `version | shard id`.
//! * Chunk boundaries: FastCDC v2020, normalisation level 2, with a gear table derived from the domain key.
//!   They are not stored, but changing them ends deduplication against everything stored before.
//! * Envelope of an object key, version 1: `version u8 | salt [16] | key encrypted [32] | tag [16]`; see `envelope`.
//! * What lies beside content: an MD5 as one AES-256 block; a text, version 1, as `version u8 | ciphertext | tag [16]`,
//!   AES-256-GCM-SIV; see `beside`.
//! * Chunk ids: BLAKE3 of the plaintext, keyed by a key derived from the domain key.

mod beside;
mod chunker;
mod coder;
mod compress;
mod envelope;
mod error;
mod frame;
mod key;
mod probe;
pub mod profile;
mod seal;

pub use beside::TextKind;
pub use chunker::{Chunker, ChunkerConfig};
pub use coder::Coder;
pub use envelope::{open_object_key, seal_object_key};
pub use error::PipelineError;
pub use frame::{SHARD_OVERHEAD, check_shard, frame_shard};
pub use key::{DomainKey, ShardAuthKey, chunk_id};
pub use probe::{Compression, CompressionHint};
pub use seal::{CHUNK_LEN_MAX, SEALED_OVERHEAD, open, seal};

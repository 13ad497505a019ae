//! Sealing a chunk: compression, then AES-256-GCM under a key of the chunk's own.
//!
//! The key is derived from the domain key and the chunk id, so that a sealed chunk opens under the id that it was
//! sealed for and no other, and nonces need to be unique per chunk id only: 96 random bits are plenty. The header is
//! authenticated with the ciphertext; nothing in it is believed before the tag has been checked, but for its version.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use bytes::Bytes;
use datamesh_types::ChunkId;
use zeroize::Zeroize;

use crate::compress;
use crate::key::random_bytes;
use crate::probe;
use crate::{Compression, CompressionHint, DomainKey, PipelineError};

/// The longest plaintext of a chunk, in bytes: what FastCDC can be configured to cut, and what a reader will allocate.
pub const CHUNK_LEN_MAX: usize = 16 << 20;
/// Bytes that sealing adds to plaintext that isn't compressed. A sealed chunk is never longer than that.
pub const SEALED_OVERHEAD: usize = HEADER_LEN + TAG_LEN;

const VERSION: u8 = 1;
const PLAIN_LEN_AT: usize = 2;
const NONCE_AT: usize = 6;
const HEADER_LEN: usize = NONCE_AT + NONCE_LEN;
const TAG_LEN: usize = 16;
/// Compression is undone again unless it saves one part in this many: opening costs time, too.
const SAVING_DIVISOR: usize = 32;

/// Compresses (if that is worth it) and encrypts the plaintext of chunk `id` under a fresh random nonce.
///
/// # Errors
/// [`PipelineError::ChunkTooLong`] past [`CHUNK_LEN_MAX`]; otherwise only if a library fails.
pub fn seal(
    key: &DomainKey,
    id: &ChunkId,
    plaintext: &[u8],
    hint: &CompressionHint<'_>,
) -> Result<Vec<u8>, PipelineError> {
    let nonce = random_bytes("draw a nonce")?;
    seal_with(key, id, plaintext, probe::choose(plaintext, hint), nonce)
}

/// [`seal`] with everything that is left to chance or choice given. A nonce must never be used twice for a chunk.
pub(crate) fn seal_with(
    key: &DomainKey,
    id: &ChunkId,
    plaintext: &[u8],
    compression: Compression,
    nonce: [u8; NONCE_LEN],
) -> Result<Vec<u8>, PipelineError> {
    if plaintext.len() > CHUNK_LEN_MAX {
        return Err(PipelineError::ChunkTooLong { len: plaintext.len(), max: CHUNK_LEN_MAX });
    }
    let mut sealed = Vec::with_capacity(plaintext.len() + SEALED_OVERHEAD);
    sealed.extend_from_slice(&[VERSION, compression.code()]);
    sealed.extend_from_slice(&(plaintext.len() as u32).to_le_bytes());
    sealed.extend_from_slice(&nonce);
    compress::append(compression, plaintext, &mut sealed)?;
    if compression != Compression::None {
        let content_len = sealed.len() - HEADER_LEN;
        if content_len + plaintext.len() / SAVING_DIVISOR >= plaintext.len() {
            sealed.truncate(HEADER_LEN);
            sealed[1] = Compression::None.code();
            compress::append(Compression::None, plaintext, &mut sealed)?;
        }
    }
    let (header, content) = sealed.split_at_mut(HEADER_LEN);
    let tag = cipher(key, id)?
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&*header), content)
        .map_err(|_| PipelineError::Crypto { action: "encrypt a chunk" })?;
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

/// The plaintext of chunk `id`, from what [`seal`] returned for it. Uncompressed chunks are decrypted in place and not
/// copied.
///
/// Memory is bounded by the length of `sealed` plus [`CHUNK_LEN_MAX`], whatever `sealed` contains.
///
/// # Errors
/// [`PipelineError::NotAuthentic`] for another key, another chunk id or any change to the bytes; for bytes that were
/// never sealed also `SealedTruncated`, `SealedVersion`, `CompressionCode` and `ChunkTooLong`.
pub fn open(key: &DomainKey, id: &ChunkId, mut sealed: Vec<u8>) -> Result<Bytes, PipelineError> {
    let header = Header::parse(&sealed)?;
    let (aad, content) = sealed.split_at_mut(HEADER_LEN);
    let content_len = cipher(key, id)?
        .open_in_place(Nonce::assume_unique_for_key(header.nonce), Aad::from(&*aad), content)
        .map_err(|_| PipelineError::NotAuthentic)?
        .len();
    let content_end = HEADER_LEN + content_len;
    if header.compression == Compression::None {
        if content_len != header.plain_len {
            return Err(PipelineError::Decompress {
                compression: header.compression,
                plain_len: header.plain_len,
            });
        }
        return Ok(Bytes::from(sealed).slice(HEADER_LEN..content_end));
    }
    compress::decompress(header.compression, &sealed[HEADER_LEN..content_end], header.plain_len)
        .map(Bytes::from)
}

struct Header {
    compression: Compression,
    plain_len: usize,
    nonce: [u8; NONCE_LEN],
}

impl Header {
    fn parse(sealed: &[u8]) -> Result<Self, PipelineError> {
        let truncated = PipelineError::SealedTruncated { len: sealed.len() };
        let version = *sealed.first().ok_or(PipelineError::SealedTruncated { len: 0 })?;
        if version != VERSION {
            return Err(PipelineError::SealedVersion { version });
        }
        if sealed.len() < SEALED_OVERHEAD {
            return Err(truncated);
        }
        let compression =
            Compression::from_code(sealed[1]).ok_or(PipelineError::CompressionCode { code: sealed[1] })?;
        let (Some(plain_len), Some(nonce)) =
            (sealed[PLAIN_LEN_AT..].first_chunk(), sealed[NONCE_AT..].first_chunk())
        else {
            return Err(truncated);
        };
        let plain_len = u32::from_le_bytes(*plain_len) as usize;
        if plain_len > CHUNK_LEN_MAX {
            return Err(PipelineError::ChunkTooLong { len: plain_len, max: CHUNK_LEN_MAX });
        }
        Ok(Self { compression, plain_len, nonce: *nonce })
    }
}

fn cipher(key: &DomainKey, id: &ChunkId) -> Result<LessSafeKey, PipelineError> {
    let mut chunk_key = key.chunk_key(id);
    let unbound = UnboundKey::new(&AES_256_GCM, &chunk_key);
    chunk_key.zeroize();
    unbound.map(LessSafeKey::new).map_err(|_| PipelineError::Crypto { action: "set up the cipher" })
}

#[cfg(test)]
mod tests;

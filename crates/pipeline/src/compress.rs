//! The compressors behind [`Compression`], each bounded by the length that the sealed chunk declares.

use std::cell::RefCell;
use std::io::{self, Cursor, Read};

use lz4_flex::block as lz4;
use zstd::bulk::{Compressor, Decompressor};

use crate::{Compression, PipelineError};

const ZSTD_LEVEL: i32 = 1;
const BROTLI_QUALITY: i32 = 5;
/// log2 of the window: enough for the largest default chunk.
const BROTLI_WINDOW_BITS: i32 = 22;
const BROTLI_BUFFER_LEN: usize = 16 << 10;

thread_local! {
    // A context is a few hundred KiB of tables; making one anew costs more than compressing a small object.
    static ZSTD_COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static ZSTD_DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Appends `plaintext` to `out`, compressed by `method`.
pub(crate) fn append(method: Compression, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), PipelineError> {
    let start = out.len();
    let failed = |source| PipelineError::Compress { compression: method, source };
    match method {
        Compression::None => out.extend_from_slice(plaintext),
        Compression::Lz4 => {
            out.resize(start + lz4::get_maximum_output_size(plaintext.len()), 0);
            let len = lz4::compress_into(plaintext, &mut out[start..])
                .map_err(|source| failed(io::Error::other(source)))?;
            out.truncate(start + len);
        }
        Compression::Zstd => {
            out.reserve(zstd::zstd_safe::compress_bound(plaintext.len()));
            append_zstd(plaintext, out).map_err(failed)?;
        }
        Compression::Brotli => {
            let params = brotli::enc::BrotliEncoderParams {
                quality: BROTLI_QUALITY,
                lgwin: BROTLI_WINDOW_BITS,
                size_hint: plaintext.len(),
                ..Default::default()
            };
            brotli::BrotliCompress(&mut &plaintext[..], out, &params).map_err(failed)?;
        }
    }
    Ok(())
}

fn append_zstd(plaintext: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let start = out.len() as u64;
    let mut cursor = Cursor::new(out);
    cursor.set_position(start);
    ZSTD_COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some(compressor) => compressor,
            None => slot.insert(Compressor::new(ZSTD_LEVEL)?),
        };
        compressor.compress_to_buffer(plaintext, &mut cursor).map(|_| ())
    })
}

/// How long `sample` is after Zstandard; its own length when the compressor fails.
pub(crate) fn zstd_len(sample: &[u8]) -> usize {
    let mut out = Vec::new();
    append(Compression::Zstd, sample, &mut out).map_or(sample.len(), |()| out.len())
}

/// How long `sample` is after LZ4.
pub(crate) fn lz4_len(sample: &[u8]) -> usize {
    let mut out = Vec::new();
    append(Compression::Lz4, sample, &mut out).map_or(sample.len(), |()| out.len())
}

/// Undoes [`append`]. Writes at most `plain_len` bytes, whatever `content` would expand to.
///
/// # Errors
/// [`PipelineError::Decompress`] when `content` is malformed or isn't exactly `plain_len` bytes long in the end.
pub(crate) fn decompress(
    method: Compression,
    content: &[u8],
    plain_len: usize,
) -> Result<Vec<u8>, PipelineError> {
    let plaintext = match method {
        Compression::None => Some(content.to_vec()),
        Compression::Lz4 => {
            let mut plaintext = vec![0; plain_len];
            lz4::decompress_into(content, &mut plaintext).ok().map(|len| {
                plaintext.truncate(len);
                plaintext
            })
        }
        Compression::Zstd => decompress_zstd(content, plain_len).ok(),
        Compression::Brotli => decompress_brotli(content, plain_len).ok(),
    };
    plaintext
        .filter(|plaintext| plaintext.len() == plain_len)
        .ok_or(PipelineError::Decompress { compression: method, plain_len })
}

fn decompress_zstd(content: &[u8], plain_len: usize) -> io::Result<Vec<u8>> {
    // The decompressor stops at the capacity.
    let mut plaintext = Vec::with_capacity(plain_len);
    ZSTD_DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(Decompressor::new()?),
        };
        decompressor.decompress_to_buffer(content, &mut plaintext)
    })?;
    Ok(plaintext)
}

fn decompress_brotli(content: &[u8], plain_len: usize) -> io::Result<Vec<u8>> {
    let mut plaintext = Vec::with_capacity(plain_len);
    // One byte more than declared is enough to see that there is too much.
    let limit = plain_len as u64 + 1;
    brotli::Decompressor::new(content, BROTLI_BUFFER_LEN).take(limit).read_to_end(&mut plaintext)?;
    Ok(plaintext)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKED: [Compression; 3] = [Compression::Lz4, Compression::Zstd, Compression::Brotli];

    #[test]
    fn every_method_gives_back_what_it_took() {
        for method in PACKED {
            for len in [0, 1, 12, 13, 1000, 300_000] {
                let plaintext = b"to be, or not to be; ".repeat(len / 21 + 1)[..len].to_vec();
                let mut out = b"header".to_vec();
                append(method, &plaintext, &mut out).unwrap();
                let content = out.strip_prefix(b"header").unwrap();
                assert_eq!(decompress(method, content, len).unwrap(), plaintext, "{method} {len}");
            }
        }
    }

    #[test]
    fn content_that_expands_past_the_declared_length_is_refused_without_expanding() {
        let zeros = vec![0; 16 << 20];
        for method in PACKED {
            let mut bomb = Vec::new();
            append(method, &zeros, &mut bomb).unwrap();
            for plain_len in [0, 1, 1000, zeros.len() - 1, zeros.len() + 1] {
                let result = decompress(method, &bomb, plain_len);
                assert!(matches!(result, Err(PipelineError::Decompress { .. })), "{method} {plain_len}");
            }
        }
    }

    #[test]
    fn garbage_and_truncated_content_is_refused() {
        for method in PACKED {
            let mut content = Vec::new();
            append(method, &b"some text, some more text, some other text".repeat(50), &mut content).unwrap();
            for len in 0..content.len() {
                assert!(decompress(method, &content[..len], 2100).is_err(), "{method} {len}");
            }
            assert!(decompress(method, &[0xa5; 500], 2100).is_err());
        }
    }
}

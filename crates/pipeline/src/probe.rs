//! Which compression a chunk deserves, from a quick look at it.
//!
//! The look costs a few microseconds for incompressible bytes, which are most of what a busy gateway sees: 16 KiB in
//! eight places are counted, and compressed on trial only if their entropy leaves something to gain.

use std::fmt;

use crate::compress::{lz4_len, zstd_len};

/// How a chunk is compressed inside its sealed form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Stored as it is.
    None,
    /// LZ4 block format: for chunks that repeat themselves a little.
    Lz4,
    /// Zstandard, level 1.
    Zstd,
    /// Brotli, quality 5: for cold storage classes, where space counts for more than time.
    Brotli,
}

impl Compression {
    /// The byte that stands for it in the header of a sealed chunk.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Lz4 => 1,
            Self::Zstd => 2,
            Self::Brotli => 3,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        [Self::None, Self::Lz4, Self::Zstd, Self::Brotli].into_iter().find(|known| known.code() == code)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no",
            Self::Lz4 => "LZ4",
            Self::Zstd => "Zstandard",
            Self::Brotli => "Brotli",
        })
    }
}

/// What the caller knows of the object that a chunk is from. It only saves work: the bytes decide.
#[derive(Debug, Clone, Copy, Default)]
pub struct CompressionHint<'a> {
    /// The object's media type, as the client gave it.
    pub content_type: Option<&'a str>,
    /// The object goes to a cold storage class.
    pub cold: bool,
}

/// Shorter chunks are stored as they are: there is no room for a gain.
const LEN_MIN: usize = 128;
const WINDOWS: usize = 8;
const WINDOW_LEN: usize = 2 << 10;
/// Shares of the sample, in percent, that compression must save to be worth its time.
const SAVING_MIN: usize = 5;
/// Where Zstandard saves less than this, it is asked whether the much faster LZ4 saves something too.
const SAVING_STRONG: usize = 20;
/// Zstandard alone, without help from LZ4, at two CPU-seconds per GB.
const SAVING_ENTROPY_ONLY: usize = 10;

/// The compression to try on `plaintext`.
pub(crate) fn choose(plaintext: &[u8], hint: &CompressionHint<'_>) -> Compression {
    if plaintext.len() < LEN_MIN {
        return Compression::None;
    }
    let mut sampled = Vec::new();
    let sample = sample(plaintext, &mut sampled);
    let entropy = entropy_bits(sample);
    // The entropy of n random bytes comes out short of 8 by 255 / (2 n ln 2) (Miller 1955); below 1 KiB the
    // correction is too rough to decide anything.
    let looks_random = sample.len() >= 1 << 10 && entropy > 7.9 - 184.0 / sample.len() as f64;
    let looks_packed = entropy > 7.0 && (has_packed_magic(plaintext) || is_packed_type(hint.content_type));
    if looks_random || looks_packed {
        return Compression::None;
    }
    let saving = |len: usize| sample.len().saturating_sub(len) * 100 / sample.len();
    match saving(zstd_len(sample)) {
        0..SAVING_MIN => Compression::None,
        _ if hint.cold => Compression::Brotli,
        SAVING_STRONG.. => Compression::Zstd,
        _ if saving(lz4_len(sample)) >= SAVING_MIN => Compression::Lz4,
        SAVING_ENTROPY_ONLY.. => Compression::Zstd,
        _ => Compression::None,
    }
}

/// Evenly spaced windows of `plaintext`, or all of it when it is short.
fn sample<'a>(plaintext: &'a [u8], sampled: &'a mut Vec<u8>) -> &'a [u8] {
    if plaintext.len() <= WINDOWS * WINDOW_LEN {
        return plaintext;
    }
    let stride = (plaintext.len() - WINDOW_LEN) / (WINDOWS - 1);
    sampled.reserve_exact(WINDOWS * WINDOW_LEN);
    for window in 0..WINDOWS {
        sampled.extend_from_slice(&plaintext[window * stride..][..WINDOW_LEN]);
    }
    sampled
}

/// Shannon entropy of single bytes, in bits per byte.
fn entropy_bits(bytes: &[u8]) -> f64 {
    // Two tables: equal neighbours would otherwise wait for each other's increment.
    let mut counts = [[0_u32; 256]; 2];
    for pair in bytes.chunks(2) {
        for (table, byte) in counts.iter_mut().zip(pair) {
            table[usize::from(*byte)] += 1;
        }
    }
    let total = bytes.len() as f64;
    let weighted: f64 = (0..256)
        .map(|byte| f64::from(counts[0][byte] + counts[1][byte]))
        .filter(|count| *count > 0.0)
        .map(|count| count * count.log2())
        .sum();
    total.log2() - weighted / total
}

/// Offset and bytes that mark formats which are compressed already.
const PACKED_MAGIC: &[(usize, &[u8])] = &[
    (0, &[0x1f, 0x8b]),                         // gzip
    (0, &[0x28, 0xb5, 0x2f, 0xfd]),             // Zstandard
    (0, &[0x04, 0x22, 0x4d, 0x18]),             // LZ4 frame
    (0, &[0xfd, b'7', b'z', b'X', b'Z', 0]),    // xz
    (0, &[b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c]), // 7-Zip
    (0, b"BZh"),                                // bzip2
    (0, b"PK\x03\x04"),                         // ZIP and what is built on it
    (0, b"Rar!"),                               // RAR
    (0, &[0xff, 0xd8, 0xff]),                   // JPEG
    (0, b"\x89PNG"),                            // PNG
    (0, b"GIF8"),                               // GIF
    (8, b"WEBP"),                               // WebP
    (4, b"ftyp"),                               // MP4, HEIF, AVIF
    (0, &[0x1a, 0x45, 0xdf, 0xa3]),             // Matroska, WebM
    (0, b"OggS"),                               // Ogg
    (0, b"fLaC"),                               // FLAC
    (0, b"ID3"),                                // MP3
    (0, b"wOF2"),                               // WOFF2
];

fn has_packed_magic(bytes: &[u8]) -> bool {
    PACKED_MAGIC.iter().any(|(offset, magic)| bytes.get(*offset..).is_some_and(|at| at.starts_with(magic)))
}

const PACKED_TYPES: &[&str] = &[
    "application/gzip",
    "application/java-archive",
    "application/vnd.rar",
    "application/x-7z-compressed",
    "application/x-bzip2",
    "application/x-gzip",
    "application/x-xz",
    "application/zip",
    "application/zstd",
    "audio/aac",
    "audio/flac",
    "audio/mp4",
    "audio/mpeg",
    "audio/ogg",
    "font/woff2",
    "image/avif",
    "image/gif",
    "image/heic",
    "image/jpeg",
    "image/png",
    "image/webp",
    "video/mp4",
    "video/mpeg",
    "video/quicktime",
    "video/webm",
    "video/x-matroska",
];

fn is_packed_type(content_type: Option<&str>) -> bool {
    let Some(essence) = content_type.and_then(|text| text.split(';').next()) else { return false };
    PACKED_TYPES.iter().any(|packed| packed.eq_ignore_ascii_case(essence.trim()))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use rand::rngs::StdRng;
    use rand::{Rng, RngExt, SeedableRng};

    use super::*;

    fn random(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        StdRng::seed_from_u64(5).fill_bytes(&mut bytes);
        bytes
    }

    fn log_lines(len: usize) -> Vec<u8> {
        let mut rng = StdRng::seed_from_u64(6);
        let mut text = String::new();
        while text.len() < len {
            let (ms, status) = (rng.random_range(1..900), [200, 204, 404][rng.random_range(0..3)]);
            let photo = rng.random::<u16>();
            writeln!(text, "2026-11-22T10:{ms:03} GET /photos/{photo} {status} {ms} ms").unwrap();
        }
        text.truncate(len);
        text.into_bytes()
    }

    /// Random bytes in which every fourth 64-byte piece is a copy of an earlier one: LZ4 finds all there is.
    fn slightly_repetitive(len: usize) -> Vec<u8> {
        let mut bytes = random(len);
        for start in (256..len - 64).step_by(512) {
            bytes.copy_within(start - 200..start - 136, start);
        }
        bytes
    }

    fn plain(bytes: &[u8]) -> Compression {
        choose(bytes, &CompressionHint::default())
    }

    #[test]
    fn random_bytes_of_any_length_are_left_alone() {
        for len in [0, 1, 127, 128, 500, 1023, 1024, 4096, 16_384, 16_385, 1 << 20] {
            assert_eq!(plain(&random(len)), Compression::None, "{len} bytes");
        }
    }

    #[test]
    fn text_is_compressed_strongly_and_cold_text_more() {
        for len in [1000, 16_384, 1 << 20] {
            assert_eq!(plain(&log_lines(len)), Compression::Zstd, "{len} bytes");
            let cold = CompressionHint { cold: true, ..CompressionHint::default() };
            assert_eq!(choose(&log_lines(len), &cold), Compression::Brotli);
            assert_eq!(choose(&random(len), &cold), Compression::None);
        }
    }

    #[test]
    fn bytes_that_repeat_a_little_get_the_fast_compressor() {
        // A twentieth of the bytes made equal brings the entropy below the threshold; LZ4 finds the copies.
        let mut bytes = slightly_repetitive(1 << 20);
        for byte in &mut bytes {
            *byte = (*byte).min(243);
        }
        assert_eq!(plain(&bytes), Compression::Lz4);
    }

    #[test]
    fn a_packed_format_is_believed_only_while_its_bytes_look_packed() {
        let mut noise = random(1 << 20);
        for byte in &mut noise {
            *byte &= 0x7f;
        }
        noise[0] = 0;
        assert_eq!(plain(&noise), Compression::Zstd);
        let jpeg = CompressionHint { content_type: Some("Image/JPEG; q=1"), cold: false };
        assert_eq!(choose(&noise, &jpeg), Compression::Zstd, "7 bits per byte are no JPEG");
        assert_eq!(choose(&log_lines(1 << 20), &jpeg), Compression::Zstd);
        for byte in noise.iter_mut().step_by(2) {
            *byte = byte.wrapping_mul(3);
        }
        assert_eq!(choose(&noise, &jpeg), Compression::None);
        noise[..4].copy_from_slice(b"\x89PNG");
        assert_eq!(plain(&noise), Compression::None);
    }

    #[test]
    fn entropy_of_known_distributions() {
        assert!(entropy_bits(&[9; 1000]).abs() < 1e-9);
        let all: Vec<u8> = (0..=255).cycle().take(4096).collect();
        assert!((entropy_bits(&all) - 8.0).abs() < 1e-9);
        assert!((entropy_bits(b"abababababab") - 1.0).abs() < 1e-9);
    }
}

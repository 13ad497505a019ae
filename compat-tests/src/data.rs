//! Test data: unique bytes that nothing can compress, and a source-like tree.

use std::fs;
use std::path::Path;

use anyhow::Result;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Sizes at which something in the data path changes.
pub const INTERESTING_SIZES: [(usize, &str); 11] = [
    (0, "empty"),
    (1, "a single byte"),
    (8 * 1024, "the largest inline object"),
    (8 * 1024 + 1, "the smallest object on the mesh"),
    (65_535, "not a multiple of any shard count"),
    (256 * 1024, "the smallest chunk"),
    (256 * 1024 + 1, "one byte more than the smallest chunk"),
    (4 * 1024 * 1024, "the largest chunk"),
    (5 * 1024 * 1024, "the smallest part of a multipart upload"),
    (8 * 1024 * 1024 + 1, "where aws-cli begins to use multipart uploads"),
    (20 * 1024 * 1024 + 17, "several parts and many chunks"),
];

/// `len` bytes that are the same for the same `seed` and compress to nothing less.
pub fn unique_bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    SmallRng::seed_from_u64(seed).fill(&mut bytes[..]);
    bytes
}

/// Writes `bytes` to `path`, with its directories.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(fs::write(path, bytes)?)
}

/// A tree like a source checkout: nested directories, text and binary files of many sizes, some of them empty, names
/// with spaces and letters beyond ASCII. `generation` changes a few of the files, as a later checkout would.
pub fn source_tree(root: &Path, files: usize, generation: u64) -> Result<()> {
    let mut random = SmallRng::seed_from_u64(42);
    for number in 0..files {
        let dir = format!("src/part{}/ünit {}", number % 7, number % 3);
        let changed = number % 10 == 0;
        let seed = number as u64 + if changed { generation * 1_000_000 } else { 0 };
        let len = match number % 11 {
            0 => 0,
            1..=7 => random.random_range(100..20_000),
            8 | 9 => random.random_range(20_000..400_000),
            _ => random.random_range(400_000..3_000_000),
        };
        let bytes = if number % 4 == 3 { unique_bytes(seed, len) } else { text(seed, len) };
        write_file(&root.join(dir).join(format!("file {number}.txt")), &bytes)?;
    }
    Ok(())
}

fn text(seed: u64, len: usize) -> Vec<u8> {
    const WORDS: [&str; 12] = [
        "let ",
        "mut ",
        "shard",
        " = ",
        "group",
        ".await?;\n",
        "    ",
        "fn ",
        "(",
        ")",
        "// why\n",
        "return ",
    ];
    let mut random = SmallRng::seed_from_u64(seed);
    let mut text = Vec::with_capacity(len + 16);
    while text.len() < len {
        text.extend_from_slice(WORDS[random.random_range(0..WORDS.len())].as_bytes());
        if random.random_range(0..20) == 0 {
            text.extend_from_slice(random.random::<u32>().to_string().as_bytes());
        }
    }
    text.truncate(len);
    text
}

//! Object bytes: made, never read from disk, and cheap enough not to measure the generator.

use bytes::{Bytes, BytesMut};
use clap::ValueEnum;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::fmt::Write as _;

/// Bytes are handed out in pieces of this size.
pub const PIECE: usize = 1 << 20;

// Each block is stamped, so that no chunk a server could cut is ever seen twice.
const STAMP_EVERY: usize = 64 << 10;
const STAMP_LEN: usize = 16;

/// What the bytes are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Every object differs everywhere, and nothing compresses.
    Unique,
    /// Every object differs, and compresses as logs do.
    Text,
    /// Nine of ten objects are the same bytes.
    Duplicate,
}

impl Kind {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unique => "unique",
            Self::Text => "text",
            Self::Duplicate => "duplicate",
        }
    }
}

/// Makes the bytes of objects; the same object number always has the same bytes.
#[derive(Debug, Clone)]
pub struct Generator {
    kind: Kind,
    /// Sets the objects of one measurement apart from those of all others.
    seed: u64,
    piece: Bytes,
}

impl Generator {
    /// A generator of `kind` for the measurement called `name`.
    pub fn new(kind: Kind, name: &str) -> Self {
        let mut random = SmallRng::seed_from_u64(7);
        let piece = match kind {
            Kind::Unique | Kind::Duplicate => {
                let mut piece = vec![0; PIECE];
                random.fill(&mut piece[..]);
                piece
            }
            Kind::Text => log_lines(&mut random),
        };
        let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self { kind, seed, piece: piece.into() }
    }

    /// Piece number `piece` of object `object`, `len` bytes of it.
    pub fn piece(&self, object: u64, piece: u64, len: usize) -> Bytes {
        let object = self.identity(object);
        let mut bytes = BytesMut::from(&self.piece[..len]);
        for (number, block) in bytes.chunks_mut(STAMP_EVERY).enumerate() {
            let stamp = stamp(object, piece * (PIECE / STAMP_EVERY) as u64 + number as u64);
            let len = block.len().min(STAMP_LEN);
            block[..len].copy_from_slice(&stamp[..len]);
        }
        bytes.freeze()
    }

    /// What makes the object's bytes differ from others'.
    fn identity(&self, object: u64) -> u64 {
        match self.kind {
            Kind::Duplicate if !object.is_multiple_of(10) => 0,
            _ => object ^ self.seed,
        }
    }

    /// Whether `bytes`, found at `offset` of the object, carry the stamps they must.
    pub fn matches(&self, object: u64, offset: u64, bytes: &[u8]) -> bool {
        let object = self.identity(object);
        let first = offset.next_multiple_of(STAMP_EVERY as u64);
        (first..offset + bytes.len() as u64).step_by(STAMP_EVERY).all(|at| {
            let found = &bytes[(at - offset) as usize..];
            let len = found.len().min(STAMP_LEN);
            found[..len] == stamp(object, at / STAMP_EVERY as u64)[..len]
        })
    }
}

fn stamp(object: u64, block: u64) -> [u8; STAMP_LEN] {
    let mut stamp = [0; STAMP_LEN];
    stamp[..8].copy_from_slice(&(object.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes());
    stamp[8..].copy_from_slice(&(block.wrapping_add(1).wrapping_mul(0xd6e8_feb8_6659_fd93)).to_le_bytes());
    stamp
}

fn log_lines(random: &mut SmallRng) -> Vec<u8> {
    const PATHS: [&str; 6] = ["/index", "/api/v1/users", "/static/app.js", "/health", "/login", "/search"];
    let mut lines = String::with_capacity(PIECE + 200);
    while lines.len() < PIECE {
        writeln!(
            lines,
            "2026-11-22T10:{:02}:{:02}.{:03}Z INFO request method=GET path={} status={} bytes={} duration_us={}",
            random.random_range(0..60),
            random.random_range(0..60),
            random.random_range(0..1000),
            PATHS[random.random_range(0..PATHS.len())],
            if random.random_range(0..20) == 0 { 404 } else { 200 },
            random.random_range(100..100_000),
            random.random_range(50..50_000),
        )
        .expect("writing to a text cannot fail");
    }
    lines.truncate(PIECE);
    lines.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_matches_itself_and_no_other_object() {
        for kind in [Kind::Unique, Kind::Text] {
            let generator = Generator::new(kind, "test");
            let bytes = generator.piece(3, 1, PIECE);
            assert!(generator.matches(3, PIECE as u64, &bytes));
            assert!(!generator.matches(4, PIECE as u64, &bytes));
            assert!(!generator.matches(3, 0, &bytes));
            assert!(generator.matches(3, PIECE as u64 + 100, &bytes[100..]));
        }
    }
}

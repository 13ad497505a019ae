//! Content-defined cutting of a byte stream: FastCDC v2020 (Xia et al., IEEE TPDS 2020), with a keyed gear table.
//!
//! Cut points are those of `fastcdc::v2020` for the same table; the tests compare the two. The scan is our own for two
//! reasons. It resumes, so that a byte is looked at once however small the pushes are. And since a gear hash depends
//! on the last 64 bytes only, it follows several stretches at a time: one stretch alone waits for its own additions.

use std::fmt;
use std::mem;

use fastcdc::v2020::{Normalization, select_masks};

use crate::key::GearTables;
use crate::{DomainKey, PipelineError};

/// Chunk sizes in bytes. All are even; `min <= avg <= max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkerConfig {
    /// No chunk but the last of a stream is shorter. 64 B to 1 MiB.
    pub min: usize,
    /// Cut points are rare before this length and frequent after it. 1 KiB to 4 MiB.
    pub avg: usize,
    /// No chunk is longer. Up to 16 MiB.
    pub max: usize,
}

impl Default for ChunkerConfig {
    fn default() -> Self {
        Self { min: 256 << 10, avg: 1 << 20, max: 4 << 20 }
    }
}

impl ChunkerConfig {
    fn check(&self) -> Result<(), PipelineError> {
        let Self { min, avg, max } = *self;
        let even = [min, avg, max].iter().all(|size| size.is_multiple_of(2));
        let in_range = (64..=1 << 20).contains(&min) && (1 << 10..=4 << 20).contains(&avg) && max <= 16 << 20;
        if even && in_range && min <= avg && avg <= max {
            Ok(())
        } else {
            Err(PipelineError::ChunkSizes { min, avg, max })
        }
    }
}

/// How many bytes are copied in before they are scanned: small enough to be scanned out of the cache.
const BLOCK: usize = 64 << 10;
/// Stretches that are hashed side by side, and the length of each.
const LANES: usize = 4;
const LANE_LEN: usize = 4 << 10;
/// A gear hash has forgotten every byte before the last 64: each byte shifts it left by one of its 64 bits.
const HASH_MEMORY: usize = 64;

/// Cuts a stream of bytes into chunks whose boundaries depend on the content around them only.
///
/// The chunks are the same however the stream is split over [`Self::push`] calls, and concatenated they are the
/// stream. Each byte is copied once, into the chunk that is handed out (but for the last few KiB before a cut). At most
/// `max` bytes are held.
///
/// Boundaries also depend on the [`DomainKey`]: chunk lengths alone then don't tell which well-known file was stored.
pub struct Chunker {
    config: ChunkerConfig,
    key: DomainKey,
    mask_before_avg: u64,
    mask_after_avg: u64,
    buffer: Vec<u8>,
    /// The scan's state: every pair of bytes before this offset is behind it.
    scanned: usize,
    hash: u64,
    /// Whether a chunk was cut already: then the next one deserves a full-sized buffer at once.
    cut_before: bool,
}

impl fmt::Debug for Chunker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunker")
            .field("config", &self.config)
            .field("held", &self.buffer.len())
            .finish_non_exhaustive()
    }
}

impl Chunker {
    /// A chunker at the start of a stream.
    ///
    /// # Errors
    /// [`PipelineError::ChunkSizes`] for sizes out of range.
    pub fn new(config: &ChunkerConfig, key: &DomainKey) -> Result<Self, PipelineError> {
        config.check()?;
        let (mask_before_avg, mask_after_avg) = select_masks(config.avg, Normalization::Level2);
        Ok(Self {
            config: *config,
            key: key.clone(),
            mask_before_avg,
            mask_after_avg,
            buffer: Vec::new(),
            scanned: config.min,
            hash: 0,
            cut_before: false,
        })
    }

    /// Feeds the next bytes of the stream; `out` gets each chunk that is complete, in order.
    pub fn push(&mut self, mut data: &[u8], out: &mut impl FnMut(Vec<u8>)) {
        while !data.is_empty() {
            let take = data.len().min(BLOCK).min(self.config.max - self.buffer.len());
            let (head, rest) = data.split_at(take);
            self.reserve(take);
            self.buffer.extend_from_slice(head);
            data = rest;
            while let Some(cut) = self.scan() {
                out(self.take_chunk(cut));
            }
        }
    }

    /// How many bytes wait for the end of their chunk.
    pub fn held(&self) -> usize {
        self.buffer.len()
    }

    /// Ends the stream. What is left is its last chunk, which may be shorter than `min`; `None` when nothing is left.
    pub fn finish(self) -> Option<Vec<u8>> {
        (!self.buffer.is_empty()).then_some(self.buffer)
    }

    /// Room for `more` bytes: doubling while the stream may still be a small object, in two steps after that.
    fn reserve(&mut self, more: usize) {
        let needed = self.buffer.len() + more;
        if needed <= self.buffer.capacity() {
            return;
        }
        let ChunkerConfig { min, max, .. } = self.config;
        let target = if needed > self.roomy() {
            max
        } else if self.cut_before || needed > min {
            self.roomy()
        } else {
            needed.max(self.buffer.capacity() * 2)
        };
        self.buffer.reserve_exact(target - self.buffer.len());
    }

    /// A length that nine of ten chunks fit in.
    fn roomy(&self) -> usize {
        (self.config.avg + self.config.avg / 2).min(self.config.max)
    }

    fn take_chunk(&mut self, cut: usize) -> Vec<u8> {
        let mut next = Vec::new();
        if cut < self.buffer.len() {
            next.reserve_exact(self.roomy().max(self.buffer.len() - cut));
            next.extend_from_slice(&self.buffer[cut..]);
        }
        self.buffer.truncate(cut);
        self.scanned = self.config.min;
        self.hash = 0;
        self.cut_before = true;
        mem::replace(&mut self.buffer, next)
    }

    /// Moves the scan to the end of the buffer, or to the first cut point.
    fn scan(&mut self) -> Option<usize> {
        let ChunkerConfig { avg, max, .. } = self.config;
        let end = self.buffer.len() & !1;
        for (limit, mask) in [(avg, self.mask_before_avg), (max, self.mask_after_avg)] {
            let limit = limit.min(end);
            if self.scanned < limit {
                let scan = Scan { gear: self.key.gear(), mask, bytes: &self.buffer };
                match scan.run(self.scanned, limit, self.hash) {
                    Ok(hash) => (self.scanned, self.hash) = (limit, hash),
                    Err(Cut(cut)) => return Some(cut),
                }
            }
        }
        (self.buffer.len() >= max).then_some(max)
    }
}

/// A cut point: the length of the chunk before it.
struct Cut(usize);

/// A scan under one mask.
struct Scan<'a> {
    gear: &'a GearTables,
    mask: u64,
    bytes: &'a [u8],
}

impl Scan<'_> {
    /// Scans `from..to`, both even, with the hash of the bytes before `from`; the hash at `to` when there is no cut.
    fn run(&self, mut from: usize, to: usize, mut hash: u64) -> Result<u64, Cut> {
        while from < to {
            let stretch_end = to.min(from + LANES * LANE_LEN);
            let next =
                if stretch_end - from == LANES * LANE_LEN { self.side_by_side(from, hash) } else { None };
            // Side by side it only shows that there is a cut; which one comes first is looked up one by one.
            hash = match next {
                Some(next) => next,
                None => self.one_by_one(from, stretch_end, hash)?,
            };
            from = stretch_end;
        }
        Ok(hash)
    }

    /// The hash after `LANES` lanes from `from`, or `None` when there is a cut point in any of them.
    fn side_by_side(&self, from: usize, hash: u64) -> Option<u64> {
        let lane = |index: usize| {
            let start = from + index * LANE_LEN;
            self.bytes[start..start + LANE_LEN].as_chunks::<2>().0
        };
        let (lane0, lane1, lane2, lane3) = (lane(0), lane(1), lane(2), lane(3));
        let [mut hash0, mut hash1, mut hash2, mut hash3] = [
            hash,
            self.hash_before(from + LANE_LEN),
            self.hash_before(from + 2 * LANE_LEN),
            self.hash_before(from + 3 * LANE_LEN),
        ];
        let (mask, mask_ls) = (self.mask, self.mask << 1);
        let GearTables { gear, gear_ls } = self.gear;
        // Numbers, not bools: one branch for eight tests.
        let step = |hash: &mut u64, pair: &[u8; 2]| {
            *hash = (*hash << 2).wrapping_add(gear_ls[usize::from(pair[0])]);
            let even = u8::from(*hash & mask_ls == 0);
            *hash = hash.wrapping_add(gear[usize::from(pair[1])]);
            even | u8::from(*hash & mask == 0)
        };
        for (((pair0, pair1), pair2), pair3) in lane0.iter().zip(lane1).zip(lane2).zip(lane3) {
            let cut = step(&mut hash0, pair0)
                | step(&mut hash1, pair1)
                | step(&mut hash2, pair2)
                | step(&mut hash3, pair3);
            if cut != 0 {
                return None;
            }
        }
        Some(hash3)
    }

    /// The hash of the bytes before `at`. Only right when the scan began at least [`HASH_MEMORY`] bytes before.
    fn hash_before(&self, at: usize) -> u64 {
        self.bytes[at - HASH_MEMORY..at]
            .iter()
            .fold(0, |hash: u64, byte| (hash << 1).wrapping_add(self.gear.gear[usize::from(*byte)]))
    }

    fn one_by_one(&self, from: usize, to: usize, mut hash: u64) -> Result<u64, Cut> {
        let (mask, mask_ls) = (self.mask, self.mask << 1);
        let GearTables { gear, gear_ls } = self.gear;
        for (index, pair) in self.bytes[from..to].as_chunks::<2>().0.iter().enumerate() {
            hash = (hash << 2).wrapping_add(gear_ls[usize::from(pair[0])]);
            if hash & mask_ls == 0 {
                return Err(Cut(from + 2 * index));
            }
            hash = hash.wrapping_add(gear[usize::from(pair[1])]);
            if hash & mask == 0 {
                return Err(Cut(from + 2 * index + 1));
            }
        }
        Ok(hash)
    }
}

#[cfg(test)]
mod tests {
    use fastcdc::v2020::cut_gear;
    use proptest::prelude::*;
    use rand::rngs::StdRng;
    use rand::{Rng, RngExt, SeedableRng};

    use super::*;

    const SMALL: ChunkerConfig = ChunkerConfig { min: 256, avg: 1024, max: 8192 };

    fn key() -> DomainKey {
        DomainKey::from_bytes([7; 32])
    }

    fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
        bytes
    }

    /// The library's cut points for the same table.
    fn reference_lengths(config: &ChunkerConfig, key: &DomainKey, mut data: &[u8]) -> Vec<usize> {
        let (mask_s, mask_l) = select_masks(config.avg, Normalization::Level2);
        let GearTables { gear, gear_ls } = key.gear();
        let mut lengths = Vec::new();
        while !data.is_empty() {
            let ChunkerConfig { min, avg, max } = *config;
            let (_, cut) =
                cut_gear(data, min, avg, max, mask_s, mask_l, mask_s << 1, mask_l << 1, gear, gear_ls);
            lengths.push(cut);
            data = &data[cut..];
        }
        lengths
    }

    fn cut(config: &ChunkerConfig, key: &DomainKey, pushes: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut chunker = Chunker::new(config, key).unwrap();
        let mut chunks = Vec::new();
        for push in pushes {
            chunker.push(push, &mut |chunk| chunks.push(chunk));
            assert!(chunker.held() <= config.max);
        }
        chunks.extend(chunker.finish());
        chunks
    }

    #[test]
    fn cut_points_are_those_of_the_fastcdc_library() {
        let data = random_bytes(1, 24 << 20);
        let default = ChunkerConfig::default();
        let wide = ChunkerConfig { min: 64, avg: 64 << 10, max: 16 << 20 };
        for config in [default, SMALL, wide] {
            for piece in [&data[..], &data[3..(9 << 20) + 4], &data[..0], &data[..1], &data[..257]] {
                let chunks = cut(&config, &key(), &[piece]);
                let lengths: Vec<usize> = chunks.iter().map(Vec::len).collect();
                assert_eq!(lengths, reference_lengths(&config, &key(), piece), "{config:?}");
                assert_eq!(chunks.concat(), piece);
            }
        }
    }

    #[test]
    fn bytes_without_cut_points_are_cut_at_the_maximum() {
        let zeros = vec![0; 9 << 20];
        let lengths: Vec<usize> =
            cut(&ChunkerConfig::default(), &key(), &[&zeros]).iter().map(Vec::len).collect();
        assert_eq!(lengths, [4 << 20, 4 << 20, 1 << 20]);
    }

    #[test]
    fn an_insertion_changes_the_chunks_around_it_only() {
        let data = random_bytes(2, 32 << 20);
        let mut edited = data.clone();
        edited.splice((16 << 20)..(16 << 20), *b"seven b");
        let config = ChunkerConfig::default();
        let before = cut(&config, &key(), &[&data]);
        let after = cut(&config, &key(), &[&edited]);
        let fresh = after.iter().filter(|chunk| !before.contains(chunk)).count();
        assert!(fresh <= 3, "{fresh} of {} chunks are new", after.len());
    }

    #[test]
    fn two_domains_cut_the_same_bytes_differently() {
        let data = random_bytes(3, 16 << 20);
        let config = ChunkerConfig::default();
        let other = DomainKey::from_bytes([8; 32]);
        assert_ne!(cut(&config, &key(), &[&data]), cut(&config, &other, &[&data]));
    }

    #[test]
    fn random_bytes_give_chunks_near_the_average() {
        let data = random_bytes(4, 64 << 20);
        let chunks = cut(&ChunkerConfig::default(), &key(), &[&data]);
        let mean = data.len() / chunks.len();
        assert!((900 << 10..1500 << 10).contains(&mean), "mean {mean}");
    }

    #[test]
    fn sizes_that_cannot_be_cut_at_are_refused() {
        let sizes = |min, avg, max| ChunkerConfig { min, avg, max };
        for config in
            [sizes(62, 1024, 2048), sizes(65, 1024, 2048), sizes(2048, 1024, 4096), sizes(64, 1024, 512)]
        {
            assert!(
                matches!(Chunker::new(&config, &key()), Err(PipelineError::ChunkSizes { .. })),
                "{config:?}"
            );
        }
        assert!(Chunker::new(&sizes(1 << 20, 4 << 20, 16 << 20), &key()).is_ok());
        assert!(Chunker::new(&sizes(1 << 20, 4 << 20, (16 << 20) + 2), &key()).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_split_into_pushes_gives_the_same_chunks(
            seed in any::<u64>(), len in 0usize..200_000, alphabet in 1u8..=255, push_max in 1usize..100_000,
        ) {
            let mut rng = StdRng::seed_from_u64(seed);
            let data: Vec<u8> = (0..len).map(|_| rng.random_range(0..alphabet)).collect();
            let mut pushes = Vec::new();
            let mut rest = &data[..];
            while !rest.is_empty() {
                let (head, tail) = rest.split_at(rng.random_range(0..=push_max.min(rest.len())));
                pushes.push(head);
                rest = tail;
            }
            let whole = cut(&SMALL, &key(), &[&data]);
            prop_assert_eq!(&whole, &cut(&SMALL, &key(), &pushes));
            prop_assert_eq!(whole.concat(), data);
        }
    }
}

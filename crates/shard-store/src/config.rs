//! What a store is told when it is opened, with every default in one place.

use std::path::PathBuf;

use datamesh_types::MIB;

use crate::error::StoreError;

/// Smallest and largest `segment_bytes`. A segment may outgrow its target by one batch, and offsets in it are
/// 32-bit numbers.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 4096..=2048 * MIB;

/// Where a store lives and how much it may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardStoreConfig {
    /// The directory. It is created when missing and belongs to one open store at a time.
    pub dir: PathBuf,
    /// Limit on the bytes of all segment files. Writes beyond it are refused with [`StoreError::Full`].
    /// Compaction may exceed it for a moment, by at most one segment.
    pub capacity_bytes: u64,
    /// The size at which a segment is closed and the next one started. Compaction rewrites whole segments, so
    /// smaller segments reclaim space in smaller steps, and larger ones need fewer files.
    pub segment_bytes: u64,
    /// Writes are refused with [`StoreError::Full`] when they would leave less than this free on the file system.
    /// It keeps room for deletes, for the index and for compaction, so it should be at least `segment_bytes`.
    pub reserve_bytes: u64,
    /// Memory for index blocks.
    pub index_cache_bytes: usize,
    /// Memory for index entries that are not on disk yet; there may be two such buffers. It also bounds how
    /// much of the log is read again after a crash: some ten thousand records per MiB.
    pub index_buffer_bytes: usize,
    /// Segment files kept open.
    pub open_files: usize,
    /// Whether segments are compacted in the background once enough of them is dead. Without it, space comes
    /// back only through [`crate::ShardStore::compact`].
    pub auto_compact: bool,
}

impl ShardStoreConfig {
    /// A store in `dir` of at most `capacity_bytes`, everything else at its default: segments of 256 MiB, or a
    /// sixteenth of the capacity when that is less, and as much again kept free on the file system.
    pub fn new(dir: impl Into<PathBuf>, capacity_bytes: u64) -> Self {
        let segment_bytes = (capacity_bytes / 16).clamp(*SEGMENT_BYTES.start(), 256 * MIB);
        Self {
            dir: dir.into(),
            capacity_bytes,
            segment_bytes,
            reserve_bytes: segment_bytes,
            index_cache_bytes: 2 * MIB as usize,
            index_buffer_bytes: MIB as usize,
            open_files: 128,
            auto_compact: true,
        }
    }

    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if SEGMENT_BYTES.contains(&self.segment_bytes) {
            return Ok(());
        }
        Err(StoreError::InvalidConfig {
            key: "segment_bytes",
            expected: "4 KiB to 2 GiB",
            given: self.segment_bytes,
        })
    }
}

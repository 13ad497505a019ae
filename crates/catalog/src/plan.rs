//! Read plans: which chunks hold a range of a version.

use std::ops::Range;

use datamesh_types::{ChunkId, Location};

use crate::{Catalog, CatalogError, Version};

/// One chunk of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedChunk {
    /// The chunk.
    pub chunk: ChunkId,
    /// The backend that keeps it.
    pub backend: String,
    /// Where.
    pub location: Location,
    /// Indexes of shards that were never written or are known to be lost: do not ask for them first.
    pub missing: Vec<u8>,
    /// Its plaintext's length in bytes.
    pub plain_len: u32,
    /// Where its plaintext starts in the object, in bytes.
    pub object_offset: u64,
}

/// The chunks of a range, in order, a page at a time: memory stays bounded for objects of any size.
pub struct ReadPlan {
    _private: (),
}

impl ReadPlan {
    /// The next chunks, at most 1,024; empty at the end.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchVersion`] when the version was deleted so long ago that its manifest has been
    /// collected.
    pub async fn next_page(&mut self) -> Result<Vec<PlannedChunk>, CatalogError> {
        todo!()
    }
}

impl Catalog {
    /// Plans to read `range` (bytes) of a version. The first and the last chunk may reach beyond it. Nothing is
    /// planned for empty and inline content.
    pub fn read_plan(&self, version: &Version, range: Range<u64>) -> ReadPlan {
        let _ = (version, range);
        todo!()
    }

    /// The range (bytes) of one part of a multipart object, and how many parts it has; `None` when there is no
    /// such part. A version that was not uploaded in parts has one.
    pub async fn part_range(
        &self,
        version: &Version,
        number: u16,
    ) -> Result<Option<(Range<u64>, u16)>, CatalogError> {
        let _ = (version, number);
        todo!()
    }

    /// Up to `limit` parts of a completed multipart version, by number, after part `after`.
    pub async fn version_parts(
        &self,
        version: &Version,
        after: u16,
        limit: usize,
    ) -> Result<Vec<crate::Part>, CatalogError> {
        let _ = (version, after, limit);
        todo!()
    }
}

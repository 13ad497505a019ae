//! Chunk rows: finding them, referencing them.

use datamesh_types::{ChunkId, DomainId};

use crate::{Catalog, CatalogError};

/// A chunk's row number. Never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkRow(pub i64);

/// A chunk that the catalog has, so that it needs no upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownChunk {
    /// Its row.
    pub row: ChunkRow,
    /// Its plaintext's length in bytes.
    pub plain_len: u32,
}

impl Catalog {
    /// Looks chunks up by id; the answers stand in the order asked. A lost chunk counts as unknown, so that writing
    /// it again heals it.
    ///
    /// This takes no reference: only the commit does, and fails with [`CatalogError::ChunkGone`] if collection was
    /// faster. To make that rare, finding a condemned chunk starts its grace period anew.
    pub async fn find_chunks(
        &self,
        domain: DomainId,
        backend: &str,
        chunks: &[ChunkId],
        now_ms: u64,
    ) -> Result<Vec<Option<KnownChunk>>, CatalogError> {
        let _ = (domain, backend, chunks, now_ms);
        todo!()
    }
}

//! Manifests: the ordered chunks of a version or part, stored in segments.

use datamesh_types::{ChunkId, DomainId, Location};

use crate::{Catalog, CatalogError, ChunkRow};

/// A manifest's number. Never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ManifestId(pub i64);

/// One entry: a chunk and its place in the object, given by the entries before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestEntry {
    /// A chunk that [`Catalog::find_chunks`] found.
    Known {
        /// Its row.
        row: ChunkRow,
        /// Its plaintext's length in bytes.
        len: u32,
    },
    /// A chunk that was just written to a backend.
    ///
    /// When another writer committed the same chunk first, this entry refers to the other one's and `location`
    /// becomes garbage.
    New {
        /// The chunk.
        chunk: ChunkId,
        /// Its plaintext's length in bytes.
        len: u32,
        /// Where it was written.
        location: Location,
        /// Indexes of the shards that are not durable yet.
        missing: Vec<u8>,
    },
}

impl ManifestEntry {
    /// The plaintext's length in bytes.
    pub const fn len(&self) -> u32 {
        match self {
            Self::Known { len, .. } | Self::New { len, .. } => *len,
        }
    }
}

/// Entries to append to a pending manifest.
#[derive(Debug, Clone)]
pub struct ManifestAppend {
    /// The pending manifest; `None` begins one.
    pub manifest: Option<ManifestId>,
    /// The dedup domain of its chunks.
    pub domain: DomainId,
    /// The backend of its chunks.
    pub backend: String,
    /// How many bytes the manifest must hold already: guards against appending twice.
    pub start_offset: u64,
    /// The entries, in order. At most 1,024.
    pub entries: Vec<ManifestEntry>,
    /// Until when the manifest stays pending unless appended to again or committed.
    pub expires_at_ms: u64,
}

/// A manifest in a commit: a pending one, if there is, and the entries that follow it.
#[derive(Debug, Clone)]
pub struct ManifestContent {
    /// The pending manifest with the bytes before the tail; `None` when the tail is all.
    pub pending: Option<ManifestId>,
    /// The dedup domain of its chunks.
    pub domain: DomainId,
    /// The backend of its chunks.
    pub backend: String,
    /// The last entries. At most 1,024; may be empty.
    pub tail: Vec<ManifestEntry>,
}

impl Catalog {
    /// Appends entries to a pending manifest and takes their references.
    ///
    /// # Errors
    /// [`CatalogError::ManifestGone`] when it has expired, [`CatalogError::SizeMismatch`] when it does not hold
    /// `start_offset` bytes, [`CatalogError::ChunkGone`].
    pub async fn append_manifest(&self, append: ManifestAppend) -> Result<ManifestId, CatalogError> {
        let _ = append;
        todo!()
    }

    /// Gives up a pending manifest, so that its references need not wait for its expiry. One that is committed or
    /// gone stays as it is.
    pub async fn release_manifest(&self, manifest: ManifestId, now_ms: u64) -> Result<(), CatalogError> {
        let _ = (manifest, now_ms);
        todo!()
    }
}

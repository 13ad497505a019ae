//! Garbage collection: from released manifests over condemned chunks to sealed chunks that backends delete.

use datamesh_types::Location;

use crate::{Catalog, CatalogError};

/// A garbage row's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GarbageId(pub i64);

/// A sealed chunk that nothing refers to any more: for a backend to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Garbage {
    /// Its row, for [`Catalog::garbage_deleted`].
    pub id: GarbageId,
    /// The backend.
    pub backend: String,
    /// Where.
    pub location: Location,
}

/// What one step of collection did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Pending manifests that had expired.
    pub manifests_expired: u64,
    /// Released manifest segments taken apart.
    pub segments: u64,
    /// Condemned chunks turned into garbage.
    pub chunks: u64,
    /// Whether there was more to do than the limit allowed.
    pub more: bool,
}

impl Catalog {
    /// One bounded step of collection: expires pending manifests, takes apart manifests released longer than
    /// `grace_ms` ago, and turns chunks condemned longer than `grace_ms` ago into garbage. Each kind of work stops
    /// at `limit` rows; call again while [`Collected::more`].
    ///
    /// With a grace of 0 everything unreferenced goes at once; readers and writers that are under way may then
    /// fail with [`CatalogError::NoSuchVersion`] or [`CatalogError::ChunkGone`], never with wrong bytes.
    pub async fn collect_garbage(
        &self,
        now_ms: u64,
        grace_ms: u64,
        limit: usize,
    ) -> Result<Collected, CatalogError> {
        let _ = (now_ms, grace_ms, limit);
        todo!()
    }

    /// Up to `limit` sealed chunks to delete, oldest first, starting after row `after`.
    pub async fn garbage_batch(
        &self,
        after: Option<GarbageId>,
        limit: usize,
    ) -> Result<Vec<Garbage>, CatalogError> {
        let _ = (after, limit);
        todo!()
    }

    /// Forgets garbage that the backends have deleted.
    pub async fn garbage_deleted(&self, garbage: &[GarbageId]) -> Result<(), CatalogError> {
        let _ = garbage;
        todo!()
    }

    /// Which of these locations no chunk and no garbage row names, in the order asked: left by a gateway that died
    /// between writing and committing, if they are old.
    pub async fn unknown_locations(&self, locations: &[Location]) -> Result<Vec<Location>, CatalogError> {
        let _ = locations;
        todo!()
    }
}

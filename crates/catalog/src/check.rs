//! The doctor's check of the catalog against itself.

use datamesh_types::AccountId;

use crate::{BucketId, Catalog, CatalogError, ChunkRow, ManifestId};

/// Where a check goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckPosition {
    _private: (),
}

/// Something in the catalog that contradicts something else in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A manifest names a chunk that has no row.
    MissingChunk {
        /// The chunk's row.
        chunk: ChunkRow,
        /// How many entries name it.
        entries: u64,
    },
    /// A chunk's count differs from the entries that name it.
    ChunkReferences {
        /// The chunk's row.
        chunk: ChunkRow,
        /// The count in its row.
        stored: u64,
        /// The entries that name it.
        counted: u64,
    },
    /// A chunk is condemned though it has references, or the reverse.
    ChunkCondemned {
        /// The chunk's row.
        chunk: ChunkRow,
    },
    /// A manifest's count differs from the versions and parts that use it, or it is used but not committed.
    ManifestReferences {
        /// The manifest.
        manifest: ManifestId,
        /// The count in its row, 0 when it has none.
        stored: u64,
        /// The versions and parts that use it.
        counted: u64,
    },
    /// A manifest's segments do not follow each other, or do not sum to its size.
    ManifestSize {
        /// The manifest.
        manifest: ManifestId,
    },
    /// A version's size differs from its manifest's or its parts', or its parts do not follow each other.
    VersionSize {
        /// The bucket.
        bucket: BucketId,
        /// The key.
        key: Vec<u8>,
        /// The version's sequence number.
        sequence: u64,
    },
    /// A version is listed though it is not a current object, or the reverse.
    Listed {
        /// The bucket.
        bucket: BucketId,
        /// The key.
        key: Vec<u8>,
    },
}

/// A page of a check.
#[derive(Debug, Clone, Default)]
pub struct CheckPage {
    /// What was found. Empty for most pages.
    pub findings: Vec<Finding>,
    /// Rows looked at.
    pub rows: u64,
    /// Where to go on; `None` when the check is complete.
    pub next: Option<CheckPosition>,
}

/// What an account stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountUsage {
    /// The account.
    pub account: AccountId,
    /// Logical bytes of its versions and of the parts of its open uploads.
    pub bytes: u64,
    /// Versions that hold data.
    pub objects: u64,
}

impl Catalog {
    /// Checks one page of the catalog, each on one snapshot; `None` begins. Memory is bounded whatever the
    /// catalog's size.
    pub async fn check(&self, position: Option<CheckPosition>) -> Result<CheckPage, CatalogError> {
        let _ = position;
        todo!()
    }

    /// What each account with buckets stores, counted from the versions and parts: quota accounting must agree.
    pub async fn usage(&self) -> Result<Vec<AccountUsage>, CatalogError> {
        todo!()
    }
}

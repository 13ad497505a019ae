//! Listing current objects in key order.

use crate::{BucketId, Catalog, CatalogError};

/// Which objects to list.
#[derive(Debug, Clone)]
pub struct ListQuery {
    /// The bucket.
    pub bucket: BucketId,
    /// Only keys that begin with this.
    pub prefix: Vec<u8>,
    /// Keys that share the part from the prefix up to and including this are rolled up into one common prefix.
    /// Empty: no roll-up.
    pub delimiter: Vec<u8>,
    /// Only keys and common prefixes greater than this: a marker, start-after, or [`ListPage::next`]. A key under
    /// a common prefix that equals this is skipped too.
    pub after: Vec<u8>,
    /// The most keys and common prefixes together.
    pub limit: usize,
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// Its key.
    pub key: Vec<u8>,
    /// Logical size in bytes.
    pub size: u64,
    /// ETag without quotes.
    pub etag: String,
    /// When it was written.
    pub modified_ms: u64,
    /// S3's name of its storage class.
    pub storage_class: String,
}

/// A page of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListPage {
    /// Objects, in byte order of their keys.
    pub objects: Vec<ListedObject>,
    /// Common prefixes, in byte order.
    pub common_prefixes: Vec<Vec<u8>>,
    /// Where the next page starts ([`ListQuery::after`]); `None` when this is the last.
    pub next: Option<Vec<u8>>,
}

impl Catalog {
    /// Lists current objects. The cost depends on the page, not on the bucket: each common prefix costs one seek.
    pub async fn list_objects(&self, query: ListQuery) -> Result<ListPage, CatalogError> {
        let _ = query;
        todo!()
    }
}

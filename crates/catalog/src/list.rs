//! Listing current objects in key order.

use std::sync::Arc;

use datamesh_db::{Row, Tx};
use datamesh_types::AccountId;

use crate::meta::owner_from_row;
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
    /// Only keys greater than this: a marker, start-after, or [`ListPage::next`]. When it is a common prefix, the
    /// keys under it are skipped.
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
    /// What stands for the `ETag`; opaque.
    pub etag: String,
    /// When it was written.
    pub modified_ms: u64,
    /// S3's name of its storage class.
    pub storage_class: String,
    /// The account that wrote it; `None` is the bucket's owner.
    pub owner: Option<AccountId>,
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
        let query = Arc::new(query);
        self.db
            .scan(move |tx| {
                let query = Arc::clone(&query);
                Box::pin(async move { Ok(list(tx, &query).await?.0) })
            })
            .await
    }
}

/// What a page cost, for the test that it does not depend on the bucket's size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ListCost {
    pub(crate) statements: usize,
    pub(crate) rows: usize,
}

/// Rows to fetch after a seek past a common prefix: the next key is often under the next common prefix.
pub(crate) const ROWS_AFTER_SEEK: usize = 2;

/// From `$2` to below `$3`, both keys.
pub(crate) const FROM: &str = "SELECT key, size, modified_ms, etag, storage_class, owner FROM version
     WHERE bucket = $1 AND listed = 1 AND key >= $2 AND key < $3 ORDER BY key LIMIT $4";

pub(crate) async fn list(tx: &mut Tx, query: &ListQuery) -> Result<(ListPage, ListCost), CatalogError> {
    let mut page = ListPage::default();
    let mut cost = ListCost::default();
    let Some(mut walk) = KeyWalk::new(&query.prefix, &query.delimiter, &query.after) else {
        return Ok((page, cost));
    };
    if query.limit == 0 {
        return Ok((page, cost));
    }
    let mut rows_wanted = if query.delimiter.is_empty() { usize::MAX } else { 64 };
    let mut last = Vec::new();
    let mut count = 0;
    'pages: loop {
        let fetch = rows_wanted.min(query.limit - count + 1);
        let params = [query.bucket.0.into(), (&walk.from).into(), (&walk.until).into(), fetch.into()];
        let rows = tx.query(FROM, &params).await?;
        cost.statements += 1;
        cost.rows += rows.len();
        let exhausted = rows.len() < fetch;
        let mut sought = false;
        for mut row in rows {
            let key = row.take_blob(0)?;
            if key < walk.from {
                continue;
            }
            if count == query.limit {
                page.next = Some(last);
                break 'pages;
            }
            count += 1;
            if let Some(common) = walk.common_prefix(&key) {
                last = common.to_vec();
                page.common_prefixes.push(last.clone());
                // Past every key under it, without reading them.
                if !walk.seek_past(&last) {
                    break 'pages;
                }
                sought = true;
            } else {
                walk.seek_after(&key);
                last.clone_from(&key);
                page.objects.push(object_from_row(&row, key)?);
                sought = false;
            }
        }
        if exhausted {
            break;
        }
        rows_wanted = if sought { ROWS_AFTER_SEEK } else { rows_wanted.saturating_mul(4) };
    }
    Ok((page, cost))
}

fn object_from_row(row: &Row, key: Vec<u8>) -> Result<ListedObject, CatalogError> {
    Ok(ListedObject {
        key,
        size: row.uint(1)?,
        modified_ms: row.uint(2)?,
        etag: row.text(3)?.to_owned(),
        storage_class: row.text(4)?.to_owned(),
        owner: owner_from_row(row, 5)?,
    })
}

/// A walk over keys in byte order that rolls up common prefixes.
pub(crate) struct KeyWalk<'a> {
    prefix: &'a [u8],
    delimiter: &'a [u8],
    /// The least key of interest.
    pub(crate) from: Vec<u8>,
    /// Above every key of interest.
    pub(crate) until: Vec<u8>,
}

/// Above every key: keys have at most 1,024 bytes, and so do prefixes that match any.
const ABOVE_ALL: [u8; 1025] = [0xff; 1025];

impl<'a> KeyWalk<'a> {
    /// A walk over the keys after `after`; `None` when there can be none.
    pub(crate) fn new(prefix: &'a [u8], delimiter: &'a [u8], after: &[u8]) -> Option<Self> {
        let until = successor(prefix).unwrap_or_else(|| ABOVE_ALL.to_vec());
        let mut walk = Self { prefix, delimiter, from: prefix.to_vec(), until };
        if !after.is_empty() && after >= prefix {
            let common = walk.common_prefix(after).filter(|common| *common == after).map(<[u8]>::to_vec);
            match common {
                Some(common) if !walk.seek_past(&common) => return None,
                Some(_) => {}
                None => walk.seek_after(after),
            }
        }
        (walk.from < walk.until).then_some(walk)
    }

    /// The common prefix that rolls `key` up.
    pub(crate) fn common_prefix<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        if self.delimiter.is_empty() {
            return None;
        }
        let rest = key.strip_prefix(self.prefix)?;
        let at = rest.windows(self.delimiter.len()).position(|window| window == self.delimiter)?;
        Some(&key[..self.prefix.len() + at + self.delimiter.len()])
    }

    /// Goes on after `key`.
    pub(crate) fn seek_after(&mut self, key: &[u8]) {
        self.from.clear();
        self.from.extend_from_slice(key);
        self.from.push(0);
    }

    /// Goes on past every key that begins with `common`; whether there can be any.
    pub(crate) fn seek_past(&mut self, common: &[u8]) -> bool {
        match successor(common) {
            Some(from) => self.from = from,
            None => return false,
        }
        self.from < self.until
    }
}

/// The least text above every text that begins with `prefix`; `None` when it is empty or all 0xFF.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut above = prefix[..=last].to_vec();
    above[last] += 1;
    Some(above)
}

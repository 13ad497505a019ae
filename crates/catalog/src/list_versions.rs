//! Listing versions: by key, and newest first within one.

use std::sync::Arc;

use datamesh_db::{Row, Tx};
use datamesh_types::AccountId;

use crate::list::{KeyWalk, ROWS_AFTER_SEEK};
use crate::meta::owner_from_row;
use crate::{BucketId, Catalog, CatalogError, VersionId};

/// Which versions to list.
#[derive(Debug, Clone)]
pub struct VersionListQuery {
    /// The bucket.
    pub bucket: BucketId,
    /// Only keys that begin with this.
    pub prefix: Vec<u8>,
    /// As in [`crate::ListQuery::delimiter`].
    pub delimiter: Vec<u8>,
    /// Only keys and common prefixes greater than this, except as [`Self::after_version`] says.
    pub after: Vec<u8>,
    /// Also versions of the key [`Self::after`] that are older than this one.
    pub after_version: Option<VersionId>,
    /// The most versions and common prefixes together.
    pub limit: usize,
}

/// A version in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedVersion {
    /// Its key.
    pub key: Vec<u8>,
    /// Its id.
    pub id: VersionId,
    /// Its place in the order of commits.
    pub sequence: u64,
    /// Whether it marks a deletion.
    pub delete_marker: bool,
    /// Whether it is its key's current version.
    pub latest: bool,
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

/// A page of versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionPage {
    /// Versions and delete markers, by key, newest first.
    pub versions: Vec<ListedVersion>,
    /// Common prefixes, in byte order.
    pub common_prefixes: Vec<Vec<u8>>,
    /// Where the next page starts: [`VersionListQuery::after`] and, unless that is a common prefix,
    /// [`VersionListQuery::after_version`]. It names a version by number even where its id is `null`, so that it
    /// stays true when that version is replaced.
    pub next: Option<(Vec<u8>, Option<VersionId>)>,
}

impl Catalog {
    /// Lists versions and delete markers. The cost depends on the page, not on the bucket.
    pub async fn list_versions(&self, query: VersionListQuery) -> Result<VersionPage, CatalogError> {
        let query = Arc::new(query);
        self.db
            .scan(move |tx| {
                let query = Arc::clone(&query);
                Box::pin(async move { list(tx, &query).await })
            })
            .await
    }
}

macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT key, sequence, null_version, delete_marker, size, modified_ms, etag, storage_class, owner
             FROM version WHERE bucket = $1 AND ",
            $condition
        )
    };
}

/// From `$2` to below `$3`, both keys.
pub(crate) const FROM: &str = select!("key >= $2 AND key < $3 ORDER BY key, sequence DESC LIMIT $4");

/// A page as it grows.
struct Pager<'a> {
    query: &'a VersionListQuery,
    walk: KeyWalk<'a>,
    page: VersionPage,
    count: usize,
    /// What was listed last: a version by key and sequence, or a common prefix.
    last: Option<(Vec<u8>, Option<i64>)>,
    /// The key whose older versions come next, and the sequence they are below.
    rest: Option<(Vec<u8>, i64)>,
    /// The greatest sequence of the key that was listed last.
    newest: i64,
}

/// What a row led to.
enum Step {
    Listed,
    /// A common prefix: the rows under it need not be read.
    Sought,
    Full,
}

async fn list(tx: &mut Tx, query: &VersionListQuery) -> Result<VersionPage, CatalogError> {
    const REST: &str = select!("key = $2 AND sequence < $3 ORDER BY sequence DESC LIMIT $4");
    let Some(mut pager) = Pager::new(tx, query).await? else { return Ok(VersionPage::default()) };
    let mut rows_wanted = if query.delimiter.is_empty() { usize::MAX } else { 64 };
    loop {
        let fetch = rows_wanted.min(query.limit - pager.count + 1);
        let rest = pager.rest.take();
        let (sql, params) = if let Some((key, sequence)) = &rest {
            (REST, [query.bucket.0.into(), key.into(), (*sequence).into(), fetch.into()])
        } else {
            let (from, until) = (&pager.walk.from, &pager.walk.until);
            (FROM, [query.bucket.0.into(), from.into(), until.into(), fetch.into()])
        };
        let rows = tx.query(sql, &params).await?;
        let exhausted = rows.len() < fetch;
        let mut sought = false;
        for mut row in rows {
            let key = row.take_blob(0)?;
            if rest.is_none() && key < pager.walk.from {
                continue;
            }
            match pager.take(key, &row)? {
                Step::Full => return Ok(pager.page),
                Step::Listed => sought = false,
                Step::Sought if pager.walk.from >= pager.walk.until => return Ok(pager.page),
                Step::Sought => sought = true,
            }
        }
        match (rest, exhausted) {
            (Some((key, _)), true) => {
                pager.walk.seek_after(&key);
                pager.rest = None;
            }
            (None, true) => return Ok(pager.page),
            (_, false) => {}
        }
        rows_wanted = if sought { ROWS_AFTER_SEEK } else { rows_wanted.saturating_mul(4) };
    }
}

impl<'a> Pager<'a> {
    /// `None` when nothing can be on the page.
    async fn new(tx: &mut Tx, query: &'a VersionListQuery) -> Result<Option<Self>, CatalogError> {
        const NULL: &str = "SELECT sequence FROM version WHERE bucket = $1 AND key = $2 AND null_version = 1
             ORDER BY sequence DESC LIMIT 1";
        const NEWEST: &str =
            "SELECT sequence FROM version WHERE bucket = $1 AND key = $2 ORDER BY sequence DESC LIMIT 1";
        let walk = KeyWalk::new(&query.prefix, &query.delimiter, &query.after);
        if query.limit == 0 {
            return Ok(None);
        }
        let place = [query.bucket.0.into(), (&query.after).into()];
        let marker = match query.after_version {
            None => None,
            Some(VersionId::Numbered(sequence)) => Some(sequence.cast_signed()),
            // When it is gone, nobody knows which versions were older: the key counts as listed.
            Some(VersionId::Null) => match tx.query_opt(NULL, &place).await? {
                Some(row) => Some(row.int(0)?),
                None => None,
            },
        };
        // Keys that are rolled up or filtered out have no versions to go on with.
        let Some(walk) = walk else { return Ok(None) };
        let within = query.after.starts_with(&query.prefix) && walk.common_prefix(&query.after).is_none();
        let marker = marker.filter(|_| within);
        let newest = match marker {
            Some(_) => tx.query_opt(NEWEST, &place).await?.map_or(Ok(0), |row| row.int(0))?,
            None => 0,
        };
        let rest = marker.map(|sequence| (query.after.clone(), sequence));
        let last = rest.clone().map(|(key, sequence)| (key, Some(sequence)));
        Ok(Some(Self { query, walk, page: VersionPage::default(), count: 0, last, rest, newest }))
    }

    fn take(&mut self, key: Vec<u8>, row: &Row) -> Result<Step, CatalogError> {
        let sequence = row.int(1)?;
        if self.count == self.query.limit {
            let version = |sequence: i64| VersionId::Numbered(sequence.cast_unsigned());
            self.page.next = self.last.take().map(|(key, sequence)| (key, sequence.map(version)));
            return Ok(Step::Full);
        }
        self.count += 1;
        if let Some(common) = self.walk.common_prefix(&key) {
            let common = common.to_vec();
            if !self.walk.seek_past(&common) {
                self.walk.from.clone_from(&self.walk.until);
            }
            self.last = Some((common.clone(), None));
            self.rest = None;
            self.page.common_prefixes.push(common);
            return Ok(Step::Sought);
        }
        if self.last.as_ref().is_none_or(|(last, sequence)| *last != key || sequence.is_none()) {
            self.newest = sequence;
        }
        self.page.versions.push(ListedVersion {
            id: if row.bool(2)? { VersionId::Null } else { VersionId::Numbered(sequence.cast_unsigned()) },
            sequence: sequence.cast_unsigned(),
            delete_marker: row.bool(3)?,
            latest: sequence == self.newest,
            size: row.uint(4)?,
            modified_ms: row.uint(5)?,
            etag: row.text(6)?.to_owned(),
            storage_class: row.text(7)?.to_owned(),
            owner: owner_from_row(row, 8)?,
            key: key.clone(),
        });
        self.rest = Some((key.clone(), sequence));
        self.last = Some((key, Some(sequence)));
        Ok(Step::Listed)
    }
}

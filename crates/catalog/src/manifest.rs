//! Manifests: the ordered chunks of a version or part, stored in segments.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datamesh_db::{Row, Tx, Value};
use datamesh_types::{ChunkId, DomainId, Location};

use crate::chunk::{NewChunk, insert, reference};
use crate::segment::{self, Entry};
use crate::{Catalog, CatalogError, ChunkRow, garbage};

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
    #[allow(clippy::len_without_is_empty, reason = "no chunk is empty")]
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
    /// The entries, in order.
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
    /// The last entries; may be empty.
    pub tail: Vec<ManifestEntry>,
}

impl Catalog {
    /// Appends entries to a pending manifest and takes their references.
    ///
    /// # Errors
    /// [`CatalogError::ManifestGone`] when it has expired, [`CatalogError::SizeMismatch`] when it does not hold
    /// `start_offset` bytes, [`CatalogError::ChunkGone`].
    pub async fn append_manifest(&self, append: ManifestAppend) -> Result<ManifestId, CatalogError> {
        let append = Arc::new(append);
        self.db
            .write(move |tx| {
                let append = Arc::clone(&append);
                Box::pin(async move { self::append(tx, &append).await })
            })
            .await
    }

    /// Gives up a pending manifest, so that its references need not wait for its expiry. One that is committed or
    /// gone stays as it is.
    pub async fn release_manifest(&self, manifest: ManifestId, now_ms: u64) -> Result<(), CatalogError> {
        const RELEASE: &str = "UPDATE manifest SET expires_at_ms = NULL, released_at_ms = $2
             WHERE id = $1 AND expires_at_ms IS NOT NULL";
        self.db.execute(RELEASE, [manifest.0.into(), now_ms.into()].into()).await?;
        Ok(())
    }
}

/// Inserts the row of a manifest: domain, backend, size, how many use it, when it expires.
async fn insert_manifest(tx: &mut Tx, params: &[Value; 5]) -> Result<i64, CatalogError> {
    macro_rules! insert {
        () => {
            "INSERT INTO manifest (domain, backend, size, refs, expires_at_ms) VALUES ($1, $2, $3, $4, $5)"
        };
    }
    inserted(tx.insert(insert!(), concat!(insert!(), " RETURNING id"), params).await?)
}

async fn append(tx: &mut Tx, append: &ManifestAppend) -> Result<ManifestId, CatalogError> {
    const EXTEND: &str = "UPDATE manifest SET size = size + $2, expires_at_ms = $3
         WHERE id = $1 AND expires_at_ms IS NOT NULL RETURNING size, domain, backend";
    let entries = resolve(tx, append.domain, &append.backend, &append.entries).await?;
    let len = total_len(&entries);
    let id = if let Some(id) = append.manifest {
        let params = [id.0.into(), len.into(), append.expires_at_ms.into()];
        let row = tx.query_opt(EXTEND, &params).await?.ok_or(CatalogError::ManifestGone)?;
        check_owner(&row, append.domain, &append.backend)?;
        let stored = row.uint(0)? - len;
        if stored != append.start_offset {
            return Err(CatalogError::SizeMismatch { declared: append.start_offset, stored });
        }
        id.0
    } else {
        let params = [
            append.domain.into(),
            (&append.backend).into(),
            len.into(),
            Value::Int(0),
            append.expires_at_ms.into(),
        ];
        insert_manifest(tx, &params).await?
    };
    insert_segments(tx, id, append.start_offset, &entries).await?;
    Ok(ManifestId(id))
}

/// Makes `content` a committed manifest with one user.
///
/// # Errors
/// [`CatalogError::SizeMismatch`] unless it holds `size` bytes; as [`Catalog::append_manifest`].
pub(crate) async fn commit(tx: &mut Tx, content: &ManifestContent, size: u64) -> Result<i64, CatalogError> {
    const COMMIT: &str = "UPDATE manifest SET size = size + $2, refs = 1, expires_at_ms = NULL
         WHERE id = $1 AND expires_at_ms IS NOT NULL RETURNING size, domain, backend";
    let entries = resolve(tx, content.domain, &content.backend, &content.tail).await?;
    let len = total_len(&entries);
    let (id, stored) = if let Some(id) = content.pending {
        let row =
            tx.query_opt(COMMIT, &[id.0.into(), len.into()]).await?.ok_or(CatalogError::ManifestGone)?;
        check_owner(&row, content.domain, &content.backend)?;
        (id.0, row.uint(0)?)
    } else {
        let params =
            [content.domain.into(), (&content.backend).into(), len.into(), Value::Int(1), Value::Null];
        (insert_manifest(tx, &params).await?, len)
    };
    if stored != size {
        return Err(CatalogError::SizeMismatch { declared: size, stored });
    }
    insert_segments(tx, id, stored - len, &entries).await?;
    Ok(id)
}

/// One user more or fewer for the manifests that `SELECT` yields for the bound parameter `$1`.
macro_rules! share {
    ($select:literal) => {
        concat!(
            "UPDATE manifest SET refs = refs + 1
             WHERE released_at_ms IS NULL AND expires_at_ms IS NULL AND id IN (",
            $select,
            ")"
        )
    };
}
macro_rules! release {
    ($select:literal) => {
        concat!(
            "UPDATE manifest SET refs = refs - 1, released_at_ms = CASE WHEN refs <= 1 THEN CAST($2 AS BIGINT) ELSE NULL END
             WHERE id IN (",
            $select,
            ")"
        )
    };
}
pub(crate) use {release, share};

/// Chunk rows of `entries`, referenced. Locations that turn out superfluous become garbage.
async fn resolve(
    tx: &mut Tx,
    domain: DomainId,
    backend: &str,
    entries: &[ManifestEntry],
) -> Result<Vec<Entry>, CatalogError> {
    let mut known: BTreeMap<i64, i64> = BTreeMap::new();
    let mut new: BTreeMap<ChunkId, NewChunk<'_>> = BTreeMap::new();
    for entry in entries {
        match entry {
            ManifestEntry::Known { row, .. } => *known.entry(row.0).or_default() += 1,
            ManifestEntry::New { chunk, len, location, missing } => {
                new.entry(*chunk)
                    .or_insert(NewChunk { chunk, len: *len, location, missing, count: 0 })
                    .count += 1;
            }
        }
    }
    let rows = if new.is_empty() { HashMap::new() } else { insert(tx, domain, backend, &new).await? };
    if !known.is_empty() {
        reference(tx, &known).await?;
    }
    let mut superfluous = Vec::new();
    let mut resolved = Vec::with_capacity(entries.len());
    for entry in entries {
        let row = match entry {
            ManifestEntry::Known { row, .. } => row.0,
            ManifestEntry::New { chunk, location, .. } => {
                let (row, sealed) = rows.get(chunk).ok_or(CatalogError::Corrupt { what: "chunk" })?;
                if *sealed != location.sealed {
                    superfluous.push(*location);
                }
                *row
            }
        };
        resolved.push(Entry { row, len: entry.len() });
    }
    if !superfluous.is_empty() {
        garbage::insert(tx, backend, &superfluous).await?;
    }
    Ok(resolved)
}

async fn insert_segments(
    tx: &mut Tx,
    manifest: i64,
    start_offset: u64,
    entries: &[Entry],
) -> Result<(), CatalogError> {
    const INSERT: &str = "INSERT INTO manifest_segment (manifest, start_offset, entries) VALUES ($1, $2, $3)";
    let mut offset = start_offset;
    for entries in entries.chunks(segment::SEGMENT_ENTRIES_MAX) {
        tx.execute(INSERT, &[manifest.into(), offset.into(), segment::encode(entries).into()]).await?;
        offset += total_len(entries);
    }
    Ok(())
}

fn total_len(entries: &[Entry]) -> u64 {
    entries.iter().map(|entry| u64::from(entry.len)).sum()
}

/// Checks columns 1 and 2 of a manifest's row.
fn check_owner(row: &Row, domain: DomainId, backend: &str) -> Result<(), CatalogError> {
    let same = row.blob(1)? == domain.0 && row.text(2)? == backend;
    if same { Ok(()) } else { Err(CatalogError::DomainMismatch) }
}

/// The key that a plain INSERT always draws.
pub(crate) fn inserted(key: Option<i64>) -> Result<i64, CatalogError> {
    key.ok_or(CatalogError::Corrupt { what: "answer to an INSERT" })
}

/// The row that a RETURNING clause of a plain INSERT always yields.
pub(crate) fn first(row: Option<Row>) -> Result<Row, CatalogError> {
    row.ok_or(CatalogError::Corrupt { what: "answer to an INSERT" })
}

//! Chunk rows: finding them, referencing them.

use std::collections::{BTreeMap, HashMap, HashSet};

use datamesh_db::{Engine, Tx, Value};
use datamesh_types::{ChunkId, DomainId, Location, SealedId};

use crate::rows::json_rows;
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
        let ids: Vec<[String; 1]> = chunks.iter().map(|chunk| [hex::encode(chunk.0)]).collect();
        let params = [domain.into(), backend.into(), json_rows(&ids)?];
        let mut found = self
            .db
            .read(move |tx| {
                let params = params.clone();
                Box::pin(async move { find(tx, &params).await })
            })
            .await?;
        let condemned: Vec<[i64; 1]> =
            found.values().filter(|found| found.condemned).map(|found| [found.known.row.0]).collect();
        if !condemned.is_empty() {
            let params = [json_rows(&condemned)?, now_ms.into()];
            let kept = self
                .db
                .write(move |tx| {
                    let params = params.clone();
                    Box::pin(async move { touch(tx, &params).await })
                })
                .await?;
            found.retain(|_, found| !found.condemned || kept.contains(&found.known.row.0));
        }
        Ok(chunks.iter().map(|chunk| found.get(chunk).map(|found| found.known)).collect())
    }
}

struct Found {
    known: KnownChunk,
    condemned: bool,
}

async fn find(tx: &mut Tx, params: &[Value]) -> Result<HashMap<ChunkId, Found>, CatalogError> {
    const SELECT: &str = "SELECT c.chunk, c.id, c.plain_len, c.refs FROM chunk c
         WHERE c.domain = $1 AND c.backend = $2 AND c.lost = 0
           AND c.chunk IN (SELECT unhex(j.value ->> 0) FROM json_each(CAST($3 AS TEXT)) AS j)";
    let mut found = HashMap::new();
    for row in tx.query(SELECT, params).await? {
        let known = KnownChunk { row: ChunkRow(row.int(1)?), plain_len: row.int(2)? as u32 };
        found.insert(ChunkId(row.bytes(0)?), Found { known, condemned: row.int(3)? == 0 });
    }
    Ok(found)
}

/// Starts the grace period of condemned chunks anew; which of `params[0]` still exist.
async fn touch(tx: &mut Tx, params: &[Value]) -> Result<HashSet<i64>, CatalogError> {
    const TOUCH: &str = "UPDATE chunk SET condemned_at_ms = $2
         WHERE id IN (SELECT CAST(j.value ->> 0 AS BIGINT) FROM json_each(CAST($1 AS TEXT)) AS j)
           AND condemned_at_ms < $2";
    const KEPT: &str = "SELECT id FROM chunk
         WHERE id IN (SELECT CAST(j.value ->> 0 AS BIGINT) FROM json_each(CAST($1 AS TEXT)) AS j)";
    tx.execute(TOUCH, params).await?;
    let rows = tx.query(KEPT, &params[..1]).await?;
    rows.iter().map(|row| Ok(row.int(0)?)).collect()
}

/// A chunk that was just written.
pub(crate) struct NewChunk<'a> {
    pub(crate) chunk: &'a ChunkId,
    pub(crate) len: u32,
    pub(crate) location: &'a Location,
    pub(crate) missing: &'a [u8],
    /// How many entries name it.
    pub(crate) count: i64,
}

/// Inserts chunks with their references, or takes the references on those that are there already. Each chunk once.
///
/// Returns row and sealed id that each chunk has now: another sealed id than the one given means that another
/// writer was first. A lost chunk moves to the new location.
pub(crate) async fn insert(
    tx: &mut Tx,
    domain: DomainId,
    backend: &str,
    chunks: &BTreeMap<ChunkId, NewChunk<'_>>,
) -> Result<HashMap<ChunkId, (i64, SealedId)>, CatalogError> {
    const INSERT: &str = "INSERT INTO chunk
           (domain, backend, chunk, plain_len, placement, sealed, sealed_len, missing, refs)
         SELECT unhex(CAST($1 AS TEXT)), CAST($2 AS TEXT), unhex(j.value ->> 0), CAST(j.value ->> 1 AS BIGINT),
           CAST(j.value ->> 2 AS BIGINT), unhex(j.value ->> 3), CAST(j.value ->> 4 AS BIGINT),
           unhex(j.value ->> 5), CAST(j.value ->> 6 AS BIGINT)
         FROM json_each(CAST($3 AS TEXT)) AS j WHERE true
         ON CONFLICT (domain, backend, chunk) DO UPDATE SET
           refs = chunk.refs + excluded.refs, condemned_at_ms = NULL, lost = 0,
           placement = CASE chunk.lost WHEN 0 THEN chunk.placement ELSE excluded.placement END,
           sealed = CASE chunk.lost WHEN 0 THEN chunk.sealed ELSE excluded.sealed END,
           sealed_len = CASE chunk.lost WHEN 0 THEN chunk.sealed_len ELSE excluded.sealed_len END,
           missing = CASE chunk.lost WHEN 0 THEN chunk.missing ELSE excluded.missing END
         RETURNING id, chunk, sealed";
    // In the order of ids, so that two writers of the same chunks do not deadlock.
    let rows: Vec<_> = chunks
        .values()
        .map(|new| {
            let missing = (!new.missing.is_empty()).then(|| hex::encode(new.missing));
            let Location { group, sealed, sealed_len } = new.location;
            (
                hex::encode(new.chunk.0),
                new.len,
                group.0,
                hex::encode(sealed.0),
                sealed_len,
                missing,
                new.count,
            )
        })
        .collect();
    let params = [hex::encode(domain.0).into(), backend.into(), json_rows(&rows)?];
    let stored = tx.query(INSERT, &params).await?;
    stored.iter().map(|row| Ok((ChunkId(row.bytes(1)?), (row.int(0)?, SealedId(row.bytes(2)?))))).collect()
}

/// Takes `counts` references on known chunks, reviving the condemned ones.
///
/// # Errors
/// [`CatalogError::ChunkGone`] when some have been deleted.
pub(crate) async fn reference(tx: &mut Tx, counts: &BTreeMap<i64, i64>) -> Result<(), CatalogError> {
    const TAKE: &str =
        "UPDATE chunk SET refs = chunk.refs + CAST(j.value ->> 1 AS BIGINT), condemned_at_ms = NULL
         FROM json_each(CAST($1 AS TEXT)) AS j WHERE chunk.id = CAST(j.value ->> 0 AS BIGINT)";
    let params = lock_rows(tx, counts).await?;
    let taken = tx.execute(TAKE, &params).await? as usize;
    if taken < counts.len() {
        return Err(CatalogError::ChunkGone { missing: counts.len() - taken });
    }
    Ok(())
}

/// Gives `counts` references back; chunks without any are condemned.
pub(crate) async fn dereference(
    tx: &mut Tx,
    counts: &BTreeMap<i64, i64>,
    now_ms: u64,
) -> Result<(), CatalogError> {
    const GIVE: &str = "UPDATE chunk SET refs = chunk.refs - CAST(j.value ->> 1 AS BIGINT),
           condemned_at_ms = CASE WHEN chunk.refs <= CAST(j.value ->> 1 AS BIGINT) THEN CAST($2 AS BIGINT) ELSE NULL END
         FROM json_each(CAST($1 AS TEXT)) AS j WHERE chunk.id = CAST(j.value ->> 0 AS BIGINT)";
    let [rows] = lock_rows(tx, counts).await?;
    tx.execute(GIVE, &[rows, now_ms.into()]).await?;
    Ok(())
}

/// Locks the rows in their order, so that two transactions over the same chunks do not deadlock; the counts as a
/// parameter. Nothing to lock on SQLite, which has one writer.
async fn lock_rows(tx: &mut Tx, counts: &BTreeMap<i64, i64>) -> Result<[Value; 1], CatalogError> {
    const LOCK: &str = "SELECT id FROM chunk
         WHERE id IN (SELECT CAST(j.value ->> 0 AS BIGINT) FROM json_each(CAST($1 AS TEXT)) AS j)
         ORDER BY id FOR UPDATE";
    let params = [json_rows(&counts.iter().collect::<Vec<_>>())?];
    if tx.engine() == Engine::Postgres && counts.len() > 1 {
        tx.query(LOCK, &params).await?;
    }
    Ok(params)
}

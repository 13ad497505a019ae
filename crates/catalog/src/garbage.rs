//! Garbage collection: from released manifests over condemned chunks to sealed chunks that backends delete.

use std::collections::{BTreeMap, HashSet};

use datamesh_db::{Row, Tx, Value};
use datamesh_types::{GroupId, Location, SealedId};

use crate::chunk::dereference;
use crate::rows::{delete_by_id, json_rows};
use crate::{Catalog, CatalogError, segment};

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
        let before_ms = now_ms.saturating_sub(grace_ms);
        let manifests_expired =
            self.db.write(move |tx| Box::pin(expire_manifests(tx, now_ms, limit))).await?;
        let (mut segments, mut manifests) = (0, 0);
        let mut released_left = true;
        while released_left && segments.max(manifests) < limit as u64 {
            let step = (limit as u64 - segments).min(SEGMENTS_PER_COMMIT);
            let taken = self.db.write(move |tx| Box::pin(take_apart(tx, before_ms, now_ms, step))).await?;
            segments += taken.segments;
            manifests += taken.manifests;
            released_left = !taken.all;
        }
        let chunks = self.db.write(move |tx| Box::pin(collect_chunks(tx, before_ms, limit))).await?;
        self.db.write(|tx| Box::pin(discard_healed(tx))).await?;
        let full = |count: u64| count >= limit as u64;
        let more = full(manifests_expired) || released_left || full(chunks);
        Ok(Collected { manifests_expired, segments, chunks, more })
    }

    /// Up to `limit` sealed chunks to delete, oldest first, starting after row `after`.
    pub async fn garbage_batch(
        &self,
        after: Option<GarbageId>,
        limit: usize,
    ) -> Result<Vec<Garbage>, CatalogError> {
        let params = [after.map_or(0, |id| id.0).into(), limit.into()];
        self.db
            .scan(move |tx| {
                let params = params.clone();
                Box::pin(async move { batch(tx, &params).await })
            })
            .await
    }

    /// Forgets garbage that the backends have deleted.
    pub async fn garbage_deleted(&self, garbage: &[GarbageId]) -> Result<(), CatalogError> {
        self.delete_rows(delete_by_id!("garbage"), garbage.iter().map(|id| id.0)).await
    }

    /// Which of these locations no chunk and no garbage row names, in the order asked: left by a gateway that died
    /// between writing and committing, if they are old.
    pub async fn unknown_locations(&self, locations: &[Location]) -> Result<Vec<Location>, CatalogError> {
        let rows: Vec<_> =
            locations.iter().map(|location| (location.group.0, hex::encode(location.sealed.0))).collect();
        let params = [json_rows(&rows)?];
        let known = self
            .db
            .scan(move |tx| {
                let params = params.clone();
                Box::pin(async move { known_locations(tx, &params).await })
            })
            .await?;
        Ok(locations.iter().filter(|location| !known.contains(&location.sealed)).copied().collect())
    }
}

/// A segment has up to 1,024 entries: this bounds how long one commit holds its rows.
const SEGMENTS_PER_COMMIT: u64 = 16;

/// Columns 1 to 4: backend, placement, sealed id, sealed length.
const INSERT_ROWS: &str = "INSERT INTO garbage (backend, placement, sealed, sealed_len)
     SELECT j.value ->> 0, CAST(j.value ->> 1 AS BIGINT), unhex(j.value ->> 2), CAST(j.value ->> 3 AS BIGINT)
     FROM json_each(CAST($1 AS TEXT)) AS j WHERE true ON CONFLICT (sealed) DO NOTHING";

/// Turns locations that nothing refers to into garbage.
pub(crate) async fn insert(tx: &mut Tx, backend: &str, locations: &[Location]) -> Result<(), CatalogError> {
    let rows: Vec<_> = locations
        .iter()
        .map(|location| (backend, location.group.0, hex::encode(location.sealed.0), location.sealed_len))
        .collect();
    tx.execute(INSERT_ROWS, &[json_rows(&rows)?]).await?;
    Ok(())
}

async fn expire_manifests(tx: &mut Tx, now_ms: u64, limit: usize) -> Result<u64, CatalogError> {
    // The condition stands twice: on PostgreSQL a manifest may be appended to between the two.
    const EXPIRE: &str = "UPDATE manifest SET expires_at_ms = NULL, released_at_ms = $1
         WHERE id IN (SELECT id FROM manifest WHERE expires_at_ms <= $1 ORDER BY expires_at_ms LIMIT $2)
           AND expires_at_ms <= $1";
    Ok(tx.execute(EXPIRE, &[now_ms.into(), limit.into()]).await?)
}

struct Taken {
    segments: u64,
    manifests: u64,
    /// Nothing was left to take apart.
    all: bool,
}

/// Drops the references of up to `limit` segments of manifests released before `before_ms`, with the manifests that
/// have no segment left.
async fn take_apart(tx: &mut Tx, before_ms: u64, now_ms: u64, limit: u64) -> Result<Taken, CatalogError> {
    const RELEASED: &str = "SELECT id FROM manifest
         WHERE released_at_ms <= $1 ORDER BY released_at_ms LIMIT $2";
    const SEGMENTS: &str = "SELECT start_offset, entries FROM manifest_segment
         WHERE manifest = $1 ORDER BY start_offset LIMIT $2";
    const DELETE_SEGMENTS: &str = "DELETE FROM manifest_segment WHERE (manifest, start_offset) IN
         (SELECT CAST(j.value ->> 0 AS BIGINT), CAST(j.value ->> 1 AS BIGINT)
          FROM json_each(CAST($1 AS TEXT)) AS j)";
    const DELETE_MANIFESTS: &str = "DELETE FROM manifest
         WHERE id IN (SELECT CAST(j.value ->> 0 AS BIGINT) FROM json_each(CAST($1 AS TEXT)) AS j)";
    // One collector at a time: two would drop the same references.
    tx.lock(b"collect").await?;
    let released = tx.query(RELEASED, &[before_ms.into(), limit.into()]).await?;
    let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
    let (mut segments, mut manifests) = (Vec::new(), Vec::new());
    for row in &released {
        let manifest = row.int(0)?;
        let left = limit - segments.len() as u64;
        if left == 0 {
            break;
        }
        let rows = tx.query(SEGMENTS, &[manifest.into(), left.into()]).await?;
        for row in &rows {
            segments.push((manifest, row.int(0)?));
            for entry in segment::decode(row.blob(1)?)? {
                *counts.entry(entry.row).or_default() += 1;
            }
        }
        if (rows.len() as u64) < left {
            manifests.push([manifest]);
        }
    }
    if !segments.is_empty() {
        dereference(tx, &counts, now_ms).await?;
        tx.execute(DELETE_SEGMENTS, &[json_rows(&segments)?]).await?;
    }
    if !manifests.is_empty() {
        tx.execute(DELETE_MANIFESTS, &[json_rows(&manifests)?]).await?;
    }
    let all = manifests.len() == released.len() && (released.len() as u64) < limit;
    Ok(Taken { segments: segments.len() as u64, manifests: manifests.len() as u64, all })
}

/// Deletes condemned chunks and makes their locations garbage, in one transaction.
async fn collect_chunks(tx: &mut Tx, before_ms: u64, limit: usize) -> Result<u64, CatalogError> {
    // The condition stands twice: a chunk that is revived while this statement waits for its row is kept.
    const DELETE: &str = "DELETE FROM chunk
         WHERE id IN (SELECT id FROM chunk WHERE condemned_at_ms <= $1 ORDER BY condemned_at_ms LIMIT $2)
           AND condemned_at_ms <= $1 AND refs = 0
         RETURNING backend, placement, sealed, sealed_len";
    const FORGET_LOST: &str = "DELETE FROM lost_chunk
         WHERE sealed IN (SELECT unhex(j.value ->> 2) FROM json_each(CAST($1 AS TEXT)) AS j)";
    let deleted = tx.query(DELETE, &[before_ms.into(), limit.into()]).await?;
    if deleted.is_empty() {
        return Ok(0);
    }
    let mut rows = Vec::with_capacity(deleted.len());
    for row in &deleted {
        rows.push((row.text(0)?, row.int(1)?, hex::encode(row.blob(2)?), row.int(3)?));
    }
    let rows = json_rows(&rows)?;
    tx.execute(INSERT_ROWS, std::slice::from_ref(&rows)).await?;
    tx.execute(FORGET_LOST, &[rows]).await?;
    Ok(deleted.len() as u64)
}

/// A lost chunk that was written again has moved: its old location is garbage.
async fn discard_healed(tx: &mut Tx) -> Result<(), CatalogError> {
    const DELETE: &str = "DELETE FROM lost_chunk WHERE NOT EXISTS
           (SELECT 1 FROM chunk c WHERE c.id = lost_chunk.chunk AND c.sealed = lost_chunk.sealed)
         RETURNING backend, placement, sealed, sealed_len";
    let mut rows = Vec::new();
    let healed = tx.query(DELETE, &[]).await?;
    for row in &healed {
        rows.push((row.text(0)?, row.int(1)?, hex::encode(row.blob(2)?), row.int(3)?));
    }
    if !rows.is_empty() {
        tx.execute(INSERT_ROWS, &[json_rows(&rows)?]).await?;
    }
    Ok(())
}

async fn batch(tx: &mut Tx, params: &[Value]) -> Result<Vec<Garbage>, CatalogError> {
    const SELECT: &str = "SELECT id, backend, placement, sealed, sealed_len FROM garbage
         WHERE id > $1 ORDER BY id LIMIT $2";
    let rows = tx.query(SELECT, params).await?;
    rows.iter()
        .map(|row| {
            Ok(Garbage {
                id: GarbageId(row.int(0)?),
                backend: row.text(1)?.to_owned(),
                location: location_from_row(row, 2)?,
            })
        })
        .collect()
}

async fn known_locations(tx: &mut Tx, params: &[Value]) -> Result<HashSet<SealedId>, CatalogError> {
    const SELECT: &str = "SELECT c.sealed FROM json_each(CAST($1 AS TEXT)) AS j
           JOIN chunk c ON c.placement = CAST(j.value ->> 0 AS BIGINT) AND c.sealed = unhex(j.value ->> 1)
         UNION ALL SELECT g.sealed FROM json_each(CAST($1 AS TEXT)) AS j
           JOIN garbage g ON g.sealed = unhex(j.value ->> 1)
         UNION ALL SELECT l.sealed FROM json_each(CAST($1 AS TEXT)) AS j
           JOIN lost_chunk l ON l.sealed = unhex(j.value ->> 1)";
    let rows = tx.query(SELECT, params).await?;
    rows.iter().map(|row| Ok(SealedId(row.bytes(0)?))).collect()
}

/// Reads placement, sealed id and sealed length from column `at` on.
pub(crate) fn location_from_row(row: &Row, at: usize) -> Result<Location, CatalogError> {
    Ok(Location {
        group: GroupId(row.uint(at)?),
        sealed: SealedId(row.bytes(at + 1)?),
        sealed_len: row.int(at + 2)? as u32,
    })
}

//! What is known of chunks' shards: which are missing, which chunks are lost.

use std::sync::Arc;

use datamesh_db::{Engine, Row, Tx, Value};
use datamesh_types::{GroupId, SealedId};

use crate::garbage::location_from_row;
use crate::{Backlog, Catalog, CatalogError, GroupChunk, LostChunk};

impl Catalog {
    /// Up to `limit` chunks of a group, by sealed id, after `after`. Garbage is not among them.
    pub async fn chunks_in_group(
        &self,
        group: GroupId,
        after: Option<SealedId>,
        limit: usize,
    ) -> Result<Vec<GroupChunk>, CatalogError> {
        const SELECT: &str = "SELECT placement, sealed, sealed_len, missing FROM chunk
             WHERE placement = $1 AND sealed > $2 ORDER BY sealed LIMIT $3";
        self.group_chunks(SELECT, [group.into(), after_sealed(after), limit.into()].into()).await
    }

    /// Up to `limit` chunks that lack shards, by sealed id, after `after`.
    pub async fn chunks_missing_shards(
        &self,
        after: Option<SealedId>,
        limit: usize,
    ) -> Result<Vec<GroupChunk>, CatalogError> {
        const SELECT: &str = "SELECT placement, sealed, sealed_len, missing FROM chunk
             WHERE missing IS NOT NULL AND sealed > $1 ORDER BY sealed LIMIT $2";
        self.group_chunks(SELECT, [after_sealed(after), limit.into()].into()).await
    }

    async fn group_chunks(
        &self,
        sql: &'static str,
        params: Arc<[Value]>,
    ) -> Result<Vec<GroupChunk>, CatalogError> {
        let chunk = |row: &Row| {
            let missing = row.opt_blob(3)?.unwrap_or_default().to_vec();
            Ok(GroupChunk { location: location_from_row(row, 0)?, missing })
        };
        self.db.rows(sql, params).await?.iter().map(chunk).collect()
    }

    /// Records that a chunk lacks these shards. Unknown chunks are ignored: they were deleted meanwhile.
    pub async fn shards_missing(&self, sealed: SealedId, indexes: &[u8]) -> Result<(), CatalogError> {
        let lacking = indexes.to_vec();
        self.update_missing(sealed, move |missing| missing.extend(&lacking)).await
    }

    /// Records that a chunk has this shard again. Unknown chunks are ignored.
    pub async fn shard_restored(&self, sealed: SealedId, index: u8) -> Result<(), CatalogError> {
        self.update_missing(sealed, move |missing| missing.retain(|other| *other != index)).await
    }

    async fn update_missing(
        &self,
        sealed: SealedId,
        change: impl Fn(&mut Vec<u8>) + Clone + Send + Sync + 'static,
    ) -> Result<(), CatalogError> {
        const UPDATE: &str = "UPDATE chunk SET missing = $2 WHERE id = $1";
        self.db
            .write(move |tx| {
                let change = change.clone();
                Box::pin(async move {
                    let Some(row) = locked_chunk(tx, sealed).await? else { return Ok(()) };
                    let mut missing = row.opt_blob(5)?.unwrap_or_default().to_vec();
                    change(&mut missing);
                    missing.sort_unstable();
                    missing.dedup();
                    let missing = (!missing.is_empty()).then_some(missing);
                    tx.execute(UPDATE, &[row.int(0)?.into(), missing.into()]).await?;
                    Ok(())
                })
            })
            .await
    }

    /// Records that a chunk cannot be read. It stops counting as known, so that its next write heals it; nothing is
    /// deleted. Unknown chunks are ignored.
    pub async fn chunk_lost(
        &self,
        sealed: SealedId,
        readable_shards: usize,
        now_ms: u64,
    ) -> Result<(), CatalogError> {
        const MARK: &str = "UPDATE chunk SET lost = 1 WHERE id = $1";
        const RECORD: &str = "INSERT INTO lost_chunk
               (sealed, chunk, backend, placement, sealed_len, readable_shards, found_at_ms)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (sealed) DO UPDATE SET readable_shards = excluded.readable_shards";
        self.db
            .write(move |tx| {
                Box::pin(async move {
                    let Some(row) = locked_chunk(tx, sealed).await? else { return Ok(()) };
                    tx.execute(MARK, &[row.int(0)?.into()]).await?;
                    let params = [
                        sealed.into(),
                        row.int(0)?.into(),
                        row.text(4)?.into(),
                        row.int(1)?.into(),
                        row.int(3)?.into(),
                        readable_shards.into(),
                        now_ms.into(),
                    ];
                    tx.execute(RECORD, &params).await?;
                    Ok(())
                })
            })
            .await
    }

    /// Records that a lost chunk can be read again.
    pub async fn chunk_found(&self, sealed: SealedId) -> Result<(), CatalogError> {
        const UNMARK: &str = "UPDATE chunk SET lost = 0 WHERE id = $1";
        const FORGET: &str = "DELETE FROM lost_chunk WHERE sealed = $1";
        self.db
            .write(move |tx| {
                Box::pin(async move {
                    // A chunk that has moved meanwhile keeps its record: collection makes the old place garbage.
                    let Some(row) = locked_chunk(tx, sealed).await? else { return Ok(()) };
                    tx.execute(UNMARK, &[row.int(0)?.into()]).await?;
                    tx.execute(FORGET, &[sealed.into()]).await?;
                    Ok(())
                })
            })
            .await
    }

    /// Up to `limit` lost chunks, by sealed id, after `after`.
    pub async fn lost_chunks(
        &self,
        after: Option<SealedId>,
        limit: usize,
    ) -> Result<Vec<LostChunk>, CatalogError> {
        const SELECT: &str = "SELECT placement, sealed, sealed_len, backend, readable_shards, found_at_ms
             FROM lost_chunk WHERE sealed > $1 ORDER BY sealed LIMIT $2";
        let rows = self.db.rows(SELECT, [after_sealed(after), limit.into()].into()).await?;
        rows.iter().map(lost_from_row).collect()
    }

    /// How much work waits for background jobs: for gauges.
    pub async fn backlog(&self) -> Result<Backlog, CatalogError> {
        const COUNT: &str = "SELECT (SELECT count(*) FROM garbage),
             (SELECT count(*) FROM chunk WHERE missing IS NOT NULL), (SELECT count(*) FROM lost_chunk)";
        self.db
            .scan(|tx| {
                Box::pin(async move {
                    let row = tx.query_opt(COUNT, &[]).await?;
                    let row = row.ok_or(CatalogError::Corrupt { what: "count" })?;
                    Ok(Backlog {
                        garbage: row.uint(0)?,
                        incomplete_chunks: row.uint(1)?,
                        lost_chunks: row.uint(2)?,
                    })
                })
            })
            .await
    }
}

fn lost_from_row(row: &Row) -> Result<LostChunk, CatalogError> {
    Ok(LostChunk {
        location: location_from_row(row, 0)?,
        backend: row.text(3)?.to_owned(),
        readable_shards: row.int(4)? as usize,
        found_at_ms: row.uint(5)?,
    })
}

fn after_sealed(after: Option<SealedId>) -> Value {
    Value::Blob(after.map(|sealed| sealed.0.to_vec()).unwrap_or_default())
}

/// Columns: id, placement, sealed, `sealed_len`, backend, missing. Seeks once per placement group, which are few, so
/// that chunks need no third random index.
async fn locked_chunk(tx: &mut Tx, sealed: SealedId) -> Result<Option<Row>, CatalogError> {
    macro_rules! select {
        ($suffix:literal) => {
            concat!(
                "SELECT c.id, c.placement, c.sealed, c.sealed_len, c.backend, c.missing FROM chunk c
                 WHERE c.placement IN (SELECT id FROM placement_group UNION ALL SELECT 0) AND c.sealed = $1",
                $suffix
            )
        };
    }
    let sql = match tx.engine() {
        Engine::Sqlite => select!(""),
        Engine::Postgres => select!(" FOR UPDATE OF c"),
    };
    Ok(tx.query_opt(sql, &[sealed.into()]).await?)
}

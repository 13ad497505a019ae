//! Read plans: which chunks hold a range of a version.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use datamesh_db::{Db, Tx, Value};
use datamesh_types::{ChunkId, Location};

use crate::garbage::location_from_row;
use crate::part::{part_columns, part_from_row};
use crate::rows::json_rows;
use crate::{Catalog, CatalogError, Part, StoredContent, Version, segment};

/// One chunk of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedChunk {
    /// The chunk.
    pub chunk: ChunkId,
    /// The backend that keeps it.
    pub backend: String,
    /// Where.
    pub location: Location,
    /// Indexes of shards that were never written or are known to be lost: do not ask for them first.
    pub missing: Vec<u8>,
    /// Its plaintext's length in bytes.
    pub plain_len: u32,
    /// Where its plaintext starts in the object, in bytes.
    pub object_offset: u64,
}

/// The chunks of a range, in order, a page at a time: memory stays bounded for objects of any size.
pub struct ReadPlan {
    db: Db,
    source: Source,
    range: Range<u64>,
    /// Where the next page starts, in bytes of the object.
    position: u64,
    /// The part being read and what is left of the page of parts; a single manifest is a part of its own.
    parts: VecDeque<PlannedPart>,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Nothing,
    Manifest,
    Parts { version: i64 },
}

#[derive(Debug, Clone, Copy)]
struct PlannedPart {
    manifest: i64,
    /// Where it starts in the object.
    start: u64,
    end: u64,
}

const PARTS_PER_PAGE: usize = 64;

impl ReadPlan {
    /// The next chunks, at most 1,024; empty at the end.
    ///
    /// # Errors
    /// [`CatalogError::NoSuchVersion`] when the version was deleted so long ago that its manifest has been
    /// collected.
    pub async fn next_page(&mut self) -> Result<Vec<PlannedChunk>, CatalogError> {
        if self.position >= self.range.end || matches!(self.source, Source::Nothing) {
            return Ok(Vec::new());
        }
        while self.parts.front().is_some_and(|part| part.end <= self.position) {
            self.parts.pop_front();
        }
        if self.parts.is_empty()
            && let Source::Parts { version } = self.source
        {
            self.parts = self.next_parts(version).await?;
        }
        let part = *self.parts.front().ok_or(CatalogError::NoSuchVersion)?;
        let from = self.position - part.start;
        let until = self.range.end.min(part.end) - part.start;
        let mut chunks =
            self.db.read(move |tx| Box::pin(segment_chunks(tx, part.manifest, from, until))).await?;
        for chunk in &mut chunks {
            chunk.object_offset += part.start;
        }
        let last = chunks.last().ok_or(CatalogError::NoSuchVersion)?;
        self.position = last.object_offset + u64::from(last.plain_len);
        Ok(chunks)
    }

    async fn next_parts(&self, version: i64) -> Result<VecDeque<PlannedPart>, CatalogError> {
        // Seeks to the part that holds the position; empty parts at the same offset are of no interest.
        const SELECT: &str = "SELECT manifest, start_offset, size FROM version_part
             WHERE version = $1 AND size > 0 AND start_offset >= (SELECT x.start_offset FROM version_part x
               WHERE x.version = $1 AND x.start_offset <= $2 ORDER BY x.start_offset DESC LIMIT 1)
             ORDER BY start_offset LIMIT $3";
        let params = [version.into(), self.position.into(), PARTS_PER_PAGE.into()];
        self.db
            .read(move |tx| {
                let params = params.clone();
                Box::pin(async move {
                    let rows = tx.query(SELECT, &params).await?;
                    rows.iter()
                        .map(|row| {
                            let start = row.uint(1)?;
                            Ok(PlannedPart { manifest: row.int(0)?, start, end: start + row.uint(2)? })
                        })
                        .collect()
                })
            })
            .await
    }
}

impl Catalog {
    /// Plans to read `range` (bytes) of a version. The first and the last chunk may reach beyond it. Nothing is
    /// planned for empty and inline content.
    pub fn read_plan(&self, version: &Version, range: Range<u64>) -> ReadPlan {
        let (source, parts) = match version.content {
            StoredContent::Empty | StoredContent::Inline { .. } => (Source::Nothing, VecDeque::new()),
            StoredContent::Manifest(manifest) => {
                (Source::Manifest, [PlannedPart { manifest: manifest.0, start: 0, end: version.size }].into())
            }
            StoredContent::Parts { .. } => {
                (Source::Parts { version: version.sequence.cast_signed() }, VecDeque::new())
            }
        };
        let range = range.start..range.end.min(version.size);
        ReadPlan { db: self.db.clone(), source, position: range.start, range, parts }
    }

    /// The range (bytes) of one part of a multipart object, and how many parts it has; `None` when there is no
    /// such part. A version that was not uploaded in parts has one.
    pub async fn part_range(
        &self,
        version: &Version,
        number: u16,
    ) -> Result<Option<(Range<u64>, u16)>, CatalogError> {
        const SELECT: &str = "SELECT start_offset, size FROM version_part WHERE version = $1 AND number = $2";
        let StoredContent::Parts { count } = version.content else {
            return Ok((number == 1).then_some((0..version.size, 1)));
        };
        let params = [version.sequence.into(), number.into()];
        self.db
            .read(move |tx| {
                let params: [Value; 2] = params.clone();
                Box::pin(async move {
                    let Some(row) = tx.query_opt(SELECT, &params).await? else { return Ok(None) };
                    let start = row.uint(0)?;
                    Ok(Some((start..start + row.uint(1)?, count)))
                })
            })
            .await
    }

    /// Up to `limit` parts of a completed multipart version, by number, after part `after`.
    pub async fn version_parts(
        &self,
        version: &Version,
        after: u16,
        limit: usize,
    ) -> Result<Vec<Part>, CatalogError> {
        const SELECT: &str = concat!(
            "SELECT ",
            part_columns!(),
            " FROM version_part WHERE version = $1 AND number > $2 ORDER BY number LIMIT $3"
        );
        let params = [version.sequence.into(), after.into(), limit.into()];
        self.db
            .scan(move |tx| {
                let params: [Value; 3] = params.clone();
                Box::pin(async move { tx.query(SELECT, &params).await?.iter().map(part_from_row).collect() })
            })
            .await
    }
}

/// The chunks of the segment that holds `from`, as far as they lie before `until`, with offsets in the manifest.
pub(crate) async fn segment_chunks(
    tx: &mut Tx,
    manifest: i64,
    from: u64,
    until: u64,
) -> Result<Vec<PlannedChunk>, CatalogError> {
    const SEGMENT: &str = "SELECT start_offset, entries FROM manifest_segment
         WHERE manifest = $1 AND start_offset <= $2 ORDER BY start_offset DESC LIMIT 1";
    const CHUNKS: &str = "SELECT c.id, c.chunk, c.backend, c.placement, c.sealed, c.sealed_len, c.missing
         FROM chunk c
         WHERE c.id IN (SELECT CAST(j.value ->> 0 AS BIGINT) FROM json_each(CAST($1 AS TEXT)) AS j)";
    let segment = tx.query_opt(SEGMENT, &[manifest.into(), from.into()]).await?;
    let segment = segment.ok_or(CatalogError::NoSuchVersion)?;
    let mut offset = segment.uint(0)?;
    let mut wanted = Vec::new();
    for entry in segment::decode(segment.blob(1)?)? {
        let end = offset + u64::from(entry.len);
        if end > from && offset < until {
            wanted.push((entry, offset));
        }
        offset = end;
    }
    let ids: Vec<[i64; 1]> = wanted.iter().map(|(entry, _)| [entry.row]).collect();
    let mut rows = HashMap::with_capacity(ids.len());
    for row in tx.query(CHUNKS, &[json_rows(&ids)?]).await? {
        rows.insert(row.int(0)?, row);
    }
    wanted
        .into_iter()
        .map(|(entry, object_offset)| {
            let row = rows.get(&entry.row).ok_or(CatalogError::Corrupt { what: "manifest entry" })?;
            Ok(PlannedChunk {
                chunk: ChunkId(row.bytes(1)?),
                backend: row.text(2)?.to_owned(),
                location: location_from_row(row, 3)?,
                missing: row.opt_blob(6)?.unwrap_or_default().to_vec(),
                plain_len: entry.len,
                object_offset,
            })
        })
        .collect()
}

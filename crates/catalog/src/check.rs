//! The doctor's check of the catalog against itself.

use std::collections::BTreeMap;

use datamesh_db::{Row, Tx, Value};
use datamesh_types::AccountId;

use crate::check_configs::check_configs;
use crate::{BucketId, Catalog, CatalogError, ChunkRow, ManifestId, segment};

/// Where a check goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckPosition {
    phase: Phase,
    /// The first number of the page.
    from: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Chunks,
    Manifests,
    Versions,
    Buckets,
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
    /// A bucket's row says otherwise than its configurations what is set, or it has object lock without versioning.
    BucketConfigs {
        /// The bucket.
        bucket: BucketId,
    },
}

/// A page of a check.
#[derive(Debug, Clone, Default)]
pub struct CheckPage {
    /// What was found, at most 1,000 per page.
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

/// The numbers checked per page: their counters take 4 MiB.
const WINDOW: i64 = 1 << 20;
const ROWS_PER_QUERY: i64 = 4096;
const SEGMENTS_PER_QUERY: i64 = 256;
/// More are not reported, so that a page stays small however broken the catalog is.
const FINDINGS_MAX: usize = 1000;

impl Catalog {
    /// Checks one page of the catalog, each on one snapshot; `None` begins. Memory is bounded whatever the
    /// catalog's size: counting goes over windows of a million chunks or manifests, with a pass over what refers to
    /// them for each window.
    pub async fn check(&self, position: Option<CheckPosition>) -> Result<CheckPage, CatalogError> {
        let position = position.unwrap_or(CheckPosition { phase: Phase::Chunks, from: 0 });
        self.db
            .scan(move |tx| {
                Box::pin(async move {
                    match position.phase {
                        Phase::Chunks => check_chunks(tx, position.from).await,
                        Phase::Manifests => check_manifests(tx, position.from).await,
                        Phase::Versions => check_versions(tx, position.from).await,
                        Phase::Buckets => check_buckets(tx, position.from).await,
                    }
                })
            })
            .await
    }

    /// What each account with buckets stores, counted from the versions and parts: quota accounting must agree.
    pub async fn usage(&self) -> Result<Vec<AccountUsage>, CatalogError> {
        const SUM: &str = "SELECT account, CAST(SUM(bytes) AS BIGINT), CAST(SUM(objects) AS BIGINT) FROM (
               SELECT b.account, v.size AS bytes, 1 AS objects
               FROM version v JOIN bucket b ON b.id = v.bucket WHERE v.delete_marker = 0
               UNION ALL SELECT b.account, p.size, 0
               FROM upload_part p JOIN upload u ON u.id = p.upload JOIN bucket b ON b.id = u.bucket
               UNION ALL SELECT account, 0, 0 FROM bucket) AS stored
             GROUP BY account ORDER BY account";
        let rows = self.db.rows(SUM, [].into()).await?;
        let usage = |row: &Row| {
            let account = AccountId(row.bytes(0)?);
            Ok(AccountUsage { account, bytes: row.uint(1)?, objects: row.uint(2)? })
        };
        rows.iter().map(usage).collect()
    }
}

impl CheckPage {
    pub(crate) fn report(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }

    /// Goes on behind `until`, or with the next phase when that is the last number.
    const fn continue_at(mut self, phase: Phase, until: i64, next_phase: Option<Phase>) -> Self {
        self.next = match (until, next_phase) {
            (i64::MAX, None) => None,
            (i64::MAX, Some(phase)) => Some(CheckPosition { phase, from: 0 }),
            _ => Some(CheckPosition { phase, from: until }),
        };
        self
    }
}

async fn check_buckets(tx: &mut Tx, from: i64) -> Result<CheckPage, CatalogError> {
    let mut page = CheckPage::default();
    let next = check_configs(tx, from, &mut page).await?;
    Ok(page.continue_at(Phase::Buckets, next.unwrap_or(i64::MAX), None))
}

/// Counters for the numbers from `from` to below `until`; the last window reaches to the end.
struct Window {
    from: i64,
    until: i64,
    counts: Vec<u32>,
    /// Numbers in the window that are greater than any stored row.
    beyond: BTreeMap<i64, u32>,
}

impl Window {
    async fn open(tx: &mut Tx, from: i64, max_sql: &'static str) -> Result<Self, CatalogError> {
        let row = tx.query_opt(max_sql, &[]).await?;
        let max = row.map_or(Ok(None), |row| row.opt_int(0))?.unwrap_or(0);
        let last = max < from + WINDOW;
        let len = if last { (max + 1 - from).max(0) } else { WINDOW };
        Ok(Self {
            from,
            until: if last { i64::MAX } else { from + WINDOW },
            counts: vec![0; len as usize],
            beyond: BTreeMap::new(),
        })
    }

    fn add(&mut self, number: i64) {
        if number < self.from || number >= self.until {
            return;
        }
        if let Some(count) = self.counts.get_mut((number - self.from) as usize) {
            *count += 1;
        } else if self.beyond.len() < FINDINGS_MAX {
            *self.beyond.entry(number).or_default() += 1;
        }
    }

    /// How often the number was added; asked once per number.
    fn take(&mut self, number: i64) -> u64 {
        self.counts.get_mut((number - self.from) as usize).map_or(0, |count| std::mem::take(count).into())
    }

    /// Numbers that were added and never taken.
    fn left(&self) -> impl Iterator<Item = (i64, u64)> + '_ {
        let inside = (self.from..).zip(&self.counts).map(|(number, count)| (number, *count));
        let beyond = self.beyond.iter().map(|(number, count)| (*number, *count));
        inside.chain(beyond).filter(|(_, count)| *count > 0).map(|(number, count)| (number, count.into()))
    }
}

async fn check_chunks(tx: &mut Tx, from: i64) -> Result<CheckPage, CatalogError> {
    const MAX: &str = "SELECT MAX(id) FROM chunk";
    const ENTRIES: &str = "SELECT manifest, start_offset, entries FROM manifest_segment
         WHERE (manifest, start_offset) > ($1, $2) ORDER BY manifest, start_offset LIMIT $3";
    const CHUNKS: &str = "SELECT id, refs, condemned_at_ms FROM chunk
         WHERE id >= $1 AND id < $2 ORDER BY id LIMIT $3";
    let mut page = CheckPage::default();
    let mut window = Window::open(tx, from, MAX).await?;
    let mut after = (0, -1);
    loop {
        let params = [Value::Int(after.0), Value::Int(after.1), SEGMENTS_PER_QUERY.into()];
        let rows = tx.query(ENTRIES, &params).await?;
        page.rows += rows.len() as u64;
        for row in &rows {
            after = (row.int(0)?, row.int(1)?);
            match segment::decode(row.blob(2)?) {
                Ok(entries) => entries.iter().for_each(|entry| window.add(entry.row)),
                Err(_) => page.report(Finding::ManifestSize { manifest: ManifestId(after.0) }),
            }
        }
        if (rows.len() as i64) < SEGMENTS_PER_QUERY {
            break;
        }
    }
    let mut next = from;
    loop {
        let rows = tx.query(CHUNKS, &[next.into(), window.until.into(), ROWS_PER_QUERY.into()]).await?;
        page.rows += rows.len() as u64;
        for row in &rows {
            let chunk = ChunkRow(row.int(0)?);
            let (stored, counted) = (row.uint(1)?, window.take(chunk.0));
            if stored != counted {
                page.report(Finding::ChunkReferences { chunk, stored, counted });
            }
            if (stored == 0) != row.opt_int(2)?.is_some() {
                page.report(Finding::ChunkCondemned { chunk });
            }
            next = chunk.0 + 1;
        }
        if (rows.len() as i64) < ROWS_PER_QUERY {
            break;
        }
    }
    for (number, entries) in window.left() {
        page.report(Finding::MissingChunk { chunk: ChunkRow(number), entries });
    }
    Ok(page.continue_at(Phase::Chunks, window.until, Some(Phase::Manifests)))
}

async fn check_manifests(tx: &mut Tx, from: i64) -> Result<CheckPage, CatalogError> {
    const MAX: &str = "SELECT MAX(id) FROM manifest";
    const MANIFESTS: &str = "SELECT id, refs, size, expires_at_ms, released_at_ms FROM manifest
         WHERE id >= $1 AND id < $2 ORDER BY id LIMIT $3";
    let mut page = CheckPage::default();
    let mut window = Window::open(tx, from, MAX).await?;
    count_users(tx, &mut window, &mut page).await?;
    let mut next = from;
    loop {
        let rows = tx.query(MANIFESTS, &[next.into(), window.until.into(), ROWS_PER_QUERY.into()]).await?;
        page.rows += rows.len() as u64;
        for row in &rows {
            let manifest = ManifestId(row.int(0)?);
            let (stored, counted) = (row.uint(1)?, window.take(manifest.0));
            let committed = row.opt_int(3)?.is_none() && row.opt_int(4)?.is_none();
            if stored != counted || committed != (counted > 0) {
                page.report(Finding::ManifestReferences { manifest, stored, counted });
            }
            next = manifest.0 + 1;
            // A released manifest may be half taken apart.
            if row.opt_int(4)?.is_none() && segments_len(tx, manifest).await? != Some(row.uint(2)?) {
                page.report(Finding::ManifestSize { manifest });
            }
        }
        if (rows.len() as i64) < ROWS_PER_QUERY {
            break;
        }
    }
    for (number, counted) in window.left() {
        page.report(Finding::ManifestReferences { manifest: ManifestId(number), stored: 0, counted });
    }
    Ok(page.continue_at(Phase::Manifests, window.until, Some(Phase::Versions)))
}

/// Counts the versions and parts that use each manifest of the window.
async fn count_users(tx: &mut Tx, window: &mut Window, page: &mut CheckPage) -> Result<(), CatalogError> {
    const VERSIONS: &str = "SELECT manifest, sequence FROM version
         WHERE sequence > $1 AND manifest IS NOT NULL ORDER BY sequence LIMIT $2";
    const VERSION_PARTS: &str = "SELECT manifest, version, start_offset, number FROM version_part
         WHERE (version, start_offset, number) > ($1, $2, $3) ORDER BY version, start_offset, number LIMIT $4";
    const UPLOAD_PARTS: &str = "SELECT manifest, upload, number FROM upload_part
         WHERE (upload, number) > ($1, $2) ORDER BY upload, number LIMIT $3";
    let starts = [
        (VERSIONS, vec![Value::Int(0)]),
        (VERSION_PARTS, vec![Value::Int(0), Value::Int(-1), Value::Int(0)]),
        (UPLOAD_PARTS, vec![Value::Blob(Vec::new()), Value::Int(0)]),
    ];
    for (sql, mut params) in starts {
        params.push(ROWS_PER_QUERY.into());
        loop {
            let rows = tx.query(sql, &params).await?;
            page.rows += rows.len() as u64;
            for row in &rows {
                window.add(row.int(0)?);
            }
            let Some(last) = rows.last().filter(|_| rows.len() as i64 == ROWS_PER_QUERY) else { break };
            for (position, param) in params.iter_mut().rev().skip(1).rev().enumerate() {
                *param = last.value(position + 1)?.clone();
            }
        }
    }
    Ok(())
}

/// The bytes in a manifest's segments, `None` when they do not follow each other.
async fn segments_len(tx: &mut Tx, manifest: ManifestId) -> Result<Option<u64>, CatalogError> {
    const SELECT: &str = "SELECT start_offset, entries FROM manifest_segment
         WHERE manifest = $1 AND start_offset >= $2 ORDER BY start_offset LIMIT $3";
    let mut end = 0;
    loop {
        let rows = tx.query(SELECT, &[manifest.0.into(), end.into(), SEGMENTS_PER_QUERY.into()]).await?;
        for row in &rows {
            let Ok(entries) = segment::decode(row.blob(1)?) else { return Ok(None) };
            if row.uint(0)? != end {
                return Ok(None);
            }
            end += entries.iter().map(|entry| u64::from(entry.len)).sum::<u64>();
        }
        if (rows.len() as i64) < SEGMENTS_PER_QUERY {
            return Ok(Some(end));
        }
    }
}

async fn check_versions(tx: &mut Tx, from: i64) -> Result<CheckPage, CatalogError> {
    const MAX: &str = "SELECT MAX(sequence) FROM version";
    const SIZES: &str = "SELECT v.bucket, v.key, v.sequence FROM version v
         LEFT JOIN manifest m ON m.id = v.manifest
         WHERE v.sequence >= $1 AND v.sequence < $2 AND (
           (v.manifest IS NOT NULL AND (m.size IS NULL OR m.size <> v.size))
           OR (v.manifest IS NULL AND v.part_count = 0 AND v.inline_chunk IS NULL AND v.size <> 0)
           OR (v.part_count > 0 AND (
             v.size <> (SELECT COALESCE(SUM(p.size), 0) FROM version_part p WHERE p.version = v.sequence)
             OR v.part_count <> (SELECT count(*) FROM version_part p WHERE p.version = v.sequence)
             OR EXISTS (SELECT 1 FROM version_part p LEFT JOIN manifest pm ON pm.id = p.manifest
                        WHERE p.version = v.sequence AND (pm.size IS NULL OR pm.size <> p.size
                          OR p.start_offset <> (SELECT COALESCE(SUM(q.size), 0) FROM version_part q
                               WHERE q.version = p.version AND q.number < p.number))))))
         ORDER BY v.sequence LIMIT $3";
    const LISTED: &str = "SELECT v.bucket, v.key, v.sequence FROM version v
         WHERE v.sequence >= $1 AND v.sequence < $2 AND v.listed <> CASE WHEN v.delete_marker = 0
           AND NOT EXISTS (SELECT 1 FROM version x
             WHERE x.bucket = v.bucket AND x.key = v.key AND x.sequence > v.sequence) THEN 1 ELSE 0 END
         ORDER BY v.sequence LIMIT $3";
    let mut page = CheckPage::default();
    let row = tx.query_opt(MAX, &[]).await?;
    let max = row.map_or(Ok(None), |row| row.opt_int(0))?.unwrap_or(0);
    let until = if max < from + WINDOW { i64::MAX } else { from + WINDOW };
    let params = [from.into(), until.into(), FINDINGS_MAX.into()];
    page.rows = (max.min(until) - from).max(0).cast_unsigned();
    for row in tx.query(SIZES, &params).await? {
        let (bucket, key) = (BucketId(row.int(0)?), row.blob(1)?.to_vec());
        page.report(Finding::VersionSize { bucket, key, sequence: row.uint(2)? });
    }
    for row in tx.query(LISTED, &params).await? {
        page.report(Finding::Listed { bucket: BucketId(row.int(0)?), key: row.blob(1)?.to_vec() });
    }
    Ok(page.continue_at(Phase::Versions, until, Some(Phase::Buckets)))
}

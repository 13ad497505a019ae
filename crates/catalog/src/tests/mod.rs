//! The catalog on both engines.

mod buckets;
mod chunks;
mod configs;
mod groups;
mod listing;
mod locks;
mod migration;
mod model;
mod preconditions;
mod restores;
mod uploads;
mod version_listing;
mod versions;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datamesh_db::{CommitHook, Db, DbError, Migration, Tx, TxFuture, UsageChange};
use datamesh_types::{AccountId, ChunkId, DomainId, GroupId, Location, SealedId};

use crate::{
    Bucket, Catalog, CatalogError, Committed, CompletedPart, Content, CreateBucket, CreateUpload,
    DeleteCondition, DeleteVersion, Finding, ManifestContent, ManifestEntry, Precondition, PutPart,
    PutVersion, UploadId, Version,
};

/// Sums usage in the database, as accounts do.
struct Meter;

const METER: &[Migration] = &[Migration {
    version: 1,
    sqlite: "CREATE TABLE meter (account BLOB PRIMARY KEY, bytes BIGINT NOT NULL, objects BIGINT NOT NULL)",
    postgres: "CREATE TABLE meter (account BYTEA PRIMARY KEY, bytes BIGINT NOT NULL, objects BIGINT NOT NULL)",
}];

impl CommitHook for Meter {
    fn run<'t>(&'t self, tx: &'t mut Tx, change: &'t UsageChange) -> TxFuture<'t, (), DbError> {
        const ADD: &str = "INSERT INTO meter (account, bytes, objects) VALUES ($1, $2, $3)
             ON CONFLICT (account) DO UPDATE SET bytes = meter.bytes + excluded.bytes,
               objects = meter.objects + excluded.objects";
        Box::pin(async move {
            tx.execute(ADD, &[change.account.into(), change.bytes.into(), change.objects.into()]).await?;
            Ok(())
        })
    }
}

/// One account with one bucket, in a database that may hold others.
#[derive(Clone)]
struct Fixture {
    catalog: Catalog,
    db: Db,
    bucket: Bucket,
    hook: Arc<dyn CommitHook>,
}

const BACKEND: &str = "mesh";
static BUCKETS: AtomicU64 = AtomicU64::new(1);
static CLOCK: AtomicU64 = AtomicU64::new(1_000_000);

/// A millisecond later than the time before.
fn tick() -> u64 {
    CLOCK.fetch_add(1, Ordering::Relaxed)
}

fn plain_len(chunk: u8) -> u32 {
    100 + u32::from(chunk)
}

fn chunk_id(chunk: u8) -> ChunkId {
    ChunkId([chunk; 32])
}

fn new_chunk(chunk: u8) -> ManifestEntry {
    ManifestEntry::New {
        chunk: chunk_id(chunk),
        len: plain_len(chunk),
        location: location(),
        missing: vec![],
    }
}

fn location() -> Location {
    Location { group: GroupId(0), sealed: SealedId::random(), sealed_len: 77 }
}

fn size_of(chunks: &[u8]) -> u64 {
    chunks.iter().map(|chunk| u64::from(plain_len(*chunk))).sum()
}

impl Fixture {
    async fn new(db: &Db) -> Self {
        let catalog = Catalog::open(db.clone()).await.unwrap();
        db.migrate("meter", METER).await.unwrap();
        let name = format!("bucket-{}", BUCKETS.fetch_add(1, Ordering::Relaxed));
        let bucket = Self::create_bucket(&catalog, &name).await;
        Self { catalog, db: db.clone(), bucket, hook: Arc::new(Meter) }
    }

    async fn create_bucket(catalog: &Catalog, name: &str) -> Bucket {
        let bucket = CreateBucket {
            name: name.to_owned(),
            account: AccountId::random(),
            domain: DomainId::random(),
            region: "local".to_owned(),
            versioning: crate::Versioning::Unversioned,
            configs: vec![],
            now_ms: tick(),
        };
        catalog.create_bucket(bucket).await.unwrap()
    }

    fn content(&self, tail: Vec<ManifestEntry>) -> ManifestContent {
        let (domain, backend) = (self.bucket.domain, BACKEND.to_owned());
        ManifestContent { pending: None, domain, backend, tail }
    }

    fn put_request(&self, key: &[u8], content: Content, size: u64) -> PutVersion {
        PutVersion {
            bucket: self.bucket.id,
            key: key.to_vec(),
            precondition: Precondition::NONE,
            content,
            size,
            etag: format!("etag-{size}"),
            storage_class: "STANDARD".to_owned(),
            attributes: r#"{"content-type":"text/plain"}"#.to_owned(),
            meta: crate::VersionMeta::NONE,
            now_ms: tick(),
        }
    }

    async fn put_inline(&self, key: &[u8]) -> Result<Committed, CatalogError> {
        let content = Content::Inline { chunk: chunk_id(9), sealed: key.to_vec() };
        self.catalog.put_version(self.put_request(key, content, 9), Arc::clone(&self.hook)).await
    }

    /// Entries as an uploader would make them: known where the catalog knows, else new.
    async fn entries(&self, chunks: &[u8]) -> Vec<ManifestEntry> {
        let ids: Vec<ChunkId> = chunks.iter().copied().map(chunk_id).collect();
        let found = self.catalog.find_chunks(self.bucket.domain, BACKEND, &ids, tick()).await.unwrap();
        chunks
            .iter()
            .zip(found)
            .map(|(chunk, found)| match found {
                Some(known) => ManifestEntry::Known { row: known.row, len: known.plain_len },
                None => new_chunk(*chunk),
            })
            .collect()
    }

    async fn put_entries(
        &self,
        key: &[u8],
        chunks: &[u8],
        entries: Vec<ManifestEntry>,
    ) -> Result<Committed, CatalogError> {
        let put = self.put_request(key, Content::Manifest(self.content(entries)), size_of(chunks));
        self.catalog.put_version(put, Arc::clone(&self.hook)).await
    }

    async fn put_chunks(&self, key: &[u8], chunks: &[u8]) -> Result<Committed, CatalogError> {
        let entries = self.entries(chunks).await;
        self.put_entries(key, chunks, entries).await
    }

    async fn delete(&self, key: &[u8]) {
        let delete = DeleteVersion {
            bucket: self.bucket.id,
            key: key.to_vec(),
            version: None,
            condition: DeleteCondition::NONE,
            bypass_governance: false,
            now_ms: tick(),
        };
        self.catalog.delete_version(delete, Arc::clone(&self.hook)).await.unwrap();
    }

    async fn newest(&self, key: &[u8]) -> Option<Version> {
        let (bucket, version) = self.catalog.lookup(&self.bucket.name, key, None).await.unwrap().unwrap();
        assert_eq!(bucket, self.catalog.bucket(&bucket.name).await.unwrap().unwrap());
        assert_eq!(version, self.catalog.version(bucket.id, key, None).await.unwrap());
        version
    }

    /// The chunks that a read of the whole version would fetch.
    async fn plan(&self, version: &Version) -> Vec<(ChunkId, SealedId)> {
        let mut plan = self.catalog.read_plan(version, 0..version.size);
        let mut chunks = Vec::new();
        let mut offset = 0;
        loop {
            let page = plan.next_page().await.unwrap();
            if page.is_empty() {
                return chunks;
            }
            for chunk in page {
                assert_eq!(chunk.object_offset, offset);
                offset += u64::from(chunk.plain_len);
                chunks.push((chunk.chunk, chunk.location.sealed));
            }
        }
    }

    async fn begin(&self, key: &[u8]) -> UploadId {
        let upload = CreateUpload {
            bucket: self.bucket.id,
            key: key.to_vec(),
            storage_class: "STANDARD".to_owned(),
            attributes: "{}".to_owned(),
            meta: crate::VersionMeta::NONE,
            now_ms: tick(),
        };
        self.catalog.create_upload(upload).await.unwrap()
    }

    async fn put_part(
        &self,
        key: &[u8],
        upload: UploadId,
        number: u16,
        chunks: &[u8],
    ) -> Result<CompletedPart, CatalogError> {
        let part = PutPart {
            bucket: self.bucket.id,
            key: key.to_vec(),
            upload,
            number,
            content: self.content(self.entries(chunks).await),
            size: size_of(chunks),
            etag: format!("part-{chunks:?}"),
            checksums: "{}".to_owned(),
            now_ms: tick(),
        };
        let part = self.catalog.put_part(part, Arc::clone(&self.hook)).await?;
        Ok(CompletedPart { number, etag: part.etag })
    }

    /// Everything that contradicts itself in the whole catalog.
    async fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut page = self.catalog.check(None).await.unwrap();
        loop {
            findings.append(&mut page.findings);
            let Some(position) = page.next else { return findings };
            page = self.catalog.check(Some(position)).await.unwrap();
        }
    }

    /// Nothing contradicts itself, and the hooks counted what is stored. (bytes, objects).
    async fn assert_consistent(&self) -> (u64, u64) {
        const METERED: &str = "SELECT bytes, objects FROM meter WHERE account = $1";
        assert_eq!(self.findings().await, []);
        let usage = self.catalog.usage().await.unwrap();
        let usage = usage.iter().find(|usage| usage.account == self.bucket.account).unwrap();
        let account = self.bucket.account;
        let metered = self
            .db
            .read(move |tx| {
                Box::pin(async move {
                    let row = tx.query_opt(METERED, &[account.into()]).await?;
                    row.map_or(Ok((0, 0)), |row| Ok((row.uint(0)?, row.uint(1)?)))
                })
            })
            .await
            .map_err(|error: DbError| error)
            .unwrap();
        assert_eq!(metered, (usage.bytes, usage.objects));
        metered
    }

    /// Runs collection with `grace_ms` to its end, and the backends' deletions; what was deleted.
    async fn collect(&self, grace_ms: u64) -> BTreeSet<SealedId> {
        while self.catalog.collect_garbage(tick(), grace_ms, 100).await.unwrap().more {}
        let mut deleted = BTreeSet::new();
        loop {
            let batch = self.catalog.garbage_batch(None, 100).await.unwrap();
            if batch.is_empty() {
                return deleted;
            }
            deleted.extend(batch.iter().map(|garbage| garbage.location.sealed));
            let ids: Vec<_> = batch.iter().map(|garbage| garbage.id).collect();
            self.catalog.garbage_deleted(&ids).await.unwrap();
        }
    }
}

/// What SQLite does for a query of bucket, first key, last key and limit.
async fn query_plan(sql: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("plan.sqlite").display());
    let db = Db::open(&datamesh_db::DbConfig::new(url).create()).await.unwrap();
    let fixture = Fixture::new(&db).await;
    let explain: &str = format!("EXPLAIN QUERY PLAN {sql}").leak();
    let read = fixture.db.read(move |tx| {
        Box::pin(async move {
            let params = [1_i64.into(), b"a".as_slice().into(), b"b".as_slice().into(), 10_i64.into()];
            let rows = tx.query(explain, &params).await?;
            rows.iter().map(|row| Ok(row.text(3)?.to_owned())).collect::<Result<Vec<_>, CatalogError>>()
        })
    });
    read.await.unwrap()
}

//! Metering against a simple model: whatever is written, replaced, deleted and uploaded at whatever times, what the
//! rollups say is what the history of the catalog's own counts says, to the byte and the millisecond.

use std::collections::BTreeMap;

use super::*;
use datamesh_accounts::{Direction, Month, Pace};
use datamesh_catalog::{
    Bucket, BucketId, Catalog, CompleteUpload, CompletedPart, Content, CreateBucket, CreateUpload,
    DeleteCondition, DeleteVersion, ManifestContent, ManifestEntry, Precondition, PutPart, PutVersion,
    UploadId, VersionId, VersionMeta, Versioning,
};
use datamesh_db::CommitHook;
use datamesh_types::{AccountId, ChunkId, GroupId, Location, SealedId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const STEPS: usize = 300;
const HOUR_MS: u64 = 3_600_000;
const KEYS: [&str; 2] = ["FIRSTKEY", "SECONDKEY"];

/// A change of what a bucket stores.
struct Change {
    at_ms: u64,
    bucket: i64,
    /// Bytes and objects.
    by: [i64; 2],
}

/// Requests and received bytes by month, bucket and key.
type Requests = BTreeMap<(Month, i64, String), [u64; 2]>;

/// Its bucket and key, its id, and the parts that it has.
type OpenUpload = (BucketId, Vec<u8>, UploadId, BTreeMap<u16, String>);

pub struct Scene {
    pub catalog: Catalog,
    pub accounts: Accounts,
    pub clock: Arc<TestClock>,
    pub buckets: Vec<Bucket>,
    pub account: AccountId,
    db: Db,
    random: StdRng,
    stored: BTreeMap<i64, [i64; 2]>,
    changes: Vec<Change>,
    requests: Requests,
    versions: Vec<(BucketId, Vec<u8>, VersionId)>,
    uploads: Vec<OpenUpload>,
}

impl Scene {
    pub async fn new(fixture: &Fixture, seed: u64) -> Self {
        let catalog = Catalog::open(fixture.db.clone()).await.unwrap();
        let accounts = fixture.gateway().await;
        let user =
            accounts.create_user(&format!("scene-{seed}@example.com"), "Scene", "unlimited").await.unwrap();
        accounts.begin_metering(Catalog::stored_count()).await.unwrap();
        let mut buckets = Vec::new();
        for (index, versioning) in
            [Versioning::Unversioned, Versioning::Enabled, Versioning::Suspended].into_iter().enumerate()
        {
            let bucket = CreateBucket {
                name: format!("scene-{seed}-{index}"),
                account: user.id,
                domain: user.domain,
                region: "local".to_owned(),
                versioning,
                configs: vec![],
                now_ms: 1,
            };
            buckets.push(catalog.create_bucket(bucket).await.unwrap());
        }
        Self {
            catalog,
            accounts,
            clock: Arc::clone(&fixture.clock),
            buckets,
            account: user.id,
            db: fixture.db.clone(),
            random: StdRng::seed_from_u64(seed),
            stored: BTreeMap::new(),
            changes: Vec::new(),
            requests: Requests::new(),
            versions: Vec::new(),
            uploads: Vec::new(),
        }
    }

    /// Keeps what the last operation has changed.
    async fn note(&mut self) {
        let counted =
            self.db.read(|tx| Box::pin(async move { Catalog::stored_count().count(tx, None).await }));
        for stored in counted.await.unwrap() {
            let now = [stored.bytes as i64, stored.objects as i64];
            let before = self.stored.insert(stored.bucket, now).unwrap_or_default();
            let by = [now[0] - before[0], now[1] - before[1]];
            if by != [0, 0] {
                self.changes.push(Change { at_ms: self.clock.now_ms(), bucket: stored.bucket, by });
            }
        }
    }

    pub async fn put(&mut self, bucket: usize, key: &[u8], size: u64, hook: Option<Arc<dyn CommitHook>>) {
        let bucket = self.buckets[bucket].clone();
        let hook = match hook {
            Some(hook) => hook,
            None => Arc::new(self.accounts.reserve_in(self.account, bucket.id.0, size, 1).await.unwrap()),
        };
        let content = match size {
            0 => Content::Empty,
            1..100 => Content::Inline { chunk: ChunkId([9; 32]), sealed: key.to_vec() },
            _ => Content::Manifest(content(&bucket, size)),
        };
        let put = PutVersion {
            bucket: bucket.id,
            key: key.to_vec(),
            precondition: Precondition::NONE,
            content,
            size,
            etag: format!("etag-{size}"),
            storage_class: "STANDARD".to_owned(),
            attributes: "{}".to_owned(),
            meta: VersionMeta::NONE,
            now_ms: self.clock.now_ms(),
        };
        let committed = self.catalog.put_version(put, hook).await.unwrap();
        self.versions.push((bucket.id, key.to_vec(), committed.version));
    }

    pub async fn delete(&mut self, bucket: BucketId, key: &[u8], version: Option<VersionId>) {
        let delete = DeleteVersion {
            bucket,
            key: key.to_vec(),
            version,
            condition: DeleteCondition::NONE,
            bypass_governance: false,
            now_ms: self.clock.now_ms(),
        };
        self.catalog.delete_version(delete, self.accounts.release_hook()).await.unwrap();
    }

    async fn upload_part(&mut self, bucket: usize, key: &[u8]) {
        let of = self.buckets[bucket].clone();
        if self.uploads.is_empty() || self.random.random_bool(0.3) {
            let upload = CreateUpload {
                bucket: of.id,
                key: key.to_vec(),
                storage_class: "STANDARD".to_owned(),
                attributes: "{}".to_owned(),
                meta: VersionMeta::NONE,
                now_ms: self.clock.now_ms(),
            };
            let id = self.catalog.create_upload(upload).await.unwrap();
            self.uploads.push((of.id, key.to_vec(), id, BTreeMap::new()));
        }
        let index = self.random.random_range(0..self.uploads.len());
        let (number, size) = (self.random.random_range(1..4), self.random.random_range(100..9_000));
        let (bucket, key, upload, _) = self.uploads[index].clone();
        let of = self.buckets.iter().find(|of| of.id == bucket).unwrap();
        let part = PutPart {
            bucket,
            key,
            upload,
            number,
            content: content(of, size),
            size,
            etag: format!("part-{size}"),
            checksums: "{}".to_owned(),
            now_ms: self.clock.now_ms(),
        };
        let hook = self.accounts.reserve_in(self.account, bucket.0, size, 0).await.unwrap();
        let part = self.catalog.put_part(part, Arc::new(hook)).await.unwrap();
        self.uploads[index].3.insert(number, part.etag);
    }

    /// Completes an upload with all of its parts but perhaps the last, or gives it up.
    async fn end_upload(&mut self) {
        if self.uploads.is_empty() {
            return;
        }
        let index = self.random.random_range(0..self.uploads.len());
        let (bucket, key, upload, mut parts) = self.uploads.swap_remove(index);
        let now_ms = self.clock.now_ms();
        if parts.is_empty() || self.random.random_bool(0.3) {
            let hook = self.accounts.release_hook();
            self.catalog.abort_upload(bucket, &key, upload, now_ms, hook).await.unwrap();
            return;
        }
        if parts.len() > 1 && self.random.random_bool(0.5) {
            parts.pop_last();
        }
        let parts = parts.into_iter().map(|(number, etag)| CompletedPart { number, etag }).collect();
        let complete = CompleteUpload {
            bucket,
            key: key.clone(),
            upload,
            parts,
            minimum_part_size: 1,
            expected_size: None,
            precondition: Precondition::NONE,
            etag: "whole".to_owned(),
            attributes: "{}".to_owned(),
            now_ms,
        };
        let hook = self.accounts.reserve_in(self.account, bucket.0, 0, 1).await.unwrap();
        let committed = self.catalog.complete_upload(complete, Arc::new(hook)).await.unwrap();
        self.versions.push((bucket, key, committed.version));
    }

    /// A request that receives some bytes.
    fn request(&mut self, bucket: i64) {
        let received = self.random.random_range(0..50_000);
        let key = KEYS[self.random.random_range(0..KEYS.len())];
        let admission = self.accounts.admission(RequestClass::A);
        admission.signed_by(self.account, key.into());
        if bucket != 0 {
            admission.let_in(self.account, bucket);
        }
        admission.moved(Direction::Received, received, &mut Pace::default());
        drop(admission);
        let month = Month::of(self.clock.now_ms());
        let counted = self.requests.entry((month, bucket, key.to_owned())).or_default();
        counted[0] += 1;
        counted[1] += received;
    }

    fn turn_clock(&mut self) {
        let minutes = |minutes: u64| Duration::from_millis(minutes * 60_000 + 123);
        match self.random.random_range(0..20) {
            0 => self.clock.set_back(minutes(self.random.random_range(0..180))),
            1 => self.clock.advance(minutes(self.random.random_range(0..3 * 24 * 60))),
            _ => self.clock.advance(minutes(self.random.random_range(0..30))),
        }
    }

    /// What gateways and jobs do beside, and what interrupts them.
    async fn disturb(&mut self, fixture: &Fixture) {
        match self.random.random_range(0..12) {
            0 => drop(self.accounts.roll_up().await.unwrap()),
            1 => {
                // Dies anywhere in the middle.
                let patience = Duration::from_micros(self.random.random_range(0..1_500));
                let _ = tokio::time::timeout(patience, self.accounts.roll_up()).await;
            }
            2 => {
                let (first, second) = futures::join!(self.accounts.roll_up(), self.accounts.roll_up());
                first.unwrap();
                second.unwrap();
            }
            3 => redeliver(&self.db).await,
            4 => {
                self.accounts.flush_meters().await;
                self.accounts = fixture.gateway().await;
            }
            _ => {}
        }
    }

    async fn step(&mut self, fixture: &Fixture) {
        self.turn_clock();
        let bucket = self.random.random_range(0..self.buckets.len());
        let key = [b'a' + self.random.random_range(0..6u8)];
        let size = [0, 50, 4_096, 1 << 20][self.random.random_range(0..4)];
        match self.random.random_range(0..10) {
            0..=3 => self.put(bucket, &key, size, None).await,
            4 => self.delete(self.buckets[bucket].id, &key, None).await,
            5 => {
                if !self.versions.is_empty() {
                    let index = self.random.random_range(0..self.versions.len());
                    let (bucket, key, version) = self.versions.swap_remove(index);
                    self.delete(bucket, &key, Some(version)).await;
                }
            }
            6 | 7 => self.upload_part(bucket, &key).await,
            8 => self.end_upload().await,
            _ => {
                let bucket = [0, self.buckets[bucket].id.0][self.random.random_range(0..2)];
                self.request(bucket);
            }
        }
        self.note().await;
        self.disturb(fixture).await;
    }

    /// Bytes times milliseconds and objects times milliseconds between two moments.
    fn integral(&self, bucket: i64, from_ms: u64, end_ms: u64) -> [i128; 2] {
        let mut sums = [0, 0];
        for change in self.changes.iter().filter(|change| change.bucket == bucket && change.at_ms < end_ms) {
            let left = i128::from(end_ms - change.at_ms.max(from_ms));
            sums[0] += i128::from(change.by[0]) * left;
            sums[1] += i128::from(change.by[1]) * left;
        }
        sums
    }

    async fn check_month(&self, month: Month) {
        let report = self.accounts.usage_of_month(self.account, month, Freshness::Current).await.unwrap();
        let (from_ms, end_ms) = (month.start_ms(), month.next().start_ms());
        assert_eq!((report.from_ms, report.until_ms), (from_ms, end_ms));
        for bucket in &self.buckets {
            let bucket = bucket.id.0;
            let stored = report.usages.iter().find(|usage| usage.bucket == bucket && usage.key.is_empty());
            let metered = stored.map_or([0, 0], |usage| [usage.byte_ms, usage.object_ms]);
            assert_eq!(metered, self.integral(bucket, from_ms, end_ms), "bucket {bucket} in {month}");
            let hours =
                self.accounts.usage_by_hour(self.account, month, bucket, Freshness::Current).await.unwrap();
            for hour in hours.iter().filter(|hour| hour.usage.key.is_empty()) {
                let counted = self.integral(bucket, hour.start_ms, hour.start_ms + HOUR_MS);
                assert_eq!([hour.usage.byte_ms, hour.usage.object_ms], counted, "hour {}", hour.start_ms);
            }
            let sum = hours.iter().map(|hour| hour.usage.byte_ms).sum::<i128>();
            assert_eq!(sum, metered[0], "the hours of {month} are the month");
        }
        let mut requests = self.requests.clone();
        requests.retain(|(of, ..), _| *of == month);
        let metered: Requests = report
            .usages
            .iter()
            .filter(|usage| usage.traffic.class_a > 0)
            .map(|usage| {
                let counted = [usage.traffic.class_a, usage.traffic.ingress];
                ((month, usage.bucket, usage.key.to_string()), counted)
            })
            .collect();
        assert_eq!(metered, requests, "requests of {month}");
    }
}

/// One new chunk of that many bytes.
fn content(bucket: &Bucket, size: u64) -> ManifestContent {
    let location = Location { group: GroupId(0), sealed: SealedId::random(), sealed_len: 77 };
    let chunk = ChunkId(std::array::from_fn(|index| SealedId::random().0[index % 16]));
    let tail = if size == 0 {
        vec![]
    } else {
        vec![ManifestEntry::New { chunk, len: size as u32, location, missing: vec![] }]
    };
    ManifestContent { pending: None, domain: bucket.domain, backend: "mesh".to_owned(), tail }
}

/// Delivers everything again that was ever rolled up.
pub async fn redeliver(db: &Db) {
    const AGAIN: &str = "INSERT INTO usage_event SELECT * FROM usage_history WHERE 1 = 1
        ON CONFLICT (source, sequence) DO NOTHING";
    db.write::<_, DbError, _>(|tx| Box::pin(async move { tx.execute(AGAIN, &[]).await })).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_when_the_rollups_are_what_the_history_says() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db.clone());
        for seed in 0..3 {
            let mut scene = Scene::new(&fixture, seed).await;
            let first = Month::of(scene.clock.now_ms() - 7 * 24 * HOUR_MS);
            for _ in 0..STEPS {
                scene.step(&fixture).await;
            }
            scene.accounts.flush_meters().await;
            scene.clock.advance(Duration::from_hours(60 * 24));
            redeliver(&db).await;
            assert!(scene.changes.len() > STEPS / 3, "something happened: {}", scene.changes.len());
            let last = Month::of(scene.clock.now_ms());
            let mut month = first;
            while month < last {
                scene.check_month(month).await;
                month = month.next();
            }
            let found = scene.accounts.verify_usage(None, Catalog::stored_count()).await.unwrap();
            assert_eq!(found.drifts, [], "seed {seed}");
            assert!(found.rollups_checked > 50, "{found:?}");
        }
    })
    .await;
}

//! A service of its own for each test: a fresh database, real accounts, chunks in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use datamesh_accounts::{
    Accounts, AccountsConfig, Dimension, Kek, Keyring, Limit, LimitChange, NewKey, Owner,
};
use datamesh_backend::{Backend, BackendError, MemoryBackend, Placed, Presence, StoredChunk};
use datamesh_catalog::Catalog;
use datamesh_db::Db;
use datamesh_gateway::access_log::AccessLog;
use datamesh_gateway::config::JobsSection;
use datamesh_gateway::events::{AddressPolicy, Webhooks};
use datamesh_gateway::holdings::Holdings;
use datamesh_gateway::http::{HttpConfig, Server};
use datamesh_gateway::ingest::{Ingest, IngestConfig};
use datamesh_gateway::jobs::Jobs;
use datamesh_gateway::request_metrics::RequestMetrics;
use datamesh_gateway::retrieve::{Backends, Retrieve, RetrieveConfig};
use datamesh_gateway::s3::{ConfigCache, S3Gateway, ServiceConfig, StorageClasses, Tier, service};
use datamesh_pipeline::ChunkerConfig;
use datamesh_testkit::fresh_database;
use datamesh_types::{AccountId, GroupId, Location, SealedId, TimeSpan};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::client::{Client, REGION};

/// The length of a day in lifecycle rules.
pub const DAY_MS: u64 = 1_000_000;
pub const CHUNK_LEN_MAX: usize = 64 << 10;
pub const SECRET: &str = "a-secret-of-the-tests";

pub struct Service {
    pub accounts: Accounts,
    pub catalog: Catalog,
    pub keyring: Keyring,
    pub backend: Arc<FaultyBackend>,
    /// Days of [`DAY_MS`]; nothing runs by itself.
    pub jobs: Jobs,
    pub access_log: AccessLog,
    pub gateway: S3Gateway,
    /// Of account A.
    pub client: Client,
    /// Of account B.
    pub other: Client,
    pub account: AccountId,
    _dir: TempDir,
    _database: Option<TempDir>,
    _stop: DropGuard,
}

/// A memory backend whose reads can be made to fail.
#[derive(Debug)]
pub struct FaultyBackend {
    inner: MemoryBackend,
    /// How many reads succeed before all fail.
    pub reads_left: AtomicU64,
    /// How often it was asked for anything.
    pub calls: AtomicU64,
}

#[async_trait]
impl Backend for FaultyBackend {
    async fn put(&self, id: SealedId, sealed: Bytes) -> Result<Placed, BackendError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.inner.put(id, sealed).await
    }

    async fn get(&self, location: &Location) -> Result<Bytes, BackendError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let take = |left: u64| left.checked_sub(1);
        if self.reads_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            return Err(BackendError::NotFound { sealed: location.sealed });
        }
        self.inner.get(location).await
    }

    async fn delete(&self, locations: &[Location]) -> Vec<Result<(), BackendError>> {
        self.inner.delete(locations).await
    }

    async fn presence(&self, location: &Location) -> Result<Presence, BackendError> {
        self.inner.presence(location).await
    }

    async fn list(
        &self,
        after: Option<(GroupId, SealedId)>,
        limit: usize,
    ) -> Result<Vec<StoredChunk>, BackendError> {
        self.inner.list(after, limit).await
    }
}

/// The main backend, both backends, and the storage classes on them.
fn storage() -> (Arc<FaultyBackend>, Backends, StorageClasses) {
    let main = Arc::new(FaultyBackend {
        inner: MemoryBackend::new(),
        reads_left: AtomicU64::new(u64::MAX),
        calls: AtomicU64::new(0),
    });
    let cold: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    let backends: Backends = Arc::new(BTreeMap::from([
        ("main".to_owned(), Arc::clone(&main) as Arc<dyn Backend>),
        ("cold".to_owned(), cold),
    ]));
    let tier = |class: &str, backend: &str| {
        let (cold, archive) = (backend == "cold", class == "GLACIER");
        (class.to_owned(), Tier { backend: backend.to_owned(), cold, archive })
    };
    let classes =
        [("STANDARD", "main"), ("STANDARD_IA", "main"), ("GLACIER_IR", "cold"), ("GLACIER", "cold")];
    let classes = classes.map(|(class, backend)| tier(class, backend));
    let classes = StorageClasses::new(classes, &backends).unwrap();
    (main, backends, classes)
}

impl Service {
    pub async fn start() -> Self {
        Self::start_with(HttpConfig { body_idle_timeout: Duration::from_secs(20), ..HttpConfig::default() })
            .await
    }

    pub async fn start_with(http: HttpConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (config, database) = fresh_database().await;
        let db = Db::open(&config).await.unwrap();
        let catalog = Catalog::open(db.clone()).await.unwrap();
        let kek = Kek::load_or_create(dir.path().join("kek")).unwrap();
        let keyring = Keyring::open(db.clone(), kek).await.unwrap();
        let config = AccountsConfig { queue_time: Duration::from_secs(1), ..AccountsConfig::default() };
        let accounts = Accounts::open(db, keyring.clone(), config).await.unwrap();
        let (backend, backends, classes) = storage();
        // Small chunks, so that small bodies have many.
        let chunker = ChunkerConfig { min: 4 << 10, avg: 16 << 10, max: CHUNK_LEN_MAX };
        let ingest = IngestConfig { chunker, flush_entries: 16, ..IngestConfig::default() };
        // Webhooks of the tests listen here; 127.0.0.2 is forbidden all the same.
        let policy = AddressPolicy { allowed: vec!["127.0.0.1/32".parse().unwrap()] };
        let webhooks = Webhooks::new(policy).unwrap();
        let access_log = AccessLog::default();
        let gateway = S3Gateway {
            classes,
            ingest: Ingest::new(catalog.clone(), ingest),
            retrieve: Retrieve::new(catalog.clone(), Arc::clone(&backends), RetrieveConfig::default()),
            catalog: catalog.clone(),
            accounts: accounts.clone(),
            configs: ConfigCache::default(),
            keyring: keyring.clone(),
            webhooks,
            access_log: access_log.clone(),
            request_metrics: RequestMetrics::default(),
            region: REGION.into(),
        };
        let jobs = JobsSection { lifecycle_day: TimeSpan::seconds(DAY_MS / 1000), ..JobsSection::default() };
        let holdings = Holdings { backends, mesh: None };
        let jobs = Jobs::new(gateway.clone(), holdings, jobs);
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), None, http).await.unwrap();
        let address = server.local_addr().unwrap();
        let stop = CancellationToken::new();
        let domains = vec!["s3.test".to_owned()];
        tokio::spawn(server.run(
            service(gateway.clone(), ServiceConfig { domains, ..ServiceConfig::default() }),
            stop.clone(),
        ));
        let mut clients = Vec::new();
        for name in ["AKIATESTA", "AKIATESTB"] {
            let user = accounts.create_user(&format!("{name}@test.org"), name, "unlimited").await.unwrap();
            accounts.create_key(user.id, Some((name.to_owned(), SECRET.to_owned()))).await.unwrap();
            let client = Client { address, access_key: name.into(), secret: SECRET.into() };
            clients.push((client, user.id));
        }
        let (other, _) = clients.pop().unwrap();
        let (client, account) = clients.pop().unwrap();
        client.put("/bucket", b"").await.expect(200);
        let stopped = stop.drop_guard();
        Self {
            accounts,
            catalog,
            keyring,
            backend,
            jobs,
            access_log,
            gateway,
            client,
            other,
            account,
            _dir: dir,
            _database: database,
            _stop: stopped,
        }
    }
}

impl Service {
    /// Sets one of an owner's own limits.
    pub async fn limit(&self, owner: &Owner, dimension: Dimension, maximum: u64) {
        self.change_limit(owner, dimension, Limit::enforced(maximum)).await;
    }

    pub async fn change_limit(&self, owner: &Owner, dimension: Dimension, limit: Limit) {
        let changes = [(dimension, LimitChange::Limit(limit))];
        self.accounts.change_limits(owner, &changes, Catalog::stored_count()).await.unwrap();
    }

    /// A client of account A's with a key of that name, which does only what the policy allows.
    pub async fn key(&self, name: &str, policy: &str) -> Client {
        let explicit = Some((name.to_owned(), SECRET.to_owned()));
        let new = NewKey { explicit, policy: Some(policy.to_owned()), expires_at_ms: None };
        self.accounts.create_limited_key(self.account, new).await.unwrap();
        Client { access_key: name.into(), ..self.client.clone() }
    }

    /// A bucket as limits name it.
    pub async fn bucket(&self, name: &str) -> Owner {
        Owner::Bucket(self.catalog.bucket(name).await.unwrap().unwrap().id.0)
    }

    /// What an owner has used of a dimension.
    pub async fn used(&self, owner: &Owner, dimension: Dimension) -> Option<u64> {
        self.accounts.flush_meters().await;
        let allowance = self.accounts.allowance(owner).await.unwrap();
        let standing = allowance.standings.iter().find(|(counted, _)| *counted == dimension);
        standing.map(|(_, standing)| standing.used)
    }
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| step()).collect()
}

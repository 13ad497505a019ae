//! The handle that everything goes through, and what it shares.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use datamesh_mesh::{NetworkMap, ShardTransport};
use datamesh_pipeline::{Coder, ShardAuthKey};
use datamesh_types::{GroupId, Location, NodeId, Profile, SealedId, ShardHealth};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::watch;

use crate::calls::Calls;
use crate::groups::GroupCache;
use crate::health::Nodes;
use crate::repair::Ledger;
use crate::suspects::Suspects;
use crate::{
    ClusterConfig, ClusterError, ClusterStatus, GroupDirectory, GroupRecord, RepairProgress, RepairReport,
    RepairRequest,
};

/// Where a write went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Where the chunk is.
    pub location: Location,
    /// Shard indices that are not known to be stored, ascending. Commit them with the chunk: repair completes them.
    pub missing: Vec<u8>,
}

/// What a node says about one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardPresence {
    /// The node that should hold it.
    pub node: NodeId,
    /// Its answer after reading the shard back; `None` when it did not answer.
    pub health: Option<ShardHealth>,
}

/// A chunk that some node holds a shard of, known to the directory or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredChunk {
    /// The group.
    pub group: GroupId,
    /// The chunk.
    pub sealed: SealedId,
    /// When the youngest of its shards was stored, by the nodes' clocks, in milliseconds since the Unix epoch.
    pub stored_at_ms: i64,
}

/// Placement groups over a mesh. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

/// What the parts of a cluster share. The parts are the other files' `impl Inner`.
pub(crate) struct Inner {
    pub(crate) calls: Calls,
    pub(crate) directory: Arc<dyn GroupDirectory>,
    pub(crate) auth: ShardAuthKey,
    pub(crate) map: watch::Receiver<Arc<NetworkMap>>,
    pub(crate) cache: GroupCache,
    pub(crate) suspects: Suspects,
    pub(crate) ledger: Ledger,
    /// Held while groups are made, sealed or opened.
    pub(crate) changing_groups: tokio::sync::Mutex<()>,
    replacing: Mutex<HashSet<GroupId>>,
    coders: Mutex<HashMap<Profile, Coder>>,
    rng: Mutex<StdRng>,
}

impl Inner {
    pub(crate) fn rng(&self) -> MutexGuard<'_, StdRng> {
        self.rng.lock().expect("no holder of this lock panics")
    }

    pub(crate) fn coder(&self, profile: Profile) -> Coder {
        let mut coders = self.coders.lock().expect("no holder of this lock panics");
        coders.entry(profile).or_insert_with(|| Coder::new(profile)).clone()
    }

    /// Groups with a node being replaced: they stay sealed.
    pub(crate) fn replacing(&self) -> MutexGuard<'_, HashSet<GroupId>> {
        self.replacing.lock().expect("no holder of this lock panics")
    }
}

/// Runs `work` where it may compute, and passes on its panic.
pub(crate) async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going down and dropped the work; so will be this task.
            Err(_) => std::future::pending().await,
        },
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("config", &self.inner.calls.config).finish_non_exhaustive()
    }
}

impl Cluster {
    /// A cluster over the nodes of the map that `map` follows. Does no I/O: call [`Self::ensure_groups`] once
    /// before the first write.
    pub fn new(
        transport: Arc<dyn ShardTransport>,
        directory: Arc<dyn GroupDirectory>,
        auth: ShardAuthKey,
        map: watch::Receiver<Arc<NetworkMap>>,
        config: ClusterConfig,
    ) -> Self {
        let nodes = Arc::new(Nodes::new(config.clone()));
        let inner = Inner {
            calls: Calls { transport, nodes, config: Arc::new(config) },
            directory,
            auth,
            map,
            cache: GroupCache::default(),
            suspects: Suspects::default(),
            ledger: Ledger::default(),
            changing_groups: tokio::sync::Mutex::default(),
            replacing: Mutex::default(),
            coders: Mutex::default(),
            rng: Mutex::new(StdRng::from_rng(&mut rand::rng())),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Stores a sealed chunk: n shards to the n nodes of an open group, in parallel.
    ///
    /// Returns when all are on stable storage, or after the straggler timeout when at least the write quorum is
    /// (k + ceil((n - k) / 2)); the rest goes on in the background and is named in [`Placed::missing`]. When
    /// a group cannot reach its quorum, another is tried and what was written is deleted.
    ///
    /// `sealed` must be fresh: one id never has two contents. When the future is dropped, or the caller fails to
    /// commit the location, the shards are orphans, which a repair pass finds.
    ///
    /// # Errors
    /// [`ClusterError::NoQuorum`], [`ClusterError::Full`], [`ClusterError::NoOpenGroup`]: a 503 or a 507; trying
    /// again, with a fresh id, is safe.
    pub async fn put(&self, sealed: SealedId, bytes: Bytes) -> Result<Placed, ClusterError> {
        self.inner.put(sealed, bytes).await
    }

    /// Reads a sealed chunk, exactly as it was put. Every shard is checked against its keyed tag.
    ///
    /// The k data shards are read in parallel; a further shard is asked for whenever one is later than its node
    /// usually is, wrong, missing, or its node not connected. Cancelled by dropping it.
    ///
    /// # Errors
    /// [`ClusterError::Lost`] and [`ClusterError::NotFound`] only by the definite answers of the nodes, and after
    /// the directory was told; [`ClusterError::Unreachable`] while enough nodes to make a difference don't answer.
    pub async fn get(&self, location: &Location) -> Result<Bytes, ClusterError> {
        self.inner.get(location).await
    }

    /// Deletes chunks from all the nodes of their groups. One result for each location, in order.
    ///
    /// Idempotent: what is not there is deleted. Nodes that the network map no longer lists are not waited for.
    ///
    /// # Errors
    /// [`ClusterError::NotDeleted`] when a node did not confirm; keep the location as garbage and try again later.
    pub async fn delete(&self, locations: &[Location]) -> Vec<Result<(), ClusterError>> {
        self.inner.delete(locations).await
    }

    /// Has every node of the group read its shard back; one answer per index.
    pub async fn presence(&self, location: &Location) -> Result<Vec<ShardPresence>, ClusterError> {
        self.inner.presence(location).await
    }

    /// How the chunks of a group are coded.
    pub async fn profile_of(&self, group: GroupId) -> Result<Profile, ClusterError> {
        Ok(self.inner.group(group).await?.profile)
    }

    /// Up to `limit` chunks that connected nodes hold shards of, in order of group and sealed id, after `after`.
    /// An empty page is the last. A chunk whose only shards are on nodes that don't answer is not listed.
    pub async fn list_stored(
        &self,
        after: Option<(GroupId, SealedId)>,
        limit: usize,
    ) -> Result<Vec<StoredChunk>, ClusterError> {
        self.inner.list_stored(after, limit).await
    }

    /// Makes the groups that the network map calls for, and seals those that it no longer does. Returns the open
    /// ones. Idempotent; run it at the start, after each change of the map, and by one gateway at a time.
    ///
    /// # Errors
    /// [`ClusterError::TooFewNodes`] when the profile is fixed and too wide for the map.
    pub async fn ensure_groups(&self) -> Result<Vec<GroupRecord>, ClusterError> {
        self.inner.ensure_groups().await
    }

    /// Asks the nodes how full they are; placement uses the answers. Run it every few seconds.
    pub async fn refresh_usage(&self) {
        self.inner.refresh_usage().await;
    }

    /// One repair pass. At most one runs at a time in this process; among gateways, a lease must see to it.
    ///
    /// May be dropped or die at any point and be run again: what was restored stays restored.
    ///
    /// # Errors
    /// [`ClusterError::RepairRunning`], or the directory's failure. Nodes that fail are no error: the report
    /// says what is still short.
    pub async fn repair_pass(&self, request: RepairRequest) -> Result<RepairReport, ClusterError> {
        self.inner.repair_pass(request).await
    }

    /// Where the running pass is.
    pub fn repair_progress(&self) -> Option<RepairProgress> {
        self.inner.ledger.progress()
    }

    /// How the groups and nodes are.
    pub async fn status(&self) -> Result<ClusterStatus, ClusterError> {
        self.inner.status().await
    }
}

//! Hosts for tests: their storage, keys, and the map that admits them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use datamesh_mesh::{
    Member, MemberState, Mesh, MeshConfig, MeshHandle, NetworkMap, NodeKey, NodeUsage, OperatorKey, Roles,
    ShardError, ShardService, SignedMap,
};
use datamesh_types::{GroupId, NodeId, SealedId, ShardHealth, ShardId, ShardStat};
use tokio::sync::{Notify, Semaphore};

/// Long enough for a busy machine; tests end as soon as what they wait for happens.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A shard of this index is answered only when [`Memory::open_gate`] was called.
pub const GATED: u8 = 200;

/// Shards in memory, with hooks for tests.
pub struct Memory {
    pub shards: Mutex<BTreeMap<ShardId, Bytes>>,
    pub calls: AtomicUsize,
    pub waiting: AtomicUsize,
    pub waiting_changed: Notify,
    gate: Semaphore,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            shards: Mutex::default(),
            calls: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            waiting_changed: Notify::new(),
            gate: Semaphore::new(0),
        }
    }
}

impl Memory {
    pub fn open_gate(&self) {
        self.gate.add_permits(1 << 20);
    }

    async fn pass(&self, id: ShardId) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if id.index == GATED {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            self.waiting_changed.notify_waiters();
            self.gate.acquire().await.expect("the gate is never closed").forget();
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn find(&self, id: ShardId) -> Result<Bytes, ShardError> {
        self.shards.lock().unwrap().get(&id).cloned().ok_or(ShardError::NotFound)
    }
}

#[async_trait]
impl ShardService for Memory {
    async fn put(&self, _: NodeId, id: ShardId, data: Bytes) -> Result<(), ShardError> {
        self.pass(id).await;
        let mut shards = self.shards.lock().unwrap();
        match shards.get(&id) {
            Some(stored) if *stored != data => Err(ShardError::Conflict),
            _ => {
                shards.insert(id, data);
                Ok(())
            }
        }
    }

    async fn get(&self, _: NodeId, id: ShardId) -> Result<Bytes, ShardError> {
        self.pass(id).await;
        self.find(id)
    }

    async fn get_range(&self, _: NodeId, id: ShardId, offset: u32, len: u32) -> Result<Bytes, ShardError> {
        let data = self.find(id)?;
        let start = (offset as usize).min(data.len());
        let end = start.saturating_add(len as usize).min(data.len());
        Ok(data.slice(start..end))
    }

    async fn delete(&self, _: NodeId, ids: &[ShardId]) -> Result<(), ShardError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.shards.lock().unwrap().retain(|id, _| !ids.contains(id));
        Ok(())
    }

    async fn list(
        &self,
        _: NodeId,
        group: Option<GroupId>,
        after: Option<ShardId>,
        limit: u32,
    ) -> Result<Vec<ShardStat>, ShardError> {
        let shards = self.shards.lock().unwrap();
        let matching = shards
            .iter()
            .filter(|(id, _)| group.is_none_or(|group| id.group == group))
            .filter(|(id, _)| after.is_none_or(|after| **id > after));
        Ok(matching.take(limit as usize).map(|(id, data)| stat(*id, data)).collect())
    }

    async fn stat(&self, _: NodeId, id: ShardId) -> Result<Option<ShardStat>, ShardError> {
        Ok(self.shards.lock().unwrap().get(&id).map(|data| stat(id, data)))
    }

    async fn verify(&self, _: NodeId, id: ShardId) -> Result<ShardHealth, ShardError> {
        Ok(if self.find(id).is_ok() { ShardHealth::Good } else { ShardHealth::Missing })
    }

    async fn usage(&self, _: NodeId) -> Result<NodeUsage, ShardError> {
        let shards = self.shards.lock().unwrap();
        let used = shards.values().map(|data| data.len() as u64).sum();
        Ok(NodeUsage {
            capacity_bytes: 1 << 30,
            used_bytes: used,
            live_bytes: used,
            shards: shards.len() as u64,
            read_only: false,
        })
    }
}

fn stat(id: ShardId, data: &Bytes) -> ShardStat {
    ShardStat { id, len: data.len() as u32, stored_at_ms: 0 }
}

pub fn shard(index: u8) -> ShardId {
    ShardId { group: GroupId(1), sealed: SealedId([1; SealedId::LEN]), index }
}

pub const STORAGE: Roles = Roles { storage: true, gateway: false, bootstrap: false };
pub const GATEWAY: Roles = Roles { storage: false, gateway: true, bootstrap: false };

/// An operator, the members that it has admitted, and the numbers of its maps.
pub struct Network {
    pub operator: OperatorKey,
    pub members: Vec<Member>,
    pub epoch: u64,
}

impl Network {
    pub fn new() -> Self {
        Self { operator: OperatorKey::generate(), members: Vec::new(), epoch: 0 }
    }

    pub fn admit(&mut self, key: &NodeKey, roles: Roles, addresses: Vec<String>) {
        self.members.retain(|member| member.node != key.node_id());
        self.members.push(Member {
            node: key.node_id(),
            roles,
            operator: "test".to_owned(),
            region: "here".to_owned(),
            addresses,
            capacity_bytes: 1 << 30,
            state: MemberState::Active,
        });
    }

    /// The next map.
    pub fn sign(&mut self) -> SignedMap {
        self.epoch += 1;
        let members = self.members.clone();
        let map = NetworkMap { network: "test".to_owned(), epoch: self.epoch, members };
        SignedMap::sign(&map, &self.operator)
    }

    pub fn config(&mut self, key: &NodeKey) -> MeshConfig {
        let map = self.sign();
        let mut config = MeshConfig::new(key.clone(), map, vec![self.operator.operator_id()]);
        config.status_interval = Duration::from_millis(200);
        config
    }

    /// A storage host that listens on a free port, admitted with its true address.
    pub async fn storage(&mut self, key: &NodeKey, memory: Arc<Memory>) -> MeshHandle {
        self.storage_on(key, memory, "/ip4/127.0.0.1/tcp/0").await
    }

    pub async fn storage_on(&mut self, key: &NodeKey, memory: Arc<Memory>, listen: &str) -> MeshHandle {
        self.admit(key, STORAGE, vec![]);
        let mut config = self.config(key);
        config.listen = vec![listen.to_owned()];
        let handle = Mesh::start(config, Some(memory)).await.unwrap();
        self.admit(key, STORAGE, handle.listen_addresses());
        handle
    }

    /// A gateway that knows everybody admitted so far.
    pub async fn gateway(&mut self, key: &NodeKey) -> MeshHandle {
        self.admit(key, GATEWAY, vec![]);
        let config = self.config(key);
        Mesh::start(config, None).await.unwrap()
    }
}

pub async fn connected(handle: &MeshHandle, node: NodeId) {
    tokio::time::timeout(PATIENCE, handle.wait_connected(node)).await.expect("the hosts connect in time");
}

/// Polls until `holds`; for conditions that nobody announces.
pub async fn eventually<F: AsyncFnMut() -> bool>(what: &str, mut holds: F) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// One storage host and one gateway, connected.
pub struct Pair {
    pub network: Network,
    pub memory: Arc<Memory>,
    pub storage: MeshHandle,
    pub gateway: MeshHandle,
    pub node: NodeId,
}

impl Pair {
    pub async fn new() -> Self {
        Self::on("/ip4/127.0.0.1/tcp/0").await
    }

    pub async fn on(listen: &str) -> Self {
        Self::with(listen, |_| {}).await
    }

    pub async fn with(listen: &str, configure: impl FnOnce(&mut MeshConfig)) -> Self {
        let mut network = Network::new();
        let memory = Arc::new(Memory::default());
        let (storage_key, gateway_key) = (NodeKey::generate(), NodeKey::generate());
        network.admit(&gateway_key, GATEWAY, vec![]);
        let storage = network.storage_on(&storage_key, Arc::clone(&memory), listen).await;
        let mut config = network.config(&gateway_key);
        configure(&mut config);
        let gateway = Mesh::start(config, None).await.unwrap();
        let node = storage.node_id();
        connected(&gateway, node).await;
        Self { network, memory, storage, gateway, node }
    }
}

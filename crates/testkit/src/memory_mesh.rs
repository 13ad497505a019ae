//! A mesh in memory: nodes that keep shards in maps, and fail as they are told.
//!
//! Nothing sleeps here except on tokio's clock, which tests pause: a stalled node answers when it is released, a
//! slow one after its delay.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use datamesh_mesh::{Member, MemberState, NetworkMap, NodeUsage, Roles, ShardTransport, TransportError};
use datamesh_types::{GroupId, NodeId, ShardHealth, ShardId, ShardStat};
use tokio::sync::watch;

/// What is done to a stored shard.
#[derive(Debug, Clone)]
pub enum Damage {
    /// Flips the lowest bit of the first byte.
    FlipFirst,
    /// Flips a bit in the middle.
    FlipMiddle,
    /// Flips the highest bit of the last byte.
    FlipLast,
    /// Cuts off the last byte.
    Truncate,
    /// Zeroes every byte.
    Zero,
    /// Puts other bytes in its place: another shard's, or an older generation's.
    Replace(Bytes),
}

/// Everything a node held at some moment.
#[derive(Debug, Clone)]
pub struct Snapshot(BTreeMap<ShardId, Stored>);

#[derive(Debug, Clone)]
struct Stored {
    data: Bytes,
    /// What the node's own checksum was made of; differs from `data` when the node notices damage.
    intact: bool,
    since_ms: i64,
}

#[derive(Debug)]
struct Node {
    shards: BTreeMap<ShardId, Stored>,
    down: bool,
    read_only: bool,
    capacity_bytes: u64,
    delay: Duration,
    stalled: watch::Sender<bool>,
    forgets_writes: bool,
    /// Goes down after this many further puts.
    puts_left: Option<u64>,
    puts: u64,
    gets: u64,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            shards: BTreeMap::new(),
            down: false,
            read_only: false,
            capacity_bytes: u64::MAX,
            delay: Duration::ZERO,
            stalled: watch::Sender::new(false),
            forgets_writes: false,
            puts_left: None,
            puts: 0,
            gets: 0,
        }
    }
}

impl Node {
    fn used_bytes(&self) -> u64 {
        self.shards.values().map(|stored| stored.data.len() as u64).sum()
    }
}

#[derive(Debug, Default)]
struct Shared {
    nodes: Mutex<HashMap<NodeId, Node>>,
    now_ms: AtomicI64,
    deletes: AtomicU64,
}

/// The mesh. Clones share the nodes.
#[derive(Debug, Clone, Default)]
pub struct MemoryMesh {
    shared: Arc<Shared>,
}

/// A map of `count` active storage nodes of one operator, numbered from 1.
pub fn network_map(count: u8) -> NetworkMap {
    let member = |number: u8| Member {
        node: NodeId([number; 32]),
        roles: Roles { storage: true, ..Roles::default() },
        operator: "one".to_owned(),
        region: "here".to_owned(),
        addresses: Vec::new(),
        capacity_bytes: 1 << 40,
        state: MemberState::Active,
    };
    NetworkMap { network: "test".to_owned(), epoch: 1, members: (1..=count).map(member).collect() }
}

impl MemoryMesh {
    /// Connected, empty, healthy nodes for every member of the map.
    pub fn new(map: &NetworkMap) -> Self {
        let mesh = Self::default();
        for member in &map.members {
            mesh.add(member.node);
        }
        mesh.set_now_ms(1_000_000_000_000);
        mesh
    }

    /// Adds an empty node.
    pub fn add(&self, node: NodeId) {
        self.nodes().insert(node, Node::default());
    }

    fn nodes(&self) -> MutexGuard<'_, HashMap<NodeId, Node>> {
        self.shared.nodes.lock().expect("no holder of this lock panics")
    }

    fn change<T>(&self, node: NodeId, change: impl FnOnce(&mut Node) -> T) -> T {
        change(self.nodes().get_mut(&node).expect("the test knows its nodes"))
    }

    /// What the nodes' clocks say.
    pub fn set_now_ms(&self, now_ms: i64) {
        self.shared.now_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Cuts the connection to a node, or brings it back with what it holds.
    pub fn set_down(&self, node: NodeId, down: bool) {
        self.change(node, |node| node.down = down);
    }

    /// Lets a node go down after `puts` more shards.
    pub fn go_down_after(&self, node: NodeId, puts: u64) {
        self.change(node, |node| node.puts_left = Some(puts));
    }

    /// Makes a node answer late, on tokio's clock.
    pub fn set_delay(&self, node: NodeId, delay: Duration) {
        self.change(node, |node| node.delay = delay);
    }

    /// Stops a node from answering anything; releasing it lets the calls that wait go on.
    pub fn set_stalled(&self, node: NodeId, stalled: bool) {
        self.change(node, |node| node.stalled.send_replace(stalled));
    }

    /// Sets how much a node takes.
    pub fn set_capacity(&self, node: NodeId, capacity_bytes: u64) {
        self.change(node, |node| node.capacity_bytes = capacity_bytes);
    }

    /// Makes a node refuse writes.
    pub fn set_read_only(&self, node: NodeId, read_only: bool) {
        self.change(node, |node| node.read_only = read_only);
    }

    /// Makes a node acknowledge writes and keep nothing.
    pub fn set_forgets_writes(&self, node: NodeId, forgets: bool) {
        self.change(node, |node| node.forgets_writes = forgets);
    }

    /// Empties a node's disk.
    pub fn wipe(&self, node: NodeId) {
        self.change(node, |node| node.shards.clear());
    }

    /// What a node holds now.
    pub fn snapshot(&self, node: NodeId) -> Snapshot {
        Snapshot(self.change(node, |node| node.shards.clone()))
    }

    /// Puts a node's disk back to what it was.
    pub fn restore(&self, node: NodeId, snapshot: &Snapshot) {
        self.change(node, |node| node.shards.clone_from(&snapshot.0));
    }

    /// Damages a stored shard. With `noticed` the node's own checksum tells; otherwise it serves the bytes as good.
    pub fn damage(&self, node: NodeId, id: ShardId, damage: &Damage, noticed: bool) {
        self.change(node, |node| {
            let stored = node.shards.get_mut(&id).expect("the test damages a shard that is there");
            let mut bytes = stored.data.to_vec();
            let (middle, last) = (bytes.len() / 2, bytes.len() - 1);
            match damage {
                Damage::FlipFirst => bytes[0] ^= 1,
                Damage::FlipMiddle => bytes[middle] ^= 0x10,
                Damage::FlipLast => bytes[last] ^= 0x80,
                Damage::Truncate => drop(bytes.pop()),
                Damage::Zero => bytes.fill(0),
                Damage::Replace(other) => bytes = other.to_vec(),
            }
            stored.data = Bytes::from(bytes);
            stored.intact = !noticed;
        });
    }

    /// Removes a shard from a node's disk, without the node being asked to.
    pub fn lose(&self, node: NodeId, id: ShardId) {
        self.change(node, |node| drop(node.shards.remove(&id)));
    }

    /// The bytes a node holds under an id.
    pub fn stored(&self, node: NodeId, id: ShardId) -> Option<Bytes> {
        self.change(node, |node| node.shards.get(&id).map(|stored| stored.data.clone()))
    }

    /// How many shards a node holds.
    pub fn shard_count(&self, node: NodeId) -> usize {
        self.change(node, |node| node.shards.len())
    }

    /// How many puts and gets a node was sent.
    pub fn calls(&self, node: NodeId) -> (u64, u64) {
        self.change(node, |node| (node.puts, node.gets))
    }

    /// How many shards all nodes were told to delete.
    pub fn deletes(&self) -> u64 {
        self.shared.deletes.load(Ordering::Relaxed)
    }

    /// Whether the call may go on, now that the node's faults had their say.
    async fn reach(&self, node: NodeId) -> Result<(), TransportError> {
        let gone = TransportError::NotConnected { node };
        let (delay, mut stalled) = {
            let nodes = self.nodes();
            let state = nodes.get(&node).filter(|state| !state.down).ok_or(gone.clone())?;
            (state.delay, state.stalled.subscribe())
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        // The sender lives as long as the node; without it there is no answer either.
        if stalled.wait_for(|stalled| !stalled).await.is_err() {
            return Err(gone);
        }
        // It may have gone while the call was on its way.
        if self.connected(node) { Ok(()) } else { Err(TransportError::ConnectionLost { node }) }
    }

    async fn call<T>(
        &self,
        node: NodeId,
        answer: impl FnOnce(&mut Node) -> Result<T, TransportError>,
    ) -> Result<T, TransportError> {
        self.reach(node).await?;
        self.change(node, answer)
    }
}

#[async_trait]
impl ShardTransport for MemoryMesh {
    async fn put_shard(&self, node: NodeId, id: ShardId, data: Bytes) -> Result<(), TransportError> {
        let since_ms = self.shared.now_ms.load(Ordering::Relaxed);
        self.call(node, |state| {
            if state.puts_left == Some(0) {
                state.down = true;
                return Err(TransportError::ConnectionLost { node });
            }
            state.puts_left = state.puts_left.map(|left| left - 1);
            state.puts += 1;
            match state.shards.get(&id) {
                Some(known) if known.data != data => return Err(TransportError::Conflict { node }),
                Some(_) => return Ok(()),
                None => {}
            }
            if state.read_only {
                return Err(TransportError::ReadOnly { node });
            }
            if state.used_bytes() + data.len() as u64 > state.capacity_bytes {
                return Err(TransportError::Full { node });
            }
            if !state.forgets_writes {
                state.shards.insert(id, Stored { data, intact: true, since_ms });
            }
            Ok(())
        })
        .await
    }

    async fn get_shard(&self, node: NodeId, id: ShardId) -> Result<Bytes, TransportError> {
        self.call(node, |state| {
            state.gets += 1;
            let stored = state.shards.get(&id).ok_or(TransportError::NotFound { node })?;
            if stored.intact { Ok(stored.data.clone()) } else { Err(TransportError::Corrupt { node }) }
        })
        .await
    }

    async fn delete_shards(&self, node: NodeId, ids: &[ShardId]) -> Result<(), TransportError> {
        self.shared.deletes.fetch_add(ids.len() as u64, Ordering::Relaxed);
        self.call(node, |state| {
            for id in ids {
                state.shards.remove(id);
            }
            Ok(())
        })
        .await
    }

    async fn list_shards(
        &self,
        node: NodeId,
        group: Option<GroupId>,
        after: Option<ShardId>,
        limit: u32,
    ) -> Result<Vec<ShardStat>, TransportError> {
        // Short pages, as the mesh may send: only an empty one is the last.
        let limit = limit.min(7) as usize;
        self.call(node, |state| {
            let shards = state.shards.iter().filter(|(id, _)| {
                after.is_none_or(|after| **id > after) && group.is_none_or(|group| id.group == group)
            });
            let stat = |(id, stored): (&ShardId, &Stored)| ShardStat {
                id: *id,
                len: stored.data.len() as u32,
                stored_at_ms: stored.since_ms,
            };
            Ok(shards.map(stat).take(limit).collect())
        })
        .await
    }

    async fn verify_shard(&self, node: NodeId, id: ShardId) -> Result<ShardHealth, TransportError> {
        self.call(node, |state| {
            Ok(match state.shards.get(&id) {
                None => ShardHealth::Missing,
                Some(stored) if stored.intact => ShardHealth::Good,
                Some(_) => ShardHealth::Corrupt,
            })
        })
        .await
    }

    async fn node_usage(&self, node: NodeId) -> Result<NodeUsage, TransportError> {
        self.call(node, |state| {
            Ok(NodeUsage {
                capacity_bytes: state.capacity_bytes,
                used_bytes: state.used_bytes(),
                live_bytes: state.used_bytes(),
                shards: state.shards.len() as u64,
                read_only: state.read_only,
            })
        })
        .await
    }

    fn connected(&self, node: NodeId) -> bool {
        self.nodes().get(&node).is_some_and(|state| !state.down)
    }
}

//! The cluster over a mesh in memory, with nodes that fail in every way the fault matrix names.

#![allow(clippy::unwrap_used, reason = "this is a test")]
#![allow(clippy::needless_for_each, reason = "setting up nodes in one line each keeps the tests readable")]

mod reads;
mod repairs;
mod writes;

use std::sync::Arc;

use bytes::Bytes;
use datamesh_cluster::{Cluster, ClusterConfig, GroupRecord, Placed, RepairReport, RepairRequest};
use datamesh_mesh::{MemberState, NetworkMap};
use datamesh_pipeline::ShardAuthKey;
use datamesh_testkit::backends::bytes_of;
use datamesh_testkit::{MemoryDirectory, MemoryMesh, network_map};
use datamesh_types::{Location, NodeId, SealedId, ShardId};
use tokio::sync::watch;

/// A cluster, its nodes and its directory, and what was written to it.
struct World {
    mesh: MemoryMesh,
    directory: MemoryDirectory,
    map: watch::Sender<Arc<NetworkMap>>,
    cluster: Cluster,
    written: Vec<(Placed, Bytes)>,
}

impl World {
    async fn new(nodes: u8) -> Self {
        Self::with(network_map(nodes), ClusterConfig::default()).await
    }

    async fn with(map: NetworkMap, config: ClusterConfig) -> Self {
        let mesh = MemoryMesh::new(&map);
        let directory = MemoryDirectory::new();
        let (map, changes) = watch::channel(Arc::new(map));
        let cluster = Cluster::new(
            Arc::new(mesh.clone()),
            Arc::new(directory.clone()),
            ShardAuthKey::from_bytes([7; 32]),
            changes,
            config,
        );
        cluster.ensure_groups().await.unwrap();
        Self { mesh, directory, map, cluster, written: Vec::new() }
    }

    /// Another gateway over the same nodes and directory, which remembers nothing.
    fn another_gateway(&self) -> Cluster {
        Cluster::new(
            Arc::new(self.mesh.clone()),
            Arc::new(self.directory.clone()),
            ShardAuthKey::from_bytes([7; 32]),
            self.map.subscribe(),
            ClusterConfig::default(),
        )
    }

    /// Writes and commits `count` chunks of different sizes.
    async fn write(&mut self, count: usize) {
        for _ in 0..count {
            let seed = self.written.len();
            let bytes = bytes_of(seed as u64, 1 + seed * 977 % 40_000);
            let placed = self.cluster.put(SealedId::random(), bytes.clone()).await.unwrap();
            self.directory.commit(&placed);
            self.written.push((placed, bytes));
        }
    }

    async fn assert_all_readable(&self) {
        for (placed, bytes) in &self.written {
            let read = self.cluster.get(&placed.location).await.unwrap();
            assert!(read == *bytes, "{:?} came back changed", placed.location);
        }
    }

    async fn repair(&self, request: RepairRequest) -> RepairReport {
        self.cluster.repair_pass(request).await.unwrap()
    }

    fn group_of(&self, location: &Location) -> GroupRecord {
        self.directory.group(location.group)
    }

    /// The node of one shard.
    fn node_of(&self, location: &Location, index: usize) -> NodeId {
        self.group_of(location).nodes[index]
    }

    /// Takes shards off their nodes' disks, behind everybody's back.
    fn lose(&self, location: &Location, indices: &[usize]) {
        for index in indices {
            self.mesh.lose(self.node_of(location, *index), shard(location, *index));
        }
    }

    /// Whether every shard of every chunk is where the directory says, counted on the disks.
    fn every_shard_is_there(&self) -> bool {
        self.directory.chunks().iter().all(|chunk| {
            let group = self.group_of(&chunk.location);
            (0..group.nodes.len())
                .all(|index| self.mesh.stored(group.nodes[index], shard(&chunk.location, index)).is_some())
        })
    }

    fn change_member(&self, node: NodeId, state: MemberState) {
        self.map.send_modify(|map| {
            let mut changed = NetworkMap::clone(map);
            changed.epoch += 1;
            changed
                .members
                .iter_mut()
                .filter(|member| member.node == node)
                .for_each(|member| member.state = state);
            *map = Arc::new(changed);
        });
    }

    fn add_member(&self, number: u8) -> NodeId {
        let member = network_map(number).members.pop().unwrap();
        let node = member.node;
        self.mesh.add(node);
        self.map.send_modify(|map| {
            let mut changed = NetworkMap::clone(map);
            changed.epoch += 1;
            changed.members.push(member);
            *map = Arc::new(changed);
        });
        node
    }
}

fn node(number: u8) -> NodeId {
    NodeId([number; 32])
}

fn shard(location: &Location, index: usize) -> ShardId {
    ShardId { group: location.group, sealed: location.sealed, index: index as u8 }
}

/// Every way to choose `count` of the nodes 1..=`total`.
fn subsets(total: u8, count: u32) -> Vec<Vec<NodeId>> {
    let chosen = |mask: u32| (0..total).filter(|bit| mask >> bit & 1 == 1).map(|bit| node(bit + 1)).collect();
    (0_u32..1 << total).filter(|mask| mask.count_ones() == count).map(chosen).collect()
}

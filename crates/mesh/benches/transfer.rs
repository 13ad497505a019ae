//! Shard transfer between two hosts over loopback: throughput and CPU of both sides together.
//!
//! `cargo bench -p datamesh-mesh --bench transfer [-- FILTER]` prints a table. The storage is memory and does
//! nothing, so the figures are the mesh's alone. CPU-seconds per GB tell more than MB/s on a busy machine.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use datamesh_mesh::{
    Member, MemberState, Mesh, MeshConfig, MeshHandle, NetworkMap, NodeKey, NodeUsage, OperatorKey, Roles,
    ShardError, ShardService, ShardTransport, SignedMap, TransportPreference,
};
use datamesh_types::{GroupId, NodeId, SealedId, ShardHealth, ShardId, ShardStat};
use futures::StreamExt as _;

const MEASURE_FOR: Duration = Duration::from_millis(1500);

/// Answers gets with what was put last under the index; keeps nothing else.
#[derive(Default)]
struct Sink(Mutex<HashMap<u8, Bytes>>);

#[async_trait]
impl ShardService for Sink {
    async fn put(&self, _: NodeId, id: ShardId, data: Bytes) -> Result<(), ShardError> {
        self.0.lock().expect("no holder panics").insert(id.index, data);
        Ok(())
    }
    async fn get(&self, _: NodeId, id: ShardId) -> Result<Bytes, ShardError> {
        self.0.lock().expect("no holder panics").get(&id.index).cloned().ok_or(ShardError::NotFound)
    }
    async fn get_range(&self, _: NodeId, _: ShardId, _: u32, _: u32) -> Result<Bytes, ShardError> {
        Err(ShardError::NotFound)
    }
    async fn delete(&self, _: NodeId, _: &[ShardId]) -> Result<(), ShardError> {
        Ok(())
    }
    async fn list(
        &self,
        _: NodeId,
        _: Option<GroupId>,
        _: Option<ShardId>,
        _: u32,
    ) -> Result<Vec<ShardStat>, ShardError> {
        Ok(Vec::new())
    }
    async fn stat(&self, _: NodeId, _: ShardId) -> Result<Option<ShardStat>, ShardError> {
        Ok(None)
    }
    async fn verify(&self, _: NodeId, _: ShardId) -> Result<ShardHealth, ShardError> {
        Ok(ShardHealth::Missing)
    }
    async fn usage(&self, _: NodeId) -> Result<NodeUsage, ShardError> {
        Ok(NodeUsage::default())
    }
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux has /proc");
    let after_name = stat.rsplit(')').next().expect("the name ends with a bracket");
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: f64 =
        fields[11..13].iter().map(|ticks| ticks.parse::<f64>().expect("ticks are numbers")).sum();
    ticks / 100.0
}

async fn hosts(transport: TransportPreference, bulk_streams: usize) -> (MeshHandle, MeshHandle) {
    let operator = OperatorKey::generate();
    let (storage, gateway) = (NodeKey::generate(), NodeKey::generate());
    let member = |key: &NodeKey, storage: bool, addresses: Vec<String>| Member {
        node: key.node_id(),
        roles: Roles { storage, gateway: !storage, bootstrap: false },
        operator: "bench".to_owned(),
        region: "here".to_owned(),
        addresses,
        capacity_bytes: 0,
        state: MemberState::Active,
    };
    let map = |epoch, addresses: Vec<String>| {
        let members = vec![member(&storage, true, addresses), member(&gateway, false, vec![])];
        SignedMap::sign(&NetworkMap { network: "bench".to_owned(), epoch, members }, &operator)
    };
    let trusted = vec![operator.operator_id()];
    let mut config = MeshConfig::new(storage.clone(), map(1, vec![]), trusted.clone());
    config.listen = vec![match transport {
        TransportPreference::Tcp => "/ip4/127.0.0.1/tcp/0".to_owned(),
        TransportPreference::Quic => "/ip4/127.0.0.1/udp/0/quic-v1".to_owned(),
    }];
    let server = Mesh::start(config, Some(Arc::new(Sink::default()))).await.expect("the host starts");
    let mut config = MeshConfig::new(gateway.clone(), map(2, server.listen_addresses()), trusted);
    config.limits.bulk_streams_per_peer = bulk_streams;
    config.limits.bulk_bytes_per_peer = 64 << 20;
    let client = Mesh::start(config, None).await.expect("the host starts");
    tokio::time::timeout(Duration::from_secs(10), client.wait_connected(storage.node_id()))
        .await
        .expect("the hosts connect");
    (server, client)
}

async fn measure(client: &MeshHandle, node: NodeId, put: bool, size: usize, in_flight: usize) -> (f64, f64) {
    let id = |index: usize| ShardId {
        group: GroupId(1),
        sealed: SealedId([1; SealedId::LEN]),
        index: (index % in_flight) as u8,
    };
    let data = Bytes::from(vec![7; size]);
    for index in 0..in_flight {
        client.put_shard(node, id(index), data.clone()).await.expect("the put succeeds");
    }
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let calls =
        futures::stream::iter(0_usize..).take_while(|_| std::future::ready(started.elapsed() < MEASURE_FOR));
    let done = calls
        .map(|index| {
            let data = data.clone();
            async move {
                if put {
                    client.put_shard(node, id(index), data).await.expect("the put succeeds");
                } else {
                    client.get_shard(node, id(index)).await.expect("the get succeeds");
                }
            }
        })
        .buffer_unordered(in_flight)
        .count()
        .await;
    let bytes = (done * size) as f64;
    (bytes / started.elapsed().as_secs_f64() / 1e6, (cpu_seconds() - cpu) / (bytes / 1e9))
}

#[tokio::main]
async fn main() {
    // cargo passes --bench; anything else filters.
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with("--")).unwrap_or_default();
    println!("| transport | bulk streams | call | size | in flight | MB/s | CPU-s/GB |");
    println!("|---|---|---|---|---|---|---|");
    for (name, transport) in [("tcp", TransportPreference::Tcp), ("quic", TransportPreference::Quic)] {
        for bulk_streams in [1, 2, 4] {
            if !format!("{name}{bulk_streams}").contains(&filter) {
                continue;
            }
            let (server, client) = hosts(transport, bulk_streams).await;
            for (call, put) in [("put", true), ("get", false)] {
                for (size_name, size) in [("256 KiB", 256 << 10), ("1 MiB", 1 << 20)] {
                    for in_flight in [1, 4, 16] {
                        let (rate, cpu) = measure(&client, server.node_id(), put, size, in_flight).await;
                        println!(
                            "| {name} | {bulk_streams} | {call} | {size_name} | {in_flight} | {rate:.0} | {cpu:.2} |"
                        );
                    }
                }
            }
            client.shutdown().await;
            server.shutdown().await;
        }
    }
}

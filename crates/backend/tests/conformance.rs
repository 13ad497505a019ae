//! Every backend keeps the contract.

#![allow(clippy::unwrap_used, reason = "this is a test")]
#![allow(clippy::needless_for_each, reason = "setting up nodes in one line each keeps the tests readable")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datamesh_backend::{Backend, BackendError, LocalBackend, MemoryBackend, MeshBackend, ObjectStoreBackend};
use datamesh_cluster::{Cluster, ClusterConfig};
use datamesh_mesh::{
    Member, MemberState, Mesh, MeshConfig, MeshHandle, NetworkMap, NodeKey, OperatorKey, Roles, SignedMap,
};
use datamesh_node::StoreService;
use datamesh_pipeline::ShardAuthKey;
use datamesh_shard_store::{ShardStore, ShardStoreConfig};
use datamesh_testkit::backends::{backend_conformance, bytes_of};
use datamesh_testkit::{MemoryDirectory, MemoryMesh, network_map};
use datamesh_types::{MIB, SealedId, TimeSpan};
use tokio::sync::watch;

fn auth() -> ShardAuthKey {
    ShardAuthKey::from_bytes([9; 32])
}

async fn mesh_backend() -> (MemoryMesh, MeshBackend) {
    let map = network_map(8);
    let mesh = MemoryMesh::new(&map);
    let (_, changes) = watch::channel(Arc::new(map));
    let directory = Arc::new(MemoryDirectory::new());
    let cluster = Cluster::new(Arc::new(mesh.clone()), directory, auth(), changes, ClusterConfig::default());
    cluster.ensure_groups().await.unwrap();
    (mesh, MeshBackend::new(cluster))
}

fn folder_backend(folder: &std::path::Path) -> ObjectStoreBackend {
    let url = format!("file://{}", folder.display());
    ObjectStoreBackend::from_url(&url, &BTreeMap::new(), auth()).unwrap()
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    backend_conformance(Arc::new(MemoryBackend::new())).await;
}

#[tokio::test]
async fn the_mesh_keeps_the_contract() {
    backend_conformance(Arc::new(mesh_backend().await.1)).await;
}

#[tokio::test]
async fn a_local_disk_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let store = ShardStore::open(ShardStoreConfig::new(dir.path(), 256 * MIB)).unwrap();
    backend_conformance(Arc::new(LocalBackend::new(store))).await;
}

#[tokio::test]
async fn a_folder_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    backend_conformance(Arc::new(folder_backend(&dir.path().join("made on first use")))).await;
}

#[tokio::test]
async fn an_object_store_keeps_the_contract() {
    let backend = ObjectStoreBackend::from_url("memory:///", &BTreeMap::new(), auth()).unwrap();
    backend_conformance(Arc::new(backend)).await;
}

#[tokio::test]
async fn a_folder_is_read_by_the_next_process_and_damage_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = bytes_of(1, 50_000);
    let location = folder_backend(dir.path()).put(SealedId::random(), bytes.clone()).await.unwrap().location;
    let backend = folder_backend(dir.path());
    assert_eq!(backend.get(&location).await.unwrap(), bytes);

    let name = location.sealed.to_string();
    let path = dir.path().join("chunks").join(&name[..2]).join(&name);
    let good = std::fs::read(&path).unwrap();
    let mut flipped = good.clone();
    flipped[25_000] ^= 1;
    for damaged in [&flipped[..], &good[..good.len() - 1], &[]] {
        std::fs::write(&path, damaged).unwrap();
        let error = backend.get(&location).await.unwrap_err();
        assert!(matches!(error, BackendError::Corrupt { .. }), "{error:?}");
        assert!(backend.presence(&location).await.unwrap().lost());
    }
    std::fs::write(&path, &good).unwrap();
    assert_eq!(backend.get(&location).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_full_memory_says_so_and_takes_chunks_again_after_a_delete() {
    let backend = MemoryBackend::with_capacity(1000);
    let first = backend.put(SealedId::random(), bytes_of(1, 800)).await.unwrap().location;
    let error = backend.put(SealedId::random(), bytes_of(2, 800)).await.unwrap_err();
    assert!(matches!(error, BackendError::Full), "{error:?}");
    assert!(backend.delete(&[first]).await[0].is_ok());
    backend.put(SealedId::random(), bytes_of(2, 800)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_mesh_that_cannot_be_reached_is_unavailable_and_nothing_is_called_lost() {
    let (mesh, backend) = mesh_backend().await;
    let location = backend.put(SealedId::random(), bytes_of(3, 9000)).await.unwrap().location;
    let nodes: Vec<_> = network_map(5).members.iter().map(|member| member.node).collect();
    nodes.iter().for_each(|node| mesh.set_down(*node, true));
    let error = backend.get(&location).await.unwrap_err();
    assert!(matches!(error, BackendError::Unavailable { .. }), "{error:?}");
    let presence = backend.presence(&location).await.unwrap();
    assert_eq!((presence.good, presence.unknown, presence.lost()), (3, 5, false));
    let error = backend.put(SealedId::random(), Bytes::from_static(b"x")).await.unwrap_err();
    assert!(matches!(error, BackendError::Unavailable { .. }), "{error:?}");
    nodes.iter().for_each(|node| mesh.set_capacity(*node, 0));
    nodes.iter().for_each(|node| mesh.set_down(*node, false));
    let error = backend.put(SealedId::random(), Bytes::from_static(b"x")).await.unwrap_err();
    assert!(matches!(error, BackendError::Full), "{error:?}");
}

/// How long a piece may take, however busy the disk is: a healthy backend is to store every one.
const PATIENCE: Duration = Duration::from_mins(1);

/// The map with these members, signed.
fn sign(operator: &OperatorKey, members: &[Member]) -> SignedMap {
    let epoch = members.len() as u64;
    SignedMap::sign(&NetworkMap { network: "test".to_owned(), epoch, members: members.to_vec() }, operator)
}

fn member(key: &NodeKey, roles: Roles, addresses: Vec<String>) -> Member {
    Member {
        node: key.node_id(),
        roles,
        operator: "one".to_owned(),
        region: "here".to_owned(),
        addresses,
        capacity_bytes: 1 << 30,
        state: MemberState::Active,
    }
}

/// Eight storage hosts over loopback with real stores, and a gateway that is connected to all of them.
async fn loopback_mesh(dir: &std::path::Path) -> (Vec<MeshHandle>, MeshHandle) {
    let operator = OperatorKey::generate();
    let gateway_key = NodeKey::generate();
    let gateway_roles = Roles { gateway: true, ..Roles::default() };
    let mut members = vec![member(&gateway_key, gateway_roles, Vec::new())];
    let mut storage = Vec::new();
    for number in 0..8 {
        let key = NodeKey::generate();
        let roles = Roles { storage: true, ..Roles::default() };
        members.push(member(&key, roles, Vec::new()));
        let mut config =
            MeshConfig::new(key.clone(), sign(&operator, &members), vec![operator.operator_id()]);
        config.listen = vec!["/ip4/127.0.0.1/tcp/0".to_owned()];
        let store = ShardStore::open(ShardStoreConfig::new(dir.join(number.to_string()), 256 * MIB)).unwrap();
        let host = Mesh::start(config, Some(Arc::new(StoreService::new(store)))).await.unwrap();
        members.last_mut().unwrap().addresses = host.listen_addresses();
        storage.push(host);
    }
    let mut config = MeshConfig::new(gateway_key, sign(&operator, &members), vec![operator.operator_id()]);
    config.limits.request_timeout = PATIENCE;
    let gateway = Mesh::start(config, None).await.unwrap();
    for host in &storage {
        let connected = gateway.wait_connected(host.node_id());
        tokio::time::timeout(PATIENCE, connected).await.expect("the hosts connect");
    }
    (storage, gateway)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_mesh_of_eight_hosts_keeps_the_contract_with_half_of_them_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (storage, gateway) = loopback_mesh(dir.path()).await;
    let directory = Arc::new(MemoryDirectory::new());
    let patience = TimeSpan::seconds(PATIENCE.as_secs());
    let config = ClusterConfig {
        write_straggler_timeout: patience,
        request_timeout: patience,
        ..ClusterConfig::default()
    };
    let cluster = Cluster::new(Arc::new(gateway.clone()), directory, auth(), gateway.map_changes(), config);
    cluster.ensure_groups().await.unwrap();
    let backend: Arc<dyn Backend> = Arc::new(MeshBackend::new(cluster));
    backend_conformance(backend.clone()).await;

    let bytes = bytes_of(7, 1_000_000);
    let location = backend.put(SealedId::random(), bytes.clone()).await.unwrap().location;
    for host in &storage[..4] {
        host.shutdown().await;
    }
    assert!(backend.get(&location).await.unwrap() == bytes);
    gateway.shutdown().await;
}

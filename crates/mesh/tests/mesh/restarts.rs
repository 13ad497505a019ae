//! What survives when hosts go and come back.

use std::sync::Arc;

use bytes::Bytes;
use datamesh_mesh::{Mesh, NodeKey, ShardTransport, TransportError};

use crate::hosts::{GATEWAY, Memory, Network, Pair, STORAGE, connected, eventually, shard};

#[tokio::test]
async fn a_gateway_finds_a_restarted_node_again() {
    let mut network = Network::new();
    let memory = Arc::new(Memory::default());
    let (key, gateway_key) = (NodeKey::generate(), NodeKey::generate());
    network.admit(&gateway_key, GATEWAY, vec![]);
    let storage = network.storage(&key, Arc::clone(&memory)).await;
    let node = storage.node_id();
    let address = storage.listen_addresses()[0].clone();
    let gateway = network.gateway(&gateway_key).await;
    connected(&gateway, node).await;
    gateway.put_shard(node, shard(0), Bytes::from_static(b"kept")).await.unwrap();

    storage.shutdown().await;
    eventually("the gateway notices", async || !gateway.connected(node)).await;
    assert_eq!(gateway.get_shard(node, shard(0)).await, Err(TransportError::NotConnected { node }));

    let _storage = network.storage_on(&key, memory, &address).await;
    connected(&gateway, node).await;
    assert_eq!(gateway.get_shard(node, shard(0)).await.unwrap(), "kept");
}

#[tokio::test]
async fn a_call_under_way_fails_when_its_peer_goes() {
    let pair = Pair::new().await;
    let node = pair.node;
    let call = pair.gateway.get_shard(node, shard(crate::hosts::GATED));
    let stop = async {
        eventually("the call arrives", async || {
            pair.memory.waiting.load(std::sync::atomic::Ordering::SeqCst) == 1
        })
        .await;
        pair.storage.shutdown().await;
    };
    let (call, ()) = tokio::join!(call, stop);
    assert_eq!(call, Err(TransportError::ConnectionLost { node }));
}

#[tokio::test]
async fn dht_records_survive_the_restart_of_every_node_that_holds_them() {
    let mut network = Network::new();
    let (key, gateway_key) = (NodeKey::generate(), NodeKey::generate());
    let dir = tempfile::tempdir().unwrap();
    network.admit(&gateway_key, GATEWAY, vec![]);
    network.admit(&key, STORAGE, vec![]);
    let mut config = network.config(&key);
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".to_owned()];
    config.dht_dir = Some(dir.path().join("dht"));
    let storage = Mesh::start(config.clone(), Some(Arc::new(Memory::default()))).await.unwrap();
    network.admit(&key, STORAGE, storage.listen_addresses());
    let gateway = network.gateway(&gateway_key).await;
    connected(&gateway, storage.node_id()).await;
    let (name, value) = (Bytes::from_static(b"name"), Bytes::from_static(b"value"));
    // The first attempt may come before Kademlia has met the peer.
    eventually("the record is stored", async || {
        gateway.put_record(name.clone(), value.clone()).await.is_ok()
    })
    .await;
    gateway.shutdown().await;
    storage.shutdown().await;

    let storage = Mesh::start(config, Some(Arc::new(Memory::default()))).await.unwrap();
    assert_eq!(storage.get_record(name).await.unwrap(), Some(value));
    assert_eq!(storage.get_record(Bytes::from_static(b"other")).await.unwrap(), None);
}

#[tokio::test]
async fn crossing_dials_end_with_one_usable_connection() {
    let mut network = Network::new();
    let both = datamesh_mesh::Roles { storage: true, gateway: true, bootstrap: true };
    let (one, two) = (NodeKey::generate(), NodeKey::generate());
    let mut hosts = Vec::new();
    for key in [&one, &two] {
        network.admit(key, both, vec![]);
        let mut config = network.config(key);
        config.listen = vec!["/ip4/127.0.0.1/tcp/0".to_owned()];
        let host = Mesh::start(config, Some(Arc::new(Memory::default()))).await.unwrap();
        network.admit(key, both, host.listen_addresses());
        hosts.push(host);
    }
    let map = network.sign();
    let (left, right) = (&hosts[0], &hosts[1]);
    let (first, second) = tokio::join!(left.update_map(map.clone()), right.update_map(map));
    first.unwrap();
    second.unwrap();
    for (from, to) in [(left, right), (right, left)] {
        eventually("a call goes through", async || from.node_usage(to.node_id()).await.is_ok()).await;
    }
}

//! Admission: the map decides who is served, and with what.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use datamesh_mesh::{MemberState, Mesh, MeshConfig, NodeKey, ShardTransport, TransportError};

use crate::hosts::{GATEWAY, Memory, Network, Pair, connected, eventually, shard};

#[tokio::test]
async fn a_stranger_gets_no_connection_and_a_member_does() {
    let mut network = Network::new();
    let memory = Arc::new(Memory::default());
    let storage = network.storage(&NodeKey::generate(), Arc::clone(&memory)).await;
    let node = storage.node_id();

    // The stranger's own map admits it; the host's doesn't. The one difference to the member is the host's map.
    let (member, stranger) = (NodeKey::generate(), NodeKey::generate());
    let before = network.members.clone();
    network.admit(&stranger, GATEWAY, vec![]);
    let stranger = Mesh::start(network.config(&stranger), None).await.unwrap();
    network.members = before;
    let member = network.gateway(&member).await;
    network.epoch += 1;
    storage.update_map(network.sign()).await.unwrap();
    connected(&member, node).await;
    member.put_shard(node, shard(0), Bytes::from_static(b"x")).await.unwrap();

    assert!(!stranger.connected(node));
    let refused = stranger.put_shard(node, shard(1), Bytes::from_static(b"x")).await;
    assert_eq!(refused, Err(TransportError::NotConnected { node }));
    assert_eq!(memory.shards.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_storage_node_may_read_from_others_but_not_change_them() {
    let mut network = Network::new();
    let memory = Arc::new(Memory::default());
    let (one, two) = (NodeKey::generate(), NodeKey::generate());
    let target = network.storage(&one, Arc::clone(&memory)).await;
    let node = target.node_id();
    memory.shards.lock().unwrap().insert(shard(0), Bytes::from_static(b"kept"));
    let peer = network.storage(&two, Arc::default()).await;
    target.update_map(network.sign()).await.unwrap();
    peer.update_map(network.sign()).await.unwrap();
    connected(&peer, node).await;

    assert_eq!(peer.get_shard(node, shard(0)).await.unwrap(), "kept");
    let calls = memory.calls.load(Ordering::SeqCst);
    let put = peer.put_shard(node, shard(1), Bytes::from(vec![0; 100_000])).await;
    assert_eq!(put, Err(TransportError::Refused { node }));
    assert_eq!(peer.delete_shards(node, &[shard(0)]).await, Err(TransportError::Refused { node }));
    assert_eq!(memory.calls.load(Ordering::SeqCst), calls, "the storage was not asked");
    assert_eq!(peer.get_shard(node, shard(0)).await.unwrap(), "kept");
}

#[tokio::test]
async fn a_removed_member_loses_its_connection() {
    let mut pair = Pair::new().await;
    let gateway = pair.gateway.node_id();
    pair.gateway.put_shard(pair.node, shard(0), Bytes::from_static(b"x")).await.unwrap();
    for member in &mut pair.network.members {
        if member.node == gateway {
            member.state = MemberState::Removed;
        }
    }
    pair.storage.update_map(pair.network.sign()).await.unwrap();
    eventually("the gateway is cut off", async || !pair.gateway.connected(pair.node)).await;
    let refused = pair.gateway.put_shard(pair.node, shard(1), Bytes::new()).await;
    assert_eq!(refused, Err(TransportError::NotConnected { node: pair.node }));
}

#[tokio::test]
async fn another_key_at_a_members_address_is_refused() {
    let mut network = Network::new();
    let memory = Arc::new(Memory::default());
    let impostor = network.storage(&NodeKey::generate(), Arc::clone(&memory)).await;
    // The map says that somebody else is reached there.
    let claimed = NodeKey::generate();
    let addresses = impostor.listen_addresses();
    network.members.clear();
    network.admit(&claimed, crate::hosts::STORAGE, addresses.clone());
    let key = NodeKey::generate();
    let gateway = network.gateway(&key).await;
    // The impostor admits the gateway, so that only the key stands in the way.
    let mut theirs = Network { operator: network.operator.clone(), members: vec![], epoch: 10 };
    theirs.admit(&key, GATEWAY, vec![]);
    impostor.update_map(theirs.sign()).await.unwrap();

    let honest_key = NodeKey::generate();
    let honest = network.storage(&honest_key, Arc::default()).await;
    network.epoch = 20;
    let map = network.sign();
    honest.update_map(map.clone()).await.unwrap();
    gateway.update_map(map).await.unwrap();
    connected(&gateway, honest.node_id()).await;
    assert!(!gateway.connected(claimed.node_id()));
    assert!(!gateway.connected(impostor.node_id()));
    assert_eq!(memory.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_host_refuses_to_start_with_bad_addresses_or_an_unsigned_map() {
    let mut network = Network::new();
    let key = NodeKey::generate();
    for bad in ["127.0.0.1:4001", "/ip4/127.0.0.1/udp/4001", "/ip4/127.0.0.1"] {
        let mut config = network.config(&key);
        config.listen = vec![bad.to_owned()];
        let error = Mesh::start(config, None).await.unwrap_err().to_string();
        assert!(error.contains("listen") && error.contains(bad), "{error}");
    }
    let config = MeshConfig::new(key, network.sign(), vec![]);
    assert!(Mesh::start(config, None).await.unwrap_err().to_string().contains("signatures"));
}

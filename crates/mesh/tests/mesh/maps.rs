//! How maps and statuses spread.

use std::sync::Arc;

use datamesh_mesh::{MapError, MeshError, NetworkMap, NodeKey, OperatorKey, SignedMap};

use crate::hosts::{Memory, Network, PATIENCE, Pair, connected, eventually};

#[tokio::test]
async fn a_newer_map_reaches_the_peers_and_an_older_one_is_refused() {
    let mut pair = Pair::new().await;
    let mut changes = pair.storage.map_changes();
    let (older, newer) = (pair.network.sign(), pair.network.sign());
    pair.gateway.update_map(newer).await.unwrap();
    tokio::time::timeout(PATIENCE, changes.wait_for(|map| map.epoch == pair.network.epoch))
        .await
        .expect("the map arrives in time")
        .unwrap();
    assert_eq!(pair.storage.signed_map(), pair.gateway.signed_map());
    let refused = pair.storage.update_map(older).await;
    assert!(matches!(refused, Err(MeshError::Map(MapError::NotNewer { .. }))), "{refused:?}");
}

#[tokio::test]
async fn a_map_of_an_operator_that_nobody_trusts_changes_nothing() {
    let pair = Pair::new().await;
    let forged = NetworkMap { epoch: 1000, ..(*pair.gateway.map()).clone() };
    let forged = SignedMap::sign(&forged, &OperatorKey::generate());
    let refused = pair.gateway.update_map(forged).await;
    assert!(matches!(refused, Err(MeshError::Map(MapError::Unsigned { .. }))), "{refused:?}");
    assert!(pair.gateway.map().epoch < 1000);
}

#[tokio::test]
async fn a_host_that_comes_with_an_old_map_is_brought_up_to_date() {
    let mut network = Network::new();
    let (one, gateway_key) = (NodeKey::generate(), NodeKey::generate());
    let storage = network.storage(&one, Arc::new(Memory::default())).await;
    let gateway = network.gateway(&gateway_key).await;
    let old = gateway.map().epoch;
    gateway.shutdown().await;
    storage.update_map(network.sign()).await.unwrap();
    let newest = storage.map().epoch;

    let old_map = network.members.clone();
    let mut stale = Network { operator: network.operator.clone(), members: old_map, epoch: old - 1 };
    let gateway = stale.gateway(&gateway_key).await;
    assert_eq!(gateway.map().epoch, old);
    connected(&gateway, storage.node_id()).await;
    eventually("the newer map arrives", async || gateway.map().epoch == newest).await;
}

#[tokio::test]
async fn nodes_tell_everybody_how_full_they_are() {
    let mut network = Network::new();
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(network.storage(&NodeKey::generate(), Arc::new(Memory::default())).await);
    }
    let gateway = network.gateway(&NodeKey::generate()).await;
    let map = network.sign();
    for host in nodes.iter().chain([&gateway]) {
        host.update_map(map.clone()).await.unwrap();
    }
    for node in &nodes {
        connected(&gateway, node.node_id()).await;
        assert_eq!(node.map().epoch, network.epoch);
    }
    eventually("every status arrives", async || {
        let peers = gateway.peers();
        peers
            .iter()
            .all(|peer| peer.connected && peer.status.as_ref().is_some_and(|s| s.usage.capacity_bytes > 0))
    })
    .await;
}

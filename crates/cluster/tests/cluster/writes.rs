//! Writes: quorum, stragglers, full nodes, groups.

use std::time::Duration;

use bytes::Bytes;
use datamesh_cluster::{ClusterConfig, ClusterError, GroupState, ProfileSetting};
use datamesh_mesh::MemberState;
use datamesh_testkit::backends::bytes_of;
use datamesh_testkit::network_map;
use datamesh_types::{Profile, SealedId, ShardHealth};
use tokio::time::Instant;

use super::{World, node, shard};

async fn put(world: &World) -> Result<datamesh_cluster::Placed, ClusterError> {
    world.cluster.put(SealedId::random(), bytes_of(1, 10_000)).await
}

/// Lets what runs in the background go on until it waits.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_healthy_write_leaves_one_shard_on_each_node_of_the_group() {
    let mut world = World::new(8).await;
    world.write(20).await;
    assert!(world.written.iter().all(|(placed, _)| placed.missing.is_empty()));
    assert!(world.every_shard_is_there());
    for number in 1..=8 {
        assert_eq!(world.mesh.shard_count(node(number)), 20);
    }
    let presence = world.cluster.presence(&world.written[0].0.location).await.unwrap();
    assert!(presence.len() == 8 && presence.iter().all(|shard| shard.health == Some(ShardHealth::Good)));
}

#[tokio::test(start_paused = true)]
async fn a_write_is_acknowledged_at_quorum_and_names_what_is_missing() {
    let world = World::new(8).await;
    world.mesh.set_down(node(3), true);
    world.mesh.set_down(node(5), true);
    let started = Instant::now();
    let placed = put(&world).await.unwrap();
    assert!(started.elapsed() < Duration::from_millis(100), "nobody waits for nodes that are down");
    let group = world.group_of(&placed.location);
    let mut down: Vec<_> = placed.missing.iter().map(|index| group.nodes[usize::from(*index)]).collect();
    down.sort();
    assert_eq!(down, [node(3), node(5)]);
}

#[tokio::test(start_paused = true)]
async fn below_quorum_a_write_fails_and_takes_back_what_it_wrote() {
    let world = World::new(8).await;
    (1..=3).for_each(|number| world.mesh.set_down(node(number), true));
    let error = put(&world).await.unwrap_err();
    assert!(matches!(error, ClusterError::NoQuorum { stored: 5, quorum: 6 }), "{error:?}");
    assert_eq!((4..=8).map(|number| world.mesh.calls(node(number)).0).sum::<u64>(), 0, "nothing was sent");

    // Connected, but failing: now shards were written, in each of the groups that were tried.
    let world = World::new(8).await;
    (1..=3).for_each(|number| world.mesh.go_down_after(node(number), 0));
    let error = put(&world).await.unwrap_err();
    assert!(matches!(error, ClusterError::NoQuorum { .. }), "{error:?}");
    settle().await;
    assert_eq!((4..=8).map(|number| world.mesh.shard_count(node(number))).sum::<usize>(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_straggler_is_waited_for_once_and_then_written_behind_the_acknowledgement() {
    let world = World::new(8).await;
    world.mesh.set_stalled(node(4), true);
    let started = Instant::now();
    let placed = put(&world).await.unwrap();
    assert_eq!(started.elapsed(), Duration::from_secs(1), "the straggler timeout");
    let [index] = placed.missing[..] else { panic!("{placed:?}") };
    assert_eq!(world.node_of(&placed.location, usize::from(index)), node(4));

    world.mesh.set_stalled(node(4), false);
    settle().await;
    let late = shard(&placed.location, usize::from(index));
    assert!(world.mesh.stored(node(4), late).is_some(), "it arrives after all");
}

#[tokio::test(start_paused = true)]
async fn after_three_late_shards_a_stalled_node_holds_up_nobody() {
    let world = World::new(8).await;
    world.mesh.set_stalled(node(4), true);
    let mut waits = Vec::new();
    for _ in 0..6 {
        let started = Instant::now();
        put(&world).await.unwrap();
        waits.push(started.elapsed());
    }
    assert_eq!(waits[..3], [Duration::from_secs(1); 3]);
    assert!(waits[3..].iter().all(|wait| *wait < Duration::from_millis(5)), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn with_three_stalled_nodes_a_write_fails_in_bounded_time() {
    let world = World::new(8).await;
    (1..=3).for_each(|number| world.mesh.set_stalled(node(number), true));
    let started = Instant::now();
    let error = put(&world).await.unwrap_err();
    assert!(matches!(error, ClusterError::NoQuorum { stored: 5, quorum: 6 }), "{error:?}");
    assert!(started.elapsed() <= Duration::from_secs(31), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_stalled_node_is_dropped_at_the_acknowledgement() {
    let config = ClusterConfig { shards_in_flight_per_node: 2, ..ClusterConfig::default() };
    let world = World::with(network_map(8), config).await;
    world.mesh.set_stalled(node(4), true);
    for _ in 0..10 {
        put(&world).await.unwrap();
    }
    world.mesh.set_stalled(node(4), false);
    settle().await;
    let arrived = world.mesh.shard_count(node(4));
    assert!(arrived <= 2, "{arrived} shards were held for a node with 2 places");
}

#[tokio::test(start_paused = true)]
async fn full_nodes_are_tolerated_up_to_the_quorum_and_then_the_answer_is_full() {
    let world = World::new(8).await;
    world.mesh.set_capacity(node(1), 0);
    world.mesh.set_read_only(node(2), true);
    assert_eq!(put(&world).await.unwrap().missing.len(), 2);
    world.mesh.set_capacity(node(3), 0);
    let error = put(&world).await.unwrap_err();
    assert!(matches!(error, ClusterError::Full { full: 3 }), "{error:?}");
    world.mesh.set_capacity(node(3), u64::MAX);
    put(&world).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn impossible_lengths_are_refused() {
    let world = World::new(8).await;
    let error = world.cluster.put(SealedId::random(), Bytes::new()).await.unwrap_err();
    assert!(matches!(error, ClusterError::InvalidLength { bytes: 0 }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_delete_reaches_every_node_or_says_which_chunk_has_to_be_tried_again() {
    let mut world = World::new(8).await;
    world.write(3).await;
    let locations: Vec<_> = world.written.iter().map(|(placed, _)| placed.location).collect();
    world.mesh.set_down(node(6), true);
    let results = world.cluster.delete(&locations[..2]).await;
    assert!(results.iter().all(|result| matches!(result, Err(ClusterError::NotDeleted { nodes: 1, .. }))));
    world.mesh.set_down(node(6), false);
    for _ in 0..2 {
        assert!(world.cluster.delete(&locations[..2]).await.iter().all(Result::is_ok));
    }
    assert!(
        (1..=8).all(|number| world.mesh.shard_count(node(number)) == 1),
        "the third chunk is still there"
    );
    assert_eq!(world.cluster.get(&locations[2]).await.unwrap(), world.written[2].1);
}

#[tokio::test(start_paused = true)]
async fn a_delete_does_not_wait_for_a_node_that_left_the_map() {
    let mut world = World::new(8).await;
    world.write(1).await;
    world.mesh.set_down(node(6), true);
    world.change_member(node(6), MemberState::Removed);
    assert!(world.cluster.delete(&[world.written[0].0.location]).await[0].is_ok());
}

#[tokio::test(start_paused = true)]
async fn when_the_map_shrinks_new_groups_are_made_and_the_old_ones_sealed() {
    let mut world = World::new(8).await;
    world.write(2).await;
    world.change_member(node(8), MemberState::Removed);
    let open = world.cluster.ensure_groups().await.unwrap();
    let expected = Profile::new(3, 4).unwrap();
    assert!(!open.is_empty() && open.iter().all(|group| group.profile == expected));
    assert_eq!(world.group_of(&world.written[0].0.location).state, GroupState::Sealed);
    world.write(2).await;
    world.assert_all_readable().await;
    assert_eq!(world.group_of(&world.written[3].0.location).profile, expected);
    // The eighth comes back: the first groups fit again, and the narrower ones are sealed.
    world.change_member(node(8), MemberState::Active);
    world.cluster.ensure_groups().await.unwrap();
    assert_eq!(world.group_of(&world.written[0].0.location).state, GroupState::Open);
    assert_eq!(world.group_of(&world.written[3].0.location).state, GroupState::Sealed);
    world.assert_all_readable().await;
}

#[tokio::test(start_paused = true)]
async fn many_nodes_make_several_groups_and_writes_go_to_those_that_are_well() {
    let profile = Profile::new(4, 2).unwrap();
    let config = ClusterConfig { profile: ProfileSetting::Fixed(profile), ..ClusterConfig::default() };
    let mut world = World::with(network_map(18), config).await;
    let groups = world.cluster.ensure_groups().await.unwrap();
    assert_eq!(groups.len(), 12, "18 nodes in 4 groups each, 6 to a group");
    // Any group with two of these nodes has no quorum of 5.
    (1..=4).for_each(|number| world.mesh.set_down(node(number), true));
    world.write(30).await;
    world.assert_all_readable().await;
    assert!(world.written.iter().all(|(placed, _)| placed.missing.len() <= 1));
}

#[tokio::test(start_paused = true)]
async fn a_fixed_profile_wider_than_the_map_is_refused_by_name() {
    let profile = Profile::new(8, 4).unwrap();
    let config = ClusterConfig { profile: ProfileSetting::Fixed(profile), ..ClusterConfig::default() };
    let world = World::new(8).await;
    let cluster = datamesh_cluster::Cluster::new(
        std::sync::Arc::new(world.mesh.clone()),
        std::sync::Arc::new(datamesh_testkit::MemoryDirectory::new()),
        datamesh_pipeline::ShardAuthKey::from_bytes([7; 32]),
        world.map.subscribe(),
        config,
    );
    let error = cluster.ensure_groups().await.unwrap_err();
    assert_eq!(error.to_string(), "profile 8+4 needs 12 storage nodes, the network map has 8 active ones");
    let error = cluster.put(SealedId::random(), Bytes::from_static(b"x")).await.unwrap_err();
    assert!(matches!(error, ClusterError::NoOpenGroup), "{error:?}");
}

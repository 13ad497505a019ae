//! Reads: degraded, hedged, of damaged and of lost chunks.

use std::time::Duration;

use datamesh_cluster::{ClusterError, GroupDirectory as _};
use datamesh_testkit::Damage;
use datamesh_types::{GroupId, Location, SealedId};
use tokio::time::Instant;

use super::{World, shard, subsets};

#[tokio::test(start_paused = true)]
async fn with_any_four_of_eight_nodes_down_every_chunk_reads_back() {
    let mut world = World::new(8).await;
    world.write(12).await;
    let halves = subsets(8, 4);
    assert_eq!(halves.len(), 70);
    for half in halves {
        half.iter().for_each(|node| world.mesh.set_down(*node, true));
        world.assert_all_readable().await;
        half.iter().for_each(|node| world.mesh.set_down(*node, false));
    }
}

#[tokio::test(start_paused = true)]
async fn with_any_four_of_eight_nodes_wiped_every_chunk_reads_back() {
    for half in subsets(8, 4) {
        let mut world = World::new(8).await;
        world.write(4).await;
        half.iter().for_each(|node| world.mesh.wipe(*node));
        world.assert_all_readable().await;
    }
}

#[tokio::test(start_paused = true)]
async fn five_nodes_down_are_unreachable_not_lost_and_the_chunk_reads_when_one_is_back() {
    let mut world = World::new(8).await;
    world.write(1).await;
    let location = world.written[0].0.location;
    for half in subsets(8, 5).into_iter().step_by(7) {
        half.iter().for_each(|node| world.mesh.set_down(*node, true));
        let error = world.cluster.get(&location).await.unwrap_err();
        let expected =
            matches!(error, ClusterError::Unreachable { readable: 3, needed: 4, unreachable: 5, .. });
        assert!(expected, "{error:?}");
        world.mesh.set_down(half[0], false);
        world.assert_all_readable().await;
        half.iter().for_each(|node| world.mesh.set_down(*node, false));
    }
    assert!(world.directory.lost().is_empty());
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_damage_to_four_shards_is_seen_and_the_right_bytes_come_back() {
    let mut world = World::new(8).await;
    world.write(2).await;
    let (location, other) = (world.written[0].0.location, world.written[1].0.location);
    let group = world.group_of(&location);
    // What another chunk has at the same index, what this chunk has at another, and an older generation.
    let foreign = world.mesh.stored(world.node_of(&other, 0), shard(&other, 0)).unwrap();
    let swapped = world.mesh.stored(group.nodes[7], shard(&location, 7)).unwrap();
    let kinds = [
        Damage::FlipFirst,
        Damage::FlipMiddle,
        Damage::FlipLast,
        Damage::Truncate,
        Damage::Zero,
        Damage::Replace(foreign),
        Damage::Replace(swapped),
        Damage::Replace(bytes::Bytes::new()),
    ];
    let before: Vec<_> = group.nodes.iter().map(|node| world.mesh.snapshot(*node)).collect();
    for kind in &kinds {
        for noticed in [false, true] {
            for first in 0..=4 {
                for index in first..first + 4 {
                    world.mesh.damage(group.nodes[index], shard(&location, index), kind, noticed);
                }
                world.assert_all_readable().await;
                group.nodes.iter().zip(&before).for_each(|(node, disk)| world.mesh.restore(*node, disk));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_shards_swapped_between_their_nodes_are_both_refused() {
    let mut world = World::new(8).await;
    world.write(1).await;
    let location = world.written[0].0.location;
    let group = world.group_of(&location);
    let held = |index: usize| world.mesh.stored(group.nodes[index], shard(&location, index)).unwrap();
    let (first, second) = (held(0), held(1));
    world.mesh.damage(group.nodes[0], shard(&location, 0), &Damage::Replace(second), false);
    world.mesh.damage(group.nodes[1], shard(&location, 1), &Damage::Replace(first), false);
    world.assert_all_readable().await;
}

#[tokio::test(start_paused = true)]
async fn five_damaged_shards_are_a_loss_that_is_reported_and_no_bytes() {
    let mut world = World::new(8).await;
    world.write(1).await;
    let location = world.written[0].0.location;
    for index in 1..6 {
        world.mesh.damage(
            world.node_of(&location, index),
            shard(&location, index),
            &Damage::FlipMiddle,
            false,
        );
    }
    let error = world.cluster.get(&location).await.unwrap_err();
    assert!(matches!(error, ClusterError::Lost { readable: 3, needed: 4, .. }), "{error:?}");
    assert_eq!(world.directory.lost().get(&location.sealed), Some(&3));
    assert_eq!(world.mesh.deletes(), 0, "nothing of a lost chunk is deleted");
}

#[tokio::test(start_paused = true)]
async fn a_shard_on_a_node_that_does_not_answer_keeps_a_chunk_from_being_called_lost() {
    let mut world = World::new(8).await;
    world.write(1).await;
    let location = world.written[0].0.location;
    world.lose(&location, &[0, 1, 2, 3, 4]);
    let back = world.node_of(&location, 5);
    world.mesh.set_down(back, true);
    let error = world.cluster.get(&location).await.unwrap_err();
    // 2 readable and 1 unknown: even with it there are not 4.
    assert!(matches!(error, ClusterError::Lost { readable: 2, .. }), "{error:?}");

    let mut world = World::new(8).await;
    world.write(1).await;
    let location = world.written[0].0.location;
    world.lose(&location, &[0, 1, 2, 3]);
    world.mesh.set_down(world.node_of(&location, 5), true);
    let error = world.cluster.get(&location).await.unwrap_err();
    assert!(matches!(error, ClusterError::Unreachable { readable: 3, unreachable: 1, .. }), "{error:?}");
    assert!(world.directory.lost().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_no_node_has_is_not_found_and_unknown_groups_are_named() {
    let mut world = World::new(8).await;
    world.write(1).await;
    let known = world.written[0].0.location;
    let error = world.cluster.get(&Location { sealed: SealedId::random(), ..known }).await.unwrap_err();
    assert!(matches!(error, ClusterError::NotFound { .. }), "{error:?}");
    let error = world.cluster.get(&Location { group: GroupId(99), ..known }).await.unwrap_err();
    assert!(matches!(error, ClusterError::UnknownGroup { group: GroupId(99) }), "{error:?}");
    assert!(world.directory.lost().is_empty(), "the directory doesn't know the chunk");
}

#[tokio::test(start_paused = true)]
async fn a_healthy_read_asks_the_four_data_nodes_and_nobody_else() {
    let mut world = World::new(8).await;
    world.write(1).await;
    world.assert_all_readable().await;
    let group = world.group_of(&world.written[0].0.location);
    let gets: Vec<u64> = group.nodes.iter().map(|node| world.mesh.calls(*node).1).collect();
    assert_eq!(gets, [1, 1, 1, 1, 0, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_node_costs_a_read_one_hedge_and_soon_nothing() {
    let mut world = World::new(8).await;
    world.write(1).await;
    let location = world.written[0].0.location;
    world.mesh.set_stalled(world.node_of(&location, 2), true);
    let mut waits = Vec::new();
    for _ in 0..6 {
        let started = Instant::now();
        world.assert_all_readable().await;
        waits.push(started.elapsed());
    }
    // Not measured yet, so the longest wait; after three late answers the node is no longer asked first.
    let hedge = Duration::from_millis(500);
    assert!(waits[..3].iter().all(|wait| (hedge..hedge * 2).contains(wait)), "{waits:?}");
    assert!(waits[3..].iter().all(|wait| *wait < Duration::from_millis(5)), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_quick_is_hedged_at_its_own_pace() {
    let mut world = World::new(8).await;
    world.write(1).await;
    for _ in 0..10 {
        world.assert_all_readable().await;
    }
    world.mesh.set_stalled(world.node_of(&world.written[0].0.location, 0), true);
    let started = Instant::now();
    world.assert_all_readable().await;
    assert!(started.elapsed() < Duration::from_millis(50), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn four_stalled_nodes_still_let_every_chunk_be_read_in_bounded_time() {
    let mut world = World::new(8).await;
    world.write(4).await;
    for half in subsets(8, 4).into_iter().step_by(9) {
        let reader = World { cluster: world.another_gateway(), written: world.written.clone(), ..world };
        half.iter().for_each(|node| reader.mesh.set_stalled(*node, true));
        let started = Instant::now();
        reader.assert_all_readable().await;
        // At worst each of the four is late three times before it is no longer asked first, one after the other, at
        // 500 ms each; the answers of the others come on top.
        assert!(started.elapsed() < Duration::from_millis(6_500), "{:?}", started.elapsed());
        half.iter().for_each(|node| reader.mesh.set_stalled(*node, false));
        world = reader;
    }
}

#[tokio::test(start_paused = true)]
async fn with_five_stalled_nodes_a_read_ends_as_unreachable() {
    let mut world = World::new(8).await;
    world.write(1).await;
    (1..=5).for_each(|number| world.mesh.set_stalled(super::node(number), true));
    let started = Instant::now();
    let error = world.cluster.get(&world.written[0].0.location).await.unwrap_err();
    assert!(matches!(error, ClusterError::Unreachable { readable: 3, .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(40), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_has_not_heard_of_a_replacement_reads_from_the_new_node() {
    let mut world = World::new(8).await;
    world.write(1).await;
    let location = world.written[0].0.location;
    let reader = world.another_gateway();
    assert_eq!(reader.get(&location).await.unwrap(), world.written[0].1);
    // Four members move to new nodes; the old ones are gone. The reader's groups are of before.
    let group = world.group_of(&location);
    for index in 0..5 {
        let (from, to) = (group.nodes[index], world.add_member(20 + index as u8));
        let disk = world.mesh.snapshot(from);
        world.mesh.restore(to, &disk);
        world.mesh.set_down(from, true);
        let epoch = world.group_of(&location).epoch;
        world.directory.switch_member(group.id, index as u8, from, to, epoch).await.unwrap();
    }
    assert_eq!(reader.get(&location).await.unwrap(), world.written[0].1);
}

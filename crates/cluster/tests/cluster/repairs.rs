//! Repair: recorded gaps, wiped and replaced nodes, bit rot, orphans; never "complete" while anything is short.

use std::time::Duration;

use datamesh_cluster::{
    ClusterConfig, ClusterError, GroupState, OrphanPolicy, ProfileSetting, RepairRequest, RepairScope,
    ReplacePolicy, ScanDepth,
};
use datamesh_mesh::MemberState;
use datamesh_testkit::{Damage, network_map};
use datamesh_types::{Profile, SealedId};

use super::{World, node, shard, subsets};

const RECORDED: RepairRequest = RepairRequest { scope: RepairScope::Recorded, ..RepairRequest::FULL };
const FULL: RepairRequest = RepairRequest::FULL;
const NOW: RepairRequest = RepairRequest { replace: ReplacePolicy::Now, ..FULL };

#[tokio::test(start_paused = true)]
async fn half_of_the_nodes_wiped_then_repaired_then_the_other_half_gone_loses_nothing() {
    for half in subsets(8, 4) {
        let mut world = World::new(8).await;
        world.write(3).await;
        half.iter().for_each(|node| world.mesh.wipe(*node));
        let report = world.repair(FULL).await;
        assert!(report.complete, "{report:?}");
        assert_eq!((report.shards_found, report.shards_restored, report.shards_short), (12, 12, 0));
        assert!(world.every_shard_is_there());
        let others = (1..=8).map(node).filter(|node| !half.contains(node));
        others.for_each(|node| world.mesh.wipe(node));
        world.assert_all_readable().await;
    }
}

#[tokio::test(start_paused = true)]
async fn recorded_gaps_are_filled_when_the_nodes_are_back() {
    let mut world = World::new(8).await;
    world.mesh.set_down(node(2), true);
    world.mesh.set_down(node(7), true);
    world.write(10).await;
    assert_eq!(world.directory.missing_count(), 20);
    let report = world.repair(RECORDED).await;
    assert_eq!((report.shards_restored, report.shards_short), (0, 20));
    assert_eq!(world.cluster.status().await.unwrap().shards_missing, 20);

    world.mesh.set_down(node(2), false);
    world.mesh.set_down(node(7), false);
    let report = world.repair(RECORDED).await;
    assert_eq!((report.shards_restored, report.shards_short), (20, 0));
    assert!(!report.complete, "only a full pass may say so");
    assert_eq!(world.directory.missing_count(), 0);
    assert!(world.every_shard_is_there());
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_arrived_after_all_is_checked_and_no_longer_missing() {
    let mut world = World::new(8).await;
    world.mesh.set_stalled(node(4), true);
    world.write(1).await;
    world.mesh.set_stalled(node(4), false);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let puts = world.mesh.calls(node(4)).0;
    let report = world.repair(RECORDED).await;
    assert_eq!((report.shards_restored, report.bytes_written), (1, 0));
    assert_eq!((world.mesh.calls(node(4)).0, world.directory.missing_count()), (puts, 0));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_comes_back_empty_is_found_and_filled() {
    let mut world = World::new(8).await;
    world.write(40).await;
    world.mesh.wipe(node(5));
    let report = world.repair(FULL).await;
    assert!(report.complete && report.shards_restored == 40, "{report:?}");
    assert!(report.replacements.is_empty());
    assert!(world.every_shard_is_there());
    let again = world.repair(FULL).await;
    assert_eq!((again.complete, again.shards_found), (true, 0));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_goes_during_repair_keeps_it_from_being_complete() {
    let mut world = World::new(8).await;
    world.write(20).await;
    world.mesh.wipe(node(5));
    world.mesh.go_down_after(node(5), 7);
    let report = world.repair(FULL).await;
    assert!(!report.complete, "{report:?}");
    assert_eq!((report.shards_restored, world.mesh.shard_count(node(5))), (7, 7));
    let status = world.cluster.status().await.unwrap();
    assert_eq!(status.groups_below_target, status.groups.len());

    let mut world = World { written: Vec::new(), ..world };
    world.mesh.add(node(5));
    world.write(1).await;
    let report = world.repair(FULL).await;
    assert!(report.complete && world.every_shard_is_there(), "{report:?}");
    assert_eq!(world.cluster.status().await.unwrap().groups_below_target, 0);
}

#[tokio::test(start_paused = true)]
async fn a_pass_with_a_node_away_is_never_complete_even_if_nothing_is_known_to_be_missing() {
    let mut world = World::new(8).await;
    world.write(3).await;
    world.mesh.set_down(node(5), true);
    let report = world.repair(RepairRequest { replace: ReplacePolicy::Never, ..FULL }).await;
    assert!(!report.complete);
    assert!(report.groups.values().all(|group| group.unchecked.len() == 1));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_acknowledges_and_keeps_nothing_is_never_called_repaired() {
    let mut world = World::new(8).await;
    world.write(3).await;
    world.mesh.wipe(node(5));
    world.mesh.set_forgets_writes(node(5), true);
    let report = world.repair(FULL).await;
    assert!(!report.complete);
    assert_eq!((report.shards_restored, report.shards_short), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_bit_rot_is_found_at_its_depth_and_repaired_in_place() {
    let cases = [
        (Damage::FlipFirst, true, ScanDepth::Verified),
        (Damage::FlipMiddle, true, ScanDepth::Verified),
        (Damage::FlipLast, false, ScanDepth::Read),
        (Damage::Zero, false, ScanDepth::Read),
        (Damage::Truncate, false, ScanDepth::Listed),
        (Damage::Replace(bytes::Bytes::from_static(b"an older generation")), false, ScanDepth::Listed),
    ];
    for (damage, noticed, depth) in cases {
        let mut world = World::new(8).await;
        world.write(3).await;
        let chunks: Vec<_> = world.written.iter().map(|(placed, _)| placed.location).collect();
        for location in &chunks {
            for index in [0, 2, 5, 7] {
                world.mesh.damage(world.node_of(location, index), shard(location, index), &damage, noticed);
            }
        }
        let report = world.repair(RepairRequest { depth, ..FULL }).await;
        assert!(report.complete && report.shards_restored == 12, "{damage:?}: {report:?}");
        // The other four go, so that the repaired ones have to be right.
        chunks.iter().for_each(|location| world.lose(location, &[1, 3, 4, 6]));
        world.assert_all_readable().await;
    }
}

#[tokio::test(start_paused = true)]
async fn shards_that_a_read_found_bad_are_repaired_by_the_next_quick_pass() {
    let mut world = World::new(8).await;
    world.write(2).await;
    let location = world.written[1].0.location;
    world.mesh.damage(world.node_of(&location, 1), shard(&location, 1), &Damage::FlipLast, false);
    world.lose(&location, &[3]);
    world.assert_all_readable().await;
    let report = world.repair(RECORDED).await;
    assert_eq!((report.chunks_checked, report.shards_restored), (1, 2));
    world.lose(&location, &[0, 2, 4, 5]);
    world.assert_all_readable().await;
}

#[tokio::test(start_paused = true)]
async fn a_chunk_with_five_shards_gone_is_listed_as_lost_and_nothing_of_it_is_deleted() {
    let mut world = World::new(8).await;
    world.write(3).await;
    let location = world.written[1].0.location;
    world.lose(&location, &[0, 1, 2, 3, 4]);
    let report = world.repair(FULL).await;
    assert_eq!((report.complete, report.chunks_lost, report.shards_short), (false, 1, 5));
    assert_eq!(world.directory.lost().into_iter().collect::<Vec<_>>(), [(location.sealed, 3)]);
    assert_eq!(world.mesh.deletes(), 0);
    let error = world.cluster.get(&location).await.unwrap_err();
    assert!(matches!(error, ClusterError::Lost { .. }), "{error:?}");
}

fn four_plus_two() -> ClusterConfig {
    let profile = Profile::new(4, 2).unwrap();
    ClusterConfig { profile: ProfileSetting::Fixed(profile), ..ClusterConfig::default() }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_gone_for_long_is_replaced_in_all_its_groups() {
    let mut world = World::with(network_map(9), four_plus_two()).await;
    world.write(30).await;
    world.mesh.set_down(node(3), true);
    let report = world.repair(FULL).await;
    assert!(report.replacements.is_empty() && !report.complete, "not lost yet: {report:?}");
    tokio::time::advance(Duration::from_mins(15)).await;
    let report = world.repair(FULL).await;
    assert_eq!(report.replacements.len(), 4);
    assert!(report.complete, "{report:?}");
    assert!(report.replacements.iter().all(|one| one.from == node(3)));
    assert!(world.every_shard_is_there());
    for chunk in world.directory.chunks() {
        let group = world.group_of(&chunk.location);
        assert!(!group.nodes.contains(&node(3)) && group.state == GroupState::Open);
    }
    // Two more may go now.
    [1, 7].into_iter().for_each(|number| world.mesh.set_down(node(number), true));
    world.assert_all_readable().await;
}

#[tokio::test(start_paused = true)]
async fn the_group_is_switched_only_when_every_shard_was_read_back_from_the_new_node() {
    let mut world = World::with(network_map(7), four_plus_two()).await;
    world.write(30).await;
    world.mesh.set_down(node(3), true);
    let with_three: Vec<_> = world
        .directory
        .chunks()
        .iter()
        .map(|chunk| world.group_of(&chunk.location))
        .filter(|group| group.nodes.contains(&node(3)))
        .collect();
    // The only candidate of each group takes writes and forgets them, then dies half way, then behaves.
    (1..=7).for_each(|number| world.mesh.set_forgets_writes(node(number), true));
    let report = world.repair(NOW).await;
    assert!(report.replacements.is_empty() && !report.complete, "{report:?}");
    for group in &with_three {
        assert_eq!(world.directory.group(group.id).nodes, group.nodes);
    }
    (1..=7).for_each(|number| world.mesh.set_forgets_writes(node(number), false));
    world.assert_all_readable().await;
    let report = world.repair(NOW).await;
    assert!(!report.replacements.is_empty() && report.complete, "{report:?}");
    assert!(world.every_shard_is_there());
}

#[tokio::test(start_paused = true)]
async fn a_replacement_that_was_interrupted_goes_on_where_it_was() {
    let mut world = World::with(network_map(7), four_plus_two()).await;
    world.write(40).await;
    world.mesh.set_down(node(3), true);
    let before: Vec<u64> = (1..=7).map(|number| world.mesh.calls(node(number)).0).collect();
    (1..=7).filter(|number| *number != 3).for_each(|number| world.mesh.go_down_after(node(number), 3));
    let report = world.repair(NOW).await;
    assert!(!report.complete);
    for number in (1..=7).filter(|number| *number != 3) {
        world.mesh.go_down_after(node(number), u64::MAX);
        world.mesh.set_down(node(number), false);
    }
    let report = world.repair(NOW).await;
    assert!(report.complete, "{report:?}");
    assert!(world.every_shard_is_there());
    let after: Vec<u64> = (1..=7).map(|number| world.mesh.calls(node(number)).0).collect();
    let written: u64 = after.iter().zip(&before).map(|(after, before)| after - before).sum();
    let moved = report.replacements.len() as u64 * 40;
    assert!(written <= moved, "{written} shards were written");
}

#[tokio::test(start_paused = true)]
async fn a_draining_node_is_replaced_from_its_own_shards_and_emptied_as_orphans() {
    let mut world = World::with(network_map(9), four_plus_two()).await;
    world.write(30).await;
    let held = world.mesh.shard_count(node(3));
    world.change_member(node(3), MemberState::Draining);
    world.cluster.ensure_groups().await.unwrap();
    world.mesh.set_now_ms(0);
    let orphans = OrphanPolicy::Delete(Duration::from_secs(1));
    let report = world.repair(RepairRequest { orphans, ..FULL }).await;
    assert!(report.complete && report.replacements.len() == 4, "{report:?}");
    assert_eq!(report.orphans_deleted, held as u64);
    assert_eq!(world.mesh.shard_count(node(3)), 0);
    world.assert_all_readable().await;
    assert!(world.every_shard_is_there());
}

#[tokio::test(start_paused = true)]
async fn without_another_node_a_removed_member_leaves_the_group_short_and_readable() {
    let mut world = World::new(8).await;
    world.write(5).await;
    world.mesh.set_down(node(8), true);
    world.change_member(node(8), MemberState::Removed);
    world.cluster.ensure_groups().await.unwrap();
    let report = world.repair(FULL).await;
    assert!(!report.complete && !report.without_replacement.is_empty(), "{report:?}");
    world.assert_all_readable().await;
    // A ninth node takes the place, and the first groups are open again.
    world.add_member(9);
    let report = world.repair(FULL).await;
    assert!(report.replacements.iter().all(|one| one.from == node(8) && one.to == node(9)), "{report:?}");
    assert!(world.every_shard_is_there());
    world.cluster.ensure_groups().await.unwrap();
    assert_eq!(world.group_of(&world.written[0].0.location).state, GroupState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_lost_chunk_does_not_keep_the_others_from_moving_to_a_new_node() {
    let mut world = World::with(network_map(9), four_plus_two()).await;
    world.write(20).await;
    let location = world.written[4].0.location;
    let group = world.group_of(&location);
    world.lose(&location, &[1, 2, 3]);
    world.mesh.set_down(group.nodes[0], true);
    world.change_member(group.nodes[0], MemberState::Removed);
    let report = world.repair(FULL).await;
    assert_eq!((report.chunks_lost, report.replacements.len()), (1, 4), "{report:?}");
    assert!(!report.complete);
    world.written.remove(4);
    world.assert_all_readable().await;
}

#[tokio::test(start_paused = true)]
async fn orphans_are_counted_or_deleted_by_age_and_nothing_else_is() {
    let mut world = World::new(8).await;
    world.write(10).await;
    let hour = Duration::from_hours(1);
    let now_ms =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    // Never committed, one long ago and one just now.
    world.mesh.set_now_ms(now_ms - 2 * 3_600_000);
    world.cluster.put(SealedId::random(), bytes::Bytes::from_static(b"abandoned")).await.unwrap();
    world.mesh.set_now_ms(now_ms);
    world.cluster.put(SealedId::random(), bytes::Bytes::from_static(b"being uploaded")).await.unwrap();

    let report = world.repair(RepairRequest { orphans: OrphanPolicy::Report(hour), ..FULL }).await;
    assert_eq!((report.orphans_found, report.orphans_deleted, report.complete), (8, 0, true));
    let report = world.repair(RepairRequest { orphans: OrphanPolicy::Delete(hour), ..FULL }).await;
    assert_eq!((report.orphans_found, report.orphans_deleted), (8, 8));
    assert!((1..=8).all(|number| world.mesh.shard_count(node(number)) == 11));
    world.assert_all_readable().await;
    assert_eq!(world.cluster.list_stored(None, 1000).await.unwrap().len().min(2), 2);
}

#[tokio::test(start_paused = true)]
async fn only_one_pass_runs_at_a_time_and_a_dropped_one_makes_room() {
    let mut world = World::new(8).await;
    world.write(3).await;
    world.mesh.wipe(node(1));
    world.mesh.set_stalled(node(1), true);
    let running = tokio::spawn({
        let cluster = world.cluster.clone();
        async move { cluster.repair_pass(FULL).await }
    });
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(world.cluster.repair_progress().is_some());
    let error = world.cluster.repair_pass(FULL).await.unwrap_err();
    assert!(matches!(error, ClusterError::RepairRunning), "{error:?}");
    running.abort();
    let _ = running.await;
    assert!(world.cluster.repair_progress().is_none());
    world.mesh.set_stalled(node(1), false);
    assert!(world.repair(FULL).await.complete);
}

#[tokio::test(start_paused = true)]
async fn a_chunk_deleted_during_the_scan_is_no_loss() {
    let mut world = World::new(8).await;
    world.write(1).await;
    let location = world.written[0].0.location;
    world.lose(&location, &[0, 1, 2, 3, 4, 5, 6, 7]);
    // The quick pass still has it from a read; the catalog has dropped it meanwhile.
    assert!(world.cluster.get(&location).await.is_err());
    world.directory.forget(location.sealed);
    let report = world.repair(RECORDED).await;
    assert_eq!((report.chunks_lost, report.shards_short), (0, 0), "{report:?}");
}

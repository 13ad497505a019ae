//! How the cluster is, for operators and metrics.

use std::collections::HashMap;

use datamesh_mesh::{Member, MemberState, NetworkMap, NodeUsage};
use datamesh_types::{GroupId, NodeId, Profile};
use serde::Serialize;

use crate::cluster::Inner;
use crate::{ClusterError, GroupChunk, GroupRecord, GroupState, RepairProgress, RepairReport};

/// Chunks with recorded gaps that are counted.
const COUNTED_MAX: usize = 10_000;

/// One placement group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupStatus {
    /// Its number.
    pub id: GroupId,
    /// How its chunks are coded.
    pub profile: Profile,
    /// The node of each shard index.
    pub nodes: Vec<NodeId>,
    /// What may be done with it.
    pub state: GroupState,
    /// Shard indices whose node is not connected or no active member.
    pub down: Vec<u8>,
    /// Shards of its chunks that are known to be missing, by the directory and the last scan.
    pub shards_missing: u64,
    /// Whether any of the above keeps it from surviving what its profile promises.
    pub below_target: bool,
}

/// One storage node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeStatus {
    /// The node.
    pub node: NodeId,
    /// Who runs it.
    pub operator: String,
    /// Where it is.
    pub region: String,
    /// Its state in the network map.
    pub state: MemberState,
    /// Whether there is a connection.
    pub connected: bool,
    /// Whether it was late or wrong lately.
    pub suspect: bool,
    /// In how many groups that are not retired it takes part.
    pub groups: usize,
    /// Share of its last calls that succeeded in time, 0 to 1.
    pub reliability: f64,
    /// 95th percentile of the time of its last reads, in microseconds.
    pub read_us_p95: Option<u64>,
    /// How full it said it is, when it was last asked.
    pub usage: Option<NodeUsage>,
}

/// The whole cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClusterStatus {
    /// The profile that new groups get.
    pub profile: Option<Profile>,
    /// Groups that are not retired.
    pub groups: Vec<GroupStatus>,
    /// How many of them are below target: until this is 0, the loss of half of the nodes may lose chunks.
    pub groups_below_target: usize,
    /// Storage nodes of the network map that are not removed.
    pub nodes: Vec<NodeStatus>,
    /// Shards the directory or the last scan knows to be missing, counted up to a bound of 10,000 chunks.
    pub shards_missing: u64,
    /// The pass that is running, if one is.
    pub repair: Option<RepairProgress>,
    /// What the last finished pass did.
    pub last_repair: Option<RepairReport>,
}

impl Inner {
    pub(crate) async fn status(&self) -> Result<ClusterStatus, ClusterError> {
        self.note_connections();
        let map = self.map.borrow().clone();
        let records = self.read_groups().await?;
        let live: Vec<&GroupRecord> = records
            .values()
            .map(AsRef::as_ref)
            .filter(|group: &&GroupRecord| group.state != GroupState::Retired)
            .collect();
        let recorded = self.directory.chunks_missing_shards(COUNTED_MAX).await?;
        let gaps = count_gaps(&recorded);
        let groups: Vec<GroupStatus> = live
            .iter()
            .map(|group| self.group_status(group, &map, gaps.get(&group.id).copied().unwrap_or(0)))
            .collect();
        let storage = map.members.iter().filter(|member| member.roles.storage);
        let nodes = storage
            .filter(|member| member.state != MemberState::Removed)
            .map(|member| self.node_status(member, &live))
            .collect();
        Ok(ClusterStatus {
            profile: self.target_profile(crate::groups::active_members(&map).len()),
            groups_below_target: groups.iter().filter(|group| group.below_target).count(),
            shards_missing: groups.iter().map(|group| group.shards_missing).sum(),
            groups,
            nodes,
            repair: self.ledger.progress(),
            last_repair: self.ledger.last(),
        })
    }

    fn group_status(&self, group: &GroupRecord, map: &NetworkMap, recorded: u64) -> GroupStatus {
        let up = |node: NodeId| {
            let active = map.member(node).is_some_and(|member| member.state == MemberState::Active);
            active && self.calls.connected(node)
        };
        let down: Vec<u8> =
            (0..).zip(&group.nodes).filter(|(_, node)| !up(**node)).map(|(index, _)| index).collect();
        // What the last scan could not restore is often recorded too; the larger number is the better guess.
        let scanned = self.ledger.scanned(group.id);
        let shards_missing = recorded.max(scanned.as_ref().map_or(0, |found| found.short));
        let lost = scanned.as_ref().is_some_and(|found| found.lost > 0);
        // A sealed group without chunks has nothing to lose.
        let empty = group.state == GroupState::Sealed
            && recorded == 0
            && scanned.is_some_and(|found| found.chunks == 0);
        GroupStatus {
            id: group.id,
            profile: group.profile,
            nodes: group.nodes.clone(),
            state: group.state,
            below_target: !empty && (!down.is_empty() || shards_missing > 0 || lost),
            down,
            shards_missing,
        }
    }

    fn node_status(&self, member: &Member, groups: &[&GroupRecord]) -> NodeStatus {
        let node = self.calls.nodes.get(member.node);
        NodeStatus {
            node: member.node,
            operator: member.operator.clone(),
            region: member.region.clone(),
            state: member.state,
            connected: self.calls.connected(member.node),
            suspect: node.suspect(),
            groups: groups.iter().filter(|group| group.nodes.contains(&member.node)).count(),
            reliability: node.reliability(),
            read_us_p95: node.read_p95().map(|p95| p95.as_micros() as u64),
            usage: node.usage(),
        }
    }
}

fn count_gaps(chunks: &[GroupChunk]) -> HashMap<GroupId, u64> {
    let mut gaps = HashMap::new();
    for chunk in chunks {
        *gaps.entry(chunk.location.group).or_default() += chunk.missing.len() as u64;
    }
    gaps
}

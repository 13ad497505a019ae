//! Which nodes form a group. Pure: members, existing groups and randomness come in, lists of nodes go out.
//!
//! Few groups, in each of which many chunks live, lose data in far fewer combinations of lost nodes than a fresh
//! pick per chunk would (Cidon et al., "Copysets", USENIX ATC 2013). Each new group takes the nodes that take part
//! in the fewest groups so far, at random among equals, so that every node comes to the wanted number of groups.
//!
//! Failure domains: no operator, and then no region, holds more than n - k shards of a group, whenever the members
//! make that possible at all. With a single operator it never is, and each node is its own domain.

use std::collections::HashMap;

use datamesh_mesh::Member;
use datamesh_types::{NodeId, Profile};
use rand::{Rng, RngExt};

use crate::GroupRecord;

/// A kind of failure domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Operator,
    Region,
}

impl Level {
    fn domain(self, member: &Member) -> &str {
        match self {
            Self::Operator => &member.operator,
            Self::Region => &member.region,
        }
    }
}

/// The kinds of failure domain that are enforced: those whose members can fill a group with no more than n - k
/// from each domain.
fn enforceable(members: &[&Member], profile: Profile) -> Vec<Level> {
    let fills = |level: &Level| {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for member in members {
            *counts.entry(level.domain(member)).or_default() += 1;
        }
        counts.values().map(|count| (*count).min(profile.parity())).sum::<usize>() >= profile.total()
    };
    [Level::Operator, Level::Region].into_iter().filter(fills).collect()
}

/// How many more shards of one group each domain may take.
struct Room<'a> {
    levels: &'a [Level],
    cap: usize,
    used: HashMap<(usize, &'a str), usize>,
}

impl<'a> Room<'a> {
    fn new(levels: &'a [Level], profile: Profile) -> Self {
        Self { levels, cap: profile.parity(), used: HashMap::new() }
    }

    fn fits(&self, member: &'a Member) -> bool {
        let full = |(at, level): (usize, &Level)| {
            self.used.get(&(at, level.domain(member))).is_some_and(|used| *used >= self.cap)
        };
        !self.levels.iter().enumerate().any(full)
    }

    fn take(&mut self, member: &'a Member) {
        for (at, level) in self.levels.iter().enumerate() {
            *self.used.entry((at, level.domain(member))).or_default() += 1;
        }
    }
}

/// In how many groups a node takes part, and in how many of them it holds a data shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Load {
    groups: usize,
    data: usize,
}

type Loads = HashMap<NodeId, Load>;

fn count_in(loads: &mut Loads, nodes: &[NodeId], profile: Profile) {
    for (index, node) in nodes.iter().enumerate() {
        let load = loads.entry(*node).or_default();
        load.groups += 1;
        load.data += usize::from(index < profile.data());
    }
}

/// The groups to make so that each member takes part in at least `groups_per_node`, beside the `existing` ones of
/// this profile. Empty when nothing is to do, or when there are fewer members than shards.
pub(crate) fn plan_groups(
    members: &[&Member],
    existing: &[&GroupRecord],
    profile: Profile,
    groups_per_node: usize,
    rng: &mut impl Rng,
) -> Vec<Vec<NodeId>> {
    if members.len() < profile.total() {
        return Vec::new();
    }
    let mut loads = Loads::new();
    for group in existing {
        count_in(&mut loads, &group.nodes, profile);
    }
    let levels = enforceable(members, profile);
    let mut planned = Vec::new();
    let wanted = groups_per_node.max(1);
    let short = |loads: &Loads| {
        members.iter().any(|member| loads.get(&member.node).copied().unwrap_or_default().groups < wanted)
    };
    while short(&loads) {
        let nodes = plan_group(members, &loads, &levels, profile, rng);
        count_in(&mut loads, &nodes, profile);
        planned.push(nodes);
    }
    planned
}

fn plan_group(
    members: &[&Member],
    loads: &Loads,
    levels: &[Level],
    profile: Profile,
    rng: &mut impl Rng,
) -> Vec<NodeId> {
    let load = |node: &NodeId| loads.get(node).copied().unwrap_or_default();
    let mut order: Vec<(usize, u64, &Member)> =
        members.iter().map(|member| (load(&member.node).groups, rng.random(), *member)).collect();
    order.sort_by_key(|(groups, tie, _)| (*groups, *tie));

    // Both kinds of domain together may be impossible where each alone is not; then the operator counts.
    let mut chosen = Vec::new();
    for enforced in (0..=levels.len()).rev() {
        chosen = fill(&order, &levels[..enforced], profile);
        if chosen.len() == profile.total() {
            break;
        }
    }
    // Nodes with few data shards come first: reads of healthy groups go to data shards only.
    let mut placed: Vec<(usize, u64, NodeId)> =
        chosen.into_iter().map(|node| (load(&node).data, rng.random(), node)).collect();
    placed.sort_unstable();
    placed.into_iter().map(|(_, _, node)| node).collect()
}

fn fill(order: &[(usize, u64, &Member)], levels: &[Level], profile: Profile) -> Vec<NodeId> {
    let mut room = Room::new(levels, profile);
    let mut chosen = Vec::with_capacity(profile.total());
    for (_, _, member) in order {
        if chosen.len() < profile.total() && room.fits(member) {
            room.take(member);
            chosen.push(member.node);
        }
    }
    chosen
}

/// The node that takes the place at `index` of `group`: an active member that is not in the group and keeps the
/// failure domains, one in the fewest groups, at random among equals. `usable` excludes nodes that cannot take
/// shards now.
pub(crate) fn plan_replacement(
    members: &[&Member],
    groups: &[&GroupRecord],
    group: &GroupRecord,
    index: usize,
    usable: impl Fn(NodeId) -> bool,
    rng: &mut impl Rng,
) -> Option<NodeId> {
    let levels = enforceable(members, group.profile);
    let stays = |member: &&&Member| {
        group.nodes.iter().enumerate().any(|(at, node)| at != index && *node == member.node)
    };
    let mut loads = Loads::new();
    for other in groups {
        count_in(&mut loads, &other.nodes, other.profile);
    }
    for enforced in (0..=levels.len()).rev() {
        let mut room = Room::new(&levels[..enforced], group.profile);
        members.iter().filter(stays).for_each(|member| room.take(member));
        let fits = members
            .iter()
            .filter(|member| !group.nodes.contains(&member.node) && room.fits(member) && usable(member.node));
        let best = fits.min_by_key(|member| {
            (loads.get(&member.node).copied().unwrap_or_default().groups, rng.random::<u64>())
        });
        if let Some(member) = best {
            return Some(member.node);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use datamesh_mesh::{MemberState, Roles};
    use datamesh_types::GroupId;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::GroupState;

    fn member(number: u8, operator: &str, region: &str) -> Member {
        Member {
            node: NodeId([number; 32]),
            roles: Roles { storage: true, ..Roles::default() },
            operator: operator.to_owned(),
            region: region.to_owned(),
            addresses: Vec::new(),
            capacity_bytes: 1 << 40,
            state: MemberState::Active,
        }
    }

    fn record(id: u64, profile: Profile, nodes: Vec<NodeId>) -> GroupRecord {
        GroupRecord { id: GroupId(id), profile, nodes, state: GroupState::Open, epoch: 1 }
    }

    fn most_in_one_operator(members: &[Member], nodes: &[NodeId]) -> usize {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for node in nodes {
            let member = members.iter().find(|member| member.node == *node).unwrap();
            *counts.entry(&member.operator).or_default() += 1;
        }
        counts.into_values().max().unwrap()
    }

    #[test]
    fn eight_nodes_of_one_operator_make_groups_of_all_eight_that_share_the_data_shards_evenly() {
        let members: Vec<Member> = (1..=8).map(|number| member(number, "one", "here")).collect();
        let refs: Vec<&Member> = members.iter().collect();
        let profile = Profile::new(4, 4).unwrap();
        let groups = plan_groups(&refs, &[], profile, 4, &mut StdRng::seed_from_u64(1));
        assert_eq!(groups.len(), 4);
        let mut loads = Loads::new();
        for nodes in &groups {
            count_in(&mut loads, nodes, profile);
        }
        assert!(loads.values().all(|load| *load == Load { groups: 4, data: 2 }), "{loads:?}");
    }

    #[test]
    fn existing_groups_count_so_that_planning_again_plans_nothing() {
        let members: Vec<Member> = (1..=20).map(|number| member(number, "one", "here")).collect();
        let refs: Vec<&Member> = members.iter().collect();
        let profile = Profile::new(4, 2).unwrap();
        let mut rng = StdRng::seed_from_u64(2);
        let records: Vec<GroupRecord> = plan_groups(&refs, &[], profile, 3, &mut rng)
            .into_iter()
            .zip(1..)
            .map(|(nodes, id)| record(id, profile, nodes))
            .collect();
        assert_eq!(records.len(), 10, "20 nodes in 3 groups each, 6 to a group");
        let existing: Vec<&GroupRecord> = records.iter().collect();
        assert!(plan_groups(&refs, &existing, profile, 3, &mut rng).is_empty());
    }

    #[test]
    fn too_few_members_make_no_group() {
        let members: Vec<Member> = (1..=5).map(|number| member(number, "one", "here")).collect();
        let refs: Vec<&Member> = members.iter().collect();
        let profile = Profile::new(4, 2).unwrap();
        assert!(plan_groups(&refs, &[], profile, 3, &mut StdRng::seed_from_u64(3)).is_empty());
    }

    #[test]
    fn a_replacement_keeps_the_failure_domains_and_is_no_member_of_the_group() {
        // 2+2 over three operators: no operator may hold more than two shards.
        let members: Vec<Member> = [(1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "a"), (6, "c")]
            .into_iter()
            .map(|(number, operator)| member(number, operator, "here"))
            .collect();
        let refs: Vec<&Member> = members.iter().collect();
        let profile = Profile::new(2, 2).unwrap();
        let group = record(1, profile, [1, 2, 3, 4].map(|number| NodeId([number; 32])).to_vec());
        for seed in 0..20 {
            let mut rng = StdRng::seed_from_u64(seed);
            // Node 3 of operator b goes: a is at its limit of two, so only c is left.
            let chosen = plan_replacement(&refs, &[&group], &group, 2, |_| true, &mut rng);
            assert_eq!(chosen, Some(NodeId([6; 32])));
            let none = plan_replacement(&refs, &[&group], &group, 2, |_| false, &mut rng);
            assert_eq!(none, None);
        }
    }

    proptest! {
        #[test]
        fn every_group_has_distinct_nodes_every_node_a_group_and_no_operator_more_than_its_share(
            operators in prop::collection::vec(0_u8..6, 6..40),
            data in 1_u32..5,
            parity in 1_u32..5,
            per_node in 1_usize..4,
            seed: u64,
        ) {
            let names = ["a", "b", "c", "d", "e", "f"];
            let members: Vec<Member> = operators
                .iter()
                .zip(1..)
                .map(|(operator, number)| member(number, names[usize::from(*operator)], "here"))
                .collect();
            let refs: Vec<&Member> = members.iter().collect();
            let profile = Profile::new(data, parity).unwrap();
            let mut rng = StdRng::seed_from_u64(seed);
            let groups = plan_groups(&refs, &[], profile, per_node, &mut rng);
            if members.len() < profile.total() {
                prop_assert!(groups.is_empty());
                return Ok(());
            }
            let mut loads = Loads::new();
            for nodes in &groups {
            count_in(&mut loads, nodes, profile);
        }
            for member in &members {
                prop_assert!(loads[&member.node].groups >= per_node);
            }
            let operators_enforced = enforceable(&refs, profile).contains(&Level::Operator);
            for nodes in &groups {
                let distinct: std::collections::HashSet<_> = nodes.iter().collect();
                prop_assert_eq!(distinct.len(), profile.total());
                if operators_enforced {
                    prop_assert!(most_in_one_operator(&members, nodes) <= profile.parity());
                }
            }
        }
    }
}

//! A full look at one group: what its nodes list, side by side with what the directory says.
//!
//! Both come in the order of the sealed ids, in pages: memory doesn't grow with the group.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use datamesh_pipeline::SHARD_OVERHEAD;
use datamesh_types::{GroupId, NodeId, SealedId, ShardId};

use super::ledger::Pass;
use super::rebuild::{Action, Work};
use super::{GroupRepair, ScanDepth};
use crate::calls::Calls;
use crate::cluster::Inner;
use crate::{ClusterError, GroupChunk, GroupRecord};

/// Shards asked for in one listing.
const LIST_PAGE: usize = 1024;

/// The shards of one group on one node, in order.
pub(super) struct Listing<'a> {
    calls: &'a Calls,
    node: NodeId,
    group: GroupId,
    buffer: VecDeque<(ShardId, u32, i64)>,
    after: Option<ShardId>,
    ended: bool,
}

/// The node stopped answering.
pub(super) struct Gone;

impl<'a> Listing<'a> {
    pub(super) fn new(calls: &'a Calls, node: NodeId, group: GroupId) -> Self {
        Self { calls, node, group, buffer: VecDeque::new(), after: None, ended: false }
    }

    /// The next shards, up to and with those of chunk `last`; of all chunks when that is `None`, one page at a time.
    pub(super) async fn through(&mut self, last: Option<SealedId>) -> Result<Vec<(ShardId, u32, i64)>, Gone> {
        let within = |id: &ShardId| last.is_none_or(|last| id.sealed <= last);
        let mut taken = Vec::new();
        loop {
            while let Some(next) = self.buffer.pop_front_if(|(id, _, _)| within(id)) {
                taken.push(next);
            }
            let page_is_enough = last.is_none() && !taken.is_empty();
            if self.ended || !self.buffer.is_empty() || page_is_enough {
                return Ok(taken);
            }
            let page = self.calls.list(self.node, Some(self.group), self.after, LIST_PAGE).await;
            let page = page.map_err(|_| Gone)?;
            self.ended = page.is_empty();
            self.after = page.last().map(|stat| stat.id).or(self.after);
            self.buffer.extend(page.into_iter().map(|stat| (stat.id, stat.len, stat.stored_at_ms)));
        }
    }
}

/// What one index's node says about the chunks of one page: the length of each shard, or nothing.
type Listed = Option<HashMap<SealedId, u32>>;

impl Inner {
    /// Compares, and repairs what is amiss. An index with `targets[i]` other than the group's node is being replaced:
    /// every shard of it is fetched or rebuilt and checked on the new node.
    pub(super) async fn scan_group(
        &self,
        group: &Arc<GroupRecord>,
        targets: &[NodeId],
        pass: &mut Pass<'_>,
    ) -> Result<GroupRepair, ClusterError> {
        let limit = self.calls.config.repair_page.max(1);
        let mut listings: Vec<Option<Listing<'_>>> = targets
            .iter()
            .map(|node| self.calls.connected(*node).then(|| Listing::new(&self.calls, *node, group.id)))
            .collect();
        let mut sum = GroupRepair::default();
        let mut after = None;
        loop {
            let chunks = self.directory.chunks_in_group(group.id, after, limit).await?;
            let Some(last) = chunks.last().map(|chunk| chunk.location.sealed) else { break };
            let listed = list_page(&mut listings, last).await;
            let work =
                chunks.iter().map(|chunk| plan(group, targets, &listed, chunk, pass.report.request.depth));
            sum.add(self.work_off(group, targets, work.collect(), pass).await?);
            if chunks.len() < limit {
                break;
            }
            after = Some(last);
        }
        // A node that went during the work was listed before, and what failed on it is counted as short. A group
        // without chunks misses nothing, but a node that is away may be the reason why nothing is noticed.
        let away = |index: &u8| {
            let at = usize::from(*index);
            listings[at].is_none() || !self.calls.connected(targets[at])
        };
        sum.unchecked = (0..targets.len() as u8).filter(away).collect();
        Ok(sum)
    }
}

/// One page of every node; a node that stops answering is dropped for the rest of the scan.
async fn list_page(listings: &mut [Option<Listing<'_>>], last: SealedId) -> Vec<Listed> {
    let pages = listings.iter_mut().enumerate().map(|(index, slot)| async move {
        let listing = slot.as_mut()?;
        let Ok(shards) = listing.through(Some(last)).await else {
            *slot = None;
            return None;
        };
        let mine = shards.into_iter().filter(|(id, _, _)| usize::from(id.index) == index);
        Some(mine.map(|(id, len, _)| (id.sealed, len)).collect())
    });
    futures::future::join_all(pages).await
}

fn plan(
    group: &GroupRecord,
    targets: &[NodeId],
    listed: &[Listed],
    chunk: &GroupChunk,
    depth: ScanDepth,
) -> Work {
    let location = chunk.location;
    let framed_len = group.profile.shard_len(location.sealed_len as usize) + SHARD_OVERHEAD;
    let mut actions = BTreeMap::new();
    for (index, shards) in (0_u8..).zip(listed) {
        let recorded = chunk.missing.contains(&index);
        let at = usize::from(index);
        let replaced = targets[at] != group.nodes[at];
        let Some(shards) = shards else {
            if recorded || replaced {
                actions.insert(index, Action::Wait { recorded });
            }
            continue;
        };
        let action = match shards.get(&location.sealed) {
            None => Some(Action::Rebuild { recorded }),
            Some(len) if *len as usize != framed_len || recorded || replaced => {
                Some(Action::Confirm { recorded })
            }
            Some(_) => depth.action(),
        };
        actions.extend(action.map(|action| (index, action)));
    }
    Work { location, actions }
}

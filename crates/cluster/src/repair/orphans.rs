//! Shards that belong to no chunk: what a failed or abandoned write left, or a node that is no member any more.

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use datamesh_types::{GroupId, NodeId, SealedId, ShardId};
use tracing::{info, warn};

use super::OrphanPolicy;
use super::ledger::Pass;
use crate::ClusterError;
use crate::cluster::Inner;
use crate::groups::Groups;

/// Shards listed, and chunks compared, per step.
const PAGE: usize = 1024;

impl Inner {
    /// Goes through everything that the connected nodes hold. What the directory doesn't place on that node, and is
    /// older than the policy's age, is an orphan.
    pub(super) async fn sweep_orphans(&self, pass: &mut Pass<'_>) -> Result<(), ClusterError> {
        let (age, delete) = match pass.report.request.orphans {
            OrphanPolicy::Ignore => return Ok(()),
            OrphanPolicy::Report(age) => (age, false),
            OrphanPolicy::Delete(age) => (age, true),
        };
        let stored_before_ms = before_ms(age);
        for node in self.storage_nodes() {
            if self.calls.connected(node) {
                self.sweep_node(node, stored_before_ms, delete, pass).await?;
            }
        }
        Ok(())
    }

    async fn sweep_node(
        &self,
        node: NodeId,
        stored_before_ms: i64,
        delete: bool,
        pass: &mut Pass<'_>,
    ) -> Result<(), ClusterError> {
        let mut after = None;
        loop {
            let Ok(page) = self.calls.list(node, None, after, PAGE).await else {
                warn!(%node, "a node stopped answering while its orphans were looked for");
                return Ok(());
            };
            let Some(last) = page.last().map(|stat| stat.id) else { return Ok(()) };
            let old: Vec<ShardId> =
                page.iter().filter(|stat| stat.stored_at_ms < stored_before_ms).map(|stat| stat.id).collect();
            let orphans = self.orphans_of(node, &old).await?;
            pass.report.orphans_found += orphans.len() as u64;
            if delete && !orphans.is_empty() && self.calls.delete(node, &orphans).await.is_ok() {
                info!(%node, shards = orphans.len(), "deleted orphaned shards");
                pass.report.orphans_deleted += orphans.len() as u64;
            }
            after = Some(last);
        }
    }

    /// Those of the shards, which are in order, that the directory doesn't place on the node.
    async fn orphans_of(&self, node: NodeId, shards: &[ShardId]) -> Result<Vec<ShardId>, ClusterError> {
        let groups = self.read_groups().await?;
        let mut orphans = Vec::new();
        for of_group in shards.chunk_by(|a, b| a.group == b.group) {
            let group = of_group[0].group;
            let known = match (groups.contains_key(&group), of_group.last()) {
                (true, Some(last)) => self.known_chunks(group, of_group[0].sealed, last.sealed).await?,
                _ => HashSet::new(),
            };
            let placed = |id: &&ShardId| known.contains(&id.sealed) && is_member(&groups, id, node);
            orphans.extend(of_group.iter().filter(|id| !placed(id)));
        }
        Ok(orphans)
    }

    async fn known_chunks(
        &self,
        group: GroupId,
        first: SealedId,
        last: SealedId,
    ) -> Result<HashSet<SealedId>, ClusterError> {
        let mut known = HashSet::new();
        let number = u128::from_be_bytes(first.0);
        let mut after = number.checked_sub(1).map(|before| SealedId(before.to_be_bytes()));
        loop {
            let page = self.directory.chunks_in_group(group, after, PAGE).await?;
            let ids = page.iter().map(|chunk| chunk.location.sealed);
            known.extend(ids.filter(|id| *id <= last));
            after = page.last().map(|chunk| chunk.location.sealed);
            if page.len() < PAGE || after.is_some_and(|after| after >= last) {
                return Ok(known);
            }
        }
    }
}

/// A group with a node being replaced keeps its old row until the switch, so for sealed groups the membership
/// isn't held against a shard.
fn is_member(groups: &Groups, id: &ShardId, node: NodeId) -> bool {
    groups.get(&id.group).is_some_and(|group| {
        group.state == crate::GroupState::Sealed || group.nodes.get(usize::from(id.index)) == Some(&node)
    })
}

/// The wall clock is only used for ages of a day or so; a node's clock that is off by minutes doesn't matter.
fn before_ms(age: Duration) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(age).as_millis() as i64
}

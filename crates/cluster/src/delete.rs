//! Deleting, counting and listing what is on the nodes.

use std::collections::{BTreeMap, HashMap};

use datamesh_mesh::MemberState;
use datamesh_types::{GroupId, Location, NodeId, SealedId, ShardId, ShardStat};
use futures::future::join_all;
use futures::stream::{self, StreamExt};

use crate::cluster::Inner;
use crate::{ClusterError, ShardPresence, StoredChunk};

/// Shards named in one delete request.
const DELETE_BATCH: usize = 1024;
/// Nodes asked at the same time.
const NODES_AT_ONCE: usize = 32;

impl Inner {
    pub(crate) async fn delete(&self, locations: &[Location]) -> Vec<Result<(), ClusterError>> {
        let mut results = Vec::with_capacity(locations.len());
        let mut by_node: BTreeMap<NodeId, Vec<(usize, ShardId)>> = BTreeMap::new();
        for (at, location) in locations.iter().enumerate() {
            let group = self.group(location.group).await;
            if let Ok(group) = &group {
                for (index, node) in (0..).zip(&group.nodes) {
                    let id = ShardId { group: location.group, sealed: location.sealed, index };
                    by_node.entry(*node).or_default().push((at, id));
                }
            }
            results.push(group.map(|_| ()));
        }
        let batches: Vec<(NodeId, Vec<(usize, ShardId)>)> = by_node
            .into_iter()
            .filter(|(node, _)| !self.removed(*node))
            .flat_map(|(node, shards)| {
                let batch = move |batch: &[(usize, ShardId)]| (node, batch.to_vec());
                shards.chunks(DELETE_BATCH).map(batch).collect::<Vec<_>>()
            })
            .collect();
        let mut unconfirmed: HashMap<usize, usize> = HashMap::new();
        let mut calls = stream::iter(batches)
            .map(|(node, batch)| async move {
                let ids: Vec<ShardId> = batch.iter().map(|(_, id)| *id).collect();
                (self.calls.delete(node, &ids).await, batch)
            })
            .buffer_unordered(NODES_AT_ONCE);
        while let Some((result, batch)) = calls.next().await {
            if result.is_err() {
                for (at, _) in &batch {
                    *unconfirmed.entry(*at).or_default() += 1;
                }
            }
        }
        for (at, nodes) in unconfirmed {
            results[at] = Err(ClusterError::NotDeleted { sealed: locations[at].sealed, nodes });
        }
        results
    }

    /// Whether the network map no longer knows the node: nobody will serve its shards again.
    pub(crate) fn removed(&self, node: NodeId) -> bool {
        self.map.borrow().member(node).is_none_or(|member| member.state == MemberState::Removed)
    }

    pub(crate) async fn presence(&self, location: &Location) -> Result<Vec<ShardPresence>, ClusterError> {
        let group = self.group(location.group).await?;
        let ask = |(index, node): (u8, &NodeId)| {
            let (node, id) = (*node, ShardId { group: group.id, sealed: location.sealed, index });
            async move { ShardPresence { node, health: self.calls.verify(node, id).await.ok() } }
        };
        Ok(join_all((0..).zip(&group.nodes).map(ask)).await)
    }

    /// Merges one page of every connected node; what lies beyond the end of the shortest full page is left to the
    /// next call.
    pub(crate) async fn list_stored(
        &self,
        after: Option<(GroupId, SealedId)>,
        limit: usize,
    ) -> Result<Vec<StoredChunk>, ClusterError> {
        let after = after.map(|(group, sealed)| ShardId { group, sealed, index: u8::MAX });
        let nodes = self.storage_nodes();
        let connected = nodes.into_iter().filter(|node| self.calls.connected(*node));
        let list = |node: NodeId| async move { self.calls.list(node, None, after, limit).await };
        let pages = join_all(connected.map(list)).await;
        let pages: Vec<Vec<ShardStat>> = pages.into_iter().filter_map(Result::ok).collect();
        // A node's page may end early, so only an empty one proves that there is nothing after it.
        let last_of = |page: &Vec<ShardStat>| page.last().map(|stat| (stat.id.group, stat.id.sealed));
        let end = pages.iter().filter_map(last_of).min();
        let mut chunks: BTreeMap<(GroupId, SealedId), i64> = BTreeMap::new();
        for stat in pages.iter().flatten() {
            let key = (stat.id.group, stat.id.sealed);
            if end.is_some_and(|end| key <= end) {
                let stored_at_ms = chunks.entry(key).or_insert(stat.stored_at_ms);
                *stored_at_ms = stat.stored_at_ms.max(*stored_at_ms);
            }
        }
        let stored = chunks.into_iter().map(|((group, sealed), stored_at_ms)| StoredChunk {
            group,
            sealed,
            stored_at_ms,
        });
        Ok(stored.take(limit).collect())
    }

    /// Storage nodes of the map that are not removed.
    pub(crate) fn storage_nodes(&self) -> Vec<NodeId> {
        let map = self.map.borrow();
        let members = map.members.iter().filter(|member| member.roles.storage);
        members.filter(|member| member.state != MemberState::Removed).map(|member| member.node).collect()
    }

    pub(crate) async fn refresh_usage(&self) {
        self.note_connections();
        let nodes = self.storage_nodes();
        let connected = nodes.into_iter().filter(|node| self.calls.connected(*node));
        stream::iter(connected)
            .for_each_concurrent(NODES_AT_ONCE, |node| async move { self.calls.refresh_usage(node).await })
            .await;
    }

    /// Notes which nodes are connected, so that it is known how long one has been gone.
    pub(crate) fn note_connections(&self) {
        for node in self.storage_nodes() {
            self.calls.nodes.get(node).seen(self.calls.connected(node));
        }
    }
}

//! Replacing a member that is gone.

use std::sync::Arc;

use datamesh_mesh::MemberState;
use datamesh_types::{GroupId, NodeId};
use tracing::{info, warn};

use super::ledger::Pass;
use super::{GroupRepair, ReplacePolicy, Replacement};
use crate::cluster::Inner;
use crate::groups::active_members;
use crate::placement::plan_replacement;
use crate::{ClusterError, DirectoryError, GroupRecord, GroupState};

/// Keeps a group sealed while a node of it is being replaced, also from this process's own `ensure_groups`.
struct Replacing<'a> {
    inner: &'a Inner,
    group: GroupId,
}

impl Drop for Replacing<'_> {
    fn drop(&mut self) {
        self.inner.replacing().remove(&self.group);
    }
}

impl Inner {
    pub(super) async fn repair_group(&self, id: GroupId, pass: &mut Pass<'_>) -> Result<(), ClusterError> {
        let group = self.current_group(id).await?;
        let targets = self.choose_replacements(&group, pass).await?;
        let mut found = if targets == group.nodes {
            self.scan_group(&group, &targets, pass).await?
        } else {
            self.replace_and_scan(group, targets, pass).await?
        };
        found.unchecked.sort_unstable();
        pass.leave(id, found);
        Ok(())
    }

    /// The node that each index belongs on: the group's own, or another for those that are gone.
    async fn choose_replacements(
        &self,
        group: &GroupRecord,
        pass: &mut Pass<'_>,
    ) -> Result<Vec<NodeId>, ClusterError> {
        let map = self.map.borrow().clone();
        let members = active_members(&map);
        let groups = self.groups().await?;
        let live: Vec<&GroupRecord> =
            groups.values().filter(|other| other.state != GroupState::Retired).map(Arc::as_ref).collect();
        let mut planned = group.clone();
        for index in 0..group.nodes.len() {
            if !self.gone(group.nodes[index], pass.report.request.replace) {
                continue;
            }
            let usable =
                |node: NodeId| self.calls.connected(node) && self.calls.nodes.get(node).free_share() > 0.0;
            let chosen = plan_replacement(&members, &live, &planned, index, usable, &mut *self.rng());
            match chosen {
                Some(node) => planned.nodes[index] = node,
                None => pass.report.without_replacement.push((group.id, index as u8)),
            }
        }
        Ok(planned.nodes)
    }

    fn gone(&self, node: NodeId, policy: ReplacePolicy) -> bool {
        let state = self.map.borrow().member(node).map(|member| member.state);
        if state != Some(MemberState::Active) {
            return policy != ReplacePolicy::Never;
        }
        if self.calls.connected(node) {
            return false;
        }
        let lost_after = self.calls.config.node_lost_after.duration();
        match policy {
            ReplacePolicy::Never => false,
            ReplacePolicy::Now => true,
            ReplacePolicy::WhenLost => {
                self.calls.nodes.get(node).gone_for().is_some_and(|gone| gone >= lost_after)
            }
        }
    }

    /// Rebuilds on the new nodes, switches those that got everything, and looks at the group once more: chunks that
    /// were being written when the group was sealed are in the directory only now.
    async fn replace_and_scan(
        &self,
        group: Arc<GroupRecord>,
        targets: Vec<NodeId>,
        pass: &mut Pass<'_>,
    ) -> Result<GroupRepair, ClusterError> {
        self.replacing().insert(group.id);
        let _replacing = Replacing { inner: self, group: group.id };
        let group = self.set_state(group.id, GroupState::Sealed).await?;
        let first = self.scan_group(&group, &targets, pass).await?;
        let switched = self.switch_complete(&group, &targets, &first, pass).await?;
        let mut found = self.scan_group(&switched, &switched.nodes, pass).await?;
        found.found += first.found;
        found.restored += first.restored;
        if self.belongs_open(&switched, &self.map.borrow().clone()) {
            self.set_state(switched.id, GroupState::Open).await?;
        }
        Ok(found)
    }

    /// Switches the replaced indices in the group's row, when nothing of the scan is short.
    async fn switch_complete(
        &self,
        group: &Arc<GroupRecord>,
        targets: &[NodeId],
        scanned: &GroupRepair,
        pass: &mut Pass<'_>,
    ) -> Result<Arc<GroupRecord>, ClusterError> {
        let mut current = group.clone();
        for (index, to) in (0_u8..).zip(targets) {
            let from = group.nodes[usize::from(index)];
            if from == *to {
                continue;
            }
            if !scanned.replacement_complete(index) {
                warn!(group = %group.id, index, %to, "a replacement is not complete yet and has to wait");
                continue;
            }
            let switch = self.directory.switch_member(group.id, index, from, *to, current.epoch).await;
            match switch {
                Ok(record) => current = self.learn(record),
                Err(DirectoryError::Conflict { .. }) => {
                    warn!(group = %group.id, index, "a placement group was changed by another gateway");
                    return self.current_group(group.id).await;
                }
                Err(error) => return Err(error.into()),
            }
            info!(group = %group.id, index, %from, %to, "replaced a node in a placement group");
            pass.replaced(Replacement { group: group.id, index, from, to: *to });
        }
        Ok(current)
    }
}

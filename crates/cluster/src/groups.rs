//! The groups as last read from the directory, and making and sealing them as the network map calls for.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use datamesh_mesh::{Member, MemberState, NetworkMap};
use datamesh_pipeline::profile::auto_profile;
use datamesh_types::{GroupId, NodeId, Profile};
use tokio::time::Instant;
use tracing::info;

use crate::cluster::Inner;
use crate::placement::plan_groups;
use crate::{ClusterError, GroupRecord, GroupState, ProfileSetting};

pub(crate) type Groups = Arc<BTreeMap<GroupId, Arc<GroupRecord>>>;

/// What the directory said last, and when.
#[derive(Debug, Default)]
pub(crate) struct GroupCache {
    known: Mutex<Known>,
    /// Held while the directory is read, so that a burst of requests reads it once.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    groups: Groups,
    read_at: Option<Instant>,
}

impl GroupCache {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no holder of this lock panics")
    }
}

/// Members that may hold shards of new chunks.
pub(crate) fn active_members(map: &NetworkMap) -> Vec<&Member> {
    let active = |member: &&Member| member.roles.storage && member.state == MemberState::Active;
    map.members.iter().filter(active).collect()
}

impl Inner {
    /// All groups, not older than the configured refresh time.
    pub(crate) async fn groups(&self) -> Result<Groups, ClusterError> {
        if let Some(groups) = self.fresh_groups() {
            return Ok(groups);
        }
        let _reading = self.cache.reading.lock().await;
        match self.fresh_groups() {
            Some(groups) => Ok(groups),
            None => self.read_groups().await,
        }
    }

    fn fresh_groups(&self) -> Option<Groups> {
        let known = self.cache.lock();
        let max_age = self.calls.config.group_refresh.duration();
        known.read_at.is_some_and(|at| at.elapsed() < max_age).then(|| known.groups.clone())
    }

    /// All groups, read anew.
    pub(crate) async fn read_groups(&self) -> Result<Groups, ClusterError> {
        let started = Instant::now();
        let records = self.directory.groups().await?;
        let groups: Groups =
            Arc::new(records.into_iter().map(|record| (record.id, Arc::new(record))).collect());
        let mut known = self.cache.lock();
        known.groups = groups.clone();
        known.read_at = Some(started);
        Ok(groups)
    }

    /// One group. The record may be as old as the refresh time; a group that is not known yet is looked up.
    pub(crate) async fn group(&self, id: GroupId) -> Result<Arc<GroupRecord>, ClusterError> {
        if let Some(group) = self.groups().await?.get(&id) {
            return Ok(group.clone());
        }
        self.current_group(id).await
    }

    /// One group as it is now.
    pub(crate) async fn current_group(&self, id: GroupId) -> Result<Arc<GroupRecord>, ClusterError> {
        let groups = self.read_groups().await?;
        groups.get(&id).cloned().ok_or(ClusterError::UnknownGroup { group: id })
    }

    /// Takes over a record that the directory has just returned.
    pub(crate) fn learn(&self, record: GroupRecord) -> Arc<GroupRecord> {
        let record = Arc::new(record);
        let mut known = self.cache.lock();
        let newer = known.groups.get(&record.id).is_none_or(|old| old.epoch <= record.epoch);
        if newer {
            Arc::make_mut(&mut known.groups).insert(record.id, record.clone());
        }
        record
    }

    pub(crate) async fn set_state(
        &self,
        group: GroupId,
        state: GroupState,
    ) -> Result<Arc<GroupRecord>, ClusterError> {
        Ok(self.learn(self.directory.set_state(group, state).await?))
    }

    /// The profile that new groups get; `None` without a single active node.
    pub(crate) fn target_profile(&self, active: usize) -> Option<Profile> {
        match self.calls.config.profile {
            ProfileSetting::Fixed(profile) => Some(profile),
            ProfileSetting::Auto if active == 0 => None,
            ProfileSetting::Auto => Some(auto_profile(active).profile),
        }
    }

    /// Whether a group may take writes under this map.
    pub(crate) fn belongs_open(&self, group: &GroupRecord, map: &NetworkMap) -> bool {
        let active = active_members(map);
        let nodes: HashSet<NodeId> = active.iter().map(|member| member.node).collect();
        self.target_profile(active.len()) == Some(group.profile)
            && group.nodes.iter().all(|node| nodes.contains(node))
    }

    pub(crate) async fn ensure_groups(&self) -> Result<Vec<GroupRecord>, ClusterError> {
        let _changing = self.changing_groups.lock().await;
        let map = self.map.borrow().clone();
        let active = active_members(&map);
        let Some(profile) = self.target_profile(active.len()) else {
            return Err(ClusterError::NoOpenGroup);
        };
        if active.len() < profile.total() {
            return Err(ClusterError::TooFewNodes { profile, active: active.len() });
        }
        let groups = self.read_groups().await?;
        let busy = self.replacing().clone();
        for group in groups.values() {
            let belongs = self.belongs_open(group, &map);
            if belongs && group.state == GroupState::Sealed && !busy.contains(&group.id) {
                info!(group = %group.id, "opening a placement group again");
                self.set_state(group.id, GroupState::Open).await?;
            }
        }
        let groups = self.read_groups().await?;
        let fit =
            |group: &&Arc<GroupRecord>| group.state != GroupState::Retired && self.belongs_open(group, &map);
        let existing: Vec<&GroupRecord> = groups.values().filter(fit).map(Arc::as_ref).collect();
        let planned = {
            let mut rng = self.rng();
            plan_groups(&active, &existing, profile, self.calls.config.groups_per_node, &mut *rng)
        };
        for nodes in planned {
            let group = self.learn(self.directory.create_group(profile, nodes).await?);
            info!(group = %group.id, profile = %profile, "made a placement group");
        }
        self.seal_unfit(&map).await
    }

    /// Seals open groups with a member that is no longer active or with another profile; returns the open ones.
    /// Comes after the new groups are made, so that there is always one to write to.
    async fn seal_unfit(&self, map: &NetworkMap) -> Result<Vec<GroupRecord>, ClusterError> {
        let mut open = Vec::new();
        for group in self.read_groups().await?.values() {
            if group.state != GroupState::Open {
                continue;
            }
            if self.belongs_open(group, map) {
                open.push(GroupRecord::clone(group));
            } else {
                info!(group = %group.id, "sealing a placement group that the network map no longer calls for");
                self.set_state(group.id, GroupState::Sealed).await?;
            }
        }
        Ok(open)
    }
}

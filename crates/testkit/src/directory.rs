//! A directory of groups and chunks in memory: what the catalog is to a real cluster.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use datamesh_cluster::{DirectoryError, GroupChunk, GroupDirectory, GroupRecord, GroupState, Placed};
use datamesh_types::{GroupId, NodeId, Profile, SealedId};

#[derive(Debug, Default)]
struct Tables {
    groups: BTreeMap<GroupId, GroupRecord>,
    chunks: BTreeMap<SealedId, GroupChunk>,
    lost: BTreeMap<SealedId, usize>,
}

/// The directory. Clones share the tables.
#[derive(Debug, Clone, Default)]
pub struct MemoryDirectory {
    tables: Arc<Mutex<Tables>>,
}

impl MemoryDirectory {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().expect("no holder of this lock panics")
    }

    /// Takes over a written chunk, as the catalog's commit does.
    pub fn commit(&self, placed: &Placed) {
        let chunk = GroupChunk { location: placed.location, missing: placed.missing.clone() };
        self.lock().chunks.insert(placed.location.sealed, chunk);
    }

    /// Drops a chunk, as the catalog does when it hands it over for deletion.
    pub fn forget(&self, sealed: SealedId) {
        self.lock().chunks.remove(&sealed);
    }

    /// Every chunk.
    pub fn chunks(&self) -> Vec<GroupChunk> {
        self.lock().chunks.values().cloned().collect()
    }

    /// Chunks that were reported lost, and how many of their shards were good.
    pub fn lost(&self) -> BTreeMap<SealedId, usize> {
        self.lock().lost.clone()
    }

    /// How many shards are recorded as missing.
    pub fn missing_count(&self) -> usize {
        self.lock().chunks.values().map(|chunk| chunk.missing.len()).sum()
    }

    /// The group as it is now.
    pub fn group(&self, id: GroupId) -> GroupRecord {
        self.lock().groups[&id].clone()
    }

    fn change(
        &self,
        id: GroupId,
        change: impl FnOnce(&mut GroupRecord) -> Result<(), DirectoryError>,
    ) -> Result<GroupRecord, DirectoryError> {
        let mut tables = self.lock();
        let group = tables.groups.get_mut(&id).ok_or(DirectoryError::UnknownGroup { group: id })?;
        change(group)?;
        Ok(group.clone())
    }
}

#[async_trait]
impl GroupDirectory for MemoryDirectory {
    async fn groups(&self) -> Result<Vec<GroupRecord>, DirectoryError> {
        Ok(self.lock().groups.values().cloned().collect())
    }

    async fn create_group(
        &self,
        profile: Profile,
        nodes: Vec<NodeId>,
    ) -> Result<GroupRecord, DirectoryError> {
        let mut tables = self.lock();
        let id = GroupId(tables.groups.len() as u64 + 1);
        let record = GroupRecord { id, profile, nodes, state: GroupState::Open, epoch: 1 };
        tables.groups.insert(id, record.clone());
        Ok(record)
    }

    async fn switch_member(
        &self,
        group: GroupId,
        index: u8,
        from: NodeId,
        to: NodeId,
        expected_epoch: u64,
    ) -> Result<GroupRecord, DirectoryError> {
        self.change(group, |record| {
            let place = &mut record.nodes[usize::from(index)];
            if record.epoch != expected_epoch || *place != from {
                return Err(DirectoryError::Conflict { group });
            }
            *place = to;
            record.epoch += 1;
            Ok(())
        })
    }

    async fn set_state(&self, group: GroupId, state: GroupState) -> Result<GroupRecord, DirectoryError> {
        self.change(group, |record| {
            if record.state != state {
                record.state = state;
                record.epoch += 1;
            }
            Ok(())
        })
    }

    async fn chunks_in_group(
        &self,
        group: GroupId,
        after: Option<SealedId>,
        limit: usize,
    ) -> Result<Vec<GroupChunk>, DirectoryError> {
        let tables = self.lock();
        let chunks = tables.chunks.values().filter(|chunk| {
            chunk.location.group == group && after.is_none_or(|after| chunk.location.sealed > after)
        });
        Ok(chunks.take(limit).cloned().collect())
    }

    async fn chunks_missing_shards(&self, limit: usize) -> Result<Vec<GroupChunk>, DirectoryError> {
        let tables = self.lock();
        Ok(tables.chunks.values().filter(|chunk| !chunk.missing.is_empty()).take(limit).cloned().collect())
    }

    async fn shard_restored(&self, sealed: SealedId, index: u8) -> Result<(), DirectoryError> {
        if let Some(chunk) = self.lock().chunks.get_mut(&sealed) {
            chunk.missing.retain(|missing| *missing != index);
        }
        Ok(())
    }

    async fn chunk_lost(&self, sealed: SealedId, readable_shards: usize) -> Result<(), DirectoryError> {
        let mut tables = self.lock();
        if tables.chunks.contains_key(&sealed) {
            tables.lost.insert(sealed, readable_shards);
        }
        Ok(())
    }
}

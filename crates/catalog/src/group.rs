//! Placement groups, and the state of the chunks in them.

use datamesh_db::{Row, Tx, Value};
use datamesh_types::{GroupId, Location, NodeId, Profile};

use crate::manifest::first;
use crate::{Catalog, CatalogError};

/// What a placement group is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupState {
    /// Takes new chunks.
    Open,
    /// Reads and repair only.
    Sealed,
    /// Holds nothing any more.
    Retired,
}

/// An ordered set of nodes that hold the shards of every chunk in the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacementGroup {
    /// Its number, from 1.
    pub id: GroupId,
    /// Its profile; `nodes` has as many members as the profile has shards.
    pub profile: Profile,
    /// The node of each shard index.
    pub nodes: Vec<NodeId>,
    /// What it is used for.
    pub state: GroupState,
    /// Counts its changes, from 1.
    pub epoch: u64,
}

/// A chunk of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupChunk {
    /// Where it is.
    pub location: Location,
    /// Indexes of the shards it lacks.
    pub missing: Vec<u8>,
}

/// A chunk that too few good shards are left of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostChunk {
    /// Where it is.
    pub location: Location,
    /// The backend.
    pub backend: String,
    /// How many shards were readable.
    pub readable_shards: usize,
    /// When it was first found lost.
    pub found_at_ms: u64,
}

/// Work that waits for background jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Sealed chunks that backends have yet to delete.
    pub garbage: u64,
    /// Chunks that lack shards.
    pub incomplete_chunks: u64,
    /// Chunks that cannot be read.
    pub lost_chunks: u64,
}

impl GroupState {
    const fn code(self) -> i64 {
        match self {
            Self::Open => 0,
            Self::Sealed => 1,
            Self::Retired => 2,
        }
    }

    const fn from_code(code: i64) -> Result<Self, CatalogError> {
        match code {
            0 => Ok(Self::Open),
            1 => Ok(Self::Sealed),
            2 => Ok(Self::Retired),
            _ => Err(CatalogError::Corrupt { what: "placement group" }),
        }
    }
}

macro_rules! group_columns {
    () => {
        "id, data_shards, total_shards, nodes, state, epoch"
    };
}

fn group_from_row(row: &Row) -> Result<PlacementGroup, CatalogError> {
    let corrupt = || CatalogError::Corrupt { what: "placement group" };
    let (data, total) = (row.int(1)? as u32, row.int(2)? as u32);
    let profile = Profile::new(data, total.saturating_sub(data)).map_err(|_| corrupt())?;
    let nodes: Vec<NodeId> = row.blob(3)?.chunks(NodeId::LEN).filter_map(NodeId::from_slice).collect();
    if nodes.len() != profile.total() {
        return Err(corrupt());
    }
    let state = GroupState::from_code(row.int(4)?)?;
    Ok(PlacementGroup { id: GroupId(row.uint(0)?), profile, nodes, state, epoch: row.uint(5)? })
}

fn node_bytes(nodes: &[NodeId]) -> Value {
    Value::Blob(nodes.iter().flat_map(|node| node.0).collect())
}

impl Catalog {
    /// All placement groups, by number.
    pub async fn groups(&self) -> Result<Vec<PlacementGroup>, CatalogError> {
        const SELECT: &str = concat!("SELECT ", group_columns!(), " FROM placement_group ORDER BY id");
        self.db.rows(SELECT, [].into()).await?.iter().map(group_from_row).collect()
    }

    /// Adds an open group.
    ///
    /// # Errors
    /// [`CatalogError::WrongGroupSize`] unless there is one node per shard.
    pub async fn create_group(
        &self,
        profile: Profile,
        nodes: Vec<NodeId>,
    ) -> Result<PlacementGroup, CatalogError> {
        const INSERT: &str = concat!(
            "INSERT INTO placement_group (data_shards, total_shards, nodes, state, epoch)
             VALUES ($1, $2, $3, 0, 1) RETURNING ",
            group_columns!()
        );
        if nodes.len() != profile.total() {
            return Err(CatalogError::WrongGroupSize { nodes: nodes.len(), shards: profile.total() });
        }
        let params = [profile.data().into(), profile.total().into(), node_bytes(&nodes)];
        self.db
            .write(move |tx| {
                let params = params.clone();
                Box::pin(async move { group_from_row(&first(tx.query_opt(INSERT, &params).await?)?) })
            })
            .await
    }

    /// Replaces the member at `index`, in one update.
    ///
    /// # Errors
    /// [`CatalogError::GroupChanged`] unless the group has `expected_epoch` and `from` at `index`,
    /// [`CatalogError::NoSuchGroup`].
    pub async fn switch_member(
        &self,
        group: GroupId,
        index: u8,
        from: NodeId,
        to: NodeId,
        expected_epoch: u64,
    ) -> Result<PlacementGroup, CatalogError> {
        self.db
            .write(move |tx| {
                Box::pin(async move {
                    let mut record = locked_group(tx, group).await?;
                    let changed = record.changed(expected_epoch);
                    match record.nodes.get_mut(usize::from(index)) {
                        Some(member) if *member == from && record.epoch == expected_epoch => *member = to,
                        _ => return Err(changed),
                    }
                    store_group(tx, record).await
                })
            })
            .await
    }

    /// Changes what a group is used for.
    ///
    /// # Errors
    /// [`CatalogError::GroupChanged`] unless the group has `expected_epoch`, [`CatalogError::NoSuchGroup`].
    pub async fn set_group_state(
        &self,
        group: GroupId,
        state: GroupState,
        expected_epoch: u64,
    ) -> Result<PlacementGroup, CatalogError> {
        self.db
            .write(move |tx| {
                Box::pin(async move {
                    let mut record = locked_group(tx, group).await?;
                    if record.epoch != expected_epoch {
                        return Err(record.changed(expected_epoch));
                    }
                    record.state = state;
                    store_group(tx, record).await
                })
            })
            .await
    }
}

impl PlacementGroup {
    const fn changed(&self, expected: u64) -> CatalogError {
        CatalogError::GroupChanged { group: self.id, expected, actual: self.epoch }
    }
}

async fn locked_group(tx: &mut Tx, group: GroupId) -> Result<PlacementGroup, CatalogError> {
    const SELECT: &str = concat!("SELECT ", group_columns!(), " FROM placement_group WHERE id = $1");
    tx.lock(&[b"group".as_slice(), &group.0.to_le_bytes()].concat()).await?;
    let row = tx.query_opt(SELECT, &[group.into()]).await?;
    group_from_row(&row.ok_or(CatalogError::NoSuchGroup { group })?)
}

/// Stores members and state under the next epoch.
async fn store_group(tx: &mut Tx, mut record: PlacementGroup) -> Result<PlacementGroup, CatalogError> {
    const UPDATE: &str = "UPDATE placement_group SET nodes = $2, state = $3, epoch = $4 WHERE id = $1";
    record.epoch += 1;
    let params =
        [record.id.into(), node_bytes(&record.nodes), record.state.code().into(), record.epoch.into()];
    tx.execute(UPDATE, &params).await?;
    Ok(record)
}

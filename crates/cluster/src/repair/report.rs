//! What a repair pass is asked to do, where it is, and what it did.

use std::collections::BTreeMap;
use std::time::Duration;

use datamesh_types::{GroupId, NodeId};
use serde::{Deserialize, Serialize};

/// Which chunks a pass looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepairScope {
    /// Those with shards recorded as missing, or seen to be bad by a read. Cheap: run it often.
    #[default]
    Recorded,
    /// Every chunk of every group: what the nodes list is compared with the directory.
    Full,
}

/// How closely a full pass looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScanDepth {
    /// The node lists the shard with the right length.
    #[default]
    Listed,
    /// The node has read it back and checked it against its own checksum.
    Verified,
    /// It was fetched and checked against the keyed tag: the only depth that catches a lying node.
    Read,
}

/// When a node that doesn't answer is replaced. Nodes that the network map no longer lists as active always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplacePolicy {
    /// After `node_lost_after`.
    #[default]
    WhenLost,
    /// At once: an operator says that it won't come back.
    Now,
    /// Not at all.
    Never,
}

/// What to do with shards on the nodes that belong to no chunk of the directory.
///
/// An upload writes its shards before the directory knows their chunk: the age must be longer than any upload
/// holds back its commit. A day is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrphanPolicy {
    /// Don't look.
    #[default]
    Ignore,
    /// Count those older than this.
    Report(Duration),
    /// Delete those older than this.
    Delete(Duration),
}

/// What a pass is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepairRequest {
    /// Which chunks.
    pub scope: RepairScope,
    /// How closely.
    pub depth: ScanDepth,
    /// When nodes are replaced. Only a full pass replaces nodes.
    pub replace: ReplacePolicy,
    /// What happens to orphans. Only a full pass looks for them.
    pub orphans: OrphanPolicy,
}

impl RepairRequest {
    /// What a background job does now and then: everything that the nodes list, no orphans.
    pub const FULL: Self = Self {
        scope: RepairScope::Full,
        depth: ScanDepth::Listed,
        replace: ReplacePolicy::WhenLost,
        orphans: OrphanPolicy::Ignore,
    };
}

/// A node that took the place of another in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    /// The group.
    pub group: GroupId,
    /// The shard index.
    pub index: u8,
    /// The node that is gone.
    pub from: NodeId,
    /// The node that took its place.
    pub to: NodeId,
}

/// What a pass found in one group.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GroupRepair {
    /// Chunks looked at.
    pub chunks: u64,
    /// Shards that were missing or bad.
    pub found: u64,
    /// Of these, how many were written, read back and verified. Includes those recorded as missing that turned
    /// out to be good.
    pub restored: u64,
    /// Of these, how many are still short: their node did not take them, or too few good shards were reachable.
    pub short: u64,
    /// Of these, those of chunks that are not lost, by shard index.
    pub short_at: BTreeMap<u8, u64>,
    /// Chunks with fewer than k good shards, by definite answers.
    pub lost: u64,
    /// Shard indices whose node could not be asked. Nothing is known about their shards.
    pub unchecked: Vec<u8>,
}

impl GroupRepair {
    /// Whether every shard of every chunk was seen to be there.
    pub fn complete(&self) -> bool {
        self.short == 0 && self.lost == 0 && self.unchecked.is_empty()
    }

    /// Whether the node that is to take over this index has the shard of every chunk that can still be read.
    pub(super) fn replacement_complete(&self, index: u8) -> bool {
        !self.short_at.contains_key(&index) && !self.unchecked.contains(&index)
    }

    /// Adds what was found in further chunks of the group.
    pub(super) fn add(&mut self, more: Self) {
        self.chunks += more.chunks;
        self.found += more.found;
        self.restored += more.restored;
        self.short += more.short;
        self.lost += more.lost;
        for (index, count) in more.short_at {
            *self.short_at.entry(index).or_default() += count;
        }
    }
}

/// What a pass did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RepairReport {
    /// What was asked.
    pub request: RepairRequest,
    /// Chunks looked at.
    pub chunks_checked: u64,
    /// Shards found missing or bad.
    pub shards_found: u64,
    /// Shards written, read back and verified, or found to be good after all.
    pub shards_restored: u64,
    /// Bytes of shards written.
    pub bytes_written: u64,
    /// Shards that are still short.
    pub shards_short: u64,
    /// Chunks with fewer than k good shards.
    pub chunks_lost: u64,
    /// Nodes replaced.
    pub replacements: Vec<Replacement>,
    /// Group and index of members that are gone and for which there is no other node.
    pub without_replacement: Vec<(GroupId, u8)>,
    /// Orphans found.
    pub orphans_found: u64,
    /// Orphans deleted.
    pub orphans_deleted: u64,
    /// What was found in each group, by its number. In a pass of scope `Recorded`, only of the chunks it looked at.
    pub groups: BTreeMap<u64, GroupRepair>,
    /// True only when every shard of every chunk of every group was seen to be there, after a full pass.
    pub complete: bool,
}

/// Where a pass is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RepairProgress {
    /// Groups to look at.
    pub groups_total: usize,
    /// Groups done.
    pub groups_done: usize,
    /// The group under repair.
    pub group: Option<GroupId>,
    /// Chunks looked at so far.
    pub chunks_checked: u64,
    /// Shards restored so far.
    pub shards_restored: u64,
    /// Bytes of shards written so far.
    pub bytes_written: u64,
}

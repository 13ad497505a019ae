//! Changes to the index that are collected first and applied in one step.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datamesh_types::ShardId;

use crate::error::StoreError;
use crate::format::record_len;
use crate::index::{Entry, Index, IndexBatch, Position};
use crate::segment::{LiveChange, Segment, SegmentTable};

/// A set of changes. Reading through it shows them as if they were made.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    shards: HashMap<ShardId, Option<Entry>>,
    live: BTreeMap<u64, LiveChange>,
    removed_segments: Vec<u64>,
}

impl Changes {
    pub(crate) fn get(&self, index: &Index, id: &ShardId) -> Result<Option<Entry>, StoreError> {
        match self.shards.get(id) {
            Some(entry) => Ok(*entry),
            None => index.get(id),
        }
    }

    /// Points the shard at a record, whatever it pointed at before.
    pub(crate) fn put(&mut self, index: &Index, id: ShardId, entry: Entry) -> Result<(), StoreError> {
        self.remove(index, id)?;
        self.count(&entry, 1);
        self.shards.insert(id, Some(entry));
        Ok(())
    }

    /// Removes the shard and returns what it pointed at.
    pub(crate) fn remove(&mut self, index: &Index, id: ShardId) -> Result<Option<Entry>, StoreError> {
        let old = self.get(index, &id)?;
        if let Some(old) = &old {
            self.count(old, -1);
            self.shards.insert(id, None);
        }
        Ok(old)
    }

    /// Removes a segment that no entry points to any more.
    pub(crate) fn remove_segment(&mut self, id: u64) {
        self.removed_segments.push(id);
    }

    /// Writes the segment's entry even if none of its shards is touched.
    pub(crate) fn keep_segment(&mut self, id: u64) {
        self.live.entry(id).or_default();
    }

    /// Whether no live record is left in the segment after these changes.
    pub(crate) fn leaves_empty(&self, segment: &Segment) -> bool {
        let change = self.live.get(&segment.id).copied().unwrap_or_default();
        segment.meta_after(change).live_shards == 0
    }

    /// How many shards are touched.
    pub(crate) fn len(&self) -> usize {
        self.shards.len()
    }

    /// Applies the changes to the index, then to the table. `active` is the segment that the log ends in; its
    /// entry is always written, so that no segment before the position is unknown to the index.
    ///
    /// # Errors
    ///
    /// Nothing has changed then, and the same call may be made again.
    pub(crate) fn apply(
        &self,
        index: &Index,
        table: &SegmentTable,
        active: &Segment,
        position: Option<Position>,
    ) -> Result<(), StoreError> {
        let mut batch = IndexBatch::default();
        for (id, entry) in &self.shards {
            match entry {
                Some(entry) => batch.put_shard(id, entry),
                None => batch.remove_shard(id),
            }
        }
        let touched: Vec<(Arc<Segment>, LiveChange)> = self
            .live
            .iter()
            .filter(|(id, _)| !self.removed_segments.contains(id))
            .filter_map(|(id, change)| Some((table.get(*id)?, *change)))
            .collect();
        batch.put_segment(&active.meta_after(LiveChange::default()));
        for (segment, change) in &touched {
            batch.put_segment(&segment.meta_after(*change));
        }
        for id in &self.removed_segments {
            batch.remove_segment(*id);
        }
        if let Some(position) = position {
            batch.set_position(position);
        }
        index.write(batch)?;
        for (segment, change) in &touched {
            segment.apply(*change);
        }
        Ok(())
    }

    fn count(&mut self, entry: &Entry, sign: i64) {
        let change = self.live.entry(entry.file).or_default();
        change.bytes += sign * record_len(entry.len) as i64;
        change.shards += sign;
    }
}

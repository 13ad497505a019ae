//! Where the running pass is and what the last one did.

use std::sync::{Mutex, MutexGuard};

use datamesh_types::GroupId;

use super::{GroupRepair, RepairProgress, RepairReport, RepairRequest, Replacement};

/// Progress and last result, for [`crate::Cluster::status`].
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: Option<RepairProgress>,
    last: Option<RepairReport>,
    last_full: Option<RepairReport>,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// Starts a pass, unless one is running. Dropping it ends it.
    pub(super) fn begin(&self, request: RepairRequest) -> Option<Pass<'_>> {
        let mut state = self.lock();
        if state.running.is_some() {
            return None;
        }
        state.running = Some(RepairProgress::default());
        let report = RepairReport { request, ..RepairReport::default() };
        Some(Pass { ledger: self, report, scanned_all: false })
    }

    pub(crate) fn progress(&self) -> Option<RepairProgress> {
        self.lock().running.clone()
    }

    pub(crate) fn last(&self) -> Option<RepairReport> {
        self.lock().last.clone()
    }

    /// What the last full scan found in a group.
    pub(crate) fn scanned(&self, group: GroupId) -> Option<GroupRepair> {
        self.lock().last_full.as_ref().and_then(|report| report.groups.get(&group.0).cloned())
    }
}

/// A pass under way.
pub(super) struct Pass<'a> {
    ledger: &'a Ledger,
    pub(super) report: RepairReport,
    scanned_all: bool,
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.ledger.lock().running = None;
    }
}

impl Pass<'_> {
    fn progress(&self, change: impl FnOnce(&mut RepairProgress)) {
        if let Some(progress) = &mut self.ledger.lock().running {
            change(progress);
        }
    }

    pub(super) fn set_groups(&self, total: usize) {
        self.progress(|progress| (progress.groups_total, progress.groups_done) = (total, 0));
    }

    pub(super) fn enter(&self, group: GroupId) {
        self.progress(|progress| progress.group = Some(group));
    }

    pub(super) fn checked(&mut self, chunks: u64) {
        self.report.chunks_checked += chunks;
        self.progress(|progress| progress.chunks_checked += chunks);
    }

    pub(super) fn restored(&mut self, shards: u64, bytes: u64) {
        self.report.bytes_written += bytes;
        self.progress(|progress| {
            progress.shards_restored += shards;
            progress.bytes_written += bytes;
        });
    }

    pub(super) fn replaced(&mut self, replacement: Replacement) {
        self.report.replacements.push(replacement);
    }

    /// A group is done, for now: `found` is its state after the work.
    pub(super) fn leave(&mut self, group: GroupId, found: GroupRepair) {
        self.progress(|progress| progress.groups_done += 1);
        self.report.shards_found += found.found;
        self.report.shards_restored += found.restored;
        self.report.groups.insert(group.0, found);
    }

    /// Shard indices of a group whose node is not connected at the end of the pass.
    pub(super) fn away(&mut self, group: GroupId, indices: Vec<u8>) {
        if let Some(found) = self.report.groups.get_mut(&group.0) {
            found.unchecked.extend(indices);
            found.unchecked.sort_unstable();
            found.unchecked.dedup();
        }
    }

    /// Before a full scan: the scan will find again what is short now.
    pub(super) fn forget_groups(&mut self) {
        self.report.groups.clear();
    }

    pub(super) fn full_scan_done(&mut self) {
        self.scanned_all = true;
    }

    pub(super) fn finish(mut self) -> RepairReport {
        let mut report = std::mem::take(&mut self.report);
        report.shards_short = report.groups.values().map(|group| group.short).sum();
        report.chunks_lost = report.groups.values().map(|group| group.lost).sum();
        report.complete = self.scanned_all
            && report.without_replacement.is_empty()
            && report.groups.values().all(GroupRepair::complete);
        let mut state = self.ledger.lock();
        state.last = Some(report.clone());
        if self.scanned_all {
            state.last_full = Some(report.clone());
        }
        drop(state);
        report
    }
}

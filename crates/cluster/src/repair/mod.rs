//! Repair: completes what is short, replaces nodes that are gone, finds what vanished.
//!
//! A full pass goes through the groups one by one. In each it chooses replacements for members that are gone, seals
//! the group while it works ([`replace`]), compares what the nodes list with the directory ([`scan`]), and writes
//! each shard that is not where it should be, reads it back and checks its tag ([`rebuild`]). Only when that worked
//! for every chunk of the group does the new node enter the group's row, in one update. What cannot be done now is
//! counted as short, and a group with a node that didn't answer is never called complete.

mod ledger;
mod orphans;
mod rebuild;
mod replace;
mod report;
mod scan;

use std::collections::BTreeMap;

use datamesh_types::{GroupId, Location};
use tracing::info;

use crate::cluster::Inner;
use crate::{ClusterError, GroupState};

pub(crate) use ledger::Ledger;
use ledger::Pass;
use rebuild::{Action, Work};

pub use report::{
    GroupRepair, OrphanPolicy, RepairProgress, RepairReport, RepairRequest, RepairScope, ReplacePolicy,
    Replacement, ScanDepth,
};

/// Chunks with recorded gaps that one pass looks at.
const RECORDED_MAX: usize = 10_000;

/// A chunk that is known to be short, or may be.
struct Gap {
    location: Location,
    /// Shard indices that the directory says are missing.
    recorded: Vec<u8>,
    /// Shard indices that a read found bad.
    suspected: Vec<u8>,
}

impl Inner {
    pub(crate) async fn repair_pass(&self, request: RepairRequest) -> Result<RepairReport, ClusterError> {
        let mut pass = self.ledger.begin(request).ok_or(ClusterError::RepairRunning)?;
        self.note_connections();
        self.read_groups().await?;
        match request.scope {
            RepairScope::Recorded => self.repair_recorded(&mut pass).await?,
            RepairScope::Full => self.repair_all(&mut pass).await?,
        }
        let report = pass.finish();
        info!(
            scope = ?request.scope,
            checked = report.chunks_checked,
            restored = report.shards_restored,
            short = report.shards_short,
            lost = report.chunks_lost,
            complete = report.complete,
            "repair pass finished"
        );
        Ok(report)
    }

    /// Chunks with shards that the directory or a read says are missing.
    async fn repair_recorded(&self, pass: &mut Pass<'_>) -> Result<(), ClusterError> {
        let mut gaps: BTreeMap<GroupId, Vec<Gap>> = BTreeMap::new();
        for (location, indices) in self.suspects.take() {
            let gap = Gap { location, recorded: Vec::new(), suspected: indices };
            gaps.entry(location.group).or_default().push(gap);
        }
        for chunk in self.directory.chunks_missing_shards(RECORDED_MAX).await? {
            let gap = Gap { location: chunk.location, recorded: chunk.missing, suspected: Vec::new() };
            gaps.entry(chunk.location.group).or_default().push(gap);
        }
        pass.set_groups(gaps.len());
        for (id, chunks) in gaps {
            pass.enter(id);
            let group = self.group(id).await?;
            let work = chunks.into_iter().map(|Gap { location, recorded, suspected }| {
                let mut actions: BTreeMap<u8, Action> = BTreeMap::new();
                for index in recorded.iter().chain(&suspected) {
                    actions.insert(*index, Action::Confirm { recorded: recorded.contains(index) });
                }
                Work { location, actions }
            });
            let found = self.work_off(&group, &group.nodes, work.collect(), pass).await?;
            pass.leave(id, found);
        }
        Ok(())
    }

    async fn repair_all(&self, pass: &mut Pass<'_>) -> Result<(), ClusterError> {
        // What reads found bad is found again by looking closely at those chunks before the scan.
        self.repair_recorded(pass).await?;
        pass.forget_groups();
        let groups = self.read_groups().await?;
        let live: Vec<GroupId> = groups
            .values()
            .filter(|group| group.state != GroupState::Retired)
            .map(|group| group.id)
            .collect();
        pass.set_groups(live.len());
        for id in live {
            pass.enter(id);
            self.repair_group(id, pass).await?;
        }
        // A node that went after its group was looked at: what it holds is no longer known.
        for group in self.read_groups().await?.values() {
            let away = (0..).zip(&group.nodes).filter(|(_, node)| !self.calls.connected(**node));
            pass.away(group.id, away.map(|(index, _)| index).collect());
        }
        self.sweep_orphans(pass).await?;
        pass.full_scan_done();
        Ok(())
    }
}

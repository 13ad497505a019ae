//! One chunk: its missing shards are computed from the others, written, read back and checked.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use datamesh_pipeline::{check_shard, frame_shard};
use datamesh_types::{Location, NodeId, SealedId, ShardHealth, ShardId};
use futures::stream::{self, StreamExt};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::ledger::Pass;
use super::{GroupRepair, ScanDepth};
use crate::calls::{Failure, shard_id};
use crate::cluster::{Inner, run_blocking};
use crate::read::{Payloads, Shortage};
use crate::{ClusterError, GroupRecord};

/// What is to be done about one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Fetch it and check its tag; rebuild it when it is bad. `recorded`: the directory says that it is missing.
    Confirm { recorded: bool },
    /// Have the node check it against its own checksum; rebuild it when it is bad.
    Verify,
    /// It is not where it should be: rebuild it.
    Rebuild { recorded: bool },
    /// It should be there, or is recorded as missing, and its node can't be asked.
    Wait { recorded: bool },
}

/// What is to be done about one chunk.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) location: Location,
    pub(super) actions: BTreeMap<u8, Action>,
}

/// What came of it.
#[derive(Debug, Default)]
struct Done {
    found: u64,
    restored: u64,
    short: Vec<u8>,
    lost: bool,
    bytes: u64,
}

impl From<Done> for GroupRepair {
    fn from(done: Done) -> Self {
        let short_at = done.short.iter().filter(|_| !done.lost).map(|index| (*index, 1));
        Self {
            found: done.found,
            restored: done.restored,
            short: done.short.len() as u64,
            short_at: short_at.collect(),
            lost: u64::from(done.lost),
            ..Self::default()
        }
    }
}

/// Which shard of which chunk goes where.
struct Target {
    index: u8,
    node: NodeId,
    recorded: bool,
    /// Whether the node holds something under the id that has to go first.
    occupied: bool,
}

impl Inner {
    /// Does the work, several chunks at a time. `targets` is the node each index belongs on, which for a node that
    /// is being replaced is not the group's.
    pub(super) async fn work_off(
        &self,
        group: &Arc<GroupRecord>,
        targets: &[NodeId],
        work: Vec<Work>,
        pass: &mut Pass<'_>,
    ) -> Result<GroupRepair, ClusterError> {
        let mut found = GroupRepair { chunks: work.len() as u64, ..GroupRepair::default() };
        pass.checked(found.chunks);
        let in_flight = self.calls.config.repair_chunks_in_flight.max(1);
        let mut results = stream::iter(work.into_iter().filter(|work| !work.actions.is_empty()))
            .map(|work| self.repair_chunk(group, targets, work))
            .buffer_unordered(in_flight);
        while let Some(done) = results.next().await {
            let done = done?;
            pass.restored(done.restored, done.bytes);
            found.add(done.into());
        }
        Ok(found)
    }

    async fn repair_chunk(
        &self,
        group: &Arc<GroupRecord>,
        targets: &[NodeId],
        work: Work,
    ) -> Result<Done, ClusterError> {
        let location = work.location;
        let mut done = Done::default();
        let mut rebuild = Vec::new();
        for (index, action) in work.actions {
            let node = targets[usize::from(index)];
            match self.judge(shard_id(&location, index), node, action).await {
                Verdict::Fine => {}
                Verdict::Restored => {
                    done.found += 1;
                    self.restored(group, location.sealed, index, node).await?;
                    done.restored += 1;
                }
                Verdict::Unknown { recorded } => {
                    done.found += u64::from(recorded);
                    done.short.push(index);
                }
                Verdict::Bad { recorded, occupied } => {
                    done.found += 1;
                    rebuild.push(Target { index, node, recorded, occupied });
                }
            }
        }
        if rebuild.is_empty() {
            return Ok(done);
        }
        self.rebuild(group, &location, rebuild, &mut done).await?;
        Ok(done)
    }

    async fn judge(&self, id: ShardId, node: NodeId, action: Action) -> Verdict {
        match action {
            Action::Wait { recorded } => Verdict::Unknown { recorded },
            Action::Rebuild { recorded } => Verdict::Bad { recorded, occupied: false },
            Action::Verify => match self.calls.verify(node, id).await {
                Ok(ShardHealth::Good) => Verdict::Fine,
                Ok(ShardHealth::Corrupt) => Verdict::Bad { recorded: false, occupied: true },
                Ok(ShardHealth::Missing) => Verdict::Bad { recorded: false, occupied: false },
                Err(_) => Verdict::Unknown { recorded: false },
            },
            Action::Confirm { recorded } => match self.fetch_checked(node, id).await {
                Ok(()) if recorded => Verdict::Restored,
                Ok(()) => Verdict::Fine,
                Err(Failure::Missing) => Verdict::Bad { recorded, occupied: false },
                Err(Failure::Corrupt) => Verdict::Bad { recorded, occupied: true },
                Err(_) => Verdict::Unknown { recorded },
            },
        }
    }

    /// Fetches a shard and checks its tag.
    async fn fetch_checked(&self, node: NodeId, id: ShardId) -> Result<(), Failure> {
        let framed = self.calls.get_repeatedly(node, id).await?;
        let auth = self.auth.clone();
        let good = run_blocking(move || check_shard(&auth, &id, framed).is_ok()).await;
        if good { Ok(()) } else { Err(Failure::Corrupt) }
    }

    async fn rebuild(
        &self,
        group: &Arc<GroupRecord>,
        location: &Location,
        targets: Vec<Target>,
        done: &mut Done,
    ) -> Result<(), ClusterError> {
        let indices: Vec<u8> = targets.iter().map(|target| target.index).collect();
        let bad: Vec<u8> = targets
            .iter()
            .filter(|target| group.nodes[usize::from(target.index)] == target.node)
            .map(|target| target.index)
            .collect();
        let (coder, auth, shard) = (self.coder(group.profile), self.auth.clone(), *location);
        let compute = move |payloads: Payloads| {
            let framed = indices.iter().map(|index| {
                let payload = match &payloads[usize::from(*index)] {
                    Some(payload) => payload.clone(),
                    None => Bytes::from(coder.rebuild(&payloads, *index)?),
                };
                Ok(frame_shard(&auth, &shard_id(&shard, *index), &payload))
            });
            framed.collect::<Result<Vec<Bytes>, _>>()
        };
        let framed = match self.gather(group, location, &bad, compute).await {
            Ok(result) => {
                result.map_err(|source| ClusterError::Coding { sealed: location.sealed, source })?
            }
            Err(shortage) => return self.unrepairable(group, location, &shortage, &targets, done).await,
        };
        for (target, data) in targets.iter().zip(framed) {
            let bytes = data.len() as u64;
            if self.write_and_check(shard_id(location, target.index), target, data).await {
                if target.recorded {
                    self.restored(group, location.sealed, target.index, target.node).await?;
                }
                done.restored += 1;
                done.bytes += bytes;
            } else {
                done.short.push(target.index);
            }
        }
        Ok(())
    }

    /// Clears a recorded gap, unless the shard is on a node that is not a member yet: readers would look for it on
    /// the node that is gone. The scan after the switch clears it then.
    async fn restored(
        &self,
        group: &GroupRecord,
        sealed: SealedId,
        index: u8,
        node: NodeId,
    ) -> Result<(), ClusterError> {
        if group.nodes[usize::from(index)] == node {
            self.directory.shard_restored(sealed, index).await?;
        }
        Ok(())
    }

    async fn unrepairable(
        &self,
        group: &GroupRecord,
        location: &Location,
        shortage: &Shortage,
        targets: &[Target],
        done: &mut Done,
    ) -> Result<(), ClusterError> {
        if !self.in_directory(location).await? {
            // Deleted while we looked at it.
            *done = Done::default();
            return Ok(());
        }
        match self.report_shortage(group, location, shortage).await {
            ClusterError::Directory(error) => return Err(error.into()),
            ClusterError::Unreachable { .. } => {}
            _ => done.lost = true,
        }
        done.short.extend(targets.iter().map(|target| target.index));
        Ok(())
    }

    async fn in_directory(&self, location: &Location) -> Result<bool, ClusterError> {
        let number = u128::from_be_bytes(location.sealed.0);
        let before = number.checked_sub(1).map(|before| SealedId(before.to_be_bytes()));
        let next = self.directory.chunks_in_group(location.group, before, 1).await?;
        Ok(next.first().is_some_and(|chunk| chunk.location.sealed == location.sealed))
    }

    /// Writes one shard and reads it back.
    async fn write_and_check(&self, id: ShardId, target: &Target, data: Bytes) -> bool {
        let node = target.node;
        if target.occupied && self.calls.delete(node, &[id]).await.is_err() {
            return false;
        }
        let never = CancellationToken::new();
        let mut result = self.calls.put(node, id, data.clone(), never.clone()).await;
        if result == Err(Failure::Conflict) && self.calls.delete(node, &[id]).await.is_ok() {
            result = self.calls.put(node, id, data, never).await;
        }
        let result = match result {
            Ok(()) => self.fetch_checked(node, id).await,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = result {
            warn!(%node, shard = %id, ?failure, "a rebuilt shard could not be stored and read back");
        }
        result.is_ok()
    }
}

/// What a look at a shard found.
enum Verdict {
    Fine,
    /// Recorded as missing, and good.
    Restored,
    Bad {
        recorded: bool,
        occupied: bool,
    },
    Unknown {
        recorded: bool,
    },
}

impl ScanDepth {
    /// What to do with a shard that its node lists.
    pub(super) fn action(self) -> Option<Action> {
        match self {
            Self::Listed => None,
            Self::Verified => Some(Action::Verify),
            Self::Read => Some(Action::Confirm { recorded: false }),
        }
    }
}

//! Quorum writes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datamesh_types::{GroupId, Location, NodeId, SealedId, ShardId};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::calls::{Calls, Failure};
use crate::cluster::{Inner, run_blocking};
use crate::score::{Score, pick};
use crate::{ClusterError, GroupRecord, GroupState, Placed};

/// What sending one shard came to.
type Sent = (usize, Result<(), Failure>);

/// Shards on their way to the nodes of one group.
struct Sending {
    calls: Calls,
    group: Arc<GroupRecord>,
    pending: FuturesUnordered<BoxFuture<'static, Sent>>,
    /// Cancelled at the acknowledgement: shards that have not started by then don't.
    acknowledged: CancellationToken,
    outcomes: Vec<Option<Result<(), Failure>>>,
}

/// Why a group did not take a write.
struct Refusal {
    stored: usize,
    full: usize,
}

impl Inner {
    pub(crate) async fn put(&self, sealed: SealedId, bytes: Bytes) -> Result<Placed, ClusterError> {
        let Ok(sealed_len @ 1..) = u32::try_from(bytes.len()) else {
            return Err(ClusterError::InvalidLength { bytes: bytes.len() });
        };
        let mut tried = HashSet::new();
        let mut error = ClusterError::NoOpenGroup;
        for _ in 0..self.calls.config.write_groups_tried.max(1) {
            let Some(group) = self.choose_group(&tried, bytes.len(), &mut error).await? else { break };
            tried.insert(group.id);
            let quorum = group.profile.write_quorum();
            let spare = group.profile.total() - quorum;
            let location = Location { group: group.id, sealed, sealed_len };
            match self.put_in_group(group, location, bytes.clone()).await? {
                Ok(missing) => return Ok(Placed { location, missing }),
                // With room on the full nodes it would have been a quorum. A write gives up at the refusal that makes a
                // quorum impossible, so the nodes that would still have stored are not all counted.
                Err(refusal) if refusal.stored + refusal.full >= quorum || refusal.full > spare => {
                    error = ClusterError::Full { full: refusal.full };
                }
                Err(refusal) => error = ClusterError::NoQuorum { stored: refusal.stored, quorum },
            }
        }
        Err(error)
    }

    /// An open group with enough connected nodes. When there are open groups but none of them has, `error` says so.
    async fn choose_group(
        &self,
        tried: &HashSet<GroupId>,
        bytes: usize,
        error: &mut ClusterError,
    ) -> Result<Option<Arc<GroupRecord>>, ClusterError> {
        let groups = self.groups().await?;
        let connected =
            |group: &GroupRecord| group.nodes.iter().filter(|node| self.calls.connected(**node)).count();
        let mut fit = Vec::new();
        for group in groups.values() {
            if group.state != GroupState::Open || tried.contains(&group.id) {
                continue;
            }
            let (stored, quorum) = (connected(group), group.profile.write_quorum());
            if stored >= quorum {
                fit.push(group);
            } else if tried.is_empty() {
                *error = ClusterError::NoQuorum { stored, quorum };
            }
        }
        let totals = self.totals(&fit, bytes);
        let chosen = pick(&totals, &mut *self.rng());
        Ok(chosen.map(|at| fit[at].clone()))
    }

    fn totals(&self, groups: &[&Arc<GroupRecord>], bytes: usize) -> Vec<f64> {
        let slowest = |group: &GroupRecord| {
            let shard_len = group.profile.shard_len(bytes);
            let seconds =
                group.nodes.iter().filter_map(|node| self.calls.nodes.get(*node).write_seconds(shard_len));
            seconds.fold(0.0, f64::max)
        };
        let write_s: Vec<f64> = groups.iter().map(|group| slowest(group)).collect();
        let fastest_s = write_s.iter().copied().filter(|s| *s > 0.0).fold(f64::INFINITY, f64::min);
        let map = self.map.borrow().clone();
        let near =
            |node: &NodeId| map.member(*node).is_some_and(|member| member.region == self.calls.config.region);
        let total = |(group, seconds): (&&Arc<GroupRecord>, f64)| {
            let nodes = || group.nodes.iter().map(|node| self.calls.nodes.get(*node));
            let score = Score {
                capacity: nodes().map(|node| node.free_share()).fold(1.0, f64::min),
                reliability: nodes().map(|node| node.reliability()).fold(1.0, f64::min),
                proximity: group.nodes.iter().filter(|node| near(node)).count() as f64
                    / group.nodes.len().max(1) as f64,
                specialisation: if seconds > 0.0 { fastest_s / seconds } else { 1.0 },
            };
            score.total()
        };
        groups.iter().zip(write_s).map(total).collect()
    }

    /// Writes to one group: the missing shard indices, or why it was refused.
    async fn put_in_group(
        &self,
        group: Arc<GroupRecord>,
        location: Location,
        bytes: Bytes,
    ) -> Result<Result<Vec<u8>, Refusal>, ClusterError> {
        let (coder, auth) = (self.coder(group.profile), self.auth.clone());
        let (id, sealed) = (group.id, location.sealed);
        let shards = run_blocking(move || coder.encode_framed(&auth, id, sealed, &bytes)).await;
        let mut sending = Sending::start(self.calls.clone(), group, sealed, shards);
        if sending.reach_quorum().await {
            Ok(Ok(sending.acknowledge()))
        } else {
            let refusal = sending.refusal();
            warn!(group = %id, stored = refusal.stored, full = refusal.full, "a placement group refused a write");
            sending.undo(sealed);
            Ok(Err(refusal))
        }
    }
}

impl Sending {
    fn start(calls: Calls, group: Arc<GroupRecord>, sealed: SealedId, shards: Vec<Bytes>) -> Self {
        let acknowledged = CancellationToken::new();
        let pending = FuturesUnordered::new();
        for (index, data) in shards.into_iter().enumerate() {
            let (calls, acknowledged) = (calls.clone(), acknowledged.clone());
            let (node, id) = (group.nodes[index], ShardId { group: group.id, sealed, index: index as u8 });
            let send: BoxFuture<'static, Sent> =
                Box::pin(async move { (index, calls.put(node, id, data, acknowledged).await) });
            pending.push(send);
        }
        let outcomes = vec![None; group.nodes.len()];
        Self { calls, group, pending, acknowledged, outcomes }
    }

    fn stored(&self) -> usize {
        self.outcomes.iter().filter(|outcome| **outcome == Some(Ok(()))).count()
    }

    fn outstanding(&self) -> impl Iterator<Item = NodeId> {
        self.group
            .nodes
            .iter()
            .zip(&self.outcomes)
            .filter(|(_, outcome)| outcome.is_none())
            .map(|(node, _)| *node)
    }

    /// Waits until the write can be acknowledged (true) or can't become so any more (false).
    async fn reach_quorum(&mut self) -> bool {
        let quorum = self.group.profile.write_quorum();
        let started = Instant::now();
        let stragglers_until = started + self.calls.config.write_straggler_timeout.duration();
        let given_up_at =
            started + self.calls.config.request_timeout.duration().max(Duration::from_millis(1));
        loop {
            let stored = self.stored();
            if stored >= quorum && self.outstanding().all(|node| self.calls.nodes.get(node).suspect()) {
                return true;
            }
            if stored + self.outstanding().count() < quorum {
                return false;
            }
            let until = if stored >= quorum { stragglers_until } else { given_up_at };
            tokio::select! {
                biased;
                Some((index, result)) = self.pending.next() => self.outcomes[index] = Some(result),
                () = sleep_until(until) => {
                    for node in self.outstanding() {
                        self.calls.nodes.get(node).late(&self.calls.config);
                    }
                    return stored >= quorum;
                }
            }
        }
    }

    /// The indices that are not stored. Those on their way go on in the background, no longer than one call takes.
    fn acknowledge(self) -> Vec<u8> {
        let missing: Vec<u8> = (0..)
            .zip(&self.outcomes)
            .filter(|(_, outcome)| **outcome != Some(Ok(())))
            .map(|(index, _)| index)
            .collect();
        self.acknowledged.cancel();
        if !self.pending.is_empty() {
            let (mut pending, limit) = (self.pending, self.calls.config.request_timeout.duration());
            tokio::spawn(timeout(limit, async move { while pending.next().await.is_some() {} }));
        }
        missing
    }

    fn refusal(&self) -> Refusal {
        let full = self.outcomes.iter().filter(|outcome| **outcome == Some(Err(Failure::NoRoom))).count();
        Refusal { stored: self.stored(), full }
    }

    /// Deletes in the background what was or may have been stored. What that doesn't reach is an orphan.
    fn undo(self, sealed: SealedId) {
        let Self { calls, group, pending, outcomes, .. } = self;
        drop(pending);
        let touched = |outcome: &Option<Result<(), Failure>>| {
            matches!(outcome, None | Some(Ok(()) | Err(Failure::Unreachable)))
        };
        let deletes: Vec<(NodeId, ShardId)> = (0..)
            .zip(group.nodes.iter().zip(&outcomes))
            .filter(|(_, (node, outcome))| touched(outcome) && calls.connected(**node))
            .map(|(index, (node, _))| (*node, ShardId { group: group.id, sealed, index }))
            .collect();
        tokio::spawn(async move {
            let delete = |(node, id): (NodeId, ShardId)| {
                let calls = calls.clone();
                async move { calls.delete(node, &[id]).await.is_ok() }
            };
            let results = futures::future::join_all(deletes.into_iter().map(delete)).await;
            let left = results.iter().filter(|done| !**done).count();
            debug!(group = %group.id, %sealed, left, "deleted the shards of a write that failed");
        });
    }
}

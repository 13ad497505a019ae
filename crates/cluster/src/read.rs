//! Hedged, verified, degraded reads.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datamesh_mesh::TransportError;
use datamesh_pipeline::{PipelineError, ShardAuthKey, check_shard};
use datamesh_types::{Location, NodeId, ShardId};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, warn};

use crate::calls::{Calls, Failure};
use crate::cluster::{Inner, run_blocking};
use crate::{ClusterError, GroupRecord};

/// Checked payloads by index; `None` where there is none.
pub(crate) type Payloads = Vec<Option<Bytes>>;

/// Why k good shards could not be had.
#[derive(Debug)]
pub(crate) struct Shortage {
    /// Good shards read.
    pub(crate) readable: usize,
    /// Nodes that gave no definite answer.
    pub(crate) unreachable: usize,
    /// Nodes that definitely have no such shard.
    pub(crate) absent: usize,
}

/// How far one shard of the chunk is.
#[derive(Debug)]
enum Piece {
    Untried,
    Asked {
        hedge_at: Option<Instant>,
    },
    Fetched(Bytes),
    Good(Bytes),
    /// Failed; asked again while tries are left, if the failure may pass.
    Failed {
        failure: Failure,
        tries: u32,
    },
}

type Answer = (usize, Result<Bytes, TransportError>);

/// One chunk on its way in.
struct Gathering<'a> {
    calls: &'a Calls,
    auth: &'a ShardAuthKey,
    group: Arc<GroupRecord>,
    location: Location,
    pieces: Vec<Piece>,
    tries: Vec<u32>,
    pending: FuturesUnordered<BoxFuture<'static, Answer>>,
}

impl Inner {
    pub(crate) async fn get(&self, location: &Location) -> Result<Bytes, ClusterError> {
        let mut group = self.group(location.group).await?;
        let mut result = self.read_from(&group, location).await;
        if result.is_err() {
            // Another gateway may have replaced a node since the group was read.
            let current = self.current_group(location.group).await?;
            if current.nodes != group.nodes {
                group = current;
                result = self.read_from(&group, location).await;
            }
        }
        match result {
            Ok(bytes) => Ok(Bytes::from(bytes?)),
            Err(shortage) => Err(self.report_shortage(&group, location, &shortage).await),
        }
    }

    async fn read_from(
        &self,
        group: &Arc<GroupRecord>,
        location: &Location,
    ) -> Result<Result<Vec<u8>, ClusterError>, Shortage> {
        let (coder, len) = (self.coder(group.profile), location.sealed_len as usize);
        let decoded = self.gather(group, location, &[], move |payloads| coder.decode(&payloads, len)).await?;
        let sealed = location.sealed;
        Ok(decoded.map_err(|source| ClusterError::Coding { sealed, source }))
    }

    /// Fetches and checks k good shards, those at the indices `without` excepted, and hands them to `finish` on
    /// a thread where it may compute. Shards found to be bad are noted for repair.
    pub(crate) async fn gather<T: Send + 'static>(
        &self,
        group: &Arc<GroupRecord>,
        location: &Location,
        without: &[u8],
        finish: impl FnOnce(Payloads) -> Result<T, PipelineError> + Clone + Send + 'static,
    ) -> Result<Result<T, PipelineError>, Shortage> {
        let mut gathering = Gathering::new(&self.calls, &self.auth, group.clone(), *location, without);
        gathering.give_up_on(|node| self.removed(node) && !self.calls.connected(node));
        let result = loop {
            if !gathering.fetch_enough().await {
                break Err(gathering.shortage());
            }
            if let Some(finished) = gathering.check_and_finish(finish.clone()).await {
                break Ok(finished);
            }
        };
        let bad = gathering.bad(without);
        if !bad.is_empty() {
            warn!(group = %group.id, sealed = %location.sealed, shards = ?bad, "a read found bad shards");
            self.suspects.note(*location, &bad);
        }
        result
    }

    /// The error of a read, and for definite losses the directory's record of it.
    pub(crate) async fn report_shortage(
        &self,
        group: &GroupRecord,
        location: &Location,
        shortage: &Shortage,
    ) -> ClusterError {
        let (sealed, needed) = (location.sealed, group.profile.data());
        let Shortage { readable, unreachable, absent } = *shortage;
        if readable + unreachable >= needed {
            return ClusterError::Unreachable { sealed, readable, needed, unreachable };
        }
        error!(group = %group.id, %sealed, readable, needed, "a chunk has too few good shards left");
        if let Err(error) = self.directory.chunk_lost(sealed, readable).await {
            return ClusterError::Directory(error);
        }
        if absent == group.profile.total() {
            ClusterError::NotFound { sealed }
        } else {
            ClusterError::Lost { sealed, readable, needed }
        }
    }
}

impl<'a> Gathering<'a> {
    fn new(
        calls: &'a Calls,
        auth: &'a ShardAuthKey,
        group: Arc<GroupRecord>,
        location: Location,
        without: &[u8],
    ) -> Self {
        // What is known to be bad counts as a definite answer and is never asked for.
        let known_bad = || Piece::Failed { failure: Failure::Corrupt, tries: u32::MAX };
        let untried =
            |index: usize| if without.contains(&(index as u8)) { known_bad() } else { Piece::Untried };
        let total = group.profile.total();
        Self {
            calls,
            auth,
            group,
            location,
            pieces: (0..total).map(untried).collect(),
            tries: vec![0; total],
            pending: FuturesUnordered::new(),
        }
    }

    /// Nodes that were taken off the map won't come back: their shards are missing for good.
    fn give_up_on(&mut self, removed: impl Fn(NodeId) -> bool) {
        for (piece, node) in self.pieces.iter_mut().zip(&self.group.nodes) {
            if removed(*node) && matches!(piece, Piece::Untried) {
                *piece = Piece::Failed { failure: Failure::Missing, tries: u32::MAX };
            }
        }
    }

    fn needed(&self) -> usize {
        self.group.profile.data()
    }

    fn held(&self) -> usize {
        self.pieces.iter().filter(|piece| matches!(piece, Piece::Good(_) | Piece::Fetched(_))).count()
    }

    /// Shards that are held or on the way and not late.
    fn expected(&self) -> usize {
        let coming = |piece: &&Piece| matches!(piece, Piece::Asked { hedge_at: Some(_) });
        self.held() + self.pieces.iter().filter(coming).count()
    }

    /// Fetches until k shards are held, hedging on the way; false when there are no more to be had.
    async fn fetch_enough(&mut self) -> bool {
        for _ in self.expected()..self.needed() {
            self.ask_next();
        }
        let mut pause = self.calls.config.retry_pause.duration();
        while self.held() < self.needed() {
            if self.pending.is_empty() && !self.ask_next() && !self.ask_again(&mut pause).await {
                return false;
            }
            let hedge_at = self.next_hedge();
            tokio::select! {
                biased;
                Some((index, answer)) = self.pending.next() => self.take(index, answer),
                () = sleep_until(hedge_at.unwrap_or_else(Instant::now)), if hedge_at.is_some() => self.hedge(),
            }
        }
        true
    }

    /// Asks for the best shard that was not asked for: of nodes that are connected and not suspect first, then
    /// data shards before parity.
    fn ask_next(&mut self) -> bool {
        let untried = (0..self.pieces.len()).filter(|index| matches!(self.pieces[*index], Piece::Untried));
        let rank = |index: &usize| {
            let node = self.group.nodes[*index];
            (!self.calls.connected(node), self.calls.nodes.get(node).suspect(), *index)
        };
        let Some(index) = untried.min_by_key(rank) else { return false };
        self.ask(index);
        true
    }

    fn ask(&mut self, index: usize) {
        let (node, id, calls) = (self.group.nodes[index], self.shard(index), self.calls.clone());
        let hedge_after = calls.nodes.get(node).hedge_after(&calls.config);
        self.tries[index] += 1;
        self.pieces[index] = Piece::Asked { hedge_at: Some(Instant::now() + hedge_after) };
        self.pending.push(Box::pin(async move { (index, calls.get(node, id).await) }));
    }

    /// Asks again for what failed in a way that may pass, after a pause; false when nothing is worth it.
    async fn ask_again(&mut self, pause: &mut Duration) -> bool {
        let tries_max = self.calls.config.tries;
        let worth = |piece: &Piece| matches!(piece, Piece::Failed { failure: Failure::Unreachable, tries } if *tries < tries_max);
        let again: Vec<usize> = (0..self.pieces.len()).filter(|index| worth(&self.pieces[*index])).collect();
        if again.is_empty() || self.held() + again.len() < self.needed() {
            return false;
        }
        sleep(*pause).await;
        *pause *= 2;
        for index in again {
            self.ask(index);
        }
        true
    }

    fn take(&mut self, index: usize, answer: Result<Bytes, TransportError>) {
        self.pieces[index] = match answer {
            Ok(framed) => Piece::Fetched(framed),
            Err(error) => Piece::Failed { failure: Failure::from(&error), tries: self.tries[index] },
        };
        if matches!(self.pieces[index], Piece::Failed { .. }) && self.expected() < self.needed() {
            self.ask_next();
        }
    }

    fn next_hedge(&self) -> Option<Instant> {
        let hedge_at = |piece: &Piece| if let Piece::Asked { hedge_at } = piece { *hedge_at } else { None };
        self.pieces.iter().filter_map(hedge_at).min()
    }

    /// Asks one further node for each that is late.
    fn hedge(&mut self) {
        let now = Instant::now();
        for index in 0..self.pieces.len() {
            let Piece::Asked { hedge_at } = &mut self.pieces[index] else { continue };
            if hedge_at.is_some_and(|at| at <= now) {
                *hedge_at = None;
                self.calls.nodes.get(self.group.nodes[index]).late(&self.calls.config);
                self.ask_next();
            }
        }
    }

    /// Checks the tags of what was fetched and computes the result, all in one go off the async threads. `None`
    /// when a shard was wrong, so that more are needed.
    async fn check_and_finish<T: Send + 'static>(
        &mut self,
        finish: impl FnOnce(Payloads) -> Result<T, PipelineError> + Send + 'static,
    ) -> Option<Result<T, PipelineError>> {
        let shard_len = self.group.profile.shard_len(self.location.sealed_len as usize);
        let mut good: Payloads = vec![None; self.pieces.len()];
        let mut unchecked = Vec::new();
        for (index, piece) in self.pieces.iter().enumerate() {
            match piece {
                Piece::Good(payload) => good[index] = Some(payload.clone()),
                Piece::Fetched(framed) => unchecked.push((index, self.shard(index), framed.clone())),
                _ => {}
            }
        }
        let (auth, needed) = (self.auth.clone(), self.needed());
        let work = move || {
            let mut checked = Vec::with_capacity(unchecked.len());
            for (index, id, framed) in unchecked {
                let payload = check_shard(&auth, &id, framed).ok();
                let payload = payload.filter(|payload| payload.len() == shard_len);
                good[index].clone_from(&payload);
                checked.push((index, payload));
            }
            let enough = good.iter().flatten().count() >= needed;
            (checked, enough.then(|| finish(good)))
        };
        let (checked, finished) = run_blocking(work).await;
        for (index, payload) in checked {
            self.pieces[index] = match payload {
                Some(payload) => Piece::Good(payload),
                None => Piece::Failed { failure: Failure::Corrupt, tries: u32::MAX },
            };
        }
        finished
    }

    fn shard(&self, index: usize) -> ShardId {
        ShardId { group: self.location.group, sealed: self.location.sealed, index: index as u8 }
    }

    /// Indices that definite answers say are missing or wrong.
    fn bad(&self, without: &[u8]) -> Vec<u8> {
        let is_bad = |piece: &Piece| {
            matches!(piece, Piece::Failed { failure: Failure::Missing | Failure::Corrupt, .. })
        };
        let bad = (0..).zip(&self.pieces).filter(|(_, piece)| is_bad(piece)).map(|(index, _)| index);
        bad.filter(|index| !without.contains(index)).collect()
    }

    fn shortage(&self) -> Shortage {
        let count = |wanted: fn(&Piece) -> bool| self.pieces.iter().filter(|piece| wanted(piece)).count();
        let readable = self.held();
        let definite = count(|piece| {
            matches!(piece, Piece::Failed { failure: Failure::Missing | Failure::Corrupt, .. })
        });
        Shortage {
            readable,
            unreachable: self.pieces.len() - readable - definite,
            absent: count(|piece| matches!(piece, Piece::Failed { failure: Failure::Missing, .. })),
        }
    }
}

//! The calling side: which streams lead to which peer, and what is under way on them.
//!
//! A call waits for its share of the peer's budget, is queued on the least loaded lane, and gets its answer by
//! request id. Its share of the budget travels with it and is given back when the answer is in, or when the lane
//! ends: a caller that gave up doesn't let a stalled peer pile up memory here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use datamesh_types::NodeId;
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use libp2p::swarm::ConnectionId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::frame::{Expected, Request, Response, decode_response};
use super::{Ended, read_body, read_head, skip_body, write_frame};
use crate::{MeshLimits, ShardError, TransportError};

/// What a get is taken to weigh before its size is known.
const GET_BYTES: usize = 512 << 10;

/// Which calls a lane carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LaneKind {
    Small,
    Bulk,
}

/// A call on its way to a lane.
#[derive(Debug)]
pub(super) struct Call {
    request: Request,
    pending: Pending,
}

#[derive(Debug)]
struct Pending {
    expected: Expected,
    reply: oneshot::Sender<Result<Response, ShardError>>,
    /// Given back when this is dropped.
    _share: Share,
}

#[derive(Debug)]
struct Share {
    _bytes: Option<OwnedSemaphorePermit>,
    _request: OwnedSemaphorePermit,
    load: Arc<AtomicUsize>,
    weight: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.load.fetch_sub(self.weight, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Lane {
    connection: ConnectionId,
    kind: LaneKind,
    calls: mpsc::Sender<Call>,
    load: Arc<AtomicUsize>,
}

/// What this host has under way to one peer.
#[derive(Debug)]
pub(super) struct Link {
    node: NodeId,
    lanes: RwLock<Vec<Lane>>,
    bulk_bytes: Arc<Semaphore>,
    bulk_requests: Arc<Semaphore>,
    small_requests: Arc<Semaphore>,
    waiting: AtomicUsize,
    bulk_bytes_max: usize,
    waiting_max: usize,
}

/// Every peer that this host has called or is connected to.
#[derive(Debug, Clone)]
pub(crate) struct Links {
    limits: Arc<MeshLimits>,
    links: Arc<RwLock<HashMap<NodeId, Arc<Link>>>>,
}

/// Counts a caller that waits, for as long as it does.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Links {
    pub(crate) fn new(limits: Arc<MeshLimits>) -> Self {
        Self { limits, links: Arc::default() }
    }

    /// Whether there is a lane to the peer.
    pub(crate) fn connected(&self, node: NodeId) -> bool {
        self.get(node).is_some_and(|link| !read(&link.lanes).is_empty())
    }

    fn get(&self, node: NodeId) -> Option<Arc<Link>> {
        read(&self.links).get(&node).cloned()
    }

    pub(super) fn get_or_insert(&self, node: NodeId) -> Arc<Link> {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(links.entry(node).or_insert_with(|| Arc::new(Link::new(node, &self.limits))))
    }

    /// Forgets peers that are no longer of interest; calls under way go on.
    pub(crate) fn retain(&self, keep: impl Fn(NodeId) -> bool) {
        self.links.write().unwrap_or_else(PoisonError::into_inner).retain(|node, _| keep(*node));
    }

    /// One call, within the request timeout.
    pub(super) async fn call(&self, node: NodeId, request: Request) -> Result<Response, TransportError> {
        let link = self.get(node).ok_or(TransportError::NotConnected { node })?;
        let after = self.limits.request_timeout;
        let frame_max = self.limits.frame_bytes_max;
        tokio::time::timeout(after, link.call(request, frame_max))
            .await
            .unwrap_or(Err(TransportError::Timeout { node, after }))
    }
}

impl Link {
    fn new(node: NodeId, limits: &MeshLimits) -> Self {
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.clamp(1, Semaphore::MAX_PERMITS)));
        Self {
            node,
            lanes: RwLock::default(),
            bulk_bytes: semaphore(limits.bulk_bytes_per_peer),
            bulk_requests: semaphore(limits.requests_per_peer),
            small_requests: semaphore(limits.requests_per_peer),
            waiting: AtomicUsize::new(0),
            bulk_bytes_max: limits.bulk_bytes_per_peer.max(1),
            waiting_max: limits.queued_per_peer,
        }
    }

    /// Makes room for a stream: the calls for it come out of the receiver.
    pub(super) fn add_lane(
        &self,
        connection: ConnectionId,
        kind: LaneKind,
        capacity: usize,
    ) -> mpsc::Receiver<Call> {
        let (calls, receiver) = mpsc::channel(capacity.max(1));
        let lane = Lane { connection, kind, calls, load: Arc::default() };
        self.lanes.write().unwrap_or_else(PoisonError::into_inner).push(lane);
        receiver
    }

    /// Forgets the lanes of a connection that is gone or going.
    pub(super) fn remove_lanes(&self, connection: ConnectionId) {
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        lanes.retain(|lane| lane.connection != connection);
    }

    async fn call(&self, request: Request, frame_max: usize) -> Result<Response, TransportError> {
        let node = self.node;
        let bytes = match &request {
            Request::Put { data, .. } => data.len(),
            Request::Get { .. } => GET_BYTES,
            Request::GetRange { len, .. } => *len as usize,
            _ => 0,
        };
        // 64 bytes cover every fixed part of a frame. How large a whole shard is, only the peer knows.
        if !matches!(request, Request::Get { .. }) && bytes + 64 > frame_max {
            return Err(TransportError::TooLarge { bytes, max: frame_max });
        }
        if read(&self.lanes).is_empty() {
            return Err(TransportError::NotConnected { node });
        }
        let (request_share, byte_share) = self.share(&request, bytes).await?;
        let (calls, load) = self.lane(&request).ok_or(TransportError::NotConnected { node })?;
        let weight = bytes + 1;
        load.fetch_add(weight, Ordering::Relaxed);
        let share = Share { _bytes: byte_share, _request: request_share, load, weight };
        let (reply, answer) = oneshot::channel();
        let pending = Pending { expected: request.expected(), reply, _share: share };
        calls.try_send(Call { request, pending }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => TransportError::Busy { node },
            mpsc::error::TrySendError::Closed(_) => TransportError::NotConnected { node },
        })?;
        match answer.await {
            Ok(response) => response.map_err(|error| of_peer(node, error)),
            Err(_) => Err(TransportError::ConnectionLost { node }),
        }
    }

    /// Waits for room for one more request, and for its bytes if it is bulk.
    async fn share(
        &self,
        request: &Request,
        bytes: usize,
    ) -> Result<(OwnedSemaphorePermit, Option<OwnedSemaphorePermit>), TransportError> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.waiting_max {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(TransportError::Busy { node: self.node });
        }
        let _waiting = Waiting(&self.waiting);
        let open = "the semaphores of a link are never closed";
        if !request.is_bulk() {
            return Ok((Arc::clone(&self.small_requests).acquire_owned().await.expect(open), None));
        }
        let request_share = Arc::clone(&self.bulk_requests).acquire_owned().await.expect(open);
        let bytes = bytes.min(self.bulk_bytes_max) as u32;
        let byte_share = Arc::clone(&self.bulk_bytes).acquire_many_owned(bytes).await.expect(open);
        Ok((request_share, Some(byte_share)))
    }

    /// The least loaded lane that carries such requests, or any while there is no other.
    fn lane(&self, request: &Request) -> Option<(mpsc::Sender<Call>, Arc<AtomicUsize>)> {
        let kind = if request.is_bulk() { LaneKind::Bulk } else { LaneKind::Small };
        let lanes = read(&self.lanes);
        let of_kind = lanes.iter().filter(|lane| lane.kind == kind);
        let lane = of_kind.min_by_key(|lane| lane.load.load(Ordering::Relaxed)).or_else(|| lanes.first())?;
        Some((lane.calls.clone(), Arc::clone(&lane.load)))
    }
}

fn of_peer(node: NodeId, error: ShardError) -> TransportError {
    match error {
        ShardError::NotFound => TransportError::NotFound { node },
        ShardError::Corrupt => TransportError::Corrupt { node },
        ShardError::Full => TransportError::Full { node },
        ShardError::ReadOnly => TransportError::ReadOnly { node },
        ShardError::Conflict => TransportError::Conflict { node },
        ShardError::Refused => TransportError::Refused { node },
        ShardError::Busy => TransportError::Busy { node },
        ShardError::Failed => TransportError::Failed { node },
    }
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

type Table = Mutex<HashMap<u64, Pending>>;

fn lock(table: &Table) -> MutexGuard<'_, HashMap<u64, Pending>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Carries calls over one stream until either side is done with it. Calls under way then fail.
pub(super) async fn drive<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    calls: mpsc::Receiver<Call>,
    frame_max: usize,
    patience: Duration,
) -> Ended {
    let (mut reader, mut writer) = stream.split();
    let table = Table::default();
    tokio::select! {
        ended = send_calls(&mut writer, calls, &table, patience) => ended,
        ended = read_answers(&mut reader, &table, frame_max, patience) => ended,
    }
}

async fn send_calls<W: AsyncWrite + Unpin>(
    writer: &mut W,
    mut calls: mpsc::Receiver<Call>,
    table: &Table,
    patience: Duration,
) -> Ended {
    let mut next_id = 1_u64;
    while let Some(Call { request, pending }) = calls.recv().await {
        if pending.reply.is_closed() {
            continue;
        }
        let (head, data) = request.encode(next_id);
        drop(request);
        lock(table).insert(next_id, pending);
        next_id += 1;
        let flush = calls.is_empty();
        if let Err(error) = write_frame(writer, &head, &data, flush, patience).await {
            return Ended::Lost(error);
        }
    }
    Ended::Closed
}

async fn read_answers<R: AsyncRead + Unpin>(
    reader: &mut R,
    table: &Table,
    frame_max: usize,
    patience: Duration,
) -> Ended {
    let answers = async {
        loop {
            let head = read_head(reader, frame_max).await?;
            let pending = lock(table).remove(&head.id);
            let Some(pending) = pending.filter(|pending| !pending.reply.is_closed()) else {
                // The caller gave up.
                skip_body(reader, head.body_len, patience).await?;
                continue;
            };
            let body = read_body(reader, head.body_len, patience).await?;
            let response = decode_response(head.kind, body, pending.expected)?;
            // The caller may have gone in the meantime.
            let _ = pending.reply.send(response);
        }
    };
    let ended: Result<std::convert::Infallible, Ended> = answers.await;
    match ended {
        Err(ended) => ended,
        Ok(never) => match never {},
    }
}

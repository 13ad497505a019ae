//! The body of an answer: chunks in order, fetched ahead.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use datamesh_catalog::{PlannedChunk, ReadPlan};
use datamesh_pipeline::DomainKey;
use futures::future::BoxFuture;
use http_body::{Body, Frame, SizeHint};
use tokio_util::task::AbortOnDropHandle;

use super::{Retrieve, RetrieveError};

/// The bytes of a range of a version. Dropping it stops all fetching.
pub struct ObjectBody {
    /// What is left to deliver, in bytes.
    remaining: u64,
    /// Verified, and next to deliver.
    ready: Option<Bytes>,
    source: Option<Source>,
}

struct Source {
    retrieve: Retrieve,
    key: DomainKey,
    range: Range<u64>,
    plan: Plan,
    planned: VecDeque<PlannedChunk>,
    fetching: VecDeque<Fetching>,
    fetching_bytes: usize,
}

type Page = Result<Vec<PlannedChunk>, RetrieveError>;

/// The plan, or the fetching of its next page.
enum Plan {
    Idle(Box<ReadPlan>),
    Paging(BoxFuture<'static, (Box<ReadPlan>, Page)>),
    Done,
}

struct Fetching {
    task: AbortOnDropHandle<Result<Bytes, RetrieveError>>,
    object_offset: u64,
    len: usize,
}

impl ObjectBody {
    /// Bytes that are there already.
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self { remaining: bytes.len() as u64, ready: Some(bytes), source: None }
    }

    /// The chunks of a plan for `range`.
    pub(super) fn planned(retrieve: Retrieve, plan: ReadPlan, range: Range<u64>, key: DomainKey) -> Self {
        let remaining = range.end - range.start;
        let source = Source {
            retrieve,
            key,
            range,
            plan: Plan::Idle(Box::new(plan)),
            planned: VecDeque::new(),
            fetching: VecDeque::new(),
            fetching_bytes: 0,
        };
        Self { remaining, ready: None, source: Some(source) }
    }

    /// Fetches up to the first byte.
    pub(super) async fn prime(&mut self) -> Result<(), RetrieveError> {
        if self.ready.is_none() && self.remaining > 0 {
            self.ready = std::future::poll_fn(|cx| self.poll_bytes(cx)).await?;
        }
        Ok(())
    }

    /// What is left to deliver, in bytes.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// All of it, if it is in memory already and nothing is left to fetch.
    pub fn take_ready(&mut self) -> Option<Bytes> {
        if self.ready.as_ref()?.len() as u64 != self.remaining {
            return None;
        }
        self.remaining = 0;
        self.source = None;
        self.ready.take()
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, RetrieveError>> {
        match &mut self.source {
            Some(source) => source.poll_bytes(cx),
            None => Poll::Ready(Ok(None)),
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, RetrieveError>>> {
        if self.remaining == 0 {
            self.source = None;
            return Poll::Ready(None);
        }
        let bytes = match self.ready.take() {
            Some(bytes) => Some(bytes),
            None => match ready!(self.poll_bytes(cx)) {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.source = None;
                    return Poll::Ready(Some(Err(error)));
                }
            },
        };
        let Some(bytes) = bytes.filter(|bytes| bytes.len() as u64 <= self.remaining) else {
            // The plan ended early, or gave too much: the catalog contradicts itself.
            let error = RetrieveError::Length { expected: self.remaining, found: 0 };
            return Poll::Ready(Some(Err(error)));
        };
        self.remaining -= bytes.len() as u64;
        Poll::Ready(Some(Ok(bytes)))
    }
}

impl Source {
    /// The next bytes of the range; `None` when the plan is exhausted.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, RetrieveError>> {
        loop {
            let page = self.poll_plan(cx)?;
            self.fetch_ahead();
            let Some(first) = self.fetching.front_mut() else {
                ready!(page);
                if self.planned.is_empty() && matches!(self.plan, Plan::Done) {
                    return Poll::Ready(Ok(None));
                }
                continue;
            };
            let fetched = ready!(Pin::new(&mut first.task).poll(cx));
            let Some(done) = self.fetching.pop_front() else { continue };
            self.fetching_bytes -= done.len;
            self.fetch_ahead();
            let bytes = self.clip(fetched??, done.object_offset);
            if !bytes.is_empty() {
                return Poll::Ready(Ok(Some(bytes)));
            }
        }
    }

    /// Gets the plan's next page once few planned chunks are left.
    fn poll_plan(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, RetrieveError> {
        if self.planned.len() > self.retrieve.config.chunks_in_flight {
            return Ok(Poll::Ready(()));
        }
        if let Plan::Idle(_) = self.plan
            && let Plan::Idle(mut plan) = std::mem::replace(&mut self.plan, Plan::Done)
        {
            self.plan = Plan::Paging(Box::pin(async move {
                let page = plan.next_page().await.map_err(RetrieveError::from);
                (plan, page)
            }));
        }
        let Plan::Paging(paging) = &mut self.plan else { return Ok(Poll::Ready(())) };
        let Poll::Ready((plan, page)) = paging.as_mut().poll(cx) else { return Ok(Poll::Pending) };
        let page = page?;
        self.plan = if page.is_empty() { Plan::Done } else { Plan::Idle(plan) };
        self.planned.extend(page);
        Ok(Poll::Ready(()))
    }

    fn fetch_ahead(&mut self) {
        let config = &self.retrieve.config;
        while let Some(chunk) = self.planned.front() {
            let len = chunk.plain_len as usize;
            let full = self.fetching.len() >= config.chunks_in_flight
                || self.fetching_bytes + len > config.in_flight_bytes;
            if full && !self.fetching.is_empty() {
                return;
            }
            let Some(chunk) = self.planned.pop_front() else { return };
            let (retrieve, key) = (self.retrieve.clone(), self.key.clone());
            let object_offset = chunk.object_offset;
            let task = tokio::spawn(async move { retrieve.fetch(&chunk, key).await });
            self.fetching_bytes += len;
            self.fetching.push_back(Fetching { task: AbortOnDropHandle::new(task), object_offset, len });
        }
    }

    /// The part of a chunk that lies in the range.
    fn clip(&self, chunk: Bytes, offset: u64) -> Bytes {
        let len = chunk.len() as u64;
        let start = self.range.start.clamp(offset, offset + len) - offset;
        let end = self.range.end.clamp(offset, offset + len) - offset;
        if start == 0 && end == len { chunk } else { chunk.slice(start as usize..end as usize) }
    }
}

impl Body for ObjectBody {
    type Data = Bytes;
    type Error = RetrieveError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RetrieveError>>> {
        self.poll_next(cx).map(|next| next.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

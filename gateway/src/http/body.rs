//! Bodies under limits: a request body that must keep flowing, a response body that holds its request's permit.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use datamesh_accounts::Direction;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;

use super::deadline::Deadline;
use super::pacing::Pacing;
use super::trace::RequestTrace;

/// What is still read of a body that nobody wants any more, so that the client gets to see its answer: a
/// socket that is closed with unread bytes resets the connection, and the answer with it.
const LINGER_LEN_MAX: usize = 4 << 20;
const LINGER_TIME_MAX: Duration = Duration::from_secs(5);

/// A request body that fails when it stands still for too long, and is drained a little when it is dropped.
pub(super) struct RequestBody {
    inner: Option<Incoming>,
    /// The client holds the body back until it is asked for it, and nobody has asked yet.
    held_back: bool,
    deadline: Deadline,
    pacing: Pacing,
    trace: Arc<RequestTrace>,
}

impl RequestBody {
    pub(super) fn new(inner: Incoming, idle_max: Duration, trace: Arc<RequestTrace>) -> Self {
        let held_back = trace.is_body_held_back();
        let pacing = Pacing::new(Arc::clone(&trace), Direction::Received);
        Self { inner: Some(inner), held_back, deadline: Deadline::new(idle_max), pacing, trace }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        if this.held_back {
            this.held_back = false;
            this.trace.body_asked_for();
        }
        ready!(this.pacing.poll(cx));
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(inner).poll_frame(cx) else {
            ready!(this.deadline.poll(cx));
            this.inner = None;
            return Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())));
        };
        this.deadline.disarm();
        match &frame {
            Some(Ok(frame)) => {
                let len = frame.data_ref().map_or(0, Bytes::len);
                this.trace.received(len);
                this.pacing.passed(len);
            }
            Some(Err(_)) | None => this.inner = None,
        }
        Poll::Ready(
            frame.map(|frame| frame.map_err(|error| io::Error::new(io::ErrorKind::UnexpectedEof, error))),
        )
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(rest) = self.inner.take().filter(|rest| !rest.is_end_stream()) else { return };
        if self.held_back {
            // Reading it now would ask for it, after the answer; the client would take that for its next answer.
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(LINGER_TIME_MAX, linger(rest)));
        }
    }
}

async fn linger(mut rest: Incoming) {
    let mut len = 0;
    while let Some(Ok(frame)) = rest.frame().await {
        len += frame.data_ref().map_or(0, Bytes::len);
        if len > LINGER_LEN_MAX {
            return;
        }
    }
}

/// A response body: it keeps to its owners' bandwidth, keeps the request counted as under way until its last byte is
/// out, and reports a failure in the middle, which costs the connection.
pub(super) struct ResponseBody {
    pub inner: s3s::Body,
    pub trace: Arc<RequestTrace>,
    pub pacing: Pacing,
    /// `None` for the answer to a request that was refused for want of a permit.
    pub permit: Option<OwnedSemaphorePermit>,
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = s3s::StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, s3s::StdError>>> {
        ready!(self.pacing.poll(cx));
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                let len = frame.data_ref().map_or(0, Bytes::len);
                self.trace.sent(len);
                self.pacing.passed(len);
            }
            Some(Err(error)) => self.trace.broken(&**error),
            None => self.permit = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        Body::size_hint(&self.inner)
    }
}

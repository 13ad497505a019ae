//! Streams over one connection: the yamux crate, with frames of 256 KiB.
//!
//! Wire-compatible with libp2p-yamux, whose frames of 16 KiB cost three times the CPU and cannot be changed.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready as poll_ready};

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::UpgradeInfo;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade};
use yamux::{Connection, ConnectionError, Mode, Stream};

/// Streams on one connection, of both directions.
pub(super) const STREAMS_MAX: usize = 128;

/// Payload of one frame. Larger ones gain nothing, smaller ones cost a task switch and a header each.
const FRAME_BYTES: usize = 256 << 10;

/// What a peer may send ahead of the reader, over all streams: yamux's minimum of 256 KiB a stream, and as much
/// again for streams whose window grows with the bandwidth-delay product.
const RECEIVE_WINDOW_BYTES: usize = 2 * STREAMS_MAX * (256 << 10);

/// Streams that a peer has opened and nobody has taken yet; more are reset.
const WAITING_STREAMS_MAX: usize = 32;

/// The upgrade of an authenticated connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Upgrade;

fn muxer<C: AsyncRead + AsyncWrite + Send + Unpin + 'static>(socket: C, mode: Mode) -> Muxer<C> {
    let mut config = yamux::Config::default();
    config
        .set_max_num_streams(STREAMS_MAX)
        .set_max_connection_receive_window(Some(RECEIVE_WINDOW_BYTES))
        .set_split_send_size(FRAME_BYTES)
        .set_read_after_close(false);
    Muxer { connection: Connection::new(socket, config, mode), waiting: VecDeque::new(), waker: None }
}

impl UpgradeInfo for Upgrade {
    type Info = &'static str;
    type InfoIter = std::iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once("/yamux/1.0.0")
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Upgrade {
    type Output = Muxer<C>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, socket: C, _: Self::Info) -> Self::Future {
        ready(Ok(muxer(socket, Mode::Server)))
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Upgrade {
    type Output = Muxer<C>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, socket: C, _: Self::Info) -> Self::Future {
        ready(Ok(muxer(socket, Mode::Client)))
    }
}

/// A connection that carries streams.
pub(super) struct Muxer<C> {
    connection: Connection<C>,
    /// yamux moves bytes only while it is asked for inbound streams, libp2p asks for them only when it has room:
    /// what turns up in between waits here.
    waiting: VecDeque<Stream>,
    waker: Option<Waker>,
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> Muxer<C> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Stream, ConnectionError>> {
        Poll::Ready(
            poll_ready!(self.connection.poll_next_inbound(cx)).unwrap_or(Err(ConnectionError::Closed)),
        )
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> StreamMuxer for Muxer<C> {
    type Substream = Stream;
    type Error = ConnectionError;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Stream, ConnectionError>> {
        if let Some(stream) = self.waiting.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        let next = self.poll_next(cx);
        if next.is_pending() {
            self.waker = Some(cx.waker().clone());
        }
        next
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Stream, ConnectionError>> {
        self.connection.poll_new_outbound(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        self.connection.poll_close(cx)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, ConnectionError>> {
        let stream = poll_ready!(self.poll_next(cx))?;
        if self.waiting.len() < WAITING_STREAMS_MAX {
            self.waiting.push_back(stream);
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        } else {
            tracing::debug!("reset a stream: the peer opens them faster than they are taken");
        }
        // There may be more; come back after the other tasks of the connection.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

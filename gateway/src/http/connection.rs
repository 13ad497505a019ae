//! One connection, from the handshake to its end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::deadline::Deadline;
use super::request::{RequestHandler, RequestService};
use super::trace::Peer;

/// Request line and headers together. S3 allows 8 KiB of headers; presigned URLs come on top.
const HEADERS_LEN_MAX: usize = 64 << 10;
/// What one connection may buffer of a body that the gateway does not take yet.
const READ_BUFFER_MAX: usize = 512 << 10;
const HTTP2_STREAMS_MAX: u32 = 128;
/// Wide enough for one stream to fill a fast link.
const HTTP2_WINDOW: u32 = 1 << 20;

pub(super) struct Connection {
    pub stream: TcpStream,
    pub tls: Option<TlsAcceptor>,
    pub handler: Arc<RequestHandler>,
    pub header_timeout: Duration,
    pub write_timeout: Duration,
    pub stop: CancellationToken,
}

/// Serves requests until the client leaves, a limit is hit, or the listener stops and the last answer is out.
pub(super) async fn serve(connection: Connection) {
    metrics::gauge!("datamesh_s3_connections").increment(1.0);
    if let Err(error) = negotiate(connection).await {
        // Clients leave in mid-request every day; that is no fault of the gateway's.
        tracing::debug!(error = %error, "connection ended early");
    }
    metrics::gauge!("datamesh_s3_connections").decrement(1.0);
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

async fn negotiate(connection: Connection) -> Result<(), BoxError> {
    let Connection { stream, tls, handler, header_timeout, write_timeout, stop } = connection;
    stream.set_nodelay(true)?;
    let peer = Peer { address: stream.peer_addr()?.ip().to_canonical(), encrypted: tls.is_some() };
    let stream = WriteDeadline { inner: stream, deadline: Deadline::new(write_timeout) };
    let service = RequestService { handler, peer };
    let Some(tls) = tls else {
        let io = TokioIo::new(stream);
        return drive(http1_builder(header_timeout).serve_connection(io, service), &stop).await;
    };
    let stream = tokio::time::timeout(header_timeout, tls.accept(stream)).await??;
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let io = TokioIo::new(stream);
    if is_http2 {
        drive(http2_builder(header_timeout).serve_connection(io, service), &stop).await
    } else {
        drive(http1_builder(header_timeout).serve_connection(io, service), &stop).await
    }
}

fn http1_builder(header_timeout: Duration) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_header_size(HEADERS_LEN_MAX)
        .max_buf_size(READ_BUFFER_MAX);
    builder
}

fn http2_builder(keep_alive: Duration) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .initial_stream_window_size(HTTP2_WINDOW)
        .initial_connection_window_size(4 * HTTP2_WINDOW)
        .max_header_list_size(HEADERS_LEN_MAX as u32)
        .keep_alive_interval(keep_alive)
        .keep_alive_timeout(keep_alive);
    builder
}

async fn drive<C>(connection: C, stop: &CancellationToken) -> Result<(), BoxError>
where
    C: GracefulConnection,
    C::Error: Into<BoxError>,
{
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended.map_err(Into::into),
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await.map_err(Into::into)
}

/// Fails a write that the client leaves unread for too long.
struct WriteDeadline {
    inner: TcpStream,
    deadline: Deadline,
}

impl WriteDeadline {
    fn guard<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.deadline.disarm();
            return polled;
        }
        match self.deadline.poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for WriteDeadline {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for WriteDeadline {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.guard(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.guard(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

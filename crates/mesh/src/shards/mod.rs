//! Shard transfer: requests and responses on long-lived raw streams.
//!
//! The client opens a few streams to each storage peer when the connection is established and keeps them: one for
//! small calls and some for bulk, so that a listing doesn't wait behind megabytes. Each carries several requests
//! at once, answered in any order. Every frame, queue and buffer is bounded; who breaks the protocol loses the
//! connection and nothing else.

mod behaviour;
mod calls;
mod client;
mod frame;
mod handler;
mod serve;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

pub(crate) use behaviour::{Behaviour, Event};
pub(crate) use client::Links;
pub(crate) use serve::Server;

/// Why the task of a stream ended.
#[derive(Debug)]
enum Ended {
    /// The other side closed the stream between two frames, or this side has no more use for it.
    Closed,
    /// The connection broke, or the other side stalled in the middle of a frame.
    Lost(io::Error),
    /// The other side broke the protocol.
    Violation(frame::Malformed),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

impl From<frame::Malformed> for Ended {
    fn from(malformed: frame::Malformed) -> Self {
        Self::Violation(malformed)
    }
}

/// Reads the head of the next frame, for however long it takes; the error is `Closed` at a clean end.
async fn read_head<R: AsyncRead + Unpin>(reader: &mut R, body_max: usize) -> Result<frame::Head, Ended> {
    let mut head = [0; frame::HEAD_LEN];
    let first = reader.read(&mut head).await?;
    if first == 0 {
        return Err(Ended::Closed);
    }
    reader.read_exact(&mut head[first..]).await?;
    Ok(frame::Head::decode(head, body_max)?)
}

/// Reads a body, which must arrive within `patience`: its memory is taken before the bytes come.
async fn read_body<R: AsyncRead + Unpin>(
    reader: &mut R,
    len: usize,
    patience: Duration,
) -> io::Result<Bytes> {
    if len == 0 {
        return Ok(Bytes::new());
    }
    let mut body = vec![0; len];
    tokio::time::timeout(patience, reader.read_exact(&mut body)).await.map_err(|_| stalled())??;
    Ok(Bytes::from(body))
}

/// Reads a body and forgets it.
async fn skip_body<R: AsyncRead + Unpin>(reader: &mut R, len: usize, patience: Duration) -> io::Result<()> {
    let skip = async {
        let mut rest = len;
        let mut scratch = vec![0; len.min(16 << 10)];
        while rest > 0 {
            let part = rest.min(scratch.len());
            reader.read_exact(&mut scratch[..part]).await?;
            rest -= part;
        }
        Ok(())
    };
    tokio::time::timeout(patience, skip).await.map_err(|_| stalled())?
}

/// Writes a frame, which the peer must take within `patience`: until then its memory is not given back.
async fn write_frame<W: AsyncWrite + Unpin>(
    writer: &mut W,
    head: &[u8],
    data: &[u8],
    flush: bool,
    patience: Duration,
) -> io::Result<()> {
    let write = async {
        writer.write_all(head).await?;
        if !data.is_empty() {
            writer.write_all(data).await?;
        }
        if flush { writer.flush().await } else { Ok(()) }
    };
    tokio::time::timeout(patience, write).await.map_err(|_| stalled())?
}

fn stalled() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the peer stalled in the middle of a frame")
}

#[cfg(test)]
mod tests;

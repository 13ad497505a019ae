//! Reading a body in batches that are worth a handover to another thread.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};

use super::IngestError;

/// Large enough that handing it over costs nothing beside hashing it, small enough for several to be in memory.
const BATCH_LEN: usize = 1 << 20;

/// Pieces of a body, in order. Clones share them.
pub(super) type Batch = Arc<[Bytes]>;

/// What is known of a body's length before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLen {
    /// It has this many bytes.
    Exactly(u64),
    /// It has this many bytes at most, and ends by itself.
    AtMost(u64),
}

impl BodyLen {
    /// The most bytes that it has.
    pub const fn max(self) -> u64 {
        match self {
            Self::Exactly(len) | Self::AtMost(len) => len,
        }
    }

    const fn allows(self, len: u64) -> bool {
        match self {
            Self::Exactly(exact) => len == exact,
            Self::AtMost(max) => len <= max,
        }
    }
}

/// Cuts a body into batches and watches its length.
pub(super) struct Batches<S> {
    body: S,
    declared: BodyLen,
    received: u64,
}

impl<S> Batches<S>
where
    S: Stream<Item = Result<Bytes, s3s::StdError>> + Send + Unpin,
{
    pub(super) fn new(body: S, declared: BodyLen) -> Self {
        Self { body, declared, received: 0 }
    }

    /// The next batch; `None` after a clean end at the declared length. Only then have signatures been checked.
    pub(super) async fn next(&mut self) -> Result<Option<Batch>, IngestError> {
        let mut pieces = Vec::new();
        let mut len = 0;
        while len < BATCH_LEN {
            let Some(piece) = self.body.next().await else { break };
            let piece = piece.map_err(|source| IngestError::Body { source })?;
            len += piece.len();
            self.received += piece.len() as u64;
            if self.received > self.declared.max() {
                return Err(self.wrong_length());
            }
            pieces.push(piece);
        }
        if len > 0 {
            Ok(Some(pieces.into()))
        } else if self.declared.allows(self.received) {
            Ok(None)
        } else {
            Err(self.wrong_length())
        }
    }

    /// How many bytes came.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    fn wrong_length(&self) -> IngestError {
        IngestError::Length { declared: self.declared.max(), received: self.received }
    }
}

/// Reads a small body whole, to its clean end.
pub(super) async fn read_whole<S>(mut body: S, len: BodyLen) -> Result<Bytes, IngestError>
where
    S: Stream<Item = Result<Bytes, s3s::StdError>> + Send + Unpin,
{
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|source| IngestError::Body { source })?;
        let received = (first.len() + rest.len() + piece.len()) as u64;
        if received > len.max() {
            return Err(IngestError::Length { declared: len.max(), received });
        }
        if first.is_empty() {
            // Mostly the only piece: it need not be copied.
            first = piece;
        } else {
            rest.extend_from_slice(&piece);
        }
    }
    let received = first.len() + rest.len();
    if !len.allows(received as u64) {
        return Err(IngestError::Length { declared: len.max(), received: received as u64 });
    }
    if rest.is_empty() {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(received);
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok(whole.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(pieces: &[usize]) -> impl Stream<Item = Result<Bytes, s3s::StdError>> + Send + Unpin {
        let pieces: Vec<_> = pieces.iter().map(|len| Ok(Bytes::from(vec![7; *len]))).collect();
        futures::stream::iter(pieces)
    }

    #[tokio::test]
    async fn a_small_body_must_have_its_declared_length() {
        for pieces in [&[10][..], &[3, 7], &[1, 1, 8], &[0, 10, 0]] {
            assert_eq!(read_whole(body(pieces), BodyLen::Exactly(10)).await.unwrap().len(), 10, "{pieces:?}");
        }
        for pieces in [&[][..], &[9], &[11], &[5, 6]] {
            let error = read_whole(body(pieces), BodyLen::Exactly(10)).await.unwrap_err();
            assert!(matches!(error, IngestError::Length { declared: 10, .. }), "{pieces:?}");
        }
    }

    #[tokio::test]
    async fn a_body_of_unknown_length_has_a_limit() {
        for (max, fits) in [(10, true), (11, true), (9, false)] {
            let whole = read_whole(body(&[3, 7]), BodyLen::AtMost(max)).await;
            assert_eq!(whole.is_ok_and(|whole| whole.len() == 10), fits, "{max}");
            let mut batches = Batches::new(body(&[3, 7]), BodyLen::AtMost(max));
            let first = batches.next().await;
            assert_eq!(first.is_ok() && batches.next().await.is_ok_and(|end| end.is_none()), fits, "{max}");
        }
    }

    #[tokio::test]
    async fn batches_hold_the_whole_body_or_fail() {
        let pieces = vec![100_000; 50];
        let mut batches = Batches::new(body(&pieces), BodyLen::Exactly(5_000_000));
        let mut len = 0;
        while let Some(batch) = batches.next().await.unwrap() {
            len += batch.iter().map(Bytes::len).sum::<usize>();
        }
        assert_eq!(len, 5_000_000);
        for declared in [4_999_999, 5_000_001] {
            let mut batches = Batches::new(body(&pieces), BodyLen::Exactly(declared));
            let error = loop {
                match batches.next().await {
                    Ok(batch) => assert!(batch.is_some(), "a body of another length ended cleanly"),
                    Err(error) => break error,
                }
            };
            assert!(matches!(error, IngestError::Length { .. }));
        }
    }
}

//! Bodies of unknown length, which take their quota as they come.
//!
//! A form tells its own length, not its file's. Of such a body each piece is passed on once quota is held for it: a step
//! ahead of it where there is room, and no more than it needs where there is little, so that a body that fits is never
//! refused for what it might have been. Only one object is reserved before the first byte. The commit settles what came;
//! a body that is refused in the middle fails, and what it held is given back with it.

use std::sync::Arc;

use bytes::Bytes;
use datamesh_accounts::{AccountsError, Reservation};
use datamesh_catalog::Bucket;
use datamesh_db::CommitHook;
use futures::{StreamExt, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use s3s::dto::StreamingBlob;
use s3s::{Body, S3Result, StdError};

use super::{S3Gateway, errors};
use crate::ingest::BodyLen;

/// How far ahead of a body quota is taken, in bytes. Each step near the limit is a transaction.
const STEP: u64 = 1 << 20;

impl S3Gateway {
    /// Takes quota for a version with that body. The hook settles it inside the commit; dropping it gives the quota back.
    /// The body is to be read instead of the given one: one of unknown length takes quota meanwhile.
    ///
    /// # Errors
    /// `QuotaExceeded`, naming the limit and the usage; of a body of unknown length, perhaps only when it is read.
    pub(super) async fn reserve_body(
        &self,
        bucket: &Bucket,
        key: &[u8],
        len: BodyLen,
        body: StreamingBlob,
    ) -> S3Result<(Arc<dyn CommitHook>, StreamingBlob)> {
        let max = match len {
            BodyLen::Exactly(len) => {
                self.check_object_size(bucket, len).await?;
                return Ok((self.reserve_version(bucket, key, len).await?, body));
            }
            BodyLen::AtMost(max) => max,
        };
        let (reservation, replaced) = self.reserve_replacing(bucket, key, 0).await?;
        let growing = Growing {
            gateway: self.clone(),
            bucket: bucket.clone(),
            key: key.to_vec(),
            body,
            reservation: Arc::clone(&reservation),
            received: 0,
            held: 0,
            step: STEP.min(max),
            replaced,
        };
        let frames = StreamBody::new(stream::try_unfold(growing, Growing::next));
        Ok((reservation, StreamingBlob::from(Body::http_body_unsync(frames))))
    }
}

/// A body and the quota that is held for it.
struct Growing {
    gateway: S3Gateway,
    bucket: Bucket,
    key: Vec<u8>,
    body: StreamingBlob,
    reservation: Arc<Reservation>,
    /// Bytes that came.
    received: u64,
    /// Bytes of quota that were taken.
    held: u64,
    /// How much is taken at once. It shrinks where there is little room.
    step: u64,
    /// The size of the version that this one replaces, once it was looked up.
    replaced: Option<u64>,
}

impl Growing {
    /// The next piece, for which quota is held.
    async fn next(mut self) -> Result<Option<(Frame<Bytes>, Self)>, StdError> {
        let Some(piece) = self.body.next().await.transpose()? else { return Ok(None) };
        self.received += piece.len() as u64;
        self.make_room().await?;
        Ok(Some((Frame::data(piece), self)))
    }

    /// Takes quota until there is enough for what was received.
    ///
    /// # Errors
    /// `QuotaExceeded`.
    async fn make_room(&mut self) -> S3Result<()> {
        self.gateway.check_object_size(&self.bucket, self.received).await?;
        loop {
            let wanted = self.received.saturating_sub(self.replaced.unwrap_or(0));
            let missing = wanted.saturating_sub(self.held);
            if missing == 0 {
                return Ok(());
            }
            let more = self.step.max(missing);
            match self.reservation.extend(more).await {
                Ok(()) => self.held += more,
                Err(AccountsError::QuotaExceeded { .. }) if more > missing => self.step = more / 2,
                Err(AccountsError::QuotaExceeded { .. }) if self.replaced.is_none() => {
                    let replaced = self.gateway.replaced_size(&self.bucket, &self.key).await?;
                    self.replaced = Some(replaced.unwrap_or(0));
                }
                Err(error) => return Err(errors::accounts(error)),
            }
        }
    }
}

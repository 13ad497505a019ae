//! The serving side: reads requests of a stream, asks the storage, answers in any order.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use datamesh_types::NodeId;
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::frame::{self, BATCH_MAX, Head, Malformed, Request, Response, encode_response};
use super::{Ended, read_body, read_head, skip_body, write_frame};
use crate::members::MemberList;
use crate::{MeshLimits, ShardError, ShardService};

/// What a get is taken to weigh before the shard is read.
const GET_BYTES: usize = 1 << 20;

/// What serving a stream needs.
#[derive(Clone)]
pub(crate) struct Server {
    service: Arc<dyn ShardService>,
    members: Arc<MemberList>,
    frame_max: usize,
    served_per_stream: usize,
    bytes: Arc<Semaphore>,
    bytes_max: usize,
    patience: Duration,
}

/// An answer on its way out, with the memory it is accounted for.
struct Answer {
    head: Bytes,
    data: Bytes,
    _bytes: OwnedSemaphorePermit,
    _request: OwnedSemaphorePermit,
}

impl Server {
    pub(crate) fn new(service: Arc<dyn ShardService>, members: Arc<MemberList>, limits: &MeshLimits) -> Self {
        let bytes_max = limits.served_bytes_max.max(limits.frame_bytes_max).min(u32::MAX as usize);
        Self {
            service,
            members,
            frame_max: limits.frame_bytes_max,
            served_per_stream: limits.served_per_stream.max(1),
            bytes: Arc::new(Semaphore::new(bytes_max)),
            bytes_max,
            patience: limits.request_timeout,
        }
    }

    /// Serves one stream of `peer` until it ends. Dropping the future drops the requests under way.
    pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, peer: NodeId, stream: S) -> Ended {
        let (mut reader, mut writer) = stream.split();
        let (answers, outgoing) = mpsc::channel(self.served_per_stream);
        tokio::select! {
            ended = self.read_requests(peer, &mut reader, answers) => match ended {
                Err(ended) => ended,
                Ok(never) => match never {},
            },
            ended = write_answers(&mut writer, outgoing, self.patience) => ended,
        }
    }

    async fn read_requests<R: AsyncRead + Unpin>(
        &self,
        peer: NodeId,
        reader: &mut R,
        answers: mpsc::Sender<Answer>,
    ) -> Result<std::convert::Infallible, Ended> {
        let slots = Arc::new(Semaphore::new(self.served_per_stream));
        let mut tasks = JoinSet::new();
        loop {
            while tasks.try_join_next().is_some() {}
            let head = read_head(reader, self.frame_max).await?;
            let open = "the semaphores of a server are never closed";
            let slot = Arc::clone(&slots).acquire_owned().await.expect(open);
            let weight = self.weight(head);
            let bytes = Arc::clone(&self.bytes).acquire_many_owned(weight).await.expect(open);
            let request = if self.allowed(peer, head.kind) {
                let body = read_body(reader, head.body_len, self.patience).await?;
                Some(check(Request::decode(head.kind, &body)?, self.frame_max)?)
            } else {
                // Refused before its bytes take memory.
                skip_body(reader, head.body_len, self.patience).await?;
                None
            };
            let (service, answers) = (Arc::clone(&self.service), answers.clone());
            tasks.spawn(async move {
                let response = match request {
                    Some(request) => respond(&*service, peer, request).await,
                    None => Err(ShardError::Refused),
                };
                let (head, data) = encode_response(head.id, &response);
                // The writer is gone only when the stream is.
                let _ = answers.send(Answer { head, data, _bytes: bytes, _request: slot }).await;
            });
        }
    }

    fn weight(&self, head: Head) -> u32 {
        let answer = if frame::is_get(head.kind) { GET_BYTES } else { 0 };
        (head.body_len + answer + 1).min(self.bytes_max) as u32
    }

    /// Looked up for each request: a map that removes the peer takes effect at once.
    fn allowed(&self, peer: NodeId, operation: u8) -> bool {
        let members = self.members.current();
        if frame::changes_storage(operation) {
            members.is_gateway(peer)
        } else {
            members.admitted(peer).is_some()
        }
    }
}

fn check(request: Request, frame_max: usize) -> Result<Request, Malformed> {
    match &request {
        Request::GetRange { len, .. } if *len as usize > frame_max => Err(Malformed("a range over the cap")),
        _ => Ok(request),
    }
}

async fn respond(service: &dyn ShardService, peer: NodeId, request: Request) -> Result<Response, ShardError> {
    Ok(match request {
        Request::Put { id, data } => {
            service.put(peer, id, data).await?;
            Response::Done
        }
        Request::Get { id } => Response::Data(service.get(peer, id).await?),
        Request::GetRange { id, offset, len } => {
            Response::Data(service.get_range(peer, id, offset, len).await?)
        }
        Request::Delete { ids } => {
            service.delete(peer, &ids).await?;
            Response::Done
        }
        Request::List { group, after, limit } => {
            let limit = limit.min(BATCH_MAX as u32);
            let mut stats = service.list(peer, group, after, limit).await?;
            stats.truncate(BATCH_MAX);
            Response::Stats(stats)
        }
        Request::Stat { id } => Response::Stat(service.stat(peer, id).await?),
        Request::Verify { id } => Response::Health(service.verify(peer, id).await?),
        Request::Usage => Response::Usage(service.usage(peer).await?),
    })
}

async fn write_answers<W: AsyncWrite + Unpin>(
    writer: &mut W,
    mut outgoing: mpsc::Receiver<Answer>,
    patience: Duration,
) -> Ended {
    while let Some(answer) = outgoing.recv().await {
        let flush = outgoing.is_empty();
        if let Err(error) = write_frame(writer, &answer.head, &answer.data, flush, patience).await {
            return Ended::Lost(error);
        }
    }
    Ended::Closed
}

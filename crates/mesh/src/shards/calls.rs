//! The calls of the shard protocol, typed.

use bytes::Bytes;
use datamesh_types::{GroupId, NodeId, ShardHealth, ShardId, ShardStat};

use super::Links;
use super::frame::{BATCH_MAX, Request, Response};
use crate::{NodeUsage, TransportError};

/// The client decodes a response by what its request expects, so another kind never gets here.
const OTHER_KIND: &str = "a response of another kind";

macro_rules! call {
    ($links:expr, $node:expr, $request:expr, $pattern:pat => $value:expr) => {{
        let node = $node;
        match $links.call(node, $request).await? {
            $pattern => Ok($value),
            _ => Err(TransportError::Protocol { node, reason: OTHER_KIND }),
        }
    }};
}

impl Links {
    pub(crate) async fn put(&self, node: NodeId, id: ShardId, data: Bytes) -> Result<(), TransportError> {
        call!(self, node, Request::Put { id, data }, Response::Done => ())
    }

    pub(crate) async fn get_shard(&self, node: NodeId, id: ShardId) -> Result<Bytes, TransportError> {
        call!(self, node, Request::Get { id }, Response::Data(data) => data)
    }

    pub(crate) async fn get_range(
        &self,
        node: NodeId,
        id: ShardId,
        offset: u32,
        len: u32,
    ) -> Result<Bytes, TransportError> {
        let data = call!(self, node, Request::GetRange { id, offset, len }, Response::Data(data) => data)?;
        if data.len() > len as usize {
            return Err(TransportError::Protocol { node, reason: "more bytes than were asked for" });
        }
        Ok(data)
    }

    pub(crate) async fn delete(&self, node: NodeId, ids: &[ShardId]) -> Result<(), TransportError> {
        for batch in ids.chunks(BATCH_MAX) {
            call!(self, node, Request::Delete { ids: batch.to_vec() }, Response::Done => ())?;
        }
        Ok(())
    }

    pub(crate) async fn list(
        &self,
        node: NodeId,
        group: Option<GroupId>,
        after: Option<ShardId>,
        limit: u32,
    ) -> Result<Vec<ShardStat>, TransportError> {
        let stats =
            call!(self, node, Request::List { group, after, limit }, Response::Stats(stats) => stats)?;
        if stats.len() > limit as usize {
            return Err(TransportError::Protocol { node, reason: "more shards than were asked for" });
        }
        Ok(stats)
    }

    pub(crate) async fn stat(&self, node: NodeId, id: ShardId) -> Result<Option<ShardStat>, TransportError> {
        call!(self, node, Request::Stat { id }, Response::Stat(stat) => stat)
    }

    pub(crate) async fn verify(&self, node: NodeId, id: ShardId) -> Result<ShardHealth, TransportError> {
        call!(self, node, Request::Verify { id }, Response::Health(health) => health)
    }

    pub(crate) async fn usage(&self, node: NodeId) -> Result<NodeUsage, TransportError> {
        call!(self, node, Request::Usage, Response::Usage(usage) => usage)
    }
}

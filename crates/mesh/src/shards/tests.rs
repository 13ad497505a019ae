use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use datamesh_types::{GroupId, NodeId, SealedId, ShardHealth, ShardId, ShardStat};
use libp2p::swarm::ConnectionId;
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio_util::compat::TokioAsyncReadCompatExt as _;

use super::client::{LaneKind, drive};
use super::frame::{HEAD_LEN, Head, Request};
use super::{Ended, Links, Server};
use crate::members::MemberList;
use crate::{
    Member, MemberState, MeshLimits, NetworkMap, NodeUsage, OperatorKey, Roles, ShardError, ShardService,
    SignedMap, TransportError,
};

const GATEWAY: NodeId = NodeId([1; 32]);

struct Nothing;

#[async_trait]
impl ShardService for Nothing {
    async fn put(&self, _: NodeId, _: ShardId, _: Bytes) -> Result<(), ShardError> {
        Ok(())
    }
    async fn get(&self, _: NodeId, _: ShardId) -> Result<Bytes, ShardError> {
        Err(ShardError::NotFound)
    }
    async fn get_range(&self, _: NodeId, _: ShardId, _: u32, _: u32) -> Result<Bytes, ShardError> {
        Err(ShardError::NotFound)
    }
    async fn delete(&self, _: NodeId, _: &[ShardId]) -> Result<(), ShardError> {
        Ok(())
    }
    async fn list(
        &self,
        _: NodeId,
        _: Option<GroupId>,
        _: Option<ShardId>,
        _: u32,
    ) -> Result<Vec<ShardStat>, ShardError> {
        Ok(vec![])
    }
    async fn stat(&self, _: NodeId, _: ShardId) -> Result<Option<ShardStat>, ShardError> {
        Ok(None)
    }
    async fn verify(&self, _: NodeId, _: ShardId) -> Result<ShardHealth, ShardError> {
        Ok(ShardHealth::Missing)
    }
    async fn usage(&self, _: NodeId) -> Result<NodeUsage, ShardError> {
        Ok(NodeUsage::default())
    }
}

fn limits() -> MeshLimits {
    MeshLimits {
        frame_bytes_max: 64 << 10,
        request_timeout: Duration::from_millis(200),
        ..MeshLimits::default()
    }
}

fn server() -> Server {
    let key = OperatorKey::generate();
    let member = Member {
        node: GATEWAY,
        roles: Roles { gateway: true, ..Roles::default() },
        operator: String::new(),
        region: String::new(),
        addresses: vec![],
        capacity_bytes: 0,
        state: MemberState::Active,
    };
    let map = NetworkMap { network: "test".to_owned(), epoch: 1, members: vec![member] };
    let members = MemberList::new(SignedMap::sign(&map, &key), vec![key.operator_id()], 1).unwrap();
    Server::new(Arc::new(Nothing), Arc::new(members), &limits())
}

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// What serving a stream on which `bytes` arrive ends with; the time that it waits passes at once.
fn serve(bytes: &[u8], then_close: bool) -> Ended {
    paused().block_on(async {
        let (mut theirs, ours) = duplex(1 << 20);
        theirs.write_all(bytes).await.unwrap();
        if then_close {
            theirs.shutdown().await.unwrap();
        }
        server().serve(GATEWAY, ours.compat()).await
    })
}

/// What a lane with one call under way ends with when `bytes` come back, and what the caller gets.
fn answer(bytes: &[u8]) -> (Ended, Result<Bytes, TransportError>) {
    paused().block_on(async {
        let links = Links::new(Arc::new(limits()));
        let link = links.get_or_insert(GATEWAY);
        let calls = link.add_lane(ConnectionId::new_unchecked(1), LaneKind::Bulk, 4);
        drop(link);
        let (mut theirs, ours) = duplex(1 << 20);
        let lane =
            tokio::spawn(drive(ours.compat(), calls, limits().frame_bytes_max, Duration::from_millis(50)));
        let id = ShardId { group: GroupId(1), sealed: SealedId([2; 16]), index: 0 };
        let call = tokio::spawn(async move { links.get_shard(GATEWAY, id).await });
        let mut request = [0; HEAD_LEN + 25];
        theirs.read_exact(&mut request).await.unwrap();
        theirs.write_all(bytes).await.unwrap();
        theirs.shutdown().await.unwrap();
        (lane.await.unwrap(), call.await.unwrap())
    })
}

fn frame(kind: u8, body_len: usize, id: u64, body: &[u8]) -> Vec<u8> {
    [&Head { kind, body_len, id }.encode()[..], body].concat()
}

#[test]
fn a_request_over_the_cap_ends_the_stream_before_its_memory_is_taken() {
    let cap = limits().frame_bytes_max;
    assert!(matches!(serve(&frame(1, cap + 1, 1, &[]), false), Ended::Violation(_)));
    assert!(matches!(serve(&frame(1, u32::MAX as usize, 1, &[]), false), Ended::Violation(_)));
}

#[test]
fn a_body_that_stops_half_way_ends_the_stream_in_time() {
    let Ended::Lost(error) = serve(&frame(1, 1000, 1, &[7; 500]), false) else {
        panic!("the stream goes on")
    };
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

#[test]
fn a_stream_that_closes_between_frames_ends_cleanly() {
    let (head, data) = Request::Usage.encode(1);
    assert!(matches!(serve(&[&head[..], &data].concat(), true), Ended::Closed));
    assert!(matches!(serve(&head[..7], true), Ended::Lost(_)));
}

#[test]
fn an_answer_arrives_and_one_over_the_cap_or_to_nobody_does_no_harm() {
    let (_, got) = answer(&frame(0, 3, 1, b"abc"));
    assert_eq!(got, Ok(Bytes::from_static(b"abc")));
    let unasked = [frame(0, 5, 77, b"other"), frame(0, 3, 1, b"abc")].concat();
    assert_eq!(answer(&unasked).1, Ok(Bytes::from_static(b"abc")));
    let (ended, got) = answer(&frame(0, limits().frame_bytes_max + 1, 1, &[]));
    assert!(matches!(ended, Ended::Violation(_)));
    assert_eq!(got, Err(TransportError::ConnectionLost { node: GATEWAY }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_from_a_client_ends_its_stream_without_a_panic(bytes in vec(any::<u8>(), 0..300)) {
        serve(&bytes, true);
    }

    #[test]
    fn a_body_of_garbage_behind_a_good_head_is_refused_or_answered(
        kind in 0_u8..10,
        body in vec(any::<u8>(), 0..300),
    ) {
        serve(&frame(kind, body.len(), 1, &body), true);
    }

    #[test]
    fn garbage_from_a_server_costs_the_lane_and_fails_the_call(bytes in vec(any::<u8>(), 0..300)) {
        let (_, got) = answer(&bytes);
        prop_assert!(got.is_err());
    }
}

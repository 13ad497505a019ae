//! Calls between two well-behaved hosts.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use datamesh_mesh::{ShardTransport, TransportError};
use datamesh_types::{GroupId, ShardHealth};
use futures::future::join_all;

use crate::hosts::{GATED, Pair, eventually, shard};

async fn every_call_works(pair: Pair) {
    let Pair { gateway, node, .. } = pair;
    let data = Bytes::from((0..1_000_003_u32).map(|i| (i % 251) as u8).collect::<Vec<u8>>());
    gateway.put_shard(node, shard(0), data.clone()).await.unwrap();
    gateway.put_shard(node, shard(0), data.clone()).await.unwrap();
    let other = gateway.put_shard(node, shard(0), Bytes::from_static(b"other")).await;
    assert_eq!(other, Err(TransportError::Conflict { node }));
    gateway.put_shard(node, shard(1), Bytes::new()).await.unwrap();

    assert_eq!(gateway.get_shard(node, shard(0)).await.unwrap(), data);
    assert_eq!(gateway.get_shard(node, shard(1)).await.unwrap(), "");
    assert_eq!(gateway.get_shard(node, shard(9)).await, Err(TransportError::NotFound { node }));
    assert_eq!(gateway.get_shard_range(node, shard(0), 100, 7).await.unwrap(), data.slice(100..107));
    assert_eq!(gateway.get_shard_range(node, shard(0), 1_000_000, 7).await.unwrap().len(), 3);

    let listed = gateway.list_shards(node, None, None, 10).await.unwrap();
    assert_eq!(listed.iter().map(|stat| stat.id).collect::<Vec<_>>(), [shard(0), shard(1)]);
    assert_eq!(listed[0].len, 1_000_003);
    assert_eq!(gateway.list_shards(node, None, Some(shard(0)), 10).await.unwrap().len(), 1);
    assert_eq!(gateway.list_shards(node, Some(GroupId(2)), None, 10).await.unwrap(), []);
    assert_eq!(gateway.stat_shard(node, shard(0)).await.unwrap(), Some(listed[0]));
    assert_eq!(gateway.stat_shard(node, shard(9)).await.unwrap(), None);
    assert_eq!(gateway.verify_shard(node, shard(1)).await.unwrap(), ShardHealth::Good);
    assert_eq!(gateway.verify_shard(node, shard(9)).await.unwrap(), ShardHealth::Missing);
    assert_eq!(gateway.node_usage(node).await.unwrap().shards, 2);

    gateway.delete_shards(node, &[shard(0), shard(9)]).await.unwrap();
    assert_eq!(gateway.get_shard(node, shard(0)).await, Err(TransportError::NotFound { node }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_works_over_tcp() {
    every_call_works(Pair::new().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_works_over_quic() {
    every_call_works(Pair::on("/ip4/127.0.0.1/udp/0/quic-v1").await).await;
}

#[tokio::test]
async fn a_slow_request_does_not_hold_up_those_behind_it() {
    let pair = Pair::with("/ip4/127.0.0.1/tcp/0", |config| config.limits.bulk_streams_per_peer = 1).await;
    let (gateway, node) = (&pair.gateway, pair.node);
    let slow = gateway.put_shard(node, shard(GATED), Bytes::from_static(b"slow"));
    let rest = async {
        eventually("the slow request arrives", async || pair.memory.waiting.load(Ordering::SeqCst) == 1)
            .await;
        for index in 0..10 {
            gateway.put_shard(node, shard(index), Bytes::from_static(b"quick")).await.unwrap();
            assert_eq!(gateway.get_shard(node, shard(index)).await.unwrap(), "quick");
        }
        pair.memory.open_gate();
    };
    let (slow, ()) = tokio::join!(slow, rest);
    slow.unwrap();
}

#[tokio::test]
async fn many_large_requests_share_a_bounded_amount_of_memory() {
    const SIZE: usize = 1 << 20;
    let pair = Pair::with("/ip4/127.0.0.1/tcp/0", |config| {
        config.limits.bulk_bytes_per_peer = 4 * SIZE;
        config.limits.request_timeout = Duration::from_mins(1);
    })
    .await;
    let data = Bytes::from(vec![3; SIZE]);
    let puts = (0..64).map(|_| pair.gateway.put_shard(pair.node, shard(GATED), data.clone()));
    let watch = async {
        eventually("four arrive", async || pair.memory.waiting.load(Ordering::SeqCst) == 4).await;
        // A small call goes through while bulk is stuck, and after it no fifth request has arrived.
        pair.gateway.node_usage(pair.node).await.unwrap();
        assert_eq!(pair.memory.waiting.load(Ordering::SeqCst), 4);
        pair.memory.open_gate();
    };
    let (results, ()) = tokio::join!(join_all(puts), watch);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

#[tokio::test]
async fn callers_beyond_the_queue_are_told_that_the_peer_is_busy() {
    let pair = Pair::with("/ip4/127.0.0.1/tcp/0", |config| {
        config.limits.requests_per_peer = 2;
        config.limits.queued_per_peer = 3;
    })
    .await;
    let node = pair.node;
    let calls = (0..8).map(|_| {
        let gateway = pair.gateway.clone();
        tokio::spawn(async move { gateway.get_shard(node, shard(GATED)).await })
    });
    let calls: Vec<_> = calls.collect();
    eventually("two arrive", async || pair.memory.waiting.load(Ordering::SeqCst) == 2).await;
    eventually("the rest is refused", async || calls.iter().filter(|call| call.is_finished()).count() == 3)
        .await;
    pair.memory.open_gate();
    let results = join_all(calls).await;
    let busy =
        results.iter().filter(|result| *result.as_ref().unwrap() == Err(TransportError::Busy { node }));
    assert_eq!(busy.count(), 3);
}

#[tokio::test]
async fn a_request_to_a_stalled_peer_times_out_and_later_ones_work() {
    let pair = Pair::with("/ip4/127.0.0.1/tcp/0", |config| {
        config.limits.request_timeout = Duration::from_millis(300);
    })
    .await;
    let node = pair.node;
    let stalled = pair.gateway.get_shard(node, shard(GATED)).await;
    assert_eq!(stalled, Err(TransportError::Timeout { node, after: Duration::from_millis(300) }));
    pair.memory.open_gate();
    eventually("the peer answers again", async || {
        pair.gateway.get_shard(node, shard(1)).await == Err(TransportError::NotFound { node })
    })
    .await;
}

#[tokio::test]
async fn a_request_larger_than_a_frame_is_refused_before_it_is_sent() {
    let pair = Pair::new().await;
    let large = Bytes::from(vec![0; 8 << 20]);
    let refused = pair.gateway.put_shard(pair.node, shard(0), large).await;
    assert!(matches!(refused, Err(TransportError::TooLarge { .. })), "{refused:?}");
    assert_eq!(pair.memory.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_cancelled_call_leaves_the_stream_usable() {
    let pair = Pair::new().await;
    let node = pair.node;
    // Fewer than fill the budget of the peer: a cancelled call keeps its share until it is answered.
    for _ in 0..10 {
        let call = tokio::spawn({
            let gateway = pair.gateway.clone();
            async move { gateway.get_shard(node, shard(GATED)).await }
        });
        let before = pair.memory.calls.load(Ordering::SeqCst);
        eventually("it arrives", async || {
            pair.memory.calls.load(Ordering::SeqCst) > before || call.is_finished()
        })
        .await;
        call.abort();
    }
    pair.memory.shards.lock().unwrap().insert(shard(GATED), Bytes::from(vec![1; 100_000]));
    pair.memory.open_gate();
    assert_eq!(pair.gateway.get_shard(node, shard(GATED)).await.unwrap().len(), 100_000);
}

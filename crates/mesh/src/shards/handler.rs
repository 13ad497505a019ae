//! One connection's part of shard transfer: opens lanes, accepts streams, watches over their tasks.
//!
//! Inbound streams are handed straight to their task, never through a channel that could be full.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use datamesh_types::NodeId;
use futures::FutureExt as _;
use libp2p::core::UpgradeInfo;
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade};
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionHandler, ConnectionHandlerEvent, ConnectionId, Stream, StreamUpgradeError, SubstreamProtocol,
};
use tokio::task::JoinSet;

use super::client::{LaneKind, Link, drive};
use super::frame::{Malformed, PROTOCOL};
use super::{Ended, Server};
use crate::MeshLimits;

/// Streams that a peer may have open to this host on one connection; more are reset.
const INBOUND_MAX: usize = 32;

/// The shard protocol, or nothing for a host that stores no shards.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Negotiate {
    serves: bool,
}

impl UpgradeInfo for Negotiate {
    type Info = &'static str;
    type InfoIter = std::option::IntoIter<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.serves.then_some(PROTOCOL).into_iter()
    }
}

impl InboundUpgrade<Stream> for Negotiate {
    type Output = Stream;
    type Error = Infallible;
    type Future = Ready<Result<Stream, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, _: Self::Info) -> Self::Future {
        ready(Ok(stream))
    }
}

impl OutboundUpgrade<Stream> for Negotiate {
    type Output = Stream;
    type Error = Infallible;
    type Future = Ready<Result<Stream, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, _: Self::Info) -> Self::Future {
        ready(Ok(stream))
    }
}

/// What the behaviour tells a handler: open the lanes of this connection.
#[derive(Debug)]
pub(crate) struct OpenLanes;

/// What a handler tells the behaviour.
#[derive(Debug)]
pub(crate) enum HandlerEvent {
    /// A lane is ready for calls.
    LaneReady,
    /// A stream of the connection is of no more use, and with it the connection.
    StreamLost,
}

enum Task {
    Lane,
    Served,
}

/// The tasks of the streams of one connection; they end when it does.
pub(crate) struct Handler {
    node: NodeId,
    connection: ConnectionId,
    link: Arc<Link>,
    server: Option<Server>,
    limits: Arc<MeshLimits>,
    lanes_to_open: Vec<LaneKind>,
    tasks: JoinSet<(Task, Ended)>,
    served: usize,
    events: Vec<HandlerEvent>,
}

impl Handler {
    pub(super) fn new(
        node: NodeId,
        connection: ConnectionId,
        link: Arc<Link>,
        server: Option<Server>,
        limits: Arc<MeshLimits>,
    ) -> Self {
        Self {
            node,
            connection,
            link,
            server,
            limits,
            lanes_to_open: Vec::new(),
            tasks: JoinSet::new(),
            served: 0,
            events: Vec::new(),
        }
    }

    fn open_lane(&mut self, stream: Stream, kind: LaneKind) {
        let capacity = self.limits.requests_per_peer;
        let calls = self.link.add_lane(self.connection, kind, capacity);
        let (frame_max, patience) = (self.limits.frame_bytes_max, self.limits.request_timeout);
        self.tasks.spawn(drive(stream, calls, frame_max, patience).map(|ended| (Task::Lane, ended)));
        self.events.push(HandlerEvent::LaneReady);
    }

    fn serve(&mut self, stream: Stream) {
        let Some(server) = self.server.clone().filter(|_| self.served < INBOUND_MAX) else {
            tracing::warn!(node = %self.node, "reset a shard stream: the peer has too many open");
            return;
        };
        self.served += 1;
        let node = self.node;
        self.tasks.spawn(async move { (Task::Served, server.serve(node, stream).await) });
    }

    fn on_ended(&mut self, task: &Task, ended: &Ended) -> Option<HandlerEvent> {
        match ended {
            Ended::Violation(Malformed(reason)) => {
                tracing::warn!(node = %self.node, reason, "dropped the connection: the peer broke the shard protocol");
            }
            Ended::Lost(error) => tracing::debug!(node = %self.node, %error, "a shard stream ended"),
            Ended::Closed => {}
        }
        match (task, ended) {
            (Task::Served, Ended::Closed) => {
                self.served -= 1;
                None
            }
            _ => Some(HandlerEvent::StreamLost),
        }
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        self.link.remove_lanes(self.connection);
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = OpenLanes;
    type ToBehaviour = HandlerEvent;
    type InboundProtocol = Negotiate;
    type OutboundProtocol = Negotiate;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = LaneKind;

    fn listen_protocol(&self) -> SubstreamProtocol<Negotiate> {
        SubstreamProtocol::new(Negotiate { serves: self.server.is_some() }, ())
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Negotiate, LaneKind, HandlerEvent>> {
        if let Some(event) = self.events.pop() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event));
        }
        if let Some(kind) = self.lanes_to_open.pop() {
            let protocol = SubstreamProtocol::new(Negotiate { serves: true }, kind)
                .with_timeout(self.limits.connect_timeout);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        while let Poll::Ready(Some(joined)) = self.tasks.poll_join_next(cx) {
            let event = match joined {
                Ok((task, ended)) => self.on_ended(&task, &ended),
                // A panic in the storage behind a request ends that request's task, not this one.
                Err(_) => Some(HandlerEvent::StreamLost),
            };
            if let Some(event) = event {
                return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event));
            }
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, OpenLanes: OpenLanes) {
        self.lanes_to_open.push(LaneKind::Small);
        let bulk = self.limits.bulk_streams_per_peer.max(1);
        self.lanes_to_open.extend(std::iter::repeat_n(LaneKind::Bulk, bulk));
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Negotiate, Negotiate, (), LaneKind>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: stream, .. }) => {
                self.serve(stream);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: stream,
                info: kind,
            }) => self.open_lane(stream, kind),
            ConnectionEvent::DialUpgradeError(failed) => match failed.error {
                // The peer serves no shards (yet); the connection is good for everything else.
                StreamUpgradeError::NegotiationFailed => {
                    tracing::debug!(node = %self.node, "the peer serves no shards");
                }
                error => {
                    tracing::debug!(node = %self.node, %error, "no shard stream to the peer");
                    self.events.push(HandlerEvent::StreamLost);
                }
            },
            _ => {}
        }
    }
}

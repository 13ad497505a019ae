//! Which connection of a peer carries this host's calls: the first that is established, until it goes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};

use datamesh_types::NodeId;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use super::handler::{Handler, HandlerEvent, OpenLanes};
use super::{Links, Server};
use crate::MeshLimits;
use crate::key::node_id;
use crate::members::MemberList;

/// What the host hears of shard transfer.
#[derive(Debug)]
pub(crate) enum Event {
    /// Calls to the node can be sent.
    Ready(NodeId),
}

/// One connection of a peer.
struct Candidate {
    id: ConnectionId,
    /// Whether the host with the smaller peer id dialled.
    by_smaller: bool,
    dialled_here: bool,
}

/// Shard transfer as a part of the swarm.
pub(crate) struct Behaviour {
    local: PeerId,
    links: Links,
    members: Arc<MemberList>,
    server: Option<Server>,
    limits: Arc<MeshLimits>,
    /// In the order of their establishment; the first carries the lanes.
    connections: HashMap<PeerId, Vec<Candidate>>,
    actions: VecDeque<ToSwarm<Event, OpenLanes>>,
}

impl Behaviour {
    pub(crate) fn new(
        local: PeerId,
        links: Links,
        members: Arc<MemberList>,
        server: Option<Server>,
        limits: Arc<MeshLimits>,
    ) -> Self {
        Self { local, links, members, server, limits, connections: HashMap::new(), actions: VecDeque::new() }
    }

    fn handler(&self, peer: PeerId, connection: ConnectionId) -> Result<Handler, ConnectionDenied> {
        let node = node_id(&peer).ok_or_else(|| ConnectionDenied::new("the peer's key is not Ed25519"))?;
        let link = self.links.get_or_insert(node);
        Ok(Handler::new(node, connection, link, self.server.clone(), Arc::clone(&self.limits)))
    }

    /// Opens lanes to peers that have become storage members since their connection was established.
    pub(crate) fn on_map(&mut self) {
        let members = self.members.current();
        for (peer, connections) in &self.connections {
            let Some(node) = node_id(peer).filter(|node| members.is_storage(*node)) else { continue };
            if !self.links.connected(node)
                && let Some(first) = connections.first()
            {
                self.actions.push_back(open_lanes(*peer, first.id));
            }
        }
    }

    fn on_established(&mut self, peer: PeerId, id: ConnectionId, dialled_here: bool) {
        let by_smaller = dialled_here == (self.local < peer);
        let connections = self.connections.entry(peer).or_default();
        connections.push(Candidate { id, by_smaller, dialled_here });
        if connections.len() == 1 {
            if node_id(&peer).is_some_and(|node| self.members.current().is_storage(node)) {
                self.actions.push_back(open_lanes(peer, id));
            }
        } else if let Some(loser) = superfluous(connections) {
            self.actions.push_back(close(peer, loser));
        }
    }

    fn on_closed(&mut self, peer: PeerId, id: ConnectionId) {
        let Some(connections) = self.connections.get_mut(&peer) else { return };
        let carried_lanes = connections.first().is_some_and(|first| first.id == id);
        connections.retain(|connection| connection.id != id);
        let next = connections.first().map(|first| first.id);
        if connections.is_empty() {
            self.connections.remove(&peer);
        }
        let Some(node) = node_id(&peer) else { return };
        self.links.get_or_insert(node).remove_lanes(id);
        if let Some(next) = next.filter(|_| carried_lanes && self.members.current().is_storage(node)) {
            self.actions.push_back(open_lanes(peer, next));
        }
    }
}

/// Two hosts that dial each other get two connections; both must drop the same one. The one dialled by the
/// smaller peer id stays; of two dialled by the same host, that host drops the newer.
fn superfluous(connections: &[Candidate]) -> Option<ConnectionId> {
    let newest = connections.last()?;
    if connections.iter().all(|connection| connection.by_smaller == newest.by_smaller) {
        return newest.dialled_here.then_some(newest.id);
    }
    connections.iter().find(|connection| !connection.by_smaller).map(|connection| connection.id)
}

fn open_lanes(peer: PeerId, id: ConnectionId) -> ToSwarm<Event, OpenLanes> {
    ToSwarm::NotifyHandler { peer_id: peer, handler: NotifyHandler::One(id), event: OpenLanes }
}

fn close(peer: PeerId, id: ConnectionId) -> ToSwarm<Event, OpenLanes> {
    ToSwarm::CloseConnection { peer_id: peer, connection: CloseConnection::One(id) }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.handler(peer, connection)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.handler(peer, connection)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            }) => self.on_established(peer_id, connection_id, endpoint.is_dialer()),
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                self.on_closed(peer_id, connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {
            HandlerEvent::LaneReady => {
                if let Some(node) = node_id(&peer) {
                    self.actions.push_back(ToSwarm::GenerateEvent(Event::Ready(node)));
                }
            }
            HandlerEvent::StreamLost => self.actions.push_back(close(peer, connection)),
        }
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Event, THandlerInEvent<Self>>> {
        self.actions.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(id: usize, by_smaller: bool, dialled_here: bool) -> Candidate {
        Candidate { id: ConnectionId::new_unchecked(id), by_smaller, dialled_here }
    }

    #[test]
    fn both_ends_of_two_crossing_dials_drop_the_same_connection() {
        let (smaller, larger) = (ConnectionId::new_unchecked(1), ConnectionId::new_unchecked(2));
        for here_is_smaller in [true, false] {
            let kept = candidate(1, true, here_is_smaller);
            let dropped = candidate(2, false, !here_is_smaller);
            assert_eq!(superfluous(&[kept, dropped]), Some(larger));
            let kept = candidate(1, true, here_is_smaller);
            let dropped = candidate(2, false, !here_is_smaller);
            assert_ne!(superfluous(&[dropped, kept]), Some(smaller));
        }
    }

    #[test]
    fn of_two_dials_of_one_host_it_drops_the_newer_and_the_other_host_none() {
        let pair = |here| [candidate(1, true, here), candidate(2, true, here)];
        assert_eq!(superfluous(&pair(true)), Some(ConnectionId::new_unchecked(2)));
        assert_eq!(superfluous(&pair(false)), None);
    }
}

//! What the swarm reports, and what the host makes of it.

use std::sync::PoisonError;
use std::time::Instant;

use bytes::Bytes;
use libp2p::allow_block_list::NotAllowed;
use libp2p::core::ConnectedPoint;
use libp2p::kad::{GetRecordOk, QueryId, QueryResult};
use libp2p::request_response::{Message, ResponseChannel};
use libp2p::swarm::{ConnectionId, DialError, ListenError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, gossipsub, identify, kad, mdns, ping, request_response};

use super::{Host, PeerView, Query};
use crate::behaviour::BehaviourEvent;
use crate::control::{MapRequest, MapResponse};
use crate::key::node_id;
use crate::{MapError, MeshError, shards, status};

/// Addresses that a peer may tell of itself.
const TOLD_ADDRESSES_MAX: usize = 8;

impl Host {
    pub(super) fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_established(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, cause, .. } => {
                let Some(node) = node_id(&peer_id) else { return };
                tracing::debug!(%node, ?cause, "disconnected");
                self.connector.disconnected(node, Instant::now(), rand::random());
                self.update_peer(peer_id, |view| {
                    *view = PeerView { status: view.status.take(), ..PeerView::default() };
                });
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.on_dial_error(connection_id, &error);
            }
            SwarmEvent::IncomingConnectionError {
                error: ListenError::Denied { cause },
                peer_id: Some(peer),
                send_back_addr,
                ..
            } if cause.downcast_ref::<NotAllowed>().is_some() => self.log_refused(peer, &send_back_addr),
            SwarmEvent::IncomingConnectionError { error, send_back_addr, .. } => {
                tracing::debug!(%error, address = %send_back_addr, "an incoming connection failed");
            }
            SwarmEvent::NewListenAddr { .. } | SwarmEvent::ExpiredListenAddr { .. } => {
                let addresses = self.swarm.listeners().map(Multiaddr::to_string).collect();
                *self.shared.listening.write().unwrap_or_else(PoisonError::into_inner) = addresses;
            }
            SwarmEvent::ListenerClosed { reason: Err(error), addresses, .. } => {
                tracing::error!(%error, ?addresses, "no longer listening");
            }
            _ => {}
        }
    }

    fn on_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Shards(shards::Event::Ready(node)) => {
                tracing::debug!(%node, "ready for shards");
                self.shared.ready.send_modify(|changes| *changes += 1);
            }
            BehaviourEvent::Control(request_response::Event::Message { peer, message, .. }) => {
                match message {
                    Message::Request { request, channel, .. } => self.on_map_request(peer, &request, channel),
                    Message::Response { response, .. } => self.on_map_response(peer, response),
                }
            }
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                for address in info.listen_addrs.into_iter().take(TOLD_ADDRESSES_MAX) {
                    self.swarm.behaviour_mut().kademlia.add_address(&peer_id, address);
                }
            }
            BehaviourEvent::Ping(ping::Event { peer, connection, result }) => match result {
                Ok(round_trip) => {
                    self.update_peer(peer, |view| view.ping_us = Some(round_trip.as_micros() as u64));
                }
                Err(ping::Failure::Unsupported) => {}
                Err(error) => {
                    tracing::info!(%peer, %error, "dropped a connection that does not answer pings");
                    self.swarm.close_connection(connection);
                }
            },
            BehaviourEvent::Kademlia(kad::Event::OutboundQueryProgressed { id, result, step, .. }) => {
                self.on_query(id, result, step.last);
            }
            BehaviourEvent::Gossip(gossipsub::Event::Message { propagation_source, message, .. }) => {
                self.on_gossip(propagation_source, &message);
            }
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => {
                for (peer, address) in found {
                    let Some(node) = node_id(&peer) else { continue };
                    if self.shared.members.current().admitted(node).is_some() {
                        self.connector.add_address(node, address.clone());
                        self.swarm.behaviour_mut().kademlia.add_address(&peer, address);
                    }
                }
            }
            _ => {}
        }
    }

    fn on_established(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        let now = Instant::now();
        let target = self.dials.remove(&connection);
        let Some(node) = node_id(&peer) else { return };
        if let Some(address) = target {
            self.connector.led_to(&address, node, now);
        }
        tracing::debug!(%node, address = %endpoint.get_remote_address(), "connected");
        self.connector.connected(node, now);
        let address = endpoint.get_remote_address().to_string();
        self.update_peer(peer, |view| {
            view.connected = true;
            view.address.get_or_insert(address);
        });
        // One side is enough: who is behind asks back.
        if endpoint.is_dialer() {
            self.compare_maps(&peer);
        }
    }

    fn on_dial_error(&mut self, connection: ConnectionId, error: &DialError) {
        let Some(target) = self.dials.remove(&connection) else { return };
        match error {
            DialError::WrongPeerId { obtained, address } => {
                if self.refused.insert(*obtained, ()).is_none() {
                    let obtained = node_id(obtained).map(|node| node.to_string());
                    tracing::warn!(?target, ?obtained, %address, "another peer answers at the address of a member");
                }
            }
            DialError::Denied { cause } if cause.downcast_ref::<NotAllowed>().is_some() => {
                tracing::warn!(?target, "whoever answers at the address is not in the network map");
            }
            _ => tracing::debug!(?target, %error, "dialling failed"),
        }
        self.connector.failed(&target, Instant::now(), rand::random());
    }

    fn log_refused(&mut self, peer: PeerId, address: &Multiaddr) {
        if self.refused.insert(peer, ()).is_none() {
            let node = node_id(&peer).map(|node| node.to_string());
            tracing::warn!(node, %address, "refused a peer that is not in the network map");
        }
    }

    fn on_map_request(&mut self, peer: PeerId, request: &MapRequest, channel: ResponseChannel<MapResponse>) {
        let members = self.shared.members.current();
        let newer = (members.map.epoch > request.epoch).then(|| (*members.signed).clone());
        // The peer may have gone; it asks again when it is back.
        let _ = self.swarm.behaviour_mut().control.send_response(channel, MapResponse { newer });
        if members.map.epoch < request.epoch {
            self.compare_maps(&peer);
        }
    }

    fn on_map_response(&mut self, peer: PeerId, response: MapResponse) {
        let Some(map) = response.newer else { return };
        match self.shared.members.offer(map) {
            // Another peer was faster.
            Ok(()) | Err(MapError::NotNewer { .. }) => {}
            Err(error) => tracing::warn!(%peer, %error, "refused a network map"),
        }
    }

    fn on_gossip(&mut self, from: PeerId, message: &gossipsub::Message) {
        let Some(author) = message.source else { return };
        let Some(node) = node_id(&author) else { return };
        if !self.shared.members.current().is_storage(node) {
            return;
        }
        let Some(status) = status::decode(&message.data) else { return };
        if status.map_epoch > self.shared.members.epoch() {
            self.compare_maps(&from);
        }
        self.update_peer(author, |view| {
            if view.status.as_ref().is_none_or(|known| known.sequence < status.sequence) {
                view.status = Some(status);
            }
        });
    }

    fn on_query(&mut self, id: QueryId, result: QueryResult, last: bool) {
        match result {
            QueryResult::PutRecord(result) => {
                if let Some(Query::Put(reply)) = self.queries.remove(&id) {
                    let stored = result
                        .map(|_| ())
                        .map_err(|_| MeshError::Dht { reason: "no peer has taken the record" });
                    // The caller may have given up.
                    let _ = reply.send(stored);
                }
            }
            QueryResult::GetRecord(Ok(GetRecordOk::FoundRecord(found))) => {
                if let Some(Query::Get(reply)) = self.queries.remove(&id) {
                    let _ = reply.send(Ok(Some(Bytes::from(found.record.value))));
                }
                if let Some(mut query) = self.swarm.behaviour_mut().kademlia.query_mut(&id) {
                    query.finish();
                }
            }
            QueryResult::GetRecord(_) if last => {
                if let Some(Query::Get(reply)) = self.queries.remove(&id) {
                    let _ = reply.send(Ok(None));
                }
            }
            _ => {}
        }
    }

    fn update_peer(&self, peer: PeerId, change: impl FnOnce(&mut PeerView)) {
        let Some(node) = node_id(&peer) else { return };
        // Only members get an entry: the table is as bounded as the map.
        if self.shared.members.current().admitted(node).is_some() {
            let mut peers = self.shared.peers.write().unwrap_or_else(PoisonError::into_inner);
            change(peers.entry(node).or_default());
        }
    }
}

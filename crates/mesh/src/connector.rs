//! Whom to dial, and when: a pure state machine, told the time and what happened.
//!
//! A gateway needs every storage node. Every other host needs [`CONNECTIONS_MIN`] connections, of any members:
//! configured bootstrap peers are tried first, then bootstrap members, then the rest; within a tier by priority,
//! own region, and success rate. What fails is tried again with exponential back-off.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use datamesh_types::NodeId;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use crate::key::node_id;
use crate::{Member, MemberState};

/// Connections that every host keeps, if there are as many peers.
const CONNECTIONS_MIN: usize = 3;

/// Dials under way at once.
const DIALS_MAX: usize = 32;

/// Addresses kept for one peer.
const ADDRESSES_MAX: usize = 16;

const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// A connection that ends sooner counts as a failure: a peer that accepts and hangs up is not hammered.
const STABLE_AFTER: Duration = Duration::from_secs(5);

/// What can be dialled.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Target {
    /// A peer whose key is known.
    Node(NodeId),
    /// An address whose peer is not known beforehand.
    Address(String),
}

/// A peer to join through, parsed.
#[derive(Debug, Clone)]
pub(crate) struct Bootstrap {
    pub(crate) address: Multiaddr,
    pub(crate) priority: u32,
    pub(crate) near: bool,
}

/// Something to dial now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dial {
    pub(crate) target: Target,
    pub(crate) addresses: Vec<Multiaddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// May be dialled from this time on.
    Idle(Instant),
    Dialling,
    /// Since this time.
    Connected(Instant),
}

/// Lower tiers are dialled first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tier {
    Configured,
    Bootstrap,
    Member,
}

#[derive(Debug)]
struct Peer {
    addresses: Vec<Multiaddr>,
    tier: Tier,
    priority: u32,
    near: bool,
    /// Needed whatever the number of connections.
    needed: bool,
    state: State,
    failures_in_row: u32,
    dials: u32,
    successes: u32,
    /// Who answered at an address whose peer was not known.
    led_to: Option<NodeId>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Connector {
    local: NodeId,
    region: String,
    bootstrap: Vec<Bootstrap>,
    peers: BTreeMap<Target, Peer>,
}

impl Connector {
    pub(crate) fn new(local: NodeId, region: String, bootstrap: Vec<Bootstrap>) -> Self {
        Self { local, region, bootstrap, peers: BTreeMap::new() }
    }

    /// Follows the map: new members may be dialled at once, removed ones are forgotten.
    pub(crate) fn set_members(&mut self, members: &[Member], now: Instant) {
        let own_gateway = members.iter().any(|member| member.node == self.local && member.roles.gateway);
        let mut known: HashSet<Target> = HashSet::new();
        for member in members.iter().filter(|member| member.admitted() && member.node != self.local) {
            let target = Target::Node(member.node);
            known.insert(target.clone());
            let tier = if member.roles.bootstrap { Tier::Bootstrap } else { Tier::Member };
            let near = !self.region.is_empty() && member.region == self.region;
            let peer = self.peers.entry(target).or_insert_with(|| Peer::new(tier, now));
            peer.tier = tier;
            peer.near = near;
            peer.needed = own_gateway && member.roles.storage && member.state != MemberState::Removed;
            let addresses: Vec<Multiaddr> =
                member.addresses.iter().filter_map(|text| text.parse().ok()).collect();
            if peer.addresses != addresses {
                peer.addresses = addresses;
                // A new address deserves a try without the back-off of the old one.
                peer.retry_at(now);
            }
        }
        for bootstrap in self.bootstrap.clone() {
            let target = target_of(&bootstrap.address);
            known.insert(target.clone());
            let peer = self.peers.entry(target).or_insert_with(|| Peer::new(Tier::Configured, now));
            peer.tier = Tier::Configured;
            peer.priority = bootstrap.priority;
            peer.near = bootstrap.near;
            if !peer.addresses.contains(&bootstrap.address) {
                peer.addresses.push(bootstrap.address);
            }
        }
        self.peers.retain(|target, _| known.contains(target));
    }

    /// Another address of a member, heard of on the network. Members only: strangers are not dialled.
    pub(crate) fn add_address(&mut self, node: NodeId, address: Multiaddr) {
        if let Some(peer) = self.peers.get_mut(&Target::Node(node))
            && peer.addresses.len() < ADDRESSES_MAX
            && !peer.addresses.contains(&address)
        {
            peer.addresses.push(address);
        }
    }

    /// A connection to the node is up, whoever dialled.
    pub(crate) fn connected(&mut self, node: NodeId, now: Instant) {
        if let Some(peer) = self.peers.get_mut(&Target::Node(node)) {
            if peer.state == State::Dialling {
                peer.successes += 1;
            }
            if !matches!(peer.state, State::Connected(_)) {
                peer.state = State::Connected(now);
            }
        }
    }

    /// The last connection to the node is gone. `jitter` is a random number in 0..1.
    pub(crate) fn disconnected(&mut self, node: NodeId, now: Instant, jitter: f64) {
        for (target, peer) in &mut self.peers {
            let State::Connected(since) = peer.state else { continue };
            if *target != Target::Node(node) && peer.led_to != Some(node) {
                continue;
            }
            if now.duration_since(since) >= STABLE_AFTER {
                peer.failures_in_row = 0;
            }
            peer.back_off(now, jitter);
        }
    }

    /// A dial of an address has found out who answers there; [`Self::connected`] is told of the node besides.
    pub(crate) fn led_to(&mut self, address: &Target, node: NodeId, now: Instant) {
        if let (Target::Address(_), Some(peer)) = (address, self.peers.get_mut(address)) {
            peer.successes += 1;
            peer.led_to = Some(node);
            peer.state = State::Connected(now);
        }
    }

    /// A dial of this host has failed. `jitter` is a random number in 0..1.
    pub(crate) fn failed(&mut self, target: &Target, now: Instant, jitter: f64) {
        if let Some(peer) = self.peers.get_mut(target)
            && peer.state == State::Dialling
        {
            peer.back_off(now, jitter);
        }
    }

    /// Whom to dial now. Each is dialled once; [`Self::connected`] or [`Self::failed`] must follow.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Dial> {
        let mut chosen: Vec<Target> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.needed && peer.is_due(now))
            .map(|(target, _)| target.clone())
            .take(self.room())
            .collect();
        let short = self.short().saturating_sub(chosen.len());
        let mut others: Vec<(&Target, &Peer)> =
            self.peers.iter().filter(|(_, peer)| !peer.needed && peer.is_due(now)).collect();
        others.sort_by_key(|(_, peer)| peer.rank());
        chosen.extend(others.into_iter().take(short).map(|(target, _)| target.clone()));
        chosen.into_iter().map(|target| self.dial(target)).collect()
    }

    /// When [`Self::due`] will have something new without anything else happening. What only waits for a dial to
    /// end is left out: the time would be in the past already.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let (room, short) = (self.room() > 0, self.short() > 0);
        let waiting = |peer: &Peer| match peer.state {
            State::Idle(at) if !peer.addresses.is_empty() && ((peer.needed && room) || short) => Some(at),
            _ => None,
        };
        self.peers.values().filter_map(waiting).min()
    }

    fn dialling(&self) -> usize {
        self.peers.values().filter(|peer| peer.state == State::Dialling).count()
    }

    fn room(&self) -> usize {
        DIALS_MAX.saturating_sub(self.dialling())
    }

    /// How many connections are missing that no dial under way may bring.
    fn short(&self) -> usize {
        let connected = |(target, peer): (&Target, &Peer)| {
            matches!((target, peer.state), (Target::Node(_), State::Connected(_)))
        };
        let connections = self.peers.iter().filter(|entry| connected(*entry)).count();
        CONNECTIONS_MIN.saturating_sub(connections + self.dialling())
    }

    fn dial(&mut self, target: Target) -> Dial {
        let peer = self.peers.get_mut(&target).expect("the target was just taken from the map");
        peer.state = State::Dialling;
        peer.dials += 1;
        Dial { addresses: peer.addresses.clone(), target }
    }
}

impl Peer {
    fn new(tier: Tier, now: Instant) -> Self {
        Self {
            addresses: Vec::new(),
            tier,
            priority: 0,
            near: false,
            needed: false,
            state: State::Idle(now),
            failures_in_row: 0,
            dials: 0,
            successes: 0,
            led_to: None,
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        matches!(self.state, State::Idle(at) if at <= now) && !self.addresses.is_empty()
    }

    fn retry_at(&mut self, now: Instant) {
        if matches!(self.state, State::Idle(_)) {
            self.failures_in_row = 0;
            self.state = State::Idle(now);
        }
    }

    fn back_off(&mut self, now: Instant, jitter: f64) {
        let doubled = BACKOFF_MIN.saturating_mul(1 << self.failures_in_row.min(16));
        let longest = doubled.min(BACKOFF_MAX);
        self.failures_in_row += 1;
        // Between half and the whole, so that peers that lost the same host don't return in step.
        self.state = State::Idle(now + longest.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0));
    }

    /// Smaller is better. The success rate is in thousandths; who was never dialled counts as good.
    fn rank(&self) -> (Tier, u32, bool, u32) {
        let failure_rate = 1000 - (self.successes + 1) * 1000 / (self.dials + 1).max(self.successes + 1);
        (self.tier, self.priority, !self.near, failure_rate)
    }
}

/// The peer that an address names with `/p2p/`, or the address itself.
fn target_of(address: &Multiaddr) -> Target {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => {
            node_id(&peer).map_or_else(|| Target::Address(address.to_string()), Target::Node)
        }
        _ => Target::Address(address.to_string()),
    }
}

#[cfg(test)]
mod tests;

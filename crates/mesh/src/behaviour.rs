//! The protocols that a host speaks, put together.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use libp2p::allow_block_list::{self, AllowedPeers};
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::identity::Keypair;
use libp2p::kad::{self, Mode};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{PeerId, StreamProtocol, gossipsub, identify, mdns, memory_connection_limits, ping};

use crate::key::peer_id;
use crate::members::{MemberList, Members};
use crate::records::Records;
use crate::shards::{self, Links, Server};
use crate::{MeshConfig, MeshError, control, status};

const KADEMLIA: StreamProtocol = StreamProtocol::new("/datamesh/kad/1");

/// Copies of a DHT record.
const RECORD_COPIES: usize = 3;

const RECORD_TTL: Duration = Duration::from_hours(36);

/// Connections to one peer: two for the moment in which both have dialled, one more for luck.
const CONNECTIONS_PER_PEER_MAX: u32 = 3;

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    // First, so that a stranger's connection is denied before anything else sees it.
    pub(crate) allowed: allow_block_list::Behaviour<AllowedPeers>,
    limits: connection_limits::Behaviour,
    memory: Toggle<memory_connection_limits::Behaviour>,
    pub(crate) shards: shards::Behaviour,
    pub(crate) control: control::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    pub(crate) kademlia: kad::Behaviour<Records>,
    pub(crate) gossip: gossipsub::Behaviour,
    mdns: Toggle<mdns::tokio::Behaviour>,
}

impl Behaviour {
    pub(crate) fn new(
        config: &MeshConfig,
        keypair: &Keypair,
        members: &Arc<MemberList>,
        links: Links,
        server: Option<Server>,
    ) -> Result<Self, MeshError> {
        let local = keypair.public().to_peer_id();
        let limits = &config.limits;
        let connections = ConnectionLimits::default()
            .with_max_pending_incoming(Some(limits.pending_connections_max))
            .with_max_pending_outgoing(Some(limits.pending_connections_max))
            .with_max_established(Some(limits.connections_max))
            .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX));
        let mdns = if config.mdns { Some(local_discovery(local)?) } else { None };
        let mut gossip = status::behaviour(keypair)?;
        let topic = status::topic(&members.current().map.network);
        gossip
            .subscribe(&topic)
            .map_err(|error| MeshError::Transport { transport: "gossipsub", reason: error.to_string() })?;
        let identify = identify::Config::new("/datamesh/1".to_owned(), keypair.public())
            .with_agent_version(format!("datamesh/{}", env!("CARGO_PKG_VERSION")));
        let shards =
            shards::Behaviour::new(local, links, Arc::clone(members), server, Arc::new(limits.clone()));
        let mut behaviour = Self {
            allowed: allow_block_list::Behaviour::default(),
            limits: connection_limits::Behaviour::new(connections),
            memory: limits.memory_bytes_max.map(memory_connection_limits::Behaviour::with_max_bytes).into(),
            shards,
            control: control::behaviour(),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping::Config::new()),
            kademlia: kademlia(local, Records::open(local, config.dht_dir.as_deref())?),
            gossip,
            mdns: mdns.into(),
        };
        behaviour.set_members(&members.current());
        Ok(behaviour)
    }

    /// Admits the members of a map and nobody else; connections to others are closed.
    pub(crate) fn set_members(&mut self, members: &Members) {
        let admitted: std::collections::HashSet<PeerId> = members
            .map
            .members
            .iter()
            .filter(|member| member.admitted())
            .filter_map(|member| peer_id(member.node))
            .collect();
        let gone: Vec<PeerId> = self.allowed.allowed_peers().difference(&admitted).copied().collect();
        for peer in gone {
            self.allowed.disallow_peer(peer);
            self.kademlia.remove_peer(&peer);
        }
        for peer in admitted {
            self.allowed.allow_peer(peer);
        }
        self.shards.on_map();
    }
}

fn local_discovery(local: PeerId) -> Result<mdns::tokio::Behaviour, MeshError> {
    mdns::tokio::Behaviour::new(mdns::Config::default(), local)
        .map_err(|error| MeshError::Transport { transport: "mdns", reason: error.to_string() })
}

fn kademlia(local: PeerId, records: Records) -> kad::Behaviour<Records> {
    let mut config = kad::Config::new(KADEMLIA);
    config
        .set_replication_factor(NonZeroUsize::new(RECORD_COPIES).expect("the constant is not zero"))
        .set_record_ttl(Some(RECORD_TTL))
        .set_provider_record_ttl(Some(RECORD_TTL))
        .disjoint_query_paths(true);
    let mut kademlia = kad::Behaviour::with_config(local, records, config);
    kademlia.set_mode(Some(Mode::Server));
    kademlia
}

//! The task that owns the swarm. Everybody else holds a [`crate::MeshHandle`], a bounded channel to it, and the
//! links on which shard calls travel without passing through here.

mod events;

use std::collections::HashMap;
use std::num::NonZeroU8;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use datamesh_types::NodeId;
use futures::StreamExt as _;
use hashlink::LruCache;
use libp2p::kad::{QueryId, Quorum, Record, RecordKey};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::behaviour::Behaviour;
use crate::connector::{Bootstrap, Connector, Dial, Target};
use crate::control::MapRequest;
use crate::key::peer_id;
use crate::members::{MemberList, Members};
use crate::shards::{Links, Server};
use crate::{MeshConfig, MeshError, NodeStatus, NodeUsage, ShardService, TransportPreference, net, status};

/// Whether enough connections are up is looked at this often, whatever happens.
const HEALTH_CHECK_INTERVAL: Duration = Duration::from_secs(30);

const RECORD_CLEANUP_INTERVAL: Duration = Duration::from_hours(24);

/// Connections without any stream in use are closed after this time. Streams for shards count as used.
const IDLE_TIMEOUT: Duration = Duration::from_mins(5);

/// Listening takes no longer than this, or fails.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a host that shuts down waits for its peers.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);

/// DHT queries under way for callers.
const QUERIES_MAX: usize = 256;

/// Refused peers that are remembered, so that each is logged once.
const REFUSED_MAX: usize = 1024;

/// Members whose addresses the DHT's routing table starts from.
const ROUTING_SEEDS_MAX: usize = 256;

/// What a handle asks of the host.
#[derive(Debug)]
pub(crate) enum Command {
    PutRecord {
        key: Bytes,
        value: Bytes,
        reply: oneshot::Sender<Result<(), MeshError>>,
    },
    GetRecord {
        key: Bytes,
        reply: oneshot::Sender<Result<Option<Bytes>, MeshError>>,
    },
    /// Answered once the map in force counts everywhere.
    FollowMap {
        done: oneshot::Sender<()>,
    },
    Shutdown {
        done: oneshot::Sender<()>,
    },
}

/// What the host knows of a peer.
#[derive(Debug, Clone, Default)]
pub(crate) struct PeerView {
    pub(crate) connected: bool,
    pub(crate) address: Option<String>,
    pub(crate) ping_us: Option<u64>,
    pub(crate) status: Option<NodeStatus>,
}

/// What handles read without asking the host.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) node: NodeId,
    pub(crate) members: Arc<MemberList>,
    pub(crate) links: Links,
    pub(crate) peers: RwLock<HashMap<NodeId, PeerView>>,
    pub(crate) listening: RwLock<Vec<String>>,
    /// Changes whenever calls to another peer become possible.
    pub(crate) ready: watch::Sender<u64>,
}

enum Query {
    Put(oneshot::Sender<Result<(), MeshError>>),
    Get(oneshot::Sender<Result<Option<Bytes>, MeshError>>),
}

pub(crate) struct Host {
    swarm: Swarm<Behaviour>,
    shared: Arc<Shared>,
    connector: Connector,
    preference: TransportPreference,
    dials: HashMap<ConnectionId, Target>,
    queries: HashMap<QueryId, Query>,
    refused: LruCache<PeerId, ()>,
    commands: mpsc::Receiver<Command>,
    maps: watch::Receiver<Arc<Members>>,
    usages: mpsc::Receiver<NodeUsage>,
    /// Ends with the host.
    _tasks: JoinSet<()>,
}

/// Starts a host on the current runtime; returns once it listens everywhere.
pub(crate) async fn start(
    config: MeshConfig,
    service: Option<Arc<dyn ShardService>>,
) -> Result<(Arc<Shared>, mpsc::Sender<Command>), MeshError> {
    let keypair = config.key.keypair();
    let node = config.key.node_id();
    let listen = addresses("listen", config.listen.iter().map(String::as_str))?;
    let bootstrap = bootstrap(&config)?;
    let members = Arc::new(MemberList::new(
        config.map.clone(),
        config.trusted_operators.clone(),
        config.signatures_required,
    )?);
    let limits = Arc::new(config.limits.clone());
    let links = Links::new(Arc::clone(&limits));
    let server = service.clone().map(|service| Server::new(service, Arc::clone(&members), &limits));
    let behaviour = Behaviour::new(&config, &keypair, &members, links.clone(), server)?;
    let transport = net::transport(&keypair, limits.connect_timeout)?;
    let swarm_config = libp2p::swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(IDLE_TIMEOUT)
        // One address after the other, in the order of preference.
        .with_dial_concurrency_factor(NonZeroU8::MIN);
    let mut swarm = Swarm::new(transport, behaviour, keypair.public().to_peer_id(), swarm_config);
    let listening = listen_all(&mut swarm, listen).await?;

    let shared = Arc::new(Shared {
        node,
        members: Arc::clone(&members),
        links,
        peers: RwLock::default(),
        listening: RwLock::new(listening),
        ready: watch::Sender::new(0),
    });
    let (commands_in, commands) = mpsc::channel(256);
    let (usages_in, usages) = mpsc::channel(1);
    let mut tasks = JoinSet::new();
    if let Some(service) = service {
        tasks.spawn(report_usage(service, node, config.status_interval, usages_in));
    }
    let mut maps = members.follow();
    maps.mark_unchanged();
    let mut host = Host {
        swarm,
        shared: Arc::clone(&shared),
        connector: Connector::new(node, config.region.clone(), bootstrap),
        preference: config.transport,
        dials: HashMap::new(),
        queries: HashMap::new(),
        refused: LruCache::new(REFUSED_MAX),
        commands,
        maps,
        usages,
        _tasks: tasks,
    };
    host.on_map();
    tokio::spawn(host.run());
    Ok((shared, commands_in))
}

fn addresses<'a>(
    field: &'static str,
    texts: impl Iterator<Item = &'a str>,
) -> Result<Vec<Multiaddr>, MeshError> {
    texts.map(|text| address(field, text)).collect()
}

/// Parses an address and makes sure that a transport speaks it.
fn address(field: &'static str, text: &str) -> Result<Multiaddr, MeshError> {
    let refuse = |reason| MeshError::Address { field, address: text.to_owned(), reason };
    let address: Multiaddr = text.parse().map_err(|_| refuse("it is not a multiaddr"))?;
    let tcp = address.iter().any(|part| matches!(part, Protocol::Tcp(_)));
    let quic = address.iter().any(|part| matches!(part, Protocol::QuicV1));
    if tcp || quic { Ok(address) } else { Err(refuse("it is neither TCP nor QUIC")) }
}

fn bootstrap(config: &MeshConfig) -> Result<Vec<Bootstrap>, MeshError> {
    let parse = |peer: &crate::BootstrapPeer| {
        let near = !config.region.is_empty() && peer.region == config.region;
        Ok(Bootstrap { address: address("bootstrap", &peer.address)?, priority: peer.priority, near })
    };
    config.bootstrap.iter().map(parse).collect()
}

/// Listens on every address and waits for the true ports.
async fn listen_all(swarm: &mut Swarm<Behaviour>, listen: Vec<Multiaddr>) -> Result<Vec<String>, MeshError> {
    let mut waiting = HashMap::new();
    for address in listen {
        let text = address.to_string();
        let fail = |reason: String| MeshError::Listen { address: text.clone(), reason };
        let listener = swarm.listen_on(address).map_err(|error| fail(error.to_string()))?;
        waiting.insert(listener, text);
    }
    let deadline = tokio::time::Instant::now() + LISTEN_TIMEOUT;
    while let Some(address) = waiting.values().next().cloned() {
        let fail = |reason: String| MeshError::Listen { address, reason };
        let event = tokio::time::timeout_at(deadline, swarm.select_next_some())
            .await
            .map_err(|_| fail("the system does not answer".to_owned()))?;
        match event {
            SwarmEvent::NewListenAddr { listener_id, .. } => {
                waiting.remove(&listener_id);
            }
            SwarmEvent::ListenerClosed { listener_id, reason: Err(error), .. }
            | SwarmEvent::ListenerError { listener_id, error } => {
                if let Some(address) = waiting.remove(&listener_id) {
                    return Err(MeshError::Listen { address, reason: error.to_string() });
                }
            }
            // Nobody can have connected yet who would not try again.
            _ => {}
        }
    }
    Ok(swarm.listeners().map(Multiaddr::to_string).collect())
}

/// Asks the storage how full it is, for the status that everybody hears.
async fn report_usage(
    service: Arc<dyn ShardService>,
    node: NodeId,
    interval: Duration,
    usages: mpsc::Sender<NodeUsage>,
) {
    let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(100)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Ok(usage) = service.usage(node).await else { continue };
        if usages.send(usage).await.is_err() {
            return;
        }
    }
}

impl Host {
    async fn run(mut self) {
        let mut health = tokio::time::interval(HEALTH_CHECK_INTERVAL);
        let mut cleanup = tokio::time::interval(RECORD_CLEANUP_INTERVAL);
        loop {
            let due = self.connector.next_due().unwrap_or_else(|| Instant::now() + HEALTH_CHECK_INTERVAL);
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_event(event),
                command = self.commands.recv() => match command {
                    Some(Command::Shutdown { done }) => {
                        self.say_goodbye().await;
                        drop(self);
                        // Whoever asked may have gone.
                        let _ = done.send(());
                        return;
                    }
                    Some(command) => self.on_command(command),
                    None => return self.say_goodbye().await,
                },
                Ok(()) = self.maps.changed() => self.on_map(),
                Some(usage) = self.usages.recv() => self.publish_status(usage),
                () = tokio::time::sleep_until(due.into()) => {}
                _ = health.tick() => {}
                _ = cleanup.tick() => self.swarm.behaviour_mut().kademlia.store_mut().remove_expired(),
            }
            self.dial_due();
        }
    }

    /// Makes the map in force count everywhere, and tells the peers that there is one.
    fn on_map(&mut self) {
        let members = Arc::clone(&self.maps.borrow_and_update());
        tracing::info!(
            epoch = members.map.epoch,
            members = members.map.members.len(),
            "network map in force"
        );
        self.swarm.behaviour_mut().set_members(&members);
        self.connector.set_members(&members.map.members, Instant::now());
        self.shared.links.retain(|node| members.admitted(node).is_some());
        self.shared
            .peers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|node, _| members.admitted(*node).is_some());
        let seeds = members.map.members.iter().filter(|member| member.admitted()).take(ROUTING_SEEDS_MAX);
        for member in seeds.filter(|member| member.node != self.shared.node) {
            let Some(peer) = peer_id(member.node) else { continue };
            for address in member.addresses.iter().filter_map(|text| text.parse().ok()) {
                self.swarm.behaviour_mut().kademlia.add_address(&peer, address);
            }
        }
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            self.compare_maps(&peer);
        }
    }

    fn compare_maps(&mut self, peer: &PeerId) {
        let epoch = self.shared.members.epoch();
        self.swarm.behaviour_mut().control.send_request(peer, MapRequest { epoch });
    }

    fn publish_status(&mut self, usage: NodeUsage) {
        let sequence = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64);
        let members = self.shared.members.current();
        let status = NodeStatus {
            usage,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            map_epoch: members.map.epoch,
            sequence,
        };
        let topic = status::topic(&members.map.network);
        // Without peers there is nobody to tell; the next status comes soon.
        if let Err(error) = self.swarm.behaviour_mut().gossip.publish(topic, status::encode(&status)) {
            tracing::debug!(%error, "status not published");
        }
    }

    fn dial_due(&mut self) {
        for dial in self.connector.due(Instant::now()) {
            self.dial(dial);
        }
    }

    fn dial(&mut self, Dial { target, mut addresses }: Dial) {
        let now = Instant::now();
        addresses.sort_by_key(|address| {
            let quic = address.iter().any(|part| matches!(part, Protocol::QuicV1));
            quic != (self.preference == TransportPreference::Quic)
        });
        let options = match &target {
            Target::Node(node) => {
                let Some(peer) = peer_id(*node) else { return };
                if self.swarm.is_connected(&peer) {
                    self.connector.connected(*node, now);
                    return;
                }
                DialOpts::peer_id(peer).condition(PeerCondition::Disconnected).addresses(addresses).build()
            }
            Target::Address(_) => match addresses.pop() {
                Some(address) => DialOpts::unknown_peer_id().address(address).build(),
                None => return,
            },
        };
        let connection = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.dials.insert(connection, target);
            }
            Err(error) => {
                tracing::debug!(?target, %error, "not dialled");
                self.connector.failed(&target, now, rand::random());
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        let full = self.queries.len() >= QUERIES_MAX;
        let busy = || MeshError::Dht { reason: "too many queries are under way" };
        let kademlia = &mut self.swarm.behaviour_mut().kademlia;
        match command {
            Command::PutRecord { reply, .. } if full => {
                let _ = reply.send(Err(busy()));
            }
            Command::GetRecord { reply, .. } if full => {
                let _ = reply.send(Err(busy()));
            }
            Command::PutRecord { key, value, reply } => {
                match kademlia.put_record(Record::new(key.to_vec(), value.to_vec()), Quorum::One) {
                    Ok(id) => {
                        self.queries.insert(id, Query::Put(reply));
                    }
                    Err(_) => {
                        let _ = reply.send(Err(MeshError::Dht { reason: "the record is too large" }));
                    }
                }
            }
            Command::GetRecord { key, reply } => {
                let id = kademlia.get_record(RecordKey::new(&key));
                self.queries.insert(id, Query::Get(reply));
            }
            Command::FollowMap { done } => {
                if self.maps.has_changed().unwrap_or(false) {
                    self.on_map();
                }
                // The caller may have given up.
                let _ = done.send(());
            }
            Command::Shutdown { .. } => {}
        }
    }

    /// Tells the peers, so that they needn't find out.
    async fn say_goodbye(&mut self) {
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            // An error means that the peer was faster.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let closed = async {
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
        };
        // Who doesn't answer in time is left to notice by itself.
        let _ = tokio::time::timeout(GOODBYE_TIMEOUT, closed).await;
    }
}

//! `dev`: a gateway and its storage nodes in one process, to try things on. The nodes are real ones, over TCP.
//!
//! The data folder has everything: `catalog.db`, the keys, the nodes' disks under `nodes/`, and the network map, signed
//! anew at each start by the operator's key that is kept there, because the nodes listen on other ports each time.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use datamesh_cluster::ProfileSetting;
use datamesh_mesh::{
    Member, MemberState, MeshConfig, MeshError, NetworkMap, NodeKey, OperatorKey, Roles, SignedMap,
};
use datamesh_node::config::{LogFormat, LogSection, MeshSection, ScrubSection};
use datamesh_node::durable_file::{Readers, create_private_dir, replace};
use datamesh_node::{Node, NodeOptions};
use datamesh_shard_store::ShardStoreConfig;
use datamesh_types::{ByteSize, NodeId, TimeSpan};

use super::until_terminated;
use crate::config::{BackendSection, GatewayConfig, PaymentsSection, SandboxSection};
use crate::events::Network;
use crate::instance::{Credentials, Instance, StartError, make_token, read_credentials, write_credentials};

/// The account of a data folder's first start.
const EMAIL: &str = "dev@example.org";
const PLAN: &str = "unlimited";
/// The storage classes that go to one folder without redundancy, as their names promise.
const LOCAL_CLASSES: [&str; 2] = ["ONEZONE_IA", "REDUCED_REDUNDANCY"];
/// How often lifecycle rules are applied.
const PASSES_PER_DAY: u64 = 24;
const NETWORK: &str = "dev";
const LISTEN: &str = "/ip4/127.0.0.1/tcp/0";

/// The arguments of `dev`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where everything is kept.
    #[arg(long, default_value = "data")]
    data_dir: PathBuf,
    /// Where S3 is served; port 0 takes a free one, which credentials.env names.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// Where REST, /metrics, /healthz and /readyz are served.
    #[arg(long, default_value = "127.0.0.1:9001")]
    admin_listen: SocketAddr,
    /// Where buckets are served as web sites, as BUCKET.localhost or by the host's name. Default: nowhere.
    #[arg(long)]
    website_listen: Option<SocketAddr>,
    /// Where people register and log in; port 0 takes a free one, which is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    accounts_listen: SocketAddr,
    /// Where payment providers tell of payments; port 0 takes a free one, which is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    payments_listen: SocketAddr,
    /// How many storage nodes. Default: as many as the data folder has, else 8.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=255))]
    nodes: Option<u16>,
    /// How chunks are coded: `auto`, or K+M such as 4+2.
    #[arg(long, default_value_t = ProfileSetting::Auto)]
    profile: ProfileSetting,
    /// `sqlite:PATH` or `postgres://...`. Default: catalog.db in the data folder.
    #[arg(long)]
    database: Option<String>,
    /// How much each node may store.
    #[arg(long, default_value = "64 GiB")]
    node_capacity: ByteSize,
    /// How long a day of a lifecycle rule lasts; shorter ones are for tests.
    #[arg(long, default_value = "24h")]
    lifecycle_day: TimeSpan,
    /// Meter nothing: usage is not told, and nobody can be billed.
    #[arg(long)]
    no_metering: bool,
    /// Accept signatures of version 2 too.
    #[arg(long)]
    signature_v2: bool,
    /// What is logged; `RUST_LOG` comes first.
    #[arg(long, default_value = "warn,s3s=off,libp2p_kad=error")]
    log: String,
}

impl Arguments {
    /// What goes to standard error.
    pub fn log_section(&self) -> LogSection {
        LogSection { format: LogFormat::Text, filter: self.log.clone() }
    }
}

/// Serves until SIGTERM or SIGINT, then drains.
pub async fn run(arguments: &Arguments) -> Result<(), StartError> {
    let terminated = until_terminated()?;
    let data_dir = &arguments.data_dir;
    create_private_dir(data_dir).map_err(StartError::io("create", data_dir))?;
    let network = DevNetwork::start(arguments).await?;
    let served = serve(arguments, &network, terminated).await;
    // Also after a failed start: a process must not end under the storage engine's threads.
    network.stop().await;
    served
}

async fn serve(
    arguments: &Arguments,
    network: &DevNetwork,
    terminated: impl Future<Output = ()>,
) -> Result<(), StartError> {
    let data_dir = &arguments.data_dir;
    let config = gateway_config(arguments, network)?;
    let instance = Instance::start(&config).await?;
    let credentials = first_account(&instance, data_dir).await?;
    let file = data_dir.join("credentials.env");
    write_credentials(&file, &credentials, &config.region, &instance.s3_endpoint())?;
    println!("S3 on {}, admin on {}", instance.s3_endpoint(), instance.admin_endpoint());
    if let Some(endpoint) = instance.website_endpoint() {
        println!("web sites on {endpoint}");
    }
    if let Some(endpoint) = instance.accounts_endpoint() {
        println!("accounts on {endpoint}, letters in {}", data_dir.join("mail").display());
    }
    if let Some(endpoint) = instance.payments_endpoint() {
        println!("payments on {endpoint}");
    }
    println!("source {}", file.display());
    println!("ready");
    terminated.await;
    tracing::info!("draining");
    instance.stop().await;
    Ok(())
}

fn gateway_config(arguments: &Arguments, network: &DevNetwork) -> Result<GatewayConfig, StartError> {
    let mut config = GatewayConfig::new(arguments.data_dir.clone());
    config.s3.listen = arguments.listen;
    config.s3.domains = vec!["localhost".to_owned()];
    config.admin.listen = arguments.admin_listen;
    config.registration.listen = Some(arguments.accounts_listen);
    if arguments.no_metering {
        config.accounts.metering = false;
        config.jobs.automatic_invoices = false;
    } else {
        config.payments = payments(arguments)?;
    }
    config.database.url.clone_from(&arguments.database);
    config.cluster.profile = arguments.profile;
    config.s3.signature_v2 = arguments.signature_v2;
    config.website.listen = arguments.website_listen;
    config.website.domains = vec!["localhost".to_owned()];
    // Everything that is tried out is on this machine.
    config.events.allowed_networks = vec![Network::LOOPBACK];
    config.jobs.access_log_interval = TimeSpan::seconds(5);
    config.jobs.lifecycle_day = arguments.lifecycle_day;
    // Several times a day, however short.
    let interval_seconds = arguments.lifecycle_day.duration().as_secs() / PASSES_PER_DAY;
    config.jobs.lifecycle_interval = TimeSpan::seconds(interval_seconds.max(1));
    config.mesh = Some(MeshSection {
        listen: Vec::new(),
        ..MeshSection::new(network.map_file.clone(), vec![network.operator.operator_id()])
    });
    let local =
        BackendSection::Local { dir: arguments.data_dir.join("local"), capacity: arguments.node_capacity };
    config.storage.backends.insert("local".to_owned(), local);
    config.storage.classes.extend(LOCAL_CLASSES.map(|class| (class.to_owned(), "local".to_owned())));
    Ok(config)
}

/// A sandbox, so that invoices can be paid by hand.
fn payments(arguments: &Arguments) -> Result<PaymentsSection, StartError> {
    let secret_file = arguments.data_dir.join("sandbox-secret");
    make_token(&secret_file)?;
    Ok(PaymentsSection {
        listen: Some(arguments.payments_listen),
        sandbox: Some(SandboxSection { secret_file, endpoint: None }),
        ..PaymentsSection::default()
    })
}

/// The account of the first start: its credentials are those in the file, as long as that is there.
async fn first_account(instance: &Instance, data_dir: &Path) -> Result<Credentials, StartError> {
    let accounts = instance.accounts();
    if let Some(credentials) = read_credentials(&data_dir.join("credentials.env"))
        && accounts.lookup(&credentials.access_key_id).await?.is_some()
    {
        return Ok(credentials);
    }
    let user = match accounts.find_user(EMAIL).await? {
        Some(user) => user,
        None => accounts.create_user(EMAIL, "dev", PLAN).await?,
    };
    let key = accounts.create_key(user.id, None).await?;
    Ok(Credentials {
        access_key_id: key.access_key_id,
        secret_access_key: key.secret_access_key.expose().to_owned(),
    })
}

/// The storage nodes of this process, and the map that admits them and the gateway.
struct DevNetwork {
    nodes: Vec<Node>,
    operator: OperatorKey,
    map_file: PathBuf,
}

impl DevNetwork {
    /// Starts the nodes. Their ports are known only then, so they start with a map without addresses and get a
    /// newer one.
    async fn start(arguments: &Arguments) -> Result<Self, StartError> {
        let data_dir = &arguments.data_dir;
        let operator = OperatorKey::load_or_create(&data_dir.join("operator.key"))?;
        let gateway = NodeKey::load_or_create(&data_dir.join("gateway.key"))?.node_id();
        let folders = node_folders(arguments)?;
        let mut keys = Vec::with_capacity(folders.len());
        for folder in &folders {
            create_private_dir(folder).map_err(StartError::io("create", folder))?;
            keys.push(NodeKey::load_or_create(&folder.join("node.key"))?);
        }
        let map_file = data_dir.join("network-map.json");
        let mut map = NetworkMap {
            network: NETWORK.to_owned(),
            epoch: last_epoch(&map_file, &operator) + 1,
            members: keys
                .iter()
                .enumerate()
                .map(|(index, key)| storage_member(index, key, arguments))
                .collect(),
        };
        map.members.push(gateway_member(gateway));
        let provisional = SignedMap::sign(&map, &operator);
        let mut nodes = Vec::with_capacity(folders.len());
        for (folder, key) in folders.iter().zip(keys) {
            let mut mesh = MeshConfig::new(key, provisional.clone(), vec![operator.operator_id()]);
            mesh.listen = vec![LISTEN.to_owned()];
            mesh.dht_dir = Some(folder.join("dht"));
            let store = ShardStoreConfig::new(folder.join("shards"), arguments.node_capacity.bytes());
            nodes.push(Node::start(NodeOptions { mesh, store, scrub: ScrubSection::default() }).await?);
        }
        map.epoch += 1;
        for (member, node) in map.members.iter_mut().zip(&nodes) {
            member.addresses = node.handle().listen_addresses();
        }
        let signed = SignedMap::sign(&map, &operator);
        replace(&map_file, signed.to_json().as_bytes(), Readers::All)
            .map_err(StartError::io("write", &map_file))?;
        for node in &nodes {
            match node.handle().update_map(signed.clone()).await {
                // Another node, which had it already, was faster.
                Ok(()) | Err(MeshError::Map(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self { nodes, operator, map_file })
    }

    async fn stop(self) {
        let stopped = futures::future::join_all(self.nodes.into_iter().map(Node::stop)).await;
        for error in stopped.into_iter().filter_map(Result::err) {
            tracing::warn!(error = %datamesh_node::one_line(&error), "a node did not stop cleanly");
        }
    }
}

/// The folders of the nodes: those that are there, and as many more as asked for.
fn node_folders(arguments: &Arguments) -> Result<Vec<PathBuf>, StartError> {
    let folder = |number: usize| arguments.data_dir.join("nodes").join(number.to_string());
    let existing = (1..=usize::MAX).take_while(|number| folder(*number).is_dir()).count();
    let asked = arguments.nodes.map(usize::from);
    match asked {
        Some(asked) if asked < existing => {
            Err(StartError::TooFewNodes { data_dir: arguments.data_dir.clone(), existing, asked })
        }
        _ => {
            let count = asked.unwrap_or(if existing == 0 { 8 } else { existing });
            Ok((1..=count).map(folder).collect())
        }
    }
}

/// The epoch of the last map that was signed here, 0 before the first.
fn last_epoch(map_file: &Path, operator: &OperatorKey) -> u64 {
    let json = std::fs::read_to_string(map_file).unwrap_or_default();
    let verified = SignedMap::from_json(&json).and_then(|signed| signed.verify(&[operator.operator_id()]));
    verified.map_or(0, |map| map.epoch)
}

fn storage_member(index: usize, key: &NodeKey, arguments: &Arguments) -> Member {
    Member {
        node: key.node_id(),
        roles: Roles { storage: true, gateway: false, bootstrap: index < 3 },
        // Each is a failure domain of its own.
        operator: format!("dev-{}", index + 1),
        region: "local".to_owned(),
        addresses: Vec::new(),
        capacity_bytes: arguments.node_capacity.bytes(),
        state: MemberState::Active,
    }
}

fn gateway_member(node: NodeId) -> Member {
    Member {
        node,
        roles: Roles { storage: false, gateway: true, bootstrap: false },
        operator: "dev".to_owned(),
        region: "local".to_owned(),
        addresses: Vec::new(),
        capacity_bytes: 0,
        state: MemberState::Active,
    }
}

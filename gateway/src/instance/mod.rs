//! One running gateway: everything that `serve` and `dev` have in common, from the configuration to the listeners.

mod access;
mod error;
mod listeners;
mod payments;
mod storage;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use datamesh_accounts::{Accounts, AccountsConfig, Kek, Keyring, PlanFile};
use datamesh_catalog::Catalog;
use datamesh_cluster::{Cluster, ClusterError};
use datamesh_db::{Db, DbConfig};
use datamesh_mesh::{MemberState, Mesh, MeshHandle, NodeKey, ShardTransport};
use datamesh_node::durable_file::create_private_dir;
use datamesh_node::mesh_config;
use datamesh_pipeline::ShardAuthKey;
use datamesh_shard_store::ShardStore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access_log::AccessLog;
use crate::account_api;
use crate::adapters::CatalogDirectory;
use crate::admin_api::{self, AdminState, Administrator, Metrics};
use crate::config::GatewayConfig;
use crate::events::{AddressPolicy, Webhooks};
use crate::http;
use crate::ingest::Ingest;
use crate::jobs::Jobs;
use crate::mail::{Mailer, Postman};
use crate::payment_api;
use crate::request_metrics::RequestMetrics;
use crate::retrieve::{Retrieve, RetrieveConfig};
use crate::s3::{ConfigCache, S3Gateway, ServiceConfig, service};
use crate::website::WebsiteService;

use listeners::{Addresses, Listeners, endpoint};
use payments::Payments;

pub use access::{Credentials, make_token, reachable, read_credentials, write_credentials};
pub use error::StartError;

/// How long a start waits for nodes. A gateway that reaches too few of them serves all the same: what it can't
/// read or write yet is answered with 503, and `/readyz` says so.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// How long background work and admin requests may take to end. They bear being cut off anywhere.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);

/// A gateway that serves. It runs until [`Instance::stop`].
pub struct Instance {
    addresses: Addresses,
    tls: bool,
    accounts: Accounts,
    mesh: Option<MeshHandle>,
    stores: Vec<ShardStore>,
    /// Ends the S3 listener; the rest goes on until its requests are answered.
    stop_s3: CancellationToken,
    s3_tasks: TaskTracker,
    /// Ends everything else.
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Instance {
    /// Starts a gateway; it serves when this returns.
    pub async fn start(config: &GatewayConfig) -> Result<Self, StartError> {
        create_private_dir(&config.data_dir).map_err(StartError::io("create", &config.data_dir))?;
        let metrics = Metrics::install()?;
        let listeners = Listeners::bind(config).await?;
        let db = open_database(config).await?;
        let catalog = Catalog::open(db.clone()).await?;
        let keyring = Keyring::open(db.clone(), Kek::load_or_create(config.kek_file())?).await?;
        let auth = keyring.shard_auth_key().await?;
        let payments = Payments::open(&config.payments)?;
        let accounts = open_accounts(config, db, &keyring, &payments).await?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let mesh = start_mesh(config, &stop, &tasks).await?;
        let cluster = match &mesh {
            Some(handle) => Some(start_cluster(config, handle, &catalog, &auth).await?),
            None => None,
        };
        let storage = storage::open_storage(&config.storage, cluster, &auth).await?;
        let holdings = storage.holdings;
        let webhooks = open_webhooks(config)?;
        let access_log = AccessLog::default();
        let gateway = S3Gateway {
            catalog: catalog.clone(),
            accounts: accounts.clone(),
            configs: ConfigCache::default(),
            keyring,
            classes: storage.classes,
            ingest: Ingest::new(catalog.clone(), config.ingest.ingest()),
            retrieve: Retrieve::new(
                catalog.clone(),
                Arc::clone(&holdings.backends),
                RetrieveConfig::default(),
            ),
            webhooks,
            access_log: access_log.clone(),
            request_metrics: RequestMetrics::default(),
            region: config.region.clone(),
        };
        let jobs = Jobs::new(gateway.clone(), holdings.clone(), config.jobs.clone());
        jobs.start(&stop, &tasks);
        let addresses = listeners.addresses()?;
        let tls = config.s3.tls_certificate.is_some();
        let sandbox = payments.sender(addresses.payments.map(|address| endpoint(tls, address)).as_deref())?;
        let state = AdminState {
            administrators: administrators(config, addresses.admin)?,
            catalog,
            accounts: accounts.clone(),
            holdings,
            jobs,
            metrics,
            sandbox,
        };
        tasks.spawn(admin_api::serve(listeners.admin, state, stop.clone()));
        let interval = config.jobs.access_log_interval.duration();
        tasks.spawn(access_log.run(gateway.clone(), interval, stop.clone()));
        tasks.spawn(gateway.request_metrics.clone().run(gateway.catalog.clone(), stop.clone()));
        serve_strangers(config, &gateway, (listeners.people, listeners.payments), &stop, &tasks)?;
        let (stop_s3, s3_tasks) = (CancellationToken::new(), TaskTracker::new());
        serve_objects(config, gateway, listeners.s3, listeners.website, &stop_s3, &s3_tasks);
        let stores = storage.stores;
        Ok(Self { addresses, tls, accounts, mesh, stores, stop_s3, s3_tasks, stop, tasks })
    }

    /// The S3 endpoint, as a client on this machine reaches it.
    pub fn s3_endpoint(&self) -> String {
        endpoint(self.tls, self.addresses.s3)
    }

    /// Where websites are served, as a client on this machine reaches it.
    pub fn website_endpoint(&self) -> Option<String> {
        self.addresses.website.map(|address| endpoint(self.tls, address))
    }

    /// The admin endpoint, as a client on this machine reaches it.
    pub fn admin_endpoint(&self) -> String {
        endpoint(false, self.addresses.admin)
    }

    /// Where people register and log in, as a client on this machine reaches it.
    pub fn accounts_endpoint(&self) -> Option<String> {
        self.addresses.people.map(|address| endpoint(self.tls, address))
    }

    /// Where payment providers tell of payments, as a client on this machine reaches it.
    pub fn payments_endpoint(&self) -> Option<String> {
        self.addresses.payments.map(|address| endpoint(self.tls, address))
    }

    /// Its accounts.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Accepts nothing more, answers what is under way, ends the jobs, leaves the mesh and closes the disks.
    pub async fn stop(self) {
        self.stop_s3.cancel();
        self.s3_tasks.close();
        self.s3_tasks.wait().await;
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(STOP_TIME_MAX, self.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = self.tasks.len(), "gave up on background work and admin requests");
        }
        self.accounts.flush_meters().await;
        if let Some(mesh) = self.mesh {
            mesh.shutdown().await;
        }
        for store in self.stores {
            if let Err(error) = store.close().await {
                tracing::warn!(%error, "a local backend did not close cleanly");
            }
        }
    }
}

async fn open_database(config: &GatewayConfig) -> Result<Db, StartError> {
    let file = config.database.url_file.clone().unwrap_or_default();
    let url = config.database_url().map_err(StartError::io("read", file))?;
    // With a KEK there has been a catalog before: a new one in its place would hide that the old one is gone.
    let create = !config.kek_file().exists();
    let mut database = DbConfig { create, ..DbConfig::new(url) };
    if let Some(connections) = config.database.connections {
        database.connections = connections;
    }
    Ok(Db::open(&database).await?)
}

async fn open_accounts(
    config: &GatewayConfig,
    db: Db,
    keyring: &Keyring,
    payments: &Payments,
) -> Result<Accounts, StartError> {
    let section = &config.accounts;
    let settings = AccountsConfig {
        metering: section.metering,
        queue_time: section.queue_time.duration(),
        reservation_ttl: section.reservation_ttl.duration(),
        abuse: section.abuse(),
        audit_head_file: Some(config.audit_head_file()),
        registration: config.registration.settings(),
        payment_providers: payments.providers(),
        ..AccountsConfig::default()
    };
    let accounts = Accounts::open(db, keyring.clone(), settings).await?;
    if section.metering {
        accounts.begin_metering(Catalog::stored_count()).await?;
    } else {
        accounts.end_metering().await?;
        tracing::info!("usage is not metered, and nobody can be billed: accounts.metering is off");
    }
    if let Some(file) = &section.plans_file {
        let text = std::fs::read_to_string(file).map_err(StartError::io("read", file))?;
        for applied in accounts.apply_plans(&PlanFile::parse(&text)?).await? {
            if applied.is_new {
                tracing::info!(
                    plan = applied.plan.name,
                    version = applied.plan.version,
                    "a plan has a new version"
                );
            }
        }
    }
    Ok(accounts)
}

fn open_webhooks(config: &GatewayConfig) -> Result<Webhooks, StartError> {
    let policy = AddressPolicy { allowed: config.events.allowed_networks.clone() };
    Webhooks::new(policy)
        .map_err(|source| StartError::Process { what: "the sender of messages", source: Box::new(source) })
}

/// Everybody with a token: the operator of this gateway, and those whom the configuration names.
fn administrators(config: &GatewayConfig, admin: SocketAddr) -> Result<Arc<[Administrator]>, StartError> {
    let operator = Administrator::operator(access::write_admin_access(&config.data_dir, admin)?);
    Ok([operator].into_iter().chain(access::administrators(&config.admin.tokens)?).collect())
}

/// Serves people, and sends their letters, and payment providers, where there are listeners for them, until `stop`.
fn serve_strangers(
    config: &GatewayConfig,
    gateway: &S3Gateway,
    (people, payments): (Option<http::Server>, Option<http::Server>),
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> Result<(), StartError> {
    if let Some(listener) = payments {
        let service = payment_api::service(gateway.accounts.clone(), config.payments.limiter());
        tasks.spawn(listener.run(service, stop.clone()));
    }
    let Some(listener) = people else { return Ok(()) };
    let mailer = Mailer::open(&config.mail, &config.data_dir.join("mail"))
        .map_err(|source| StartError::Process { what: "mail", source: Box::new(source) })?;
    tasks.spawn(Postman::new(gateway.accounts.clone(), mailer).run(stop.clone()));
    let (accounts, catalog) = (gateway.accounts.clone(), gateway.catalog.clone());
    let service = account_api::service(accounts, catalog, config.registration.limiter());
    tasks.spawn(listener.run(service, stop.clone()));
    Ok(())
}

/// Serves S3, and websites if there is a listener for them, until `stop`.
fn serve_objects(
    config: &GatewayConfig,
    gateway: S3Gateway,
    s3: http::Server,
    website: Option<http::Server>,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) {
    let objects = service(
        gateway.clone(),
        ServiceConfig { domains: config.s3.domains.clone(), signature_v2: config.s3.signature_v2 },
    );
    if let Some(listener) = website {
        let website = WebsiteService {
            gateway,
            objects: objects.clone(),
            domains: config.website.domains.clone(),
            encrypted: config.s3.tls_certificate.is_some(),
        };
        tasks.spawn(listener.run(website, stop.clone()));
    }
    tasks.spawn(s3.run(objects, stop.clone()));
}

async fn start_mesh(
    config: &GatewayConfig,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> Result<Option<MeshHandle>, StartError> {
    let Some(section) = &config.mesh else { return Ok(None) };
    let key = NodeKey::load_or_create(&config.key_file())?;
    let (mesh, files) = mesh_config(section, key, &config.data_dir)?;
    let handle = Mesh::start(mesh, None).await?;
    tasks.spawn(files.follow(handle.clone(), section.map_reload.duration(), stop.clone()));
    Ok(Some(handle))
}

async fn start_cluster(
    config: &GatewayConfig,
    handle: &MeshHandle,
    catalog: &Catalog,
    auth: &ShardAuthKey,
) -> Result<Cluster, StartError> {
    let transport: Arc<dyn ShardTransport> = Arc::new(handle.clone());
    let directory = Arc::new(CatalogDirectory::new(catalog.clone()));
    let cluster =
        Cluster::new(transport, directory, auth.clone(), handle.map_changes(), config.cluster.clone());
    if tokio::time::timeout(CONNECT_TIME_MAX, all_connected(handle)).await.is_err() {
        let missing: Vec<_> =
            handle.peers().into_iter().filter(|peer| !peer.connected).map(|peer| peer.node).collect();
        tracing::warn!(?missing, "serving without some of the network map's members");
    }
    match cluster.ensure_groups().await {
        Ok(groups) => tracing::info!(groups = groups.len(), "placement groups are open"),
        // Reads go on, and the background job tries again.
        Err(error @ (ClusterError::TooFewNodes { .. } | ClusterError::NoOpenGroup)) => {
            tracing::error!(%error, "no placement group is open");
        }
        Err(error) => return Err(error.into()),
    }
    cluster.refresh_usage().await;
    Ok(cluster)
}

/// Waits for a connection to every active storage node of the map.
async fn all_connected(handle: &MeshHandle) {
    let map = handle.map();
    let active =
        |member: &&datamesh_mesh::Member| member.roles.storage && member.state == MemberState::Active;
    for member in map.members.iter().filter(active).filter(|member| member.node != handle.node_id()) {
        handle.wait_connected(member.node).await;
    }
}

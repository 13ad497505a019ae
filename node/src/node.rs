//! A running node: shard store, mesh host, scrub.

use std::sync::Arc;

use datamesh_mesh::{Mesh, MeshConfig, MeshHandle, NodeKey};
use datamesh_shard_store::{ShardStore, ShardStoreConfig};
use datamesh_types::NodeId;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{MeshSection, NodeConfig, ScrubSection};
use crate::durable_file::create_private_dir;
use crate::map_file::MapFiles;
use crate::scrub::Scrubber;
use crate::{NodeError, StoreService};

/// What a node needs to start.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// Its host.
    pub mesh: MeshConfig,
    /// Its disk.
    pub store: ShardStoreConfig,
    /// How it re-reads its disk.
    pub scrub: ScrubSection,
}

/// A running node. It runs until [`Node::stop`].
pub struct Node {
    handle: MeshHandle,
    store: ShardStore,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Node {
    /// Opens the store and serves it on the mesh. Returns once the node listens.
    pub async fn start(options: NodeOptions) -> Result<Self, NodeError> {
        let dir = options.store.dir.clone();
        create_private_dir(&dir).map_err(NodeError::io("create", &dir))?;
        let position_file = dir.with_file_name("scrub.json");
        let open = tokio::task::spawn_blocking(|| ShardStore::open(options.store));
        let store = open.await.expect("opening a store does not panic")?;
        let service = Arc::new(StoreService::new(store.clone()));
        let handle = Mesh::start(options.mesh, Some(service)).await?;
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(Scrubber::new(store.clone(), options.scrub, position_file).run(stop.clone()));
        Ok(Self { handle, store, tasks, stop })
    }

    /// A node from its configuration file: with its identity, its map, and the map followed for changes.
    pub async fn start_configured(config: &NodeConfig) -> Result<Self, NodeError> {
        create_private_dir(&config.data_dir).map_err(NodeError::io("create", &config.data_dir))?;
        let key = NodeKey::load_or_create(&config.key_file())?;
        let (mesh, files) = mesh_config(&config.mesh, key, &config.data_dir)?;
        let options = NodeOptions { mesh, store: config.shard_store(), scrub: config.scrub.clone() };
        let node = Self::start(options).await?;
        let follow = files.follow(node.handle.clone(), config.mesh.map_reload.duration(), node.stop.clone());
        node.tasks.spawn(follow);
        Ok(node)
    }

    /// Its id in the network map.
    pub fn node_id(&self) -> NodeId {
        self.handle.node_id()
    }

    /// Its host.
    pub fn handle(&self) -> &MeshHandle {
        &self.handle
    }

    /// Leaves the mesh, finishes what the store has begun, and closes it.
    pub async fn stop(self) -> Result<(), NodeError> {
        self.stop.cancel();
        self.handle.shutdown().await;
        self.tasks.close();
        self.tasks.wait().await;
        Ok(self.store.close().await?)
    }
}

/// A host's settings from the `[mesh]` section that nodes and gateways share, and the files of its map.
///
/// The DHT's records and the newest map are kept in `data_dir`.
///
/// # Errors
/// The map file cannot be read or is not signed well.
pub fn mesh_config(
    section: &MeshSection,
    key: NodeKey,
    data_dir: &std::path::Path,
) -> Result<(MeshConfig, MapFiles), NodeError> {
    let files = MapFiles {
        distributed: section.map_file.clone(),
        kept: data_dir.join("network-map.kept.json"),
        trusted: section.trusted_operators.clone(),
        signatures_required: section.signatures_required,
    };
    let (signed, map) = files.load()?;
    let node = key.node_id();
    let mut mesh = MeshConfig::new(key, signed, section.trusted_operators.clone());
    match map.member(node) {
        Some(member) => mesh.region.clone_from(&member.region),
        None => {
            tracing::warn!(%node, epoch = map.epoch, "not in the network map: peers will refuse this host");
        }
    }
    mesh.listen.clone_from(&section.listen);
    mesh.signatures_required = section.signatures_required;
    mesh.bootstrap.clone_from(&section.bootstrap);
    mesh.dht_dir = Some(data_dir.join("dht"));
    mesh.mdns = section.mdns;
    mesh.transport = section.transport;
    Ok((mesh, files))
}

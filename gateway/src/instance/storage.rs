//! The configured backends, opened.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use datamesh_backend::{Backend, LocalBackend, MemoryBackend, MeshBackend, ObjectStoreBackend};
use datamesh_cluster::Cluster;
use datamesh_node::durable_file::create_private_dir;
use datamesh_pipeline::ShardAuthKey;
use datamesh_shard_store::{ShardStore, ShardStoreConfig};

use super::StartError;
use crate::config::{BackendSection, StorageSection};
use crate::holdings::Holdings;
use crate::retrieve::Backends;
use crate::s3::{StorageClasses, Tier};

/// The backends, and what must be closed at the end.
pub(super) struct Storage {
    pub holdings: Holdings,
    pub classes: StorageClasses,
    pub stores: Vec<ShardStore>,
}

/// Opens every backend. `cluster` is there when one of them is on the mesh.
pub(super) async fn open_storage(
    section: &StorageSection,
    cluster: Option<Cluster>,
    auth: &ShardAuthKey,
) -> Result<Storage, StartError> {
    let mut backends = BTreeMap::<String, Arc<dyn Backend>>::new();
    let (mut stores, mut mesh) = (Vec::new(), None);
    for (name, backend) in &section.backends {
        let opened: Arc<dyn Backend> = match backend {
            BackendSection::Mesh {} => {
                let cluster = cluster.clone();
                let cluster =
                    cluster.expect("a validated configuration has a [mesh] section for a mesh backend");
                mesh = Some((name.clone(), cluster.clone()));
                Arc::new(MeshBackend::new(cluster))
            }
            BackendSection::Local { dir, capacity } => {
                let store = open_store(dir, capacity.bytes()).await?;
                stores.push(store.clone());
                Arc::new(LocalBackend::new(store))
            }
            BackendSection::ObjectStore { url, options, options_file } => {
                let mut options = options.clone();
                if let Some(file) = options_file {
                    options.extend(read_options(file)?);
                }
                Arc::new(ObjectStoreBackend::from_url(url, &options, auth.clone())?)
            }
            BackendSection::Memory { capacity } => Arc::new(MemoryBackend::with_capacity(capacity.bytes())),
        };
        backends.insert(name.clone(), opened);
    }
    let backends: Backends = Arc::new(backends);
    let tiers = section.classes.iter().map(|(class, backend)| {
        let tier = Tier {
            backend: backend.clone(),
            cold: section.cold_classes.contains(class),
            archive: section.archive_classes.contains(class),
        };
        (class.clone(), tier)
    });
    let classes = StorageClasses::new(tiers, &backends)?;
    Ok(Storage { holdings: Holdings { backends, mesh }, classes, stores })
}

async fn open_store(dir: &Path, capacity_bytes: u64) -> Result<ShardStore, StartError> {
    create_private_dir(dir).map_err(StartError::io("create", dir))?;
    let config = ShardStoreConfig::new(dir, capacity_bytes);
    let open = tokio::task::spawn_blocking(|| ShardStore::open(config));
    Ok(open.await.expect("opening a store does not panic")?)
}

fn read_options(file: &Path) -> Result<BTreeMap<String, String>, StartError> {
    let options = datamesh_node::config::load(file, |_| Ok(()));
    options.map_err(|source| StartError::Process { what: "an object store", source: Box::new(source) })
}

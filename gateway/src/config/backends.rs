//! `[storage]`: the backends that sealed chunks go to, and the storage classes that choose among them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use datamesh_node::config::Invalid;
use datamesh_types::ByteSize;
use serde::Deserialize;

/// The name of the backend that is there when no other is configured.
const MESH: &str = "mesh";
/// The class of objects that name none.
const STANDARD: &str = "STANDARD";
/// The classes that are on the mesh by default. Those that S3 makes clients wait for are not among them.
const MESH_CLASSES: [&str; 4] = [STANDARD, "STANDARD_IA", "INTELLIGENT_TIERING", "GLACIER_IR"];

/// `[storage]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageSection {
    /// Backends by name. The name is recorded with every chunk: it must never be given to another place.
    /// Default: `mesh`, of type mesh.
    pub backends: BTreeMap<String, BackendSection>,
    /// Which backend each storage class goes to. Default: `STANDARD`, `STANDARD_IA`, `INTELLIGENT_TIERING` and `GLACIER_IR`
    /// go to `mesh`.
    pub classes: BTreeMap<String, String>,
    /// Classes that are compressed as hard as possible. Default: `GLACIER_IR`, `GLACIER` and `DEEP_ARCHIVE`.
    pub cold_classes: BTreeSet<String>,
    /// Classes whose objects are read only after they were restored. Default: `GLACIER` and `DEEP_ARCHIVE`, as in S3.
    pub archive_classes: BTreeSet<String>,
}

impl Default for StorageSection {
    fn default() -> Self {
        Self {
            backends: BTreeMap::from([(MESH.to_owned(), BackendSection::Mesh {})]),
            classes: MESH_CLASSES.map(|class| (class.to_owned(), MESH.to_owned())).into(),
            cold_classes: ["GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"].map(str::to_owned).into(),
            archive_classes: ["GLACIER", "DEEP_ARCHIVE"].map(str::to_owned).into(),
        }
    }
}

/// `[storage.backends.NAME]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum BackendSection {
    /// Erasure-coded over the nodes of the mesh. At most one.
    Mesh {},
    /// One disk of this machine, without redundancy.
    Local {
        /// The folder.
        dir: PathBuf,
        /// How much it may hold.
        capacity: ByteSize,
    },
    /// A bucket of S3, Google or Azure, or a folder.
    ObjectStore {
        /// `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`, `az://CONTAINER/PREFIX` or `file:///FOLDER`.
        url: String,
        /// Options of the `object_store` crate, such as `aws_endpoint`. Secrets go into `options_file`.
        #[serde(default)]
        options: BTreeMap<String, String>,
        /// A TOML file with further options: credentials. Default: none.
        options_file: Option<PathBuf>,
    },
    /// Memory: nothing survives a restart. For trials.
    Memory {
        /// How much it may hold.
        capacity: ByteSize,
    },
}

impl StorageSection {
    pub(super) fn validate(&self, has_mesh_section: bool) -> Result<(), Invalid> {
        if self.classes.values().any(|backend| !self.backends.contains_key(backend)) {
            return Err(Invalid::new("storage.classes", "names of backends in storage.backends"));
        }
        if !self.classes.contains_key(STANDARD) {
            return Err(Invalid::new("storage.classes", "a backend for STANDARD"));
        }
        let meshes =
            self.backends.values().filter(|backend| matches!(backend, BackendSection::Mesh {})).count();
        if meshes > 1 {
            return Err(Invalid::new("storage.backends", "at most one backend of type mesh"));
        }
        if (meshes == 1) != has_mesh_section {
            return Err(Invalid::new("mesh", "a [mesh] section exactly when a backend is of type mesh"));
        }
        Ok(())
    }

    /// Whether a backend is on the mesh.
    pub fn uses_mesh(&self) -> bool {
        self.backends.values().any(|backend| matches!(backend, BackendSection::Mesh {}))
    }
}

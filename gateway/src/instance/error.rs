//! Why a gateway cannot start.

use std::net::SocketAddr;
use std::path::PathBuf;

use datamesh_accounts::AccountsError;
use datamesh_backend::BackendConfigError;
use datamesh_catalog::CatalogError;
use datamesh_cluster::ClusterError;
use datamesh_db::DbError;
use datamesh_mesh::MeshError;
use datamesh_node::NodeError;
use datamesh_shard_store::StoreError;

use crate::http::TlsError;
use crate::s3::StorageClassesError;

/// A gateway cannot start. With its causes it prints as one line, see [`datamesh_node::one_line`].
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener's address is taken or not this machine's.
    #[error("the {listener} listener cannot listen on {address}")]
    Listen {
        /// `S3` or `admin`.
        listener: &'static str,
        /// The configured address.
        address: SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file holds something else than it should.
    #[error("{} is malformed: expected {expected}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// Others than its owner may read an administrator's token.
    #[error("{} has mode {mode:04o}: others may read the token; expected 0600 (chmod 600 {})", path.display(), path.display())]
    TokenExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// An administrator's token is too easy to guess.
    #[error("{} is no good token: expected at least {expected} printable characters without spaces", path.display())]
    TokenWeak {
        /// The file.
        path: PathBuf,
        /// The least length.
        expected: usize,
    },
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Keys and accounts.
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    /// The mesh host.
    #[error(transparent)]
    Mesh(#[from] MeshError),
    /// A node in this process, or the network map.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// Placement groups.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The local backend.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An object store.
    #[error(transparent)]
    Backend(#[from] BackendConfigError),
    /// Storage classes.
    #[error("key `storage.classes`")]
    Classes(#[from] StorageClassesError),
    /// Certificate or key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The metrics recorder, or a signal handler.
    #[error("cannot set up {what}")]
    Process {
        /// What.
        what: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A data directory of more nodes than asked for.
    #[error("{} was made with {existing} nodes: --nodes must be at least that, not {asked}", data_dir.display())]
    TooFewNodes {
        /// The data directory.
        data_dir: PathBuf,
        /// Nodes that hold shards there.
        existing: usize,
        /// What was asked for.
        asked: usize,
    },
}

impl StartError {
    /// A [`StartError::Io`], for `map_err`.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

//! Why a version could not be read.

use datamesh_backend::BackendError;
use datamesh_catalog::CatalogError;
use datamesh_pipeline::PipelineError;

/// Why a version could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RetrieveError {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A backend could not deliver a chunk.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A chunk could not be opened.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The catalog names a backend that the configuration does not have.
    #[error("backend {backend:?} is not configured")]
    UnknownBackend {
        /// Its name in the catalog.
        backend: String,
    },
    /// What was read has another length than the catalog says.
    #[error("{found} bytes were found where {expected} should be")]
    Length {
        /// What the catalog says, in bytes.
        expected: u64,
        /// What was read, in bytes.
        found: u64,
    },
    /// A worker panicked, or the runtime shuts down.
    #[error("a worker of the download died")]
    Worker(#[from] tokio::task::JoinError),
}

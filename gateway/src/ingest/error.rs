//! Why a body could not be stored.

use datamesh_backend::BackendError;
use datamesh_catalog::CatalogError;
use datamesh_pipeline::PipelineError;

/// Why a body could not be stored. Nothing of it is visible.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The body broke off, stood still, or failed its signature.
    #[error("the body could not be read")]
    Body {
        /// What the stream said.
        source: s3s::StdError,
    },
    /// The body has another length than the request says.
    #[error("the body has {received} bytes instead of {declared}, or more")]
    Length {
        /// What the request says, in bytes.
        declared: u64,
        /// What came, in bytes.
        received: u64,
    },
    /// A chunk could not be sealed, or the chunk sizes are no good.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// A chunk could not be stored.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A worker panicked, or the runtime shuts down.
    #[error("a worker of the upload died")]
    Worker(#[from] tokio::task::JoinError),
}

//! What can go wrong in a backend.

use datamesh_types::SealedId;

/// A call to a backend failed.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The chunk is not there: deleted, or never stored.
    #[error("sealed chunk {sealed} is not stored")]
    NotFound {
        /// The chunk.
        sealed: SealedId,
    },
    /// Too few good pieces of the chunk are left; waiting won't help.
    #[error("sealed chunk {sealed} is lost: {good} of {needed} pieces are good")]
    Lost {
        /// The chunk.
        sealed: SealedId,
        /// Good pieces.
        good: usize,
        /// Pieces that rebuild it.
        needed: usize,
    },
    /// The only copy of the chunk fails its checksum.
    #[error("sealed chunk {sealed} is corrupt")]
    Corrupt {
        /// The chunk.
        sealed: SealedId,
    },
    /// The storage has no room, or takes no writes.
    #[error("the storage is full or read-only")]
    Full,
    /// The storage cannot be reached, or failed. Worth trying again.
    #[error("the storage is unavailable")]
    Unavailable {
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A chunk that no backend stores: empty, or over 4 GiB.
    #[error("a sealed chunk of {bytes} bytes cannot be stored")]
    InvalidLength {
        /// Its length.
        bytes: usize,
    },
    /// Other bytes are stored under the same id: ids are not drawn afresh.
    #[error("other bytes are stored under sealed chunk id {sealed}")]
    Conflict {
        /// The chunk.
        sealed: SealedId,
    },
}

/// The configuration of an object store is refused.
#[derive(Debug, thiserror::Error)]
pub enum BackendConfigError {
    /// The URL is not one of an object store.
    #[error(
        "{url:?} is no object store: expected s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX, file:///FOLDER or memory:///"
    )]
    Url {
        /// What was given.
        url: String,
    },
    /// An option that this kind of store doesn't have.
    #[error("option {option:?} is unknown for {url:?}")]
    UnknownOption {
        /// The option.
        option: String,
        /// The URL of the store.
        url: String,
    },
    /// The store refuses the options, or its folder cannot be made.
    #[error("object store {url:?} cannot be set up")]
    Setup {
        /// The URL of the store.
        url: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

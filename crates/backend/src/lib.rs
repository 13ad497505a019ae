//! Where sealed chunks go: the [`Backend`] contract, and the four places that keep it.
//!
//! - [`MeshBackend`]: erasure-coded over the nodes of the mesh;
//! - [`LocalBackend`]: one disk of this machine, no network;
//! - [`ObjectStoreBackend`]: a bucket of S3, Google or Azure, or a folder;
//! - [`MemoryBackend`]: nothing survives; for tests and trials.
//!
//! A backend knows sealed chunks and nothing else: neither keys nor names nor owners. Storage classes choose among
//! the backends that the configuration names.

mod contract;
mod error;
mod local;
mod memory;
mod mesh;
mod object_store;

pub use contract::{Backend, Placed, Presence, StoredChunk};
pub use error::{BackendConfigError, BackendError};
pub use local::LocalBackend;
pub use memory::MemoryBackend;
pub use mesh::MeshBackend;
pub use object_store::ObjectStoreBackend;

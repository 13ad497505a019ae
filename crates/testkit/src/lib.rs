//! Conformance suites, an in-memory mesh and temporary databases, for tests only.
//!
//! The feature `mesh` (on by default) brings what depends on the mesh; tests of SQL alone turn it off.

#[cfg(feature = "mesh")]
pub mod backends;
mod databases;
#[cfg(feature = "mesh")]
mod directory;
#[cfg(feature = "mesh")]
mod memory_mesh;
mod postgres_server;

pub use databases::{for_each_database, for_each_engine, fresh_database};
#[cfg(feature = "mesh")]
pub use directory::MemoryDirectory;
#[cfg(feature = "mesh")]
pub use memory_mesh::{Damage, MemoryMesh, Snapshot, network_map};

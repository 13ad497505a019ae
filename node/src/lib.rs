//! A storage node: shards on a disk, served to the members of the network map.
//!
//! The node knows shards by their ids and nothing else: no names, owners or chunk ids ever reach it, and every
//! byte that it stores is ciphertext. The gateway's development mode runs several of these in one process.

pub mod config;
pub mod durable_file;
mod error;
mod map_file;
mod node;
pub mod process;
mod scrub;
mod service;
mod telemetry;

pub use error::{NodeError, one_line};
pub use map_file::MapFiles;
pub use node::{Node, NodeOptions, mesh_config};
pub use scrub::{ScrubReport, Scrubber};
pub use service::StoreService;
pub use telemetry::{TelemetryError, start_logging};

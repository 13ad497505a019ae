//! Real clients and real failures against real processes.
//!
//! The library starts gateways and clusters and runs client programs; the tests in `tests/` say what must hold.
//! Nothing here links the gateway: the tests see what a user sees, binaries, ports and files.

mod client;
mod cluster;
mod data;
mod gateway;
mod mount;

pub use client::{Client, client_file, installed};
pub use cluster::LocalCluster;
pub use data::{INTERESTING_SIZES, source_tree, unique_bytes, write_file};
pub use gateway::{Credentials, Gateway, binary};
pub use mount::Mount;

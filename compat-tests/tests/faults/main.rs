//! Failures of real processes: what was acknowledged is there afterwards, byte for byte.
//!
//! The numbers are those of the fault matrix in ARCHITECTURE.md.

mod cluster_faults;
mod erasure_faults;
mod gateway_faults;
mod ledger;
mod metering;
mod outbox;
mod secrecy;
mod shared_database;
mod two_gateways;

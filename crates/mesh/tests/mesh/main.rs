//! Hosts over loopback: who is served, what a hostile or broken peer can do, what survives a restart.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod hostile;
mod hosts;
mod maps;
mod members;
mod restarts;
mod transfers;

//! Hosts over loopback: who is served, what a hostile or broken peer can do, what survives a restart.

mod hostile;
mod hosts;
mod maps;
mod members;
mod restarts;
mod transfers;

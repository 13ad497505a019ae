//! Peers and messages: the only crate that names libp2p.

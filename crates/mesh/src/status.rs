//! What nodes tell everybody, by gossip.

use std::time::Duration;

use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity, ValidationMode};
use libp2p::identity::Keypair;
use serde::{Deserialize, Serialize};

use crate::{MeshError, NodeUsage};

/// The largest status, in bytes of its JSON.
const STATUS_BYTES_MAX: usize = 4 << 10;

/// What a node says of itself. Signed by the node; whether it is true is for audits to find out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// How full it is.
    pub usage: NodeUsage,
    /// The version of the software.
    pub version: String,
    /// The epoch of the map it has.
    pub map_epoch: u64,
    /// Milliseconds since the Unix epoch by the node's own clock: an older status never replaces a newer one of
    /// the same node.
    pub sequence: u64,
}

pub(crate) fn topic(network: &str) -> IdentTopic {
    IdentTopic::new(format!("/datamesh/{network}/status/1"))
}

pub(crate) fn behaviour(keypair: &Keypair) -> Result<gossipsub::Behaviour, MeshError> {
    let fail = |reason: String| MeshError::Transport { transport: "gossipsub", reason };
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(ValidationMode::Strict)
        .max_transmit_size(2 * STATUS_BYTES_MAX)
        .heartbeat_interval(Duration::from_secs(5))
        .build()
        .map_err(|error| fail(error.to_string()))?;
    gossipsub::Behaviour::new(MessageAuthenticity::Signed(keypair.clone()), config)
        .map_err(|reason| fail(reason.to_owned()))
}

pub(crate) fn encode(status: &NodeStatus) -> Vec<u8> {
    serde_json::to_vec(status).expect("a status has no keys that JSON cannot express")
}

/// `None` for anything that is too large or no status.
pub(crate) fn decode(bytes: &[u8]) -> Option<NodeStatus> {
    if bytes.len() > STATUS_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(bytes).ok()
}

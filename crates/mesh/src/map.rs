//! The network map: the signed, numbered list of members.

use datamesh_types::NodeId;
use serde::{Deserialize, Serialize};

use crate::{MapError, OperatorId, OperatorKey};

/// The largest signed map that is read, in bytes of its JSON.
pub const SIGNED_MAP_BYTES_MAX: usize = 8 << 20;

/// What a member does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Roles {
    /// Stores shards.
    pub storage: bool,
    /// May store and delete shards on the nodes.
    pub gateway: bool,
    /// Helps others to find the mesh.
    pub bootstrap: bool,
}

/// Whether a member takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// In full.
    Active,
    /// Serves what it holds and takes part, but gets nothing new: it is being emptied.
    Draining,
    /// No longer. Kept in the map so that its past stays known; peers refuse it.
    Removed,
}

/// One peer in the map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its public key.
    pub node: NodeId,
    /// What it does.
    pub roles: Roles,
    /// Who runs it: the first failure domain.
    pub operator: String,
    /// Where it is: the second failure domain.
    pub region: String,
    /// Where it is reached, as multiaddrs, best first. May be empty when only the member dials.
    pub addresses: Vec<String>,
    /// What it offers, in bytes; 0 for members that store nothing.
    pub capacity_bytes: u64,
    /// Whether it takes part.
    pub state: MemberState,
}

/// The list of members. A newer one, by epoch, replaces it whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkMap {
    /// Name of the network; a map of another network is refused.
    pub network: String,
    /// Strictly increasing.
    pub epoch: u64,
    /// Who belongs, removed members included.
    pub members: Vec<Member>,
}

impl NetworkMap {
    /// The member with this key, whatever its state.
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        self.members.iter().find(|member| member.node == node)
    }
}

/// One operator's signature of a map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapSignature {
    /// Who signed.
    pub operator: OperatorId,
    /// Ed25519, in hexadecimal.
    pub signature: String,
}

/// A map as it is stored and sent: exact bytes and the signatures over them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedMap {
    /// The JSON of a [`NetworkMap`], byte for byte what was signed.
    payload: String,
    signatures: Vec<MapSignature>,
}

impl SignedMap {
    /// Signs a map.
    pub fn sign(_map: &NetworkMap, _key: &OperatorKey) -> Self {
        todo!()
    }

    /// Adds another operator's signature of the same bytes.
    pub fn add_signature(&mut self, _key: &OperatorKey) {
        todo!()
    }

    /// The map, when at least one of the `trusted` operators has signed it.
    pub fn verify(&self, trusted: &[OperatorId]) -> Result<NetworkMap, MapError> {
        self.verify_quorum(trusted, 1)
    }

    /// The map, when at least `required` of the `trusted` operators have signed it.
    pub fn verify_quorum(&self, _trusted: &[OperatorId], _required: usize) -> Result<NetworkMap, MapError> {
        todo!()
    }

    /// The stored form: JSON. Who starts a host keeps it in a file and hands it back in the configuration.
    pub fn to_json(&self) -> String {
        todo!()
    }

    /// Reads [`Self::to_json`]; checks no signature.
    pub fn from_json(_json: &str) -> Result<Self, MapError> {
        todo!()
    }
}

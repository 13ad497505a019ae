//! The network map: the signed, numbered list of members.

use std::collections::BTreeSet;

use datamesh_types::NodeId;
use serde::{Deserialize, Serialize};

use crate::{MapError, OperatorId, OperatorKey};

/// The largest signed map that is read, in bytes of its JSON.
pub const SIGNED_MAP_BYTES_MAX: usize = 8 << 20;

/// Addresses that a member may have.
const ADDRESSES_MAX: usize = 16;

const FORMAT: u32 = 1;

/// Keeps a signature of a map from being taken for a signature of anything else.
const DOMAIN: &[u8] = b"datamesh network map v1\0";

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

impl Member {
    /// Whether peers talk to it: it is active or draining.
    pub fn admitted(&self) -> bool {
        self.state != MemberState::Removed
    }
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

    fn check(&self) -> Result<(), MapError> {
        let malformed = |reason: String| MapError::Malformed { reason };
        if self.network.is_empty() {
            return Err(malformed("the network has no name".to_owned()));
        }
        let mut seen = BTreeSet::new();
        for member in &self.members {
            if !seen.insert(member.node) {
                return Err(malformed(format!("node {} is listed twice", member.node)));
            }
            if member.addresses.len() > ADDRESSES_MAX {
                return Err(malformed(format!(
                    "node {} has more than {ADDRESSES_MAX} addresses",
                    member.node
                )));
            }
        }
        Ok(())
    }
}

/// One operator's signature of a map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapSignature {
    /// Who signed.
    pub operator: OperatorId,
    /// Ed25519 over the domain tag and the payload, in hexadecimal.
    pub signature: String,
}

/// A map as it is stored and sent: exact bytes and the signatures over them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedMap {
    /// Version of this format and of the payload's.
    format: u32,
    /// The JSON of a [`NetworkMap`], byte for byte what was signed.
    payload: String,
    signatures: Vec<MapSignature>,
}

impl SignedMap {
    /// Signs a map.
    pub fn sign(map: &NetworkMap, key: &OperatorKey) -> Self {
        let payload = serde_json::to_string(map).expect("a map has no keys that JSON cannot express");
        let mut signed = Self { format: FORMAT, payload, signatures: Vec::new() };
        signed.add_signature(key);
        signed
    }

    /// Adds another operator's signature of the same bytes, or replaces the one that it gave before.
    pub fn add_signature(&mut self, key: &OperatorKey) {
        let operator = key.operator_id();
        let signature = hex::encode(key.sign(&signed_bytes(&self.payload)));
        self.signatures.retain(|signature| signature.operator != operator);
        self.signatures.push(MapSignature { operator, signature });
    }

    /// The map, when at least one of the `trusted` operators has signed it.
    pub fn verify(&self, trusted: &[OperatorId]) -> Result<NetworkMap, MapError> {
        self.verify_quorum(trusted, 1)
    }

    /// The map, when at least `required` of the `trusted` operators have signed it.
    ///
    /// Nothing of the payload is looked at before the signatures hold.
    pub fn verify_quorum(&self, trusted: &[OperatorId], required: usize) -> Result<NetworkMap, MapError> {
        let malformed = |reason: String| MapError::Malformed { reason };
        if self.format != FORMAT {
            return Err(malformed(format!("format {} is unknown, expected {FORMAT}", self.format)));
        }
        if self.payload.len() > SIGNED_MAP_BYTES_MAX {
            return Err(malformed(format!("{} bytes are too many", self.payload.len())));
        }
        let message = signed_bytes(&self.payload);
        let trusted: BTreeSet<OperatorId> = trusted.iter().copied().collect();
        let has_signed = |operator: &OperatorId| {
            self.signatures.iter().filter(|signature| signature.operator == *operator).any(|signature| {
                let mut bytes = [0; 64];
                hex::decode_to_slice(&signature.signature, &mut bytes).is_ok()
                    && operator.has_signed(&message, &bytes)
            })
        };
        let valid = trusted.iter().filter(|operator| has_signed(operator)).count();
        // Nobody's signature is never enough, whatever the configuration says.
        let required = required.max(1);
        if valid < required {
            return Err(MapError::Unsigned { valid, required });
        }
        let map: NetworkMap =
            serde_json::from_str(&self.payload).map_err(|error| malformed(error.to_string()))?;
        map.check()?;
        Ok(map)
    }

    /// The stored form: JSON. Who starts a host keeps it in a file and hands it back in the configuration.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a signed map has no keys that JSON cannot express")
    }

    /// Reads [`Self::to_json`]; checks no signature.
    pub fn from_json(json: &str) -> Result<Self, MapError> {
        serde_json::from_str(json).map_err(|error| MapError::Malformed { reason: error.to_string() })
    }
}

fn signed_bytes(payload: &str) -> Vec<u8> {
    [DOMAIN, payload.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: u8) -> Member {
        Member {
            node: NodeId([node; 32]),
            roles: Roles { storage: true, ..Roles::default() },
            operator: "one".to_owned(),
            region: "here".to_owned(),
            addresses: vec!["/ip4/127.0.0.1/tcp/4001".to_owned()],
            capacity_bytes: 1,
            state: MemberState::Active,
        }
    }

    fn map() -> NetworkMap {
        NetworkMap { network: "test".to_owned(), epoch: 3, members: vec![member(1), member(2)] }
    }

    #[test]
    fn a_signed_map_survives_its_stored_form() {
        let key = OperatorKey::generate();
        let signed = SignedMap::from_json(&SignedMap::sign(&map(), &key).to_json()).unwrap();
        assert_eq!(signed.verify(&[key.operator_id()]).unwrap(), map());
    }

    #[test]
    fn a_map_with_one_changed_byte_is_refused() {
        let key = OperatorKey::generate();
        let mut signed = SignedMap::sign(&map(), &key);
        signed.payload = signed.payload.replace("\"epoch\":3", "\"epoch\":4");
        let refused = signed.verify(&[key.operator_id()]).unwrap_err();
        assert_eq!(refused, MapError::Unsigned { valid: 0, required: 1 });
    }

    #[test]
    fn a_signature_counts_only_for_its_own_trusted_operator() {
        let (trusted, other) = (OperatorKey::generate(), OperatorKey::generate());
        let mut signed = SignedMap::sign(&map(), &other);
        assert!(signed.verify(&[trusted.operator_id()]).is_err());
        signed.signatures[0].operator = trusted.operator_id();
        assert!(signed.verify(&[trusted.operator_id()]).is_err());
        assert!(signed.verify(&[]).is_err());
        assert!(signed.verify_quorum(&[], 0).is_err());
    }

    #[test]
    fn a_quorum_counts_each_operator_once() {
        let (one, two) = (OperatorKey::generate(), OperatorKey::generate());
        let trusted = [one.operator_id(), two.operator_id(), one.operator_id()];
        let mut signed = SignedMap::sign(&map(), &one);
        signed.signatures.push(signed.signatures[0].clone());
        assert_eq!(
            signed.verify_quorum(&trusted, 2).unwrap_err(),
            MapError::Unsigned { valid: 1, required: 2 }
        );
        signed.add_signature(&two);
        assert!(signed.verify_quorum(&trusted, 2).is_ok());
    }

    #[test]
    fn a_signature_of_the_bare_payload_is_refused() {
        let key = OperatorKey::generate();
        let mut signed = SignedMap::sign(&map(), &key);
        signed.signatures[0].signature = hex::encode(key.sign(signed.payload.as_bytes()));
        assert!(signed.verify(&[key.operator_id()]).is_err());
    }

    #[test]
    fn a_map_that_names_a_member_twice_is_refused() {
        let key = OperatorKey::generate();
        let mut twice = map();
        twice.members.push(member(1));
        let refused = SignedMap::sign(&twice, &key).verify(&[key.operator_id()]).unwrap_err();
        assert!(refused.to_string().contains("twice"), "{refused}");
    }

    #[test]
    fn texts_that_are_no_map_are_refused() {
        for text in ["", "{}", "[]", "{\"format\":1}", "null"] {
            assert!(SignedMap::from_json(text).is_err(), "{text}");
        }
    }

    /// Maps of earlier versions must stay readable: this one was signed by the first.
    #[test]
    fn the_first_format_stays_readable() {
        let signed = SignedMap::from_json(include_str!("../fixtures/signed-map-1.json")).unwrap();
        let operator: OperatorId =
            "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c".parse().unwrap();
        assert_eq!(signed.verify(&[operator]).unwrap(), map());
    }
}

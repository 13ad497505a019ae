//! Identities: a host's key, which names it in the map, and an operator's key, which signs maps.

use std::fmt;
use std::path::Path;

use datamesh_types::NodeId;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::MeshError;

/// An operator's Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperatorId(pub NodeId);

/// The Ed25519 key of a host. Its public half is the [`NodeId`] and decides the libp2p peer id.
#[derive(Clone)]
pub struct NodeKey(SigningKey);

impl NodeKey {
    /// A fresh key.
    pub fn generate() -> Self {
        todo!()
    }

    /// The key in `path`; when there is no such file, a fresh one is written there first, durably and with mode
    /// 0600.
    ///
    /// # Errors
    /// [`MeshError::KeyFile`] when the file cannot be read or written, is open to others, or is no key.
    pub fn load_or_create(_path: &Path) -> Result<Self, MeshError> {
        todo!()
    }

    /// The public key.
    pub fn node_id(&self) -> NodeId {
        NodeId(self.0.verifying_key().to_bytes())
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({}, secret redacted)", self.node_id())
    }
}

/// The Ed25519 key with which an operator signs network maps.
#[derive(Clone)]
pub struct OperatorKey(SigningKey);

impl OperatorKey {
    /// A fresh key.
    pub fn generate() -> Self {
        todo!()
    }

    /// Like [`NodeKey::load_or_create`].
    pub fn load_or_create(_path: &Path) -> Result<Self, MeshError> {
        todo!()
    }

    /// The public key.
    pub fn operator_id(&self) -> OperatorId {
        OperatorId(NodeId(self.0.verifying_key().to_bytes()))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorKey({:?}, secret redacted)", self.operator_id())
    }
}

impl OperatorId {
    pub(crate) fn verifying_key(&self) -> Option<VerifyingKey> {
        VerifyingKey::from_bytes(&self.0.0).ok()
    }
}

impl fmt::Debug for OperatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorId({})", self.0)
    }
}

impl fmt::Display for OperatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

//! Identities: a host's key, which names it in the map, and an operator's key, which signs maps.
//!
//! A key file holds the 32 bytes of the Ed25519 seed in hexadecimal and is readable by its owner only.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::str::FromStr;

use datamesh_types::{NodeId, ParseIdError};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use libp2p::PeerId;
use libp2p::identity::{Keypair, PublicKey, ed25519};
use serde::{Deserialize, Serialize};

use crate::MeshError;

/// The Ed25519 key of a host. Its public half is the [`NodeId`] and decides the libp2p peer id.
#[derive(Clone)]
pub struct NodeKey(SigningKey);

impl NodeKey {
    /// A fresh key.
    pub fn generate() -> Self {
        Self(random_key())
    }

    /// The key in `path`; when there is no such file, a fresh one is written there first, durably and with mode
    /// 0600.
    ///
    /// # Errors
    /// [`MeshError::KeyFile`] when the file cannot be read or written, is open to others, or is no key.
    pub fn load_or_create(path: &Path) -> Result<Self, MeshError> {
        load_or_create(path).map(Self)
    }

    /// The public key.
    pub fn node_id(&self) -> NodeId {
        NodeId(self.0.verifying_key().to_bytes())
    }

    pub(crate) fn keypair(&self) -> Keypair {
        let mut secret = self.0.to_bytes();
        let secret = ed25519::SecretKey::try_from_bytes(&mut secret).expect("32 bytes are an Ed25519 seed");
        Keypair::from(ed25519::Keypair::from(secret))
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
        Self(random_key())
    }

    /// Like [`NodeKey::load_or_create`].
    pub fn load_or_create(path: &Path) -> Result<Self, MeshError> {
        load_or_create(path).map(Self)
    }

    /// The public key.
    pub fn operator_id(&self) -> OperatorId {
        OperatorId(self.0.verifying_key().to_bytes())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorKey({}, secret redacted)", self.operator_id())
    }
}

/// An operator's Ed25519 public key. Prints and parses as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "NodeId", into = "NodeId")]
pub struct OperatorId(pub [u8; 32]);

impl OperatorId {
    /// Whether `signature` is this operator's over `message`, by the strict rules that leave no second
    /// signature of the same message.
    pub(crate) fn has_signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }
}

// The text form of both ids is the same; the conversions exist for serde and parsing.
impl From<NodeId> for OperatorId {
    fn from(id: NodeId) -> Self {
        Self(id.0)
    }
}

impl From<OperatorId> for NodeId {
    fn from(id: OperatorId) -> Self {
        Self(id.0)
    }
}

impl FromStr for OperatorId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        text.parse::<NodeId>().map(Self::from).map_err(|error| ParseIdError { kind: "operator id", ..error })
    }
}

impl fmt::Debug for OperatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorId({self})")
    }
}

impl fmt::Display for OperatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// The libp2p peer id of a node, or `None` when the id is no point of the curve.
pub(crate) fn peer_id(node: NodeId) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(node.as_bytes()).ok()?;
    Some(PublicKey::from(key).to_peer_id())
}

/// The node behind a libp2p peer id; `None` for other kinds of key.
pub(crate) fn node_id(peer: &PeerId) -> Option<NodeId> {
    // The peer id of an Ed25519 key is an identity multihash: it holds the protobuf of the public key.
    let multihash = peer.as_ref();
    if multihash.code() != 0 {
        return None;
    }
    let key = PublicKey::try_decode_protobuf(multihash.digest()).ok()?.try_into_ed25519().ok()?;
    Some(NodeId(key.to_bytes()))
}

fn random_key() -> SigningKey {
    SigningKey::from_bytes(&rand::random())
}

fn load_or_create(path: &Path) -> Result<SigningKey, MeshError> {
    let fail = |reason, source| MeshError::KeyFile { path: path.to_owned(), reason, source };
    match fs::read_to_string(path) {
        Ok(text) => {
            let metadata = fs::metadata(path).map_err(|error| fail("cannot be read", Some(error)))?;
            if metadata.permissions().mode() & 0o077 != 0 {
                return Err(fail("is open to other users, expected mode 0600", None));
            }
            let mut seed = [0; 32];
            hex::decode_to_slice(text.trim(), &mut seed)
                .map_err(|_| fail("holds no key, expected 64 hexadecimal digits", None))?;
            Ok(SigningKey::from_bytes(&seed))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = random_key();
            write_new(path, &hex::encode(key.to_bytes()))
                .map_err(|error| fail("cannot be written", Some(error)))?;
            Ok(key)
        }
        Err(error) => Err(fail("cannot be read", Some(error))),
    }
}

/// Writes beside the path and renames, so that a crash leaves no half key behind.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_private_and_gives_the_same_key_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys").join("node.key");
        let key = NodeKey::load_or_create(&path).unwrap();
        assert_eq!(NodeKey::load_or_create(&path).unwrap().node_id(), key.node_id());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_key_file_that_others_can_read_or_that_is_damaged_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        NodeKey::load_or_create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(NodeKey::load_or_create(&path).unwrap_err().to_string().contains("mode 0600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "abcd").unwrap();
        assert!(NodeKey::load_or_create(&path).unwrap_err().to_string().contains("no key"));
    }

    #[test]
    fn a_node_id_and_its_peer_id_convert_both_ways() {
        let key = NodeKey::generate();
        let peer = key.keypair().public().to_peer_id();
        assert_eq!(peer_id(key.node_id()), Some(peer));
        assert_eq!(node_id(&peer), Some(key.node_id()));
        assert_eq!(node_id(&PeerId::from_bytes(&[0x12, 1, 7]).unwrap()), None);
    }

    #[test]
    fn a_secret_never_prints() {
        let key = NodeKey::generate();
        let seed = hex::encode(key.0.to_bytes());
        assert!(!format!("{key:?}").contains(&seed));
    }
}

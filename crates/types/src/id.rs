//! Newtype identifiers. All of them print as lower-case hexadecimal and parse from it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A text that is not the hexadecimal form of the identifier it was parsed as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind}: expected {digits} hexadecimal digits")]
pub struct ParseIdError {
    /// Which identifier was expected, in words.
    pub kind: &'static str,
    /// How many hexadecimal digits it has.
    pub digits: usize,
    /// What was given.
    pub text: String,
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The identifier in `bytes`, or `None` when their length differs from [`Self::LEN`].
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let mut bytes = [0; $len];
                hex::decode_to_slice(text, &mut bytes)
                    .map_err(|_| ParseIdError { kind: $kind, digits: $len * 2, text: text.to_owned() })?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

byte_id!(
    /// BLAKE3 of a chunk's plaintext, keyed by its dedup domain. Never leaves the gateway.
    ChunkId, 32, "chunk id"
);
byte_id!(
    /// Names one sealed chunk: one compression and encryption of a chunk, with its own nonce.
    ///
    /// It is random, so that a node learns nothing from it, and drawn anew each time a chunk is written. A
    /// sealed id therefore stands for the generation of a chunk: its bytes never change, and deleting it can
    /// never hit a later write of the same chunk.
    SealedId, 16, "sealed chunk id"
);
byte_id!(
    /// A node's Ed25519 public key.
    NodeId, 32, "node id"
);
byte_id!(
    /// An account.
    AccountId, 16, "account id"
);
byte_id!(
    /// A dedup domain: who may share chunks. By default there is one per account.
    DomainId, 16, "dedup domain id"
);

macro_rules! random_id {
    ($($name:ident),*) => {$(
        impl $name {
            /// A fresh random identifier.
            pub fn random() -> Self {
                Self(*Uuid::new_v4().as_bytes())
            }
        }
    )*};
}

random_id!(SealedId, AccountId, DomainId);

/// A placement group: an ordered set of nodes that hold the shards of every chunk in it.
///
/// Groups are numbered by the catalog from 1; 0 stands for a backend that has no groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupId(pub u64);

impl GroupId {
    /// The group of backends that have none.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_form() {
        let id = SealedId::random();
        assert_eq!(id.to_string().parse::<SealedId>().unwrap(), id);
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<SealedId>(&json).unwrap(), id);
    }

    #[test]
    fn a_text_of_the_wrong_length_is_refused_by_name() {
        let error = "abcd".parse::<NodeId>().unwrap_err();
        assert_eq!(error.to_string(), "\"abcd\" is not a node id: expected 64 hexadecimal digits");
    }
}

//! The head of the audit log, and the key that signs it.
//!
//! The signature, version 1, is Ed25519 over `datamesh audit head 1` and a zero byte, the last entry's sequence and time as
//! u64, little-endian, and its hash.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Digest;

const TAG: &[u8] = b"datamesh audit head 1\0";
const REQUESTS: &[u8] = b"audit request digests 1";

/// What the log ends with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditHead {
    /// The last entry's number; 0 while there is none.
    pub sequence: u64,
    /// When it was written, milliseconds since 1970.
    pub at_ms: u64,
    /// Its hash.
    pub hash: Digest,
    /// The signature, in hexadecimal digits; empty while there is no entry.
    pub signature: String,
}

impl AuditHead {
    fn signed_text(sequence: u64, at_ms: u64, hash: &Digest) -> Vec<u8> {
        [TAG, &sequence.to_le_bytes(), &at_ms.to_le_bytes(), &hash.0].concat()
    }

    /// Whether the log's key has signed it. The head of an empty log has no signature.
    pub fn is_signed_by(&self, key: &AuditPublicKey) -> bool {
        if self.sequence == 0 {
            return self.signature.is_empty() && self.hash == Digest::NONE;
        }
        let Ok(signature) = hex::decode(&self.signature) else { return false };
        let text = Self::signed_text(self.sequence, self.at_ms, &self.hash);
        UnparsedPublicKey::new(&ED25519, key.0).verify(&text, &signature).is_ok()
    }
}

/// The public half of the log's key. As text, 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AuditPublicKey([u8; 32]);

impl fmt::Display for AuditPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for AuditPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuditPublicKey({self})")
    }
}

impl FromStr for AuditPublicKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| "expected 64 hexadecimal digits".to_owned())?;
        Ok(Self(bytes))
    }
}

impl Serialize for AuditPublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AuditPublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The log's key. Its Debug form shows nothing of it.
pub(crate) struct AuditKey {
    pair: Ed25519KeyPair,
    requests: hmac::Key,
}

impl AuditKey {
    pub fn new(seed: &[u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are an Ed25519 seed");
        let root = hmac::Key::new(hmac::HMAC_SHA256, seed);
        let requests = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, REQUESTS).as_ref());
        Self { pair, requests }
    }

    pub fn public(&self) -> AuditPublicKey {
        let bytes = self.pair.public_key().as_ref();
        AuditPublicKey(bytes.try_into().expect("an Ed25519 public key has 32 bytes"))
    }

    pub fn sign(&self, sequence: u64, at_ms: u64, hash: Digest) -> AuditHead {
        let signature = self.pair.sign(&AuditHead::signed_text(sequence, at_ms, &hash));
        AuditHead { sequence, at_ms, hash, signature: hex::encode(signature.as_ref()) }
    }

    /// The digest of a request's parts. It is keyed: a body may hold a secret that could be guessed.
    pub fn request_digest(&self, parts: &[&[u8]]) -> Digest {
        let mut context = hmac::Context::with_key(&self.requests);
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        Digest(context.sign().as_ref().try_into().expect("an HMAC-SHA256 has 32 bytes"))
    }
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_good_only_as_it_was_signed_and_by_whom() {
        let key = AuditKey::new(&[7; 32]);
        let head = key.sign(3, 5, Digest([9; 32]));
        assert!(head.is_signed_by(&key.public()));
        assert!(!head.is_signed_by(&AuditKey::new(&[8; 32]).public()));
        let changes: [fn(&mut AuditHead); 5] = [
            |head| head.sequence = 2,
            |head| head.at_ms = 6,
            |head| head.hash.0[0] ^= 1,
            |head| head.signature.replace_range(..2, "00"),
            |head| head.signature.clear(),
        ];
        for change in changes {
            let mut altered = head.clone();
            change(&mut altered);
            assert!(!altered.is_signed_by(&key.public()), "{altered:?}");
        }
        assert_eq!(format!("{key:?}"), "AuditKey(..)");
    }

    #[test]
    fn digests_of_requests_depend_on_the_key_and_on_where_a_part_ends() {
        let key = AuditKey::new(&[7; 32]);
        let digest = key.request_digest(&[b"PUT", b"/v1/x"]);
        assert_eq!(digest, key.request_digest(&[b"PUT", b"/v1/x"]));
        assert_ne!(digest, key.request_digest(&[b"PUT/", b"v1/x"]));
        assert_ne!(digest, AuditKey::new(&[8; 32]).request_digest(&[b"PUT", b"/v1/x"]));
    }
}

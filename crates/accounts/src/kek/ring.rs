//! The keys of a KEK file, and what they seal.
//!
//! Sealed secret, version 2: `version u8 | key id [4] | nonce [12] | ciphertext | tag [16]`, AES-256-GCM, with
//! `datamesh sealed secret 1:` and the secret's name as additional data. Version 1 has no key id: each key is tried.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::KekId;
use crate::AccountsError;

pub(super) const KEY_LEN: usize = 32;
const UNNAMED: u8 = 1;
const NAMED: u8 = 2;
const AAD_PREFIX: &str = "datamesh sealed secret 1:";
const ID_CONTEXT: &[u8] = b"datamesh key-encryption key id";

/// How many bytes at the start of a sealed secret say what it was sealed under.
pub(crate) const SEALED_HEAD_LEN: usize = 1 + KekId::LEN;

/// What a key of a file is for. All of them open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KekRole {
    /// New secrets are sealed under it. A file has one such key.
    Sealing,
    /// It was added, and will seal after the next rotation.
    Next,
    /// It sealed before the last rotation.
    Old,
}

/// One key.
#[derive(Clone)]
pub(super) struct KekKey {
    pub id: KekId,
    pub role: KekRole,
    cipher: Arc<RandomizedNonceKey>,
    /// For writing the file again.
    pub bytes: Zeroizing<[u8; KEY_LEN]>,
}

impl KekKey {
    pub fn new(role: KekRole, bytes: Zeroizing<[u8; KEY_LEN]>) -> Self {
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, &*bytes).expect("AES-256 keys have 32 bytes");
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &*bytes), ID_CONTEXT);
        let id = tag.as_ref().first_chunk().expect("a SHA-256 tag is longer than an id");
        Self { id: KekId(*id), role, cipher: Arc::new(cipher), bytes }
    }

    fn open(&self, name: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut text = Zeroizing::new(text.to_vec());
        let aad = Aad::from(format!("{AAD_PREFIX}{name}"));
        let len = self.cipher.open_in_place(Nonce::from(nonce), aad, &mut text).ok()?.len();
        text.truncate(len);
        Some(text)
    }
}

/// The keys of a file. One of them seals.
pub(super) struct Ring {
    keys: Vec<KekKey>,
}

impl Ring {
    /// `None` unless exactly one of the keys seals and at most one is next.
    pub fn new(keys: Vec<KekKey>) -> Option<Self> {
        let count = |role| keys.iter().filter(|key| key.role == role).count();
        (count(KekRole::Sealing) == 1 && count(KekRole::Next) <= 1).then_some(Self { keys })
    }

    pub fn keys(&self) -> &[KekKey] {
        &self.keys
    }

    pub fn sealing(&self) -> &KekKey {
        self.with_role(KekRole::Sealing).expect("one key of a ring seals")
    }

    pub fn with_role(&self, role: KekRole) -> Option<&KekKey> {
        self.keys.iter().find(|key| key.role == role)
    }

    pub fn seal(&self, name: &str, secret: &[u8]) -> Result<Vec<u8>, AccountsError> {
        let key = self.sealing();
        let mut text = Zeroizing::new(secret.to_vec());
        text.reserve_exact(AES_256_GCM.tag_len());
        let nonce = key
            .cipher
            .seal_in_place_append_tag(Aad::from(format!("{AAD_PREFIX}{name}")), &mut *text)
            .map_err(|_| AccountsError::Random)?;
        Ok([&[NAMED], key.id.0.as_slice(), nonce.as_ref().as_slice(), &text].concat())
    }

    /// Opens what [`Self::seal`] made, also under another key of the ring.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, AccountsError> {
        let opened = match sealed.split_first() {
            Some((&NAMED, _)) => {
                let id = KekId::of_sealed(sealed).ok_or_else(|| damaged(name))?;
                let key = self.keys.iter().find(|key| key.id == id);
                let key = key.ok_or_else(|| AccountsError::UnknownKek { id, name: name.to_owned() })?;
                key.open(name, &sealed[SEALED_HEAD_LEN..])
            }
            Some((&UNNAMED, rest)) => self.keys.iter().find_map(|key| key.open(name, rest)),
            _ => None,
        };
        opened.ok_or_else(|| damaged(name))
    }
}

impl KekId {
    /// The key that a secret was sealed under, or that the start of one names; `None` for version 1.
    pub(crate) fn of_sealed(sealed: &[u8]) -> Option<Self> {
        match sealed.split_first() {
            Some((&NAMED, rest)) => rest.first_chunk().copied().map(Self),
            _ => None,
        }
    }
}

fn damaged(name: &str) -> AccountsError {
    AccountsError::Damaged { name: name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(seeds: &[u8]) -> Ring {
        let roles = [KekRole::Sealing, KekRole::Old, KekRole::Old];
        let keys = seeds.iter().zip(roles);
        Ring::new(keys.map(|(seed, role)| KekKey::new(role, Zeroizing::new([*seed; KEY_LEN]))).collect())
            .unwrap()
    }

    #[test]
    fn a_secret_opens_only_under_its_name_key_and_bytes() {
        let sealed = ring(&[1]).seal("a", b"secret").unwrap();
        assert_eq!(**ring(&[1]).open("a", &sealed).unwrap(), *b"secret");
        assert!(ring(&[1]).open("b", &sealed).is_err());
        assert!(matches!(ring(&[2]).open("a", &sealed), Err(AccountsError::UnknownKek { .. })));
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(ring(&[1]).open("a", &changed).is_err(), "byte {index}");
            assert!(ring(&[1]).open("a", &sealed[..index]).is_err(), "{index} bytes");
        }
    }

    #[test]
    fn every_key_of_a_ring_opens_and_only_one_seals() {
        let old = ring(&[1]).seal("a", b"secret").unwrap();
        let rotated = ring(&[2, 1]);
        assert_eq!(**rotated.open("a", &old).unwrap(), *b"secret");
        let new = rotated.seal("a", b"secret").unwrap();
        assert_eq!(KekId::of_sealed(&new), Some(rotated.sealing().id));
        assert_ne!(KekId::of_sealed(&new), KekId::of_sealed(&old));
        assert_eq!(**ring(&[2]).open("a", &new).unwrap(), *b"secret");
    }

    #[test]
    fn secrets_sealed_by_version_1_still_open() {
        let golden = hex::decode(GOLDEN_1).unwrap();
        assert_eq!(KekId::of_sealed(&golden), None);
        for ring in [ring(&[1]), ring(&[2, 1])] {
            assert_eq!(**ring.open("a", &golden).unwrap(), *b"secret");
        }
        assert!(matches!(ring(&[2]).open("a", &golden), Err(AccountsError::Damaged { .. })));
    }

    const GOLDEN_1: &str = "01000102030405060708090a0bc8c3f654458a84e750eab0a84eaa87ac4365ce2d0d78";
}

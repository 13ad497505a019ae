//! Sealing of what is stored beside content: the MD5 that is an `ETag`, and small texts such as headers and checksums.
//!
//! Whoever reads the database must not be able to confirm a guess of an object's content, nor read what its owner wrote
//! about it. Both seals are deterministic: equal values of one domain are stored alike, as equal chunks are, so that a
//! sealed `ETag` can be compared inside a commit.
//!
//! * An MD5 is one block, so it is enciphered as one: AES-256 of these 16 bytes, which is a permutation of them. It has
//!   no tag, and needs none: what is opened with another key is the `ETag` of nothing.
//! * A text becomes `version u8 = 1 | ciphertext | tag [16]`: AES-256-GCM-SIV, which stays secure with the one nonce
//!   that all have (it is zero); the additional data is the version and what kind of text it is.
//!
//! The two keys are BLAKE3, keyed by a subkey of the domain key, over the purposes' names.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_256, DecryptingKey, DecryptionContext, EncryptingKey, UnboundCipherKey};
use zeroize::Zeroizing;

use crate::{DomainKey, PipelineError};

const VERSION: u8 = 1;
const TAG_LEN: usize = 16;

/// What a sealed text is: one kind does not open as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextKind {
    /// Headers, user metadata and the checksum of a version or an upload.
    Attributes,
    /// Checksums of a part.
    Checksums,
    /// A message about a change.
    Message,
}

impl TextKind {
    const fn code(self) -> u8 {
        match self {
            Self::Attributes => 1,
            Self::Checksums => 2,
            Self::Message => 3,
        }
    }
}

/// The ciphers of one domain, made when first used: keys of single objects never need them.
pub(crate) struct BesideCiphers {
    encipher: EncryptingKey,
    decipher: DecryptingKey,
    text: LessSafeKey,
}

impl BesideCiphers {
    /// The ciphers under the domain's subkey for them.
    pub(crate) fn new(subkey: &[u8; 32]) -> Result<Self, PipelineError> {
        let refused = |_| PipelineError::Crypto { action: "set up the ciphers of a domain" };
        let key = |purpose: &[u8]| Zeroizing::new(*blake3::keyed_hash(subkey, purpose).as_bytes());
        let block = key(b"md5");
        let unbound = || UnboundCipherKey::new(&AES_256, &*block).map_err(refused);
        let text = UnboundKey::new(&AES_256_GCM_SIV, &*key(b"text")).map_err(refused)?;
        Ok(Self {
            encipher: EncryptingKey::ecb(unbound()?).map_err(refused)?,
            decipher: DecryptingKey::ecb(unbound()?).map_err(refused)?,
            text: LessSafeKey::new(text),
        })
    }
}

impl DomainKey {
    /// An MD5 of the domain's content as it is stored.
    ///
    /// # Errors
    /// [`PipelineError::Crypto`].
    pub fn seal_md5(&self, md5: [u8; 16]) -> Result<[u8; 16], PipelineError> {
        let mut block = md5;
        let done = self.beside()?.encipher.encrypt(&mut block);
        done.map(|_| block).map_err(|_| PipelineError::Crypto { action: "seal an MD5" })
    }

    /// What [`Self::seal_md5`] was given.
    ///
    /// # Errors
    /// [`PipelineError::Crypto`].
    pub fn open_md5(&self, sealed: [u8; 16]) -> Result<[u8; 16], PipelineError> {
        let mut block = sealed;
        let done = self.beside()?.decipher.decrypt(&mut block, DecryptionContext::None).map(|_| ());
        done.map(|()| block).map_err(|_| PipelineError::Crypto { action: "open an MD5" })
    }

    /// A text as it is stored: 17 bytes longer.
    ///
    /// # Errors
    /// [`PipelineError::Crypto`].
    pub fn seal_text(&self, kind: TextKind, text: &str) -> Result<Vec<u8>, PipelineError> {
        let mut sealed = Vec::with_capacity(1 + text.len() + TAG_LEN);
        sealed.push(VERSION);
        sealed.extend_from_slice(text.as_bytes());
        let tag = self.beside()?.text.seal_in_place_separate_tag(nonce(), header(kind), &mut sealed[1..]);
        let tag = tag.map_err(|_| PipelineError::Crypto { action: "seal a text" })?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// What [`Self::seal_text`] was given.
    ///
    /// # Errors
    /// [`PipelineError::NotAuthentic`] for another domain, another kind or any change to the bytes;
    /// [`PipelineError::SealedVersion`] and [`PipelineError::SealedTruncated`] for what was never sealed.
    pub fn open_text(&self, kind: TextKind, mut sealed: Vec<u8>) -> Result<String, PipelineError> {
        if sealed.len() < 1 + TAG_LEN {
            return Err(PipelineError::SealedTruncated { len: sealed.len() });
        }
        if sealed[0] != VERSION {
            return Err(PipelineError::SealedVersion { version: sealed[0] });
        }
        let opened = self.beside()?.text.open_in_place(nonce(), header(kind), &mut sealed[1..]);
        let opened = opened.map_err(|_| PipelineError::NotAuthentic)?;
        str::from_utf8(opened).map(str::to_owned).map_err(|_| PipelineError::NotAuthentic)
    }
}

fn header(kind: TextKind) -> Aad<[u8; 2]> {
    Aad::from([VERSION, kind.code()])
}

/// One for all: the cipher is made for that, and tells no more than whether two texts are equal.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(byte: u8) -> DomainKey {
        DomainKey::from_bytes([byte; 32])
    }

    #[test]
    fn md5s_of_one_domain_can_be_compared_and_say_nothing_to_another() {
        let (here, there) = (domain(1), domain(2));
        let md5 = *b"sixteen bytes...";
        let sealed = here.seal_md5(md5).unwrap();
        assert_eq!(sealed, here.clone().seal_md5(md5).unwrap());
        assert_eq!(here.open_md5(sealed).unwrap(), md5);
        assert_ne!(sealed, md5);
        assert_ne!(there.seal_md5(md5).unwrap(), sealed);
        assert_ne!(there.open_md5(sealed).unwrap(), md5);
        assert_ne!(here.entity_tag(&md5), sealed, "tags of objects under customers' keys are another thing");
    }

    #[test]
    fn a_text_opens_as_what_it_was_sealed_as_in_its_own_domain() {
        let here = domain(1);
        for text in ["", "{}", "a longer text, with ümlauts"] {
            let sealed = here.seal_text(TextKind::Attributes, text).unwrap();
            assert_eq!(sealed.len(), text.len() + 17);
            assert_eq!(here.open_text(TextKind::Attributes, sealed.clone()).unwrap(), text);
            let refused = here.open_text(TextKind::Checksums, sealed.clone());
            assert!(matches!(refused, Err(PipelineError::NotAuthentic)));
            let refused = domain(2).open_text(TextKind::Attributes, sealed.clone());
            assert!(matches!(refused, Err(PipelineError::NotAuthentic)));
            for place in 1..sealed.len() {
                let mut changed = sealed.clone();
                changed[place] ^= 1;
                let refused = here.open_text(TextKind::Attributes, changed);
                assert!(matches!(refused, Err(PipelineError::NotAuthentic)), "byte {place}");
            }
        }
    }

    #[test]
    fn what_was_never_sealed_is_told_from_what_was_changed() {
        let open = |bytes: &[u8]| domain(1).open_text(TextKind::Message, bytes.to_vec());
        assert!(matches!(open(&[]), Err(PipelineError::SealedTruncated { len: 0 })));
        assert!(matches!(open(&[VERSION; 16]), Err(PipelineError::SealedTruncated { len: 16 })));
        assert!(matches!(open(&[2; 17]), Err(PipelineError::SealedVersion { version: 2 })));
    }
}

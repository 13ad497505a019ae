//! Envelopes: an object's own key, sealed so that it opens with the customer's key only.
//!
//! An object that is encrypted with a key of the customer's has a random *object key*, which takes the place of the
//! domain key for everything that is sealed of it: inline bytes and chunks alike. It is a dedup domain of its own, so no
//! chunk is shared with another object. Stored is only its envelope:
//!
//! ```text
//! version u8 = 1 | salt [16] | object key encrypted [32] | tag [16]
//! ```
//!
//! AES-256-GCM; the version is the additional data and the nonce is zero, because the key serves one envelope: BLAKE3,
//! keyed by a subkey of the account's domain key, over salt and customer's key. So an envelope says nothing about the
//! customer's key to whoever lacks the domain key, not even whether a guess is right; and whoever has the domain key
//! can't open it without the customer's. The tag is what tells a wrong customer's key: no fingerprint of it is stored.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::{Zeroize, Zeroizing};

use crate::key::random_bytes;
use crate::{DomainKey, PipelineError};

const VERSION: u8 = 1;
const SALT_LEN: usize = 16;
const KEY_LEN: usize = 32;
const TAG_LEN: usize = 16;
const ENVELOPE_LEN: usize = 1 + SALT_LEN + KEY_LEN + TAG_LEN;

/// Draws an object key; the key, and its envelope for `customer_key`.
pub fn seal_object_key(
    domain: &DomainKey,
    customer_key: &[u8; KEY_LEN],
) -> Result<(DomainKey, Vec<u8>), PipelineError> {
    let object_key = Zeroizing::new(random_bytes("draw an object key")?);
    let envelope = seal_with(domain, customer_key, &object_key, random_bytes("draw a salt")?)?;
    Ok((DomainKey::from_bytes(*object_key), envelope))
}

fn seal_with(
    domain: &DomainKey,
    customer_key: &[u8; KEY_LEN],
    object_key: &[u8; KEY_LEN],
    salt: [u8; SALT_LEN],
) -> Result<Vec<u8>, PipelineError> {
    let mut envelope = Vec::with_capacity(ENVELOPE_LEN);
    envelope.push(VERSION);
    envelope.extend_from_slice(&salt);
    envelope.extend_from_slice(object_key);
    let tag = cipher(domain, customer_key, &salt)?
        .seal_in_place_separate_tag(nonce(), Aad::from([VERSION]), &mut envelope[1 + SALT_LEN..])
        .map_err(|_| PipelineError::Crypto { action: "seal an object key" })?;
    envelope.extend_from_slice(tag.as_ref());
    Ok(envelope)
}

/// The object key in an envelope.
///
/// # Errors
/// [`PipelineError::NotAuthentic`] for another customer's key, another domain or any change to the bytes;
/// [`PipelineError::SealedVersion`] and [`PipelineError::SealedTruncated`] for what is no envelope.
pub fn open_object_key(
    domain: &DomainKey,
    customer_key: &[u8; KEY_LEN],
    envelope: &[u8],
) -> Result<DomainKey, PipelineError> {
    let truncated = PipelineError::SealedTruncated { len: envelope.len() };
    let Some((&version, rest)) = envelope.split_first() else { return Err(truncated) };
    if version != VERSION {
        return Err(PipelineError::SealedVersion { version });
    }
    let Some((salt, sealed)) = rest.split_first_chunk::<SALT_LEN>() else { return Err(truncated) };
    let mut sealed: [u8; KEY_LEN + TAG_LEN] = sealed.try_into().map_err(|_| truncated)?;
    let opened = cipher(domain, customer_key, salt)?
        .open_in_place(nonce(), Aad::from([VERSION]), &mut sealed)
        .map_err(|_| PipelineError::NotAuthentic)?;
    let object_key = opened.try_into().map(DomainKey::from_bytes);
    sealed.zeroize();
    object_key.map_err(|_| PipelineError::NotAuthentic)
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

fn cipher(
    domain: &DomainKey,
    customer_key: &[u8; KEY_LEN],
    salt: &[u8; SALT_LEN],
) -> Result<LessSafeKey, PipelineError> {
    let mut hasher = blake3::Hasher::new_keyed(domain.envelope_key());
    hasher.update(salt).update(customer_key);
    let mut key = *hasher.finalize().as_bytes();
    let unbound = UnboundKey::new(&AES_256_GCM, &key);
    key.zeroize();
    unbound.map(LessSafeKey::new).map_err(|_| PipelineError::Crypto { action: "set up the cipher" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk_id;

    fn domain() -> DomainKey {
        DomainKey::from_bytes([7; 32])
    }

    fn same(left: &DomainKey, right: &DomainKey) -> bool {
        chunk_id(left, b"x") == chunk_id(right, b"x") && left.own_domain() == right.own_domain()
    }

    #[test]
    fn an_envelope_opens_with_its_customers_key_in_its_domain_only() {
        let (key, envelope) = seal_object_key(&domain(), &[1; 32]).unwrap();
        assert!(same(&open_object_key(&domain(), &[1; 32], &envelope).unwrap(), &key));
        for (domain, customer_key) in [
            (domain(), [2; 32]),
            (DomainKey::from_bytes([8; 32]), [1; 32]),
            (DomainKey::from_bytes([1; 32]), [7; 32]),
        ] {
            let opened = open_object_key(&domain, &customer_key, &envelope);
            assert!(matches!(opened, Err(PipelineError::NotAuthentic)));
        }
    }

    #[test]
    fn any_change_to_an_envelope_shows() {
        let (_, envelope) = seal_object_key(&domain(), &[1; 32]).unwrap();
        for index in 0..envelope.len() {
            let mut changed = envelope.clone();
            changed[index] ^= 1;
            assert!(open_object_key(&domain(), &[1; 32], &changed).is_err(), "byte {index}");
            assert!(open_object_key(&domain(), &[1; 32], &envelope[..index]).is_err(), "{index} bytes");
        }
        assert!(open_object_key(&domain(), &[1; 32], &[&envelope[..], &[0]].concat()).is_err());
    }

    #[test]
    fn every_object_has_its_own_key_and_domain() {
        let (one, first) = seal_object_key(&domain(), &[1; 32]).unwrap();
        let (other, second) = seal_object_key(&domain(), &[1; 32]).unwrap();
        assert_ne!(one.own_domain(), other.own_domain());
        assert_ne!(chunk_id(&one, b"x"), chunk_id(&other, b"x"));
        assert_ne!(first, second);
    }

    #[test]
    fn envelopes_of_version_1_still_open() {
        let envelope = seal_with(&domain(), &[1; 32], &[2; 32], [3; SALT_LEN]).unwrap();
        assert_eq!(envelope[..=SALT_LEN], [&[VERSION][..], &[3; SALT_LEN]].concat());
        assert_eq!(blake3::hash(&envelope).to_hex()[..32], *GOLDEN_DIGEST);
        let opened = open_object_key(&domain(), &[1; 32], &envelope).unwrap();
        assert!(same(&opened, &DomainKey::from_bytes([2; 32])));
    }

    const GOLDEN_DIGEST: &str = "608faeb6e01ea4ca6cd4eac8fc41a5b0";
}

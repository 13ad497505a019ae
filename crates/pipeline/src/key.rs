//! The two keys of the data path and what is derived from them.
//!
//! A [`DomainKey`] is a dedup domain's secret. Nothing uses it directly: BLAKE3's key derivation makes one subkey
//! for chunk ids, one for sealing and one for the cut points, so that none of them says anything about another. One more protects the
//! envelopes of object keys, and one what is stored beside content.
//! A [`ShardAuthKey`] is the gateways' shared secret for shard tags; nodes never have either.

use std::fmt;
use std::sync::{Arc, OnceLock};

use datamesh_types::{ChunkId, DomainId};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::PipelineError;
use crate::beside::BesideCiphers;

const ID_CONTEXT: &str = "DataMesh 2026-11-22 pipeline v1: chunk id";
const SEAL_CONTEXT: &str = "DataMesh 2026-11-22 pipeline v1: sealing";
const GEAR_CONTEXT: &str = "DataMesh 2026-11-22 pipeline v1: cut points";
const ENVELOPE_CONTEXT: &str = "DataMesh 2026-11-22 pipeline v1: envelopes of object keys";
const TAG_CONTEXT: &str = "DataMesh 2026-11-22 pipeline v1: entity tags";
const BESIDE_CONTEXT: &str = "DataMesh 2026-11-23 pipeline v1: beside content";
const DOMAIN_CONTEXT: &str = "DataMesh 2026-11-22 pipeline v1: domain id";

/// Gear tables of FastCDC: a value for each byte, and the same shifted left by one bit.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct GearTables {
    pub(crate) gear: [u64; 256],
    pub(crate) gear_ls: [u64; 256],
}

#[derive(Zeroize, ZeroizeOnDrop)]
struct Subkeys {
    id: [u8; 32],
    seal: [u8; 32],
    envelope: [u8; 32],
    tag: [u8; 32],
    beside: [u8; 32],
    /// They wipe themselves.
    #[zeroize(skip)]
    ciphers: OnceLock<BesideCiphers>,
    domain: [u8; DomainId::LEN],
    gear: GearTables,
}

/// The secret of one dedup domain. Whoever has it can compute chunk ids and open sealed chunks of the domain.
///
/// A clone shares the derived keys. They are wiped from memory when the last clone goes; `Debug` prints none.
#[derive(Clone)]
pub struct DomainKey(Arc<Subkeys>);

impl DomainKey {
    /// The key with these bytes.
    pub fn from_bytes(mut bytes: [u8; 32]) -> Self {
        let subkeys = Subkeys {
            id: blake3::derive_key(ID_CONTEXT, &bytes),
            seal: blake3::derive_key(SEAL_CONTEXT, &bytes),
            envelope: blake3::derive_key(ENVELOPE_CONTEXT, &bytes),
            tag: blake3::derive_key(TAG_CONTEXT, &bytes),
            beside: blake3::derive_key(BESIDE_CONTEXT, &bytes),
            ciphers: OnceLock::new(),
            domain: derive_domain(&bytes),
            gear: derive_gear(&bytes),
        };
        bytes.zeroize();
        Self(Arc::new(subkeys))
    }

    /// A fresh random key, for domains that are never stored: the bytes cannot be had back.
    pub fn random() -> Self {
        Self::from_bytes(random_bytes("draw a domain key").expect("the system has a random generator"))
    }

    /// The dedup domain of a key that makes one of its own: an object key, a named key. An account's domain is
    /// drawn at random instead.
    pub fn own_domain(&self) -> DomainId {
        DomainId(self.0.domain)
    }

    /// A name for content that says nothing about it to whoever lacks the key, unlike the MD5 that it is made from.
    pub fn entity_tag(&self, md5: &[u8; 16]) -> [u8; 16] {
        let hash = blake3::keyed_hash(&self.0.tag, md5);
        *hash.as_bytes().first_chunk().expect("a BLAKE3 hash has 32 bytes")
    }

    pub(crate) fn gear(&self) -> &GearTables {
        &self.0.gear
    }

    /// What envelopes of object keys are sealed with, together with the customer's key.
    pub(crate) fn envelope_key(&self) -> &[u8; 32] {
        &self.0.envelope
    }

    /// The ciphers of what is stored beside content.
    pub(crate) fn beside(&self) -> Result<&BesideCiphers, PipelineError> {
        if let Some(ciphers) = self.0.ciphers.get() {
            return Ok(ciphers);
        }
        let ciphers = BesideCiphers::new(&self.0.beside)?;
        Ok(self.0.ciphers.get_or_init(|| ciphers))
    }

    /// The AES-256 key of one chunk.
    pub(crate) fn chunk_key(&self, id: &ChunkId) -> [u8; 32] {
        *blake3::keyed_hash(&self.0.seal, id.as_bytes()).as_bytes()
    }
}

impl fmt::Debug for DomainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DomainKey(..)")
    }
}

fn derive_domain(bytes: &[u8; 32]) -> [u8; DomainId::LEN] {
    let mut domain = [0; DomainId::LEN];
    blake3::Hasher::new_derive_key(DOMAIN_CONTEXT).update(bytes).finalize_xof().fill(&mut domain);
    domain
}

/// The whole table comes from the key, not a seed mixed into the published one: 64 bits of seed can be
/// searched for by whoever sees a few chunk lengths of known content.
fn derive_gear(bytes: &[u8; 32]) -> GearTables {
    let mut stream = [0; 256 * 8];
    blake3::Hasher::new_derive_key(GEAR_CONTEXT).update(bytes).finalize_xof().fill(&mut stream);
    let mut tables = GearTables { gear: [0; 256], gear_ls: [0; 256] };
    let (words, _) = stream.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        tables.gear[index] = u64::from_le_bytes(*word);
        tables.gear_ls[index] = tables.gear[index] << 1;
    }
    stream.zeroize();
    tables
}

/// The id of a chunk: BLAKE3 of its plaintext, keyed by its dedup domain.
///
/// Equal plaintexts of one domain have equal ids; across domains ids say nothing about each other.
pub fn chunk_id(key: &DomainKey, plaintext: &[u8]) -> ChunkId {
    ChunkId(*blake3::keyed_hash(&key.0.id, plaintext).as_bytes())
}

/// The secret that shard tags are made with: known to gateways, never to nodes.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ShardAuthKey([u8; 32]);

impl ShardAuthKey {
    /// The key with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A fresh random key, for shards that are never stored: the bytes cannot be had back.
    pub fn random() -> Self {
        Self(random_bytes("draw a shard key").expect("the system has a random generator"))
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ShardAuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShardAuthKey(..)")
    }
}

/// Bytes from the system's generator.
pub(crate) fn random_bytes<const N: usize>(action: &'static str) -> Result<[u8; N], PipelineError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| PipelineError::Crypto { action })?;
    Ok(bytes)
}

//! Shard frames: what makes a wrong shard recognisable.
//!
//! A node stores and serves framed shards without being able to check or make one. The tag binds the payload to the
//! shard's id, so a gateway sees exactly which shard is wrong: changed, or another one served in its place.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use datamesh_types::{SHARD_ID_LEN, ShardId};

use crate::{PipelineError, ShardAuthKey};

const VERSION: u8 = 1;
const TAG_LEN: usize = 16;

/// Bytes that a frame adds to a payload: the tag and the format version.
///
/// They follow the payload, which so begins where its memory does: hashing and coding run a third slower over payloads
/// that straddle cache lines.
pub const SHARD_OVERHEAD: usize = TAG_LEN + 1;

/// The framed form of shard `id`.
pub fn frame_shard(key: &ShardAuthKey, id: &ShardId, payload: &[u8]) -> Bytes {
    let mut framed = Vec::with_capacity(payload.len() + SHARD_OVERHEAD);
    framed.extend_from_slice(payload);
    append_frame(key, id, &mut framed);
    Bytes::from(framed)
}

/// Makes the payload of shard `id` a framed shard.
pub(crate) fn append_frame(key: &ShardAuthKey, id: &ShardId, payload: &mut Vec<u8>) {
    let tag = tag(key, id, payload);
    payload.extend_from_slice(&tag);
    payload.push(VERSION);
}

/// The payload of shard `id`, if these are the bytes that were framed for it under `key`.
///
/// # Errors
/// `ShardTruncated`, `ShardVersion` or `ShardTag`, each naming the shard.
pub fn check_shard(key: &ShardAuthKey, id: &ShardId, mut framed: Bytes) -> Result<Bytes, PipelineError> {
    let Some(payload_len) = framed.len().checked_sub(SHARD_OVERHEAD) else {
        return Err(PipelineError::ShardTruncated { id: *id, len: framed.len() });
    };
    let (payload, frame) = framed.split_at(payload_len);
    let version = frame[TAG_LEN];
    if version != VERSION {
        return Err(PipelineError::ShardVersion { id: *id, version });
    }
    verify_slices_are_equal(&tag(key, id, payload), &frame[..TAG_LEN])
        .map_err(|_| PipelineError::ShardTag { id: *id })?;
    framed.truncate(payload_len);
    Ok(framed)
}

/// The id goes into a key of the shard's own: before the payload it would shift the payload off the block boundaries
/// that BLAKE3 is fast at.
fn tag(key: &ShardAuthKey, id: &ShardId, payload: &[u8]) -> [u8; TAG_LEN] {
    let mut context = [VERSION; 1 + SHARD_ID_LEN];
    context[1..].copy_from_slice(&id.to_bytes());
    let shard_key = blake3::keyed_hash(key.bytes(), &context);
    let hash = blake3::keyed_hash(shard_key.as_bytes(), payload);
    *hash.as_bytes().first_chunk().expect("a tag is shorter than a hash")
}

#[cfg(test)]
mod tests {
    use datamesh_types::{GroupId, SealedId};
    use proptest::prelude::*;

    use super::*;

    const ID: ShardId = ShardId { group: GroupId(3), sealed: SealedId([5; 16]), index: 2 };

    fn key() -> ShardAuthKey {
        ShardAuthKey::from_bytes([1; 32])
    }

    #[test]
    fn a_shard_is_refused_under_any_other_id_or_key() {
        let framed = frame_shard(&key(), &ID, b"payload");
        assert_eq!(check_shard(&key(), &ID, framed.clone()).unwrap(), &b"payload"[..]);
        let others = [
            ShardId { group: GroupId(4), ..ID },
            ShardId { sealed: SealedId([6; 16]), ..ID },
            ShardId { index: 3, ..ID },
        ];
        for other in others {
            let error = check_shard(&key(), &other, framed.clone()).unwrap_err();
            assert!(matches!(error, PipelineError::ShardTag { id } if id == other));
        }
        assert!(check_shard(&ShardAuthKey::from_bytes([2; 32]), &ID, framed).is_err());
    }

    #[test]
    fn an_empty_payload_has_a_frame_too() {
        let framed = frame_shard(&key(), &ID, b"");
        assert_eq!(framed.len(), SHARD_OVERHEAD);
        assert_eq!(check_shard(&key(), &ID, framed).unwrap(), Bytes::new());
    }

    proptest! {
        #[test]
        fn any_changed_or_missing_byte_is_refused(
            payload in proptest::collection::vec(any::<u8>(), 0..3000), at in any::<usize>(), bit in 0u32..8,
        ) {
            let framed = frame_shard(&key(), &ID, &payload);
            prop_assert_eq!(&check_shard(&key(), &ID, framed.clone()).unwrap()[..], &payload[..]);
            let at = at % framed.len();
            prop_assert!(check_shard(&key(), &ID, framed.slice(..at)).is_err());
            let mut tampered = framed.to_vec();
            tampered[at] ^= 1 << bit;
            prop_assert!(check_shard(&key(), &ID, Bytes::from(tampered)).is_err());
        }

        #[test]
        fn garbage_is_refused_without_a_panic(garbage in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(check_shard(&key(), &ID, Bytes::from(garbage)).is_err());
        }
    }
}

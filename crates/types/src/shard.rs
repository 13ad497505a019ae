//! What a node stores: shards, named without any trace of what they are part of.

use std::fmt;

use crate::{GroupId, SealedId};

/// Length of [`ShardId::to_bytes`].
pub const SHARD_ID_LEN: usize = 25;

/// Names one shard. Shards are immutable: one id never has two contents.
///
/// The order is by group, then sealed chunk, then index, which is also the order of the byte form: listing a
/// group is a range scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId {
    /// The placement group of the sealed chunk.
    pub group: GroupId,
    /// The sealed chunk that the shard is a piece of.
    pub sealed: SealedId,
    /// Which piece: 0..k are the data shards, k..n the parity shards.
    pub index: u8,
}

impl ShardId {
    /// Group (big-endian, so that bytes sort as ids do), sealed id, index.
    pub fn to_bytes(self) -> [u8; SHARD_ID_LEN] {
        let mut bytes = [0; SHARD_ID_LEN];
        bytes[..8].copy_from_slice(&self.group.0.to_be_bytes());
        bytes[8..24].copy_from_slice(&self.sealed.0);
        bytes[24] = self.index;
        bytes
    }

    /// The id whose [`Self::to_bytes`] is `bytes`, or `None` when their length is wrong.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; SHARD_ID_LEN] = bytes.try_into().ok()?;
        let (group, rest) = bytes.split_first_chunk::<8>()?;
        Some(Self {
            group: GroupId(u64::from_be_bytes(*group)),
            sealed: SealedId::from_slice(&rest[..16])?,
            index: rest[16],
        })
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.group, self.sealed, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_is_id_order() {
        let id =
            |group, first, index| ShardId { group: GroupId(group), sealed: SealedId([first; 16]), index };
        let sorted = [id(1, 9, 9), id(2, 0, 0), id(2, 0, 1), id(2, 1, 0), id(256, 0, 0)];
        for pair in sorted.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].to_bytes() < pair[1].to_bytes());
            assert_eq!(ShardId::from_slice(&pair[0].to_bytes()), Some(pair[0]));
        }
        assert_eq!(ShardId::from_slice(&[0; 24]), None);
    }
}

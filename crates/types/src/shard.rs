//! What a node stores: shards, named without any trace of what they are part of.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{GroupId, ParseIdError, SealedId};

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

impl FromStr for ShardId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let malformed =
            || ParseIdError { kind: "shard id", digits: 2 * SealedId::LEN, text: text.to_owned() };
        let mut parts = text.split('/');
        let (Some(group), Some(sealed), Some(index), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed());
        };
        Ok(Self {
            group: GroupId(group.parse().map_err(|_| malformed())?),
            sealed: sealed.parse().map_err(|_| malformed())?,
            index: index.parse().map_err(|_| malformed())?,
        })
    }
}

impl Serialize for ShardId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ShardId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a node tells about a shard that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardStat {
    /// The shard.
    pub id: ShardId,
    /// Length of its bytes.
    pub len: u32,
    /// When the node stored it, by the node's own clock, in milliseconds since the Unix epoch. Only good for
    /// judging age: nothing is ordered by it.
    pub stored_at_ms: i64,
}

/// What reading a shard back found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShardHealth {
    /// Every byte is as it was stored.
    Good,
    /// The shard is known, but its bytes no longer match its checksum or cannot be read.
    Corrupt,
    /// The node has no such shard.
    Missing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_id_survives_its_text_form() {
        let id = ShardId { group: GroupId(7), sealed: SealedId([0xab; 16]), index: 3 };
        assert_eq!(id.to_string().parse::<ShardId>().unwrap(), id);
        let stat = ShardStat { id, len: 9, stored_at_ms: -1 };
        let json = serde_json::to_string(&stat).unwrap();
        assert_eq!(serde_json::from_str::<ShardStat>(&json).unwrap(), stat);
        for text in
            ["", "7/ab/3", "7/abababababababababababababababab", "7/abababababababababababababababab/256"]
        {
            assert!(text.parse::<ShardId>().is_err(), "{text}");
        }
    }

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

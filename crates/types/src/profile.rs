//! Erasure-coding profiles.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Any `data` of the `total` shards of a chunk rebuild it. Written `K+M`: data shards plus parity shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Profile {
    data: u8,
    total: u8,
}

/// Why a pair of numbers is no profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// Fewer than one data shard, or more data shards than shards, or more than 255 shards.
    #[error("a profile has 1 to 255 shards and at least one data shard, not {data}+{parity}")]
    OutOfRange {
        /// Data shards asked for.
        data: u32,
        /// Parity shards asked for.
        parity: u32,
    },
    /// Not of the form `K+M`.
    #[error("{text:?} is not a profile: expected K+M, for example 4+4")]
    Malformed {
        /// What was given.
        text: String,
    },
}

impl Profile {
    /// One copy, no redundancy: what a backend with a single disk uses.
    pub const SINGLE: Self = Self { data: 1, total: 1 };

    /// A profile of `data` data shards and `parity` parity shards.
    pub fn new(data: u32, parity: u32) -> Result<Self, ProfileError> {
        let out_of_range = ProfileError::OutOfRange { data, parity };
        let total = data.checked_add(parity).and_then(|total| u8::try_from(total).ok());
        match (total, data) {
            (Some(total), 1..) => Ok(Self { data: data as u8, total }),
            _ => Err(out_of_range),
        }
    }

    /// k: how many shards rebuild a chunk.
    pub const fn data(self) -> usize {
        self.data as usize
    }

    /// n: how many shards a chunk has.
    pub const fn total(self) -> usize {
        self.total as usize
    }

    /// n - k: how many shards may be lost.
    pub const fn parity(self) -> usize {
        (self.total - self.data) as usize
    }

    /// How many shards must be durable before a write is acknowledged: k + ceil((n - k) / 2).
    pub const fn write_quorum(self) -> usize {
        self.data() + self.parity().div_ceil(2)
    }

    /// The length of each shard of a sealed chunk of `sealed_len` bytes. The last data shard is zero-padded.
    pub const fn shard_len(self, sealed_len: usize) -> usize {
        sealed_len.div_ceil(self.data())
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.data, self.parity())
    }
}

impl FromStr for Profile {
    type Err = ProfileError;

    fn from_str(text: &str) -> Result<Self, ProfileError> {
        let malformed = || ProfileError::Malformed { text: text.to_owned() };
        let (data, parity) = text.split_once('+').ok_or_else(malformed)?;
        let number = |part: &str| part.parse::<u32>().map_err(|_| malformed());
        Self::new(number(data)?, number(parity)?)
    }
}

impl Serialize for Profile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Profile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_reads_and_prints_as_data_plus_parity() {
        let profile: Profile = "8+4".parse().unwrap();
        assert_eq!((profile.data(), profile.parity(), profile.total()), (8, 4, 12));
        assert_eq!(profile.to_string(), "8+4");
    }

    #[test]
    fn half_of_the_parity_rounded_up_must_be_durable() {
        let quorum = |text: &str| text.parse::<Profile>().unwrap().write_quorum();
        assert_eq!((quorum("4+4"), quorum("4+3"), quorum("1+0"), quorum("1+1")), (6, 6, 1, 2));
    }

    #[test]
    fn impossible_profiles_are_refused() {
        for text in ["0+4", "200+100", "4294967295+1"] {
            assert!(matches!(text.parse::<Profile>(), Err(ProfileError::OutOfRange { .. })), "{text}");
        }
        for text in ["", "4", "4+", "+4", "4-4", "a+b"] {
            assert!(matches!(text.parse::<Profile>(), Err(ProfileError::Malformed { .. })), "{text}");
        }
    }
}

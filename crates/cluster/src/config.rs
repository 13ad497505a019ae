//! Settings of the cluster, with every default.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use datamesh_types::{Profile, ProfileError, TimeSpan};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How chunks are coded. Written `auto` or `K+M`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProfileSetting {
    /// The profile follows the number of active storage nodes, so that any half of them may be lost.
    #[default]
    Auto,
    /// Always this one.
    Fixed(Profile),
}

impl FromStr for ProfileSetting {
    type Err = ProfileError;

    fn from_str(text: &str) -> Result<Self, ProfileError> {
        if text == "auto" { Ok(Self::Auto) } else { text.parse().map(Self::Fixed) }
    }
}

impl fmt::Display for ProfileSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(profile) => profile.fmt(f),
        }
    }
}

impl Serialize for ProfileSetting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ProfileSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Settings of a [`Cluster`](crate::Cluster). Every field has a default, see [`ClusterConfig::default`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterConfig {
    /// How chunks are coded.
    pub profile: ProfileSetting,
    /// The region of this gateway: groups with nodes there are preferred for writing.
    pub region: String,
    /// In how many open groups each node takes part.
    pub groups_per_node: usize,
    /// How long the groups read from the directory are trusted.
    pub group_refresh: TimeSpan,
    /// How many different groups a write tries before it fails.
    pub write_groups_tried: usize,
    /// How long a write waits for the last shards once it has a quorum. Nodes that were late lately are not
    /// waited for at all.
    pub write_straggler_timeout: TimeSpan,
    /// How long one call to a node may take.
    pub request_timeout: TimeSpan,
    /// How often a call is tried.
    pub tries: u32,
    /// The pause before the second try; it doubles with each further one.
    pub retry_pause: TimeSpan,
    /// Shards on the way to one node, and separately from it. More wait.
    pub shards_in_flight_per_node: usize,
    /// The shortest time after which a read asks a further node because one is late.
    pub read_hedge_min: TimeSpan,
    /// The longest such time, and the one for nodes that have not been measured yet.
    pub read_hedge_max: TimeSpan,
    /// How many late answers in a row make a node suspect.
    pub suspect_after: u32,
    /// How long a suspect node is avoided where another can do.
    pub suspect_for: TimeSpan,
    /// How long a node may be gone before repair replaces it. An operator can order it earlier.
    pub node_lost_after: TimeSpan,
    /// Chunks under repair at once. Each holds n shards in memory.
    pub repair_chunks_in_flight: usize,
    /// Chunks looked at per step of a scan.
    pub repair_page: usize,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            profile: ProfileSetting::Auto,
            region: String::new(),
            groups_per_node: 4,
            group_refresh: TimeSpan::seconds(5),
            write_groups_tried: 3,
            write_straggler_timeout: TimeSpan::seconds(1),
            request_timeout: TimeSpan::seconds(10),
            tries: 3,
            retry_pause: TimeSpan(Duration::from_millis(50)),
            shards_in_flight_per_node: 32,
            read_hedge_min: TimeSpan(Duration::from_millis(20)),
            read_hedge_max: TimeSpan(Duration::from_millis(500)),
            suspect_after: 3,
            suspect_for: TimeSpan::seconds(10),
            node_lost_after: TimeSpan::seconds(15 * 60),
            repair_chunks_in_flight: 4,
            repair_page: 256,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_setting_reads_auto_or_a_profile() {
        assert_eq!("auto".parse(), Ok(ProfileSetting::Auto));
        assert_eq!("4+2".parse(), Ok(ProfileSetting::Fixed(Profile::new(4, 2).unwrap())));
        assert!("both".parse::<ProfileSetting>().is_err());
        assert_eq!(ProfileSetting::Fixed(Profile::new(4, 2).unwrap()).to_string(), "4+2");
    }
}

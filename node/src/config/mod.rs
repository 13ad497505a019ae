//! A node's configuration: one TOML file, typed, unknown keys refused.
//!
//! Every default is in this file. A relative path in the file is relative to the working directory.

mod load;

use std::path::PathBuf;

use datamesh_mesh::{BootstrapPeer, OperatorId, TransportPreference};
use datamesh_shard_store::ShardStoreConfig;
use datamesh_types::{ByteSize, GIB, KIB, MIB, TimeSpan};
use serde::Deserialize;

pub use load::{ConfigError, Invalid, load};

/// The smallest disk that a node may offer: below it, segments and the index leave no room for shards.
const CAPACITY_MIN: u64 = MIB;

/// What `datamesh-node run --config F` reads.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Where shards, the index and, by default, the identity live. Created with mode 0700 when absent.
    pub data_dir: PathBuf,
    /// How many bytes of shards the node may store.
    pub capacity: ByteSize,
    /// Who the node talks to.
    pub mesh: MeshSection,
    /// The shard store. Default: as [`StoreSection::default`].
    #[serde(default)]
    pub store: StoreSection,
    /// Re-reading what the node holds. Default: as [`ScrubSection::default`].
    #[serde(default)]
    pub scrub: ScrubSection,
    /// What is logged, and how. Default: as [`LogSection::default`].
    #[serde(default)]
    pub log: LogSection,
}

/// `[mesh]`: identity, addresses and the network map. Nodes and gateways share it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeshSection {
    /// Ed25519 identity, created with mode 0600 when absent. Default: `node.key` in `data_dir`.
    pub key_file: Option<PathBuf>,
    /// Multiaddresses to listen on. Default: TCP and QUIC on port 4001 of every address.
    #[serde(default = "default_listen")]
    pub listen: Vec<String>,
    /// The signed network map, as `datamesh-admin map sign` writes it.
    pub map_file: PathBuf,
    /// Public keys of the operators whose signature on a map counts.
    pub trusted_operators: Vec<OperatorId>,
    /// How many of them must have signed a map. Default: 1.
    #[serde(default = "default_signatures_required")]
    pub signatures_required: usize,
    /// Which transport to dial first where a peer offers both: `tcp` or `quic`. Default: tcp.
    #[serde(default)]
    pub transport: TransportPreference,
    /// Peers to find the others by, in addition to the addresses in the map. Default: none.
    #[serde(default)]
    pub bootstrap: Vec<BootstrapPeer>,
    /// Whether to look for peers on the local network. Default: false.
    #[serde(default)]
    pub mdns: bool,
    /// How often the map file is looked at for a newer epoch; SIGHUP does so at once. Default: 30s.
    #[serde(default = "default_map_reload")]
    pub map_reload: TimeSpan,
}

fn default_listen() -> Vec<String> {
    vec!["/ip4/0.0.0.0/tcp/4001".to_owned(), "/ip4/0.0.0.0/udp/4001/quic-v1".to_owned()]
}

fn default_map_reload() -> TimeSpan {
    TimeSpan::seconds(30)
}

fn default_signatures_required() -> usize {
    1
}

/// `[store]`: the shard store.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSection {
    /// A segment file is closed at this size. Default: 256 MiB, or a sixteenth of the capacity when that is less.
    pub segment_size: Option<ByteSize>,
    /// Writes are refused when they would leave less than this free on the file system. Default: one segment.
    pub reserve: Option<ByteSize>,
}

/// `[scrub]`: a node re-reads its own disk, so that rot is found while there are shards to repair it from.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScrubSection {
    /// Whether to scrub at all. Default: true.
    pub enabled: bool,
    /// From the start of one pass to the start of the next. Default: 7d.
    pub interval: TimeSpan,
    /// How many bytes to read a second, at most. Default: 16 MiB.
    pub rate: ByteSize,
}

impl Default for ScrubSection {
    fn default() -> Self {
        Self { enabled: true, interval: TimeSpan::seconds(7 * 86_400), rate: ByteSize(16 * MIB) }
    }
}

/// `[log]`: what goes to standard error.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSection {
    /// `text` for people, `json` for collectors. Default: text.
    pub format: LogFormat,
    /// Directives of tracing's `EnvFilter`; the environment's `RUST_LOG` comes first. Default: info without the noise of two libraries.
    pub filter: String,
}

/// What is logged unless the configuration says otherwise. s3s reports every refused request as an error, the DHT that a
/// first node has nobody to ask.
const LOG_FILTER: &str = "info,s3s=off,libp2p_kad=error";

impl Default for LogSection {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: LOG_FILTER.to_owned() }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A readable line.
    Text,
    /// One JSON object a line.
    Json,
}

impl NodeConfig {
    /// The shard store that the configuration describes.
    pub fn shard_store(&self) -> ShardStoreConfig {
        let mut config = ShardStoreConfig::new(self.data_dir.join("shards"), self.capacity.bytes());
        if let Some(size) = self.store.segment_size {
            config.segment_bytes = size.bytes();
            config.reserve_bytes = size.bytes();
        }
        if let Some(reserve) = self.store.reserve {
            config.reserve_bytes = reserve.bytes();
        }
        config
    }

    /// Where the identity is kept.
    pub fn key_file(&self) -> PathBuf {
        self.mesh.key_file.clone().unwrap_or_else(|| self.data_dir.join("node.key"))
    }

    /// Checks what types can't.
    ///
    /// # Errors
    /// The first key whose value is out of range, with what was expected.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.capacity.bytes() < CAPACITY_MIN {
            return Err(Invalid::new("capacity", "at least 1 MiB"));
        }
        let segment_sizes = ByteSize(4 * KIB)..=ByteSize(2 * GIB);
        if self.store.segment_size.is_some_and(|size| !segment_sizes.contains(&size)) {
            return Err(Invalid::new("store.segment_size", "4 KiB to 2 GiB"));
        }
        if self.scrub.rate.bytes() == 0 {
            return Err(Invalid::new(
                "scrub.rate",
                "at least 1 B a second; enabled = false turns scrubbing off",
            ));
        }
        self.mesh.validate()
    }
}

impl MeshSection {
    /// A section with every default.
    pub fn new(map_file: PathBuf, trusted_operators: Vec<OperatorId>) -> Self {
        Self {
            key_file: None,
            listen: default_listen(),
            map_file,
            trusted_operators,
            signatures_required: default_signatures_required(),
            transport: TransportPreference::default(),
            bootstrap: Vec::new(),
            mdns: false,
            map_reload: default_map_reload(),
        }
    }

    /// Checks what types can't.
    ///
    /// # Errors
    /// The first key whose value is out of range, with what was expected.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.trusted_operators.is_empty() {
            return Err(Invalid::new("mesh.trusted_operators", "at least one operator's public key"));
        }
        if !(1..=self.trusted_operators.len()).contains(&self.signatures_required) {
            return Err(Invalid::new("mesh.signatures_required", "1 to the number of trusted operators"));
        }
        if self.map_reload.duration().is_zero() {
            return Err(Invalid::new("mesh.map_reload", "at least 1ms"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

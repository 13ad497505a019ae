//! Scrub: the node re-reads its own disk, so that rot is found while there are shards to repair it from.
//!
//! A shard that fails its checksum twice is deleted: to the others it is then missing, and repair writes it anew.
//! Where a pass is survives a restart, else a node that restarts often would never reach its last shards.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use datamesh_shard_store::{ShardHealth, ShardStore, StoreError};
use datamesh_types::{MIB, ShardId};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::config::ScrubSection;
use crate::durable_file::{self, Readers};

/// How much is read at once, at most.
const PAGE_BYTES_MAX: u64 = 4 * MIB;
/// How long to wait after the store failed.
const RETRY_PAUSE: Duration = Duration::from_mins(1);
/// How often the position is saved.
const SAVE_PERIOD: Duration = Duration::from_mins(1);

/// Where a pass is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    /// When the pass began, in milliseconds since the Unix epoch.
    started_ms: u64,
    /// The last shard that was read.
    after: Option<ShardId>,
    /// Whether the last shard has been reached.
    finished: bool,
}

/// What a whole pass found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Shards read back.
    pub checked: u64,
    /// Shards whose bytes were no longer what was stored; they are deleted.
    pub damaged: u64,
}

/// Scrubs one store, pass after pass, at a bounded rate.
pub struct Scrubber {
    store: ShardStore,
    config: ScrubSection,
    position_file: PathBuf,
}

impl Scrubber {
    /// Scrubs `store`; the position is kept in `position_file`.
    pub fn new(store: ShardStore, config: ScrubSection, position_file: PathBuf) -> Self {
        Self { store, config, position_file }
    }

    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        if !self.config.enabled {
            return;
        }
        stop.run_until_cancelled(self.run_passes()).await;
    }

    async fn run_passes(&self) {
        let mut position = self.load();
        loop {
            let next_ms =
                position.started_ms.saturating_add(self.config.interval.duration().as_millis() as u64);
            if position.started_ms == 0 || (position.finished && next_ms <= now_ms()) {
                position = Position { started_ms: now_ms(), after: None, finished: false };
            }
            if position.finished {
                tokio::time::sleep(Duration::from_millis(next_ms.saturating_sub(now_ms()))).await;
                continue;
            }
            match self.pass(&mut position).await {
                Ok(report) => {
                    tracing::info!(
                        checked = report.checked,
                        damaged = report.damaged,
                        "finished a scrub pass"
                    );
                }
                Err(error) => {
                    tracing::error!(%error, "scrubbing failed; trying again later");
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Goes on from `position` to the last shard.
    async fn pass(&self, position: &mut Position) -> Result<ScrubReport, StoreError> {
        let mut report = ScrubReport::default();
        let mut saved = tokio::time::Instant::now();
        let rate = self.config.rate.bytes();
        while !position.finished {
            let page = self.store.scrub(position.after, rate.min(PAGE_BYTES_MAX)).await?;
            report.checked += page.checked;
            report.damaged += self.discard_damaged(&page.damaged).await?;
            position.after = page.next;
            position.finished = page.next.is_none();
            if position.finished || saved.elapsed() > SAVE_PERIOD {
                self.save(position);
                saved = tokio::time::Instant::now();
            }
            tokio::time::sleep(Duration::from_secs_f64(page.checked_bytes as f64 / rate as f64)).await;
        }
        Ok(report)
    }

    /// Deletes those that are damaged when read once more: one bad read may have been the memory's fault.
    async fn discard_damaged(&self, suspects: &[ShardId]) -> Result<u64, StoreError> {
        let mut damaged = Vec::new();
        for id in suspects {
            if self.store.verify(*id).await? == ShardHealth::Corrupt {
                tracing::warn!(shard = %id, "scrub deletes a damaged shard; repair will write it anew");
                damaged.push(*id);
            }
        }
        self.store.delete(&damaged).await
    }

    /// The saved position; a file that is missing or makes no sense begins a new pass.
    fn load(&self) -> Position {
        let text = std::fs::read_to_string(&self.position_file).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    fn save(&self, position: &Position) {
        let json = serde_json::to_vec(position).expect("a position has no maps and no floats");
        if let Err(error) = durable_file::replace(&self.position_file, &json, Readers::All) {
            tracing::warn!(%error, file = %self.position_file.display(), "could not save where the scrub is");
        }
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

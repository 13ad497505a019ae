//! What is remembered of each node: how fast it answers, how reliably, and since when it is gone.
//!
//! Nothing here decides whether data is there. It only chooses whom to ask first and how long to wait. The clock
//! is tokio's, which tests can pause.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use datamesh_mesh::NodeUsage;
use datamesh_types::NodeId;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::ClusterConfig;

/// How many of a node's last reads its percentile is taken from.
const READS_KEPT: usize = 64;
/// Fewer reads than this say nothing about a percentile.
const READS_NEEDED: usize = 8;
/// The weight of the newest call in the averages.
const NEWEST: f64 = 0.05;
/// Shards up to this size are small: their time is the node's latency, not its throughput.
const SMALL_SHARD_BYTES: usize = 64 << 10;

/// Times of the last reads, a ring.
#[derive(Debug, Default)]
struct Reads {
    us: Vec<u32>,
    next: usize,
}

impl Reads {
    fn add(&mut self, elapsed: Duration) {
        let us = u32::try_from(elapsed.as_micros()).unwrap_or(u32::MAX);
        if self.us.len() < READS_KEPT {
            self.us.push(us);
        } else {
            self.us[self.next] = us;
        }
        self.next = (self.next + 1) % READS_KEPT;
    }

    fn p95(&self) -> Option<Duration> {
        if self.us.len() < READS_NEEDED {
            return None;
        }
        let mut sorted = self.us.clone();
        let at = (sorted.len() * 95).div_ceil(100) - 1;
        let (_, us, _) = sorted.select_nth_unstable(at);
        Some(Duration::from_micros(u64::from(*us)))
    }
}

#[derive(Debug)]
struct Memory {
    reads: Reads,
    /// Average time of a write, in seconds, of small shards and of others.
    write_s: [Option<f64>; 2],
    reliability: f64,
    late_in_a_row: u32,
    suspect_until: Option<Instant>,
    gone_since: Option<Instant>,
    usage: Option<NodeUsage>,
    refused_for_room: bool,
}

/// One node, as this process has seen it.
#[derive(Debug)]
pub(crate) struct Node {
    /// Permits for shards on the way to it.
    pub(crate) writes: Arc<Semaphore>,
    /// Permits for shards on the way from it.
    pub(crate) reads: Arc<Semaphore>,
    memory: Mutex<Memory>,
}

impl Node {
    fn new(config: &ClusterConfig) -> Self {
        let permits = config.shards_in_flight_per_node.max(1);
        Self {
            writes: Arc::new(Semaphore::new(permits)),
            reads: Arc::new(Semaphore::new(permits)),
            memory: Mutex::new(Memory {
                reads: Reads::default(),
                write_s: [None; 2],
                reliability: 1.0,
                late_in_a_row: 0,
                suspect_until: None,
                gone_since: None,
                usage: None,
                refused_for_room: false,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().expect("no holder of this lock panics")
    }

    /// It answered a read. Whether in time is judged by the reads before.
    pub(crate) fn read_answered(&self, elapsed: Duration, config: &ClusterConfig) {
        let in_time = elapsed <= self.hedge_after(config);
        let mut memory = self.lock();
        memory.reads.add(elapsed);
        if in_time {
            memory.in_time();
        }
    }

    pub(crate) fn written_in_time(&self, elapsed: Duration, bytes: usize) {
        let mut memory = self.lock();
        let class = usize::from(bytes > SMALL_SHARD_BYTES);
        let seconds = elapsed.as_secs_f64();
        let average = memory.write_s[class].map_or(seconds, |old| old + NEWEST * (seconds - old));
        memory.write_s[class] = Some(average);
        memory.in_time();
    }

    /// It was later than it should be, or the call failed.
    pub(crate) fn late(&self, config: &ClusterConfig) {
        let mut memory = self.lock();
        memory.reliability -= NEWEST * memory.reliability;
        memory.late_in_a_row += 1;
        if memory.late_in_a_row >= config.suspect_after {
            memory.suspect_until = Some(Instant::now() + config.suspect_for.duration());
        }
    }

    /// It answered that it takes no more shards.
    pub(crate) fn without_room(&self) {
        self.lock().refused_for_room = true;
    }

    pub(crate) fn set_usage(&self, usage: NodeUsage) {
        let mut memory = self.lock();
        memory.usage = Some(usage);
        memory.refused_for_room = false;
    }

    /// Notes whether it is connected now.
    pub(crate) fn seen(&self, connected: bool) {
        let mut memory = self.lock();
        match (connected, memory.gone_since) {
            (true, _) => memory.gone_since = None,
            (false, None) => memory.gone_since = Some(Instant::now()),
            (false, Some(_)) => {}
        }
    }

    /// How long it has been gone, as far as [`Self::seen`] was told.
    pub(crate) fn gone_for(&self) -> Option<Duration> {
        self.lock().gone_since.map(|since| since.elapsed())
    }

    pub(crate) fn suspect(&self) -> bool {
        self.lock().suspect_until.is_some_and(|until| until > Instant::now())
    }

    pub(crate) fn usage(&self) -> Option<NodeUsage> {
        self.lock().usage
    }

    pub(crate) fn reliability(&self) -> f64 {
        self.lock().reliability
    }

    pub(crate) fn read_p95(&self) -> Option<Duration> {
        self.lock().reads.p95()
    }

    /// After which time a read of this node is late.
    pub(crate) fn hedge_after(&self, config: &ClusterConfig) -> Duration {
        let (min, max) = (config.read_hedge_min.duration(), config.read_hedge_max.duration());
        self.read_p95().map_or(max, |p95| p95.clamp(min, max.max(min)))
    }

    /// Average time of writing a shard of the size class of `bytes`, in seconds.
    pub(crate) fn write_seconds(&self, bytes: usize) -> Option<f64> {
        self.lock().write_s[usize::from(bytes > SMALL_SHARD_BYTES)]
    }

    /// Free share of what it offers, 0 to 1; 1 while nothing is known.
    pub(crate) fn free_share(&self) -> f64 {
        let memory = self.lock();
        match memory.usage {
            _ if memory.refused_for_room => 0.0,
            None => 1.0,
            Some(usage) if usage.read_only || usage.capacity_bytes == 0 => 0.0,
            Some(usage) => 1.0 - (usage.used_bytes as f64 / usage.capacity_bytes as f64).min(1.0),
        }
    }
}

impl Memory {
    fn in_time(&mut self) {
        self.reliability += NEWEST * (1.0 - self.reliability);
        self.late_in_a_row = 0;
        self.suspect_until = None;
    }
}

/// Every node that was ever met.
#[derive(Debug)]
pub(crate) struct Nodes {
    config: ClusterConfig,
    by_id: Mutex<HashMap<NodeId, Arc<Node>>>,
}

impl Nodes {
    pub(crate) fn new(config: ClusterConfig) -> Self {
        Self { config, by_id: Mutex::default() }
    }

    pub(crate) fn get(&self, node: NodeId) -> Arc<Node> {
        let mut by_id = self.by_id.lock().expect("no holder of this lock panics");
        by_id.entry(node).or_insert_with(|| Arc::new(Node::new(&self.config))).clone()
    }
}

#[cfg(test)]
mod tests {
    use datamesh_types::TimeSpan;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_node_is_suspect_after_three_late_answers_in_a_row_and_for_a_while() {
        let config = ClusterConfig::default();
        let node = Node::new(&config);
        node.late(&config);
        node.late(&config);
        node.read_answered(Duration::from_millis(1), &config);
        node.late(&config);
        node.late(&config);
        assert!(!node.suspect(), "an answer in time starts the count anew");
        node.late(&config);
        assert!(node.suspect());
        tokio::time::advance(config.suspect_for.duration()).await;
        assert!(!node.suspect());
        assert!(node.reliability() < 0.9);
    }

    #[test]
    fn a_read_is_late_after_the_95th_percentile_of_the_last_ones_within_limits() {
        let config = ClusterConfig {
            read_hedge_min: TimeSpan(Duration::from_millis(5)),
            read_hedge_max: TimeSpan(Duration::from_millis(50)),
            ..ClusterConfig::default()
        };
        let node = Node::new(&config);
        assert_eq!(node.hedge_after(&config), Duration::from_millis(50), "not measured yet");
        for ms in 1..=20 {
            node.read_answered(Duration::from_millis(ms), &config);
        }
        assert_eq!(node.hedge_after(&config), Duration::from_millis(19));
        for _ in 0..READS_KEPT {
            node.read_answered(Duration::from_micros(10), &config);
        }
        assert_eq!(node.hedge_after(&config), Duration::from_millis(5));
        for _ in 0..READS_KEPT {
            node.read_answered(Duration::from_secs(9), &config);
        }
        assert_eq!(node.hedge_after(&config), Duration::from_millis(50));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_is_gone_from_when_it_was_first_seen_without_a_connection() {
        let node = Node::new(&ClusterConfig::default());
        assert_eq!(node.gone_for(), None);
        node.seen(false);
        tokio::time::advance(Duration::from_mins(1)).await;
        node.seen(false);
        assert_eq!(node.gone_for(), Some(Duration::from_mins(1)));
        node.seen(true);
        assert_eq!(node.gone_for(), None);
    }
}

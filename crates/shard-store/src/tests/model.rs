//! The store against a plain map, through clean reopens, power losses at any call, and losses of the index.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use datamesh_types::{KIB, ShardId};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::sim::SimHost;
use super::{config, data, id, open, runtime};
use crate::format::record_len;
use crate::{ShardStore, ShardStoreConfig, StoreError};

const RUNS: u64 = 12;
const STEPS: usize = 80;
const IDS: u64 = 60;

/// What a shard may be after a crash: as before the operation that was under way, or as after it.
type Allowed = BTreeMap<ShardId, BTreeSet<Option<Bytes>>>;

struct Run {
    rng: StdRng,
    home: TempDir,
    images: u32,
    host: Arc<SimHost>,
    config: ShardStoreConfig,
    store: Option<ShardStore>,
    model: BTreeMap<ShardId, Bytes>,
}

#[derive(Clone)]
enum Step {
    Put(ShardId, Bytes),
    Delete(Vec<ShardId>),
    Compact,
    FlushIndex,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let home = tempfile::tempdir().unwrap();
        let segment_bytes = [4 * KIB, 16 * KIB, 64 * KIB][rng.random_range(0..3)];
        let config = ShardStoreConfig { segment_bytes, ..config(&home.path().join("store")) };
        let host = Arc::new(SimHost::default());
        let mut run = Self { rng, home, images: 0, host, config, store: None, model: BTreeMap::new() };
        run.open();
        run
    }

    fn open(&mut self) {
        self.host = Arc::new(SimHost::with_files_in(&self.config.dir));
        let store = open(&self.config, &self.host);
        self.host.watch(&store);
        self.store = Some(store);
    }

    fn store(&self) -> ShardStore {
        self.store.clone().unwrap()
    }

    fn random_steps(&mut self) -> Vec<Step> {
        let rng = &mut self.rng;
        match rng.random_range(0..10) {
            0..6 => {
                // Distinct ids, so that each has one outcome whatever the order.
                let ids: BTreeSet<u64> =
                    (0..rng.random_range(1..8)).map(|_| rng.random_range(0..IDS)).collect();
                ids.into_iter().map(|number| self.random_change(number)).collect()
            }
            6..8 => vec![Step::Compact],
            8 => vec![Step::FlushIndex],
            _ => {
                let count = rng.random_range(1..20);
                vec![Step::Delete((0..count).map(|_| id(rng.random_range(0..IDS))).collect())]
            }
        }
    }

    fn random_change(&mut self, number: u64) -> Step {
        let sizes = [0, 1, 8, 500, 3000, 3000, 20_000];
        let size = sizes[self.rng.random_range(0..sizes.len())];
        if self.rng.random_bool(0.4) {
            Step::Delete(vec![id(number)])
        } else {
            Step::Put(id(number), data(self.rng.random_range(0..3), size))
        }
    }

    /// Runs steps at once and checks each answer. Returns what they may have left behind half-way.
    async fn perform(&mut self, steps: Vec<Step>) -> Allowed {
        let mut allowed = Allowed::new();
        let mut tasks = JoinSet::new();
        for step in steps {
            match &step {
                Step::Put(id, data) => {
                    let before = self.model.get(id).cloned();
                    let after = before.clone().unwrap_or_else(|| data.clone());
                    allowed.insert(*id, [before, Some(after.clone())].into());
                    self.model.insert(*id, after);
                }
                Step::Delete(ids) => {
                    for id in ids {
                        let before = self.model.remove(id);
                        allowed.entry(*id).or_default().extend([before, None]);
                    }
                }
                Step::Compact | Step::FlushIndex => {}
            }
            let (store, expected) = (self.store(), self.model.clone());
            tasks.spawn(async move {
                match step {
                    Step::Put(id, data) => match store.put(id, data.clone()).await {
                        Ok(()) => assert_eq!(expected[&id], data),
                        Err(StoreError::Conflict { .. }) => assert_ne!(expected[&id], data),
                        Err(error) => panic!("put: {error}"),
                    },
                    Step::Delete(ids) => drop(store.delete(&ids).await.unwrap()),
                    Step::Compact => drop(store.compact().await.unwrap()),
                    Step::FlushIndex => store.shared.index.flush().unwrap(),
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        allowed
    }

    /// Goes on with what a crash left, and learns which of the allowed outcomes it was.
    async fn resume(&mut self, image: PathBuf, allowed: Allowed) {
        if self.rng.random_bool(0.3) {
            std::fs::remove_dir_all(image.join("index")).unwrap();
        }
        self.store.take().unwrap().close().await.unwrap();
        self.config.dir = image;
        self.open();
        let store = self.store();
        for (id, states) in allowed {
            let found = match store.get(id).await {
                Ok(data) => Some(data),
                Err(StoreError::NotFound { .. }) => None,
                Err(error) => panic!("get {id}: {error}"),
            };
            assert!(states.contains(&found), "{id} is in a state that nobody asked for");
            match found {
                Some(data) => self.model.insert(id, data),
                None => self.model.remove(&id),
            };
        }
    }

    async fn reopen(&mut self) {
        self.store.take().unwrap().close().await.unwrap();
        if self.rng.random_bool(0.3) {
            std::fs::remove_dir_all(self.config.dir.join("index")).unwrap();
        }
        self.open();
    }

    async fn check(&self) {
        let store = self.store();
        let listed = store.list(None, None, usize::MAX).await.unwrap();
        assert!(
            listed
                .iter()
                .map(|stat| (stat.id, stat.len as usize))
                .eq(self.model.iter().map(|(id, data)| (*id, data.len())))
        );
        for (id, data) in &self.model {
            assert_eq!(store.get(*id).await.unwrap(), data);
        }
        let usage = store.usage();
        assert_eq!(usage.shards as usize, self.model.len());
        assert_eq!(usage.live_bytes, self.model.values().map(|data| record_len(data.len() as u32)).sum());
        assert_eq!(usage.used_bytes, bytes_in(&self.config.dir.join("segments")));
    }

    async fn step(&mut self) {
        let steps = self.random_steps();
        let image = self.home.path().join(format!("image-{}", self.images));
        self.images += 1;
        let armed = self.rng.random_bool(0.3);
        if armed {
            self.host.crash_after(self.rng.random_range(0..12), &image, self.rng.random());
        }
        let allowed = self.perform(steps).await;
        if armed && self.host.crashed() {
            self.resume(image, allowed).await;
        } else if self.rng.random_bool(0.05) {
            self.reopen().await;
        }
        self.check().await;
    }
}

fn bytes_in(dir: &Path) -> u64 {
    std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn any_history_with_crashes_agrees_with_a_plain_map() {
    let base: u64 = std::env::var("DATAMESH_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    for seed in base..base + RUNS {
        println!("seed {seed} (DATAMESH_TEST_SEED repeats it)");
        runtime().block_on(async {
            let mut run = Run::new(seed);
            for _ in 0..STEPS {
                run.step().await;
            }
            run.store.take().unwrap().close().await.unwrap();
        });
    }
}

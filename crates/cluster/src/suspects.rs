//! Shards that a read found to be bad, until a repair pass looks at them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use datamesh_types::{GroupId, Location, SealedId};

/// How many chunks are remembered. What comes on top is found by the next full scan.
const CHUNKS_MAX: usize = 10_000;

type Chunks = BTreeMap<(GroupId, SealedId), (Location, Vec<u8>)>;

/// Bounded, and lost at a restart: a hint that makes repair quicker.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    chunks: Mutex<Chunks>,
}

impl Suspects {
    fn lock(&self) -> MutexGuard<'_, Chunks> {
        self.chunks.lock().expect("no holder of this lock panics")
    }

    pub(crate) fn note(&self, location: Location, bad: &[u8]) {
        let mut chunks = self.lock();
        let key = (location.group, location.sealed);
        if chunks.len() >= CHUNKS_MAX && !chunks.contains_key(&key) {
            return;
        }
        let (_, indices) = chunks.entry(key).or_insert_with(|| (location, Vec::new()));
        indices.extend_from_slice(bad);
        indices.sort_unstable();
        indices.dedup();
    }

    /// Takes all of them out.
    pub(crate) fn take(&self) -> Vec<(Location, Vec<u8>)> {
        std::mem::take(&mut *self.lock()).into_values().collect()
    }
}

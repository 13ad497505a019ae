//! A small bounded map.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A map that never holds more than its capacity: a full one forgets any entry to take another.
pub(crate) struct Cache<K, V> {
    entries: Mutex<HashMap<K, V>>,
    capacity: usize,
}

impl<K: Hash + Eq + Clone, V: Clone> Cache<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { entries: Mutex::default(), capacity }
    }

    /// The value of `key`, unless it is no longer `fresh`.
    pub(crate) fn get<Q>(&self, key: &Q, fresh: impl FnOnce(&V) -> bool) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.lock().get(key).filter(|value| fresh(value)).cloned()
    }

    pub(crate) fn insert(&self, key: K, value: V) {
        let mut entries = self.lock();
        if entries.len() >= self.capacity && !entries.contains_key(&key) {
            let any = entries.keys().next().cloned();
            any.and_then(|any| entries.remove(&any));
        }
        entries.insert(key, value);
    }

    pub(crate) fn remove<Q>(&self, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.lock().remove(key);
    }

    /// Drops the entries whose keys are not to be kept.
    pub(crate) fn retain(&self, mut keep: impl FnMut(&K) -> bool) {
        self.lock().retain(|key, _| keep(key));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, V>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_cache_takes_new_entries_and_stays_bounded() {
        let cache = Cache::new(3);
        for number in 0..100 {
            cache.insert(number, number);
            assert_eq!(cache.get(&number, |_| true), Some(number));
            assert!(cache.lock().len() <= 3);
        }
        assert_eq!(cache.get(&99, |_| false), None);
    }
}

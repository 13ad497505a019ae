//! The DHT's records: values in RocksDB with a cache in front, since the swarm asks for them inside its poll.
//!
//! Bounded in number and size; who sends more is refused. Provider records are few (peers and groups, never
//! shards), announced again by their providers, and kept in memory.
//!
//! The stored form of a value, little-endian: version (1), expiry in milliseconds since the Unix epoch (8; 0 for
//! none), length of the publisher's peer id (1), the peer id, the value.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hashlink::LruCache;
use libp2p::PeerId;
use libp2p::kad::store::{Error, MemoryStore, MemoryStoreConfig, RecordStore, Result};
use libp2p::kad::{ProviderRecord, Record, RecordKey};

use crate::MeshError;

/// Values kept, at most.
const RECORDS_MAX: usize = 65_536;

/// The largest value, in bytes.
pub(crate) const VALUE_BYTES_MAX: usize = 4 << 10;

/// The longest key, in bytes.
pub(crate) const KEY_BYTES_MAX: usize = 256;

/// Values held in memory in front of RocksDB.
const CACHED_MAX: usize = 1024;

/// Keys that have provider records.
const PROVIDED_KEYS_MAX: usize = 4096;

const VERSION: u8 = 1;

/// Where the values are.
enum Values {
    Memory(HashMap<RecordKey, Record>),
    Disk { db: rocksdb::DB, cache: Mutex<LruCache<RecordKey, Record>>, count: usize },
}

/// See the module.
pub(crate) struct Records {
    values: Values,
    providers: MemoryStore,
}

impl Records {
    /// Opens the records in `path`, and drops those that have expired; without a path they are in memory only.
    pub(crate) fn open(local: PeerId, path: Option<&Path>) -> std::result::Result<Self, MeshError> {
        let values = match path {
            None => Values::Memory(HashMap::new()),
            Some(path) => {
                let fail = |source| MeshError::Records { path: path.to_owned(), source };
                std::fs::create_dir_all(path).map_err(fail)?;
                let db =
                    rocksdb::DB::open(&options(), path).map_err(|error| fail(io::Error::other(error)))?;
                Values::Disk { db, cache: Mutex::new(LruCache::new(CACHED_MAX)), count: 0 }
            }
        };
        let config =
            MemoryStoreConfig { max_provided_keys: PROVIDED_KEYS_MAX, ..MemoryStoreConfig::default() };
        let mut records = Self { values, providers: MemoryStore::with_config(local, config) };
        records.remove_expired();
        Ok(records)
    }

    /// Drops what has expired; the host calls it at long intervals.
    pub(crate) fn remove_expired(&mut self) {
        match &mut self.values {
            Values::Memory(values) => values.retain(|_, record| !record.is_expired(Instant::now())),
            Values::Disk { db, cache, count } => {
                *count = 0;
                for (key, value) in db.iterator(rocksdb::IteratorMode::Start).flatten() {
                    // Now is asked for after decoding, which turns an expiry of the past into the present.
                    if decode(&key, &value).is_some_and(|record| !record.is_expired(Instant::now())) {
                        *count += 1;
                    } else {
                        warn_on_error("remove", db.delete(&key));
                        cache.get_mut().unwrap_or_else(PoisonError::into_inner).remove(&RecordKey::new(&key));
                    }
                }
            }
        }
    }
}

fn options() -> rocksdb::Options {
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    // Records are small, few and hints: one small buffer, no more threads and files than needed.
    options.set_write_buffer_size(1 << 20);
    options.set_max_write_buffer_number(2);
    options.set_max_open_files(64);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_max_total_wal_size(4 << 20);
    options
}

fn warn_on_error(action: &'static str, result: std::result::Result<(), rocksdb::Error>) {
    if let Err(error) = result {
        tracing::warn!(action, %error, "a DHT record could not be changed on disk");
    }
}

impl RecordStore for Records {
    type RecordsIter<'a> = std::vec::IntoIter<Cow<'a, Record>>;
    type ProvidedIter<'a> = <MemoryStore as RecordStore>::ProvidedIter<'a>;

    fn get(&self, key: &RecordKey) -> Option<Cow<'_, Record>> {
        match &self.values {
            Values::Memory(values) => values.get(key).map(Cow::Borrowed),
            Values::Disk { db, cache, .. } => {
                let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(record) = cache.get(key) {
                    return Some(Cow::Owned(record.clone()));
                }
                let record = decode(key.as_ref(), &db.get_pinned(key).ok()??)?;
                cache.insert(key.clone(), record.clone());
                Some(Cow::Owned(record))
            }
        }
    }

    fn put(&mut self, record: Record) -> Result<()> {
        if record.value.len() > VALUE_BYTES_MAX || record.key.as_ref().len() > KEY_BYTES_MAX {
            return Err(Error::ValueTooLarge);
        }
        let new = self.get(&record.key).is_none();
        match &mut self.values {
            Values::Memory(values) => {
                if new && values.len() >= RECORDS_MAX {
                    return Err(Error::MaxRecords);
                }
                values.insert(record.key.clone(), record);
            }
            Values::Disk { db, cache, count } => {
                if new && *count >= RECORDS_MAX {
                    return Err(Error::MaxRecords);
                }
                warn_on_error("store", db.put(&record.key, encode(&record)));
                *count += usize::from(new);
                cache.get_mut().unwrap_or_else(PoisonError::into_inner).insert(record.key.clone(), record);
            }
        }
        Ok(())
    }

    fn remove(&mut self, key: &RecordKey) {
        let known = self.get(key).is_some();
        match &mut self.values {
            Values::Memory(values) => {
                values.remove(key);
            }
            Values::Disk { db, cache, count } => {
                warn_on_error("remove", db.delete(key));
                *count -= usize::from(known).min(*count);
                cache.get_mut().unwrap_or_else(PoisonError::into_inner).remove(key);
            }
        }
    }

    fn records(&self) -> Self::RecordsIter<'_> {
        let records: Vec<Cow<'_, Record>> = match &self.values {
            Values::Memory(values) => values.values().map(Cow::Borrowed).collect(),
            Values::Disk { db, .. } => db
                .iterator(rocksdb::IteratorMode::Start)
                .flatten()
                .filter_map(|(key, value)| decode(&key, &value).map(Cow::Owned))
                .collect(),
        };
        records.into_iter()
    }

    fn add_provider(&mut self, record: ProviderRecord) -> Result<()> {
        self.providers.add_provider(record)
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        self.providers.providers(key)
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        self.providers.provided()
    }

    fn remove_provider(&mut self, key: &RecordKey, provider: &PeerId) {
        self.providers.remove_provider(key, provider);
    }
}

fn encode(record: &Record) -> Vec<u8> {
    let expires_ms = record.expires.map_or(0, |at| {
        let left = at.saturating_duration_since(Instant::now());
        (since_epoch() + left).as_millis() as u64
    });
    let publisher = record.publisher.map(PeerId::to_bytes).unwrap_or_default();
    let mut bytes = Vec::with_capacity(10 + publisher.len() + record.value.len());
    bytes.push(VERSION);
    bytes.extend_from_slice(&expires_ms.to_le_bytes());
    bytes.push(publisher.len() as u8);
    bytes.extend_from_slice(&publisher);
    bytes.extend_from_slice(&record.value);
    bytes
}

/// `None` for what no version of this software has written.
fn decode(key: &[u8], bytes: &[u8]) -> Option<Record> {
    let (&[VERSION], rest) = bytes.split_first_chunk::<1>()? else { return None };
    let (expires_ms, rest) = rest.split_first_chunk::<8>()?;
    let (publisher_len, rest) = rest.split_first()?;
    let (publisher, value) = rest.split_at_checked(usize::from(*publisher_len))?;
    let publisher = match publisher {
        [] => None,
        bytes => Some(PeerId::from_bytes(bytes).ok()?),
    };
    let expires = match u64::from_le_bytes(*expires_ms) {
        0 => None,
        at => {
            let left = Duration::from_millis(at).saturating_sub(since_epoch());
            // A clock that jumped must not make a record live for ever, nor the sum overflow.
            Some(Instant::now() + left.min(Duration::from_hours(30 * 24)))
        }
    };
    Some(Record { key: RecordKey::new(&key), value: value.to_vec(), publisher, expires })
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, expires: Option<Instant>) -> Record {
        Record {
            key: RecordKey::new(&key),
            value: b"value".to_vec(),
            publisher: Some(PeerId::random()),
            expires,
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_hours(1)
    }

    #[test]
    fn records_survive_a_restart_and_expired_ones_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let local = PeerId::random();
        let (kept, forever) = (record("kept", Some(soon())), record("forever", None));
        let mut records = Records::open(local, Some(dir.path())).unwrap();
        for record in [&kept, &forever, &record("old", Some(Instant::now()))] {
            records.put(record.clone()).unwrap();
        }
        drop(records);
        let records = Records::open(local, Some(dir.path())).unwrap();
        let found = records.get(&kept.key).unwrap();
        assert_eq!((&found.value, found.publisher), (&kept.value, kept.publisher));
        assert!(found.expires.unwrap() > Instant::now());
        assert_eq!(records.get(&forever.key).unwrap().expires, None);
        assert_eq!(records.records().count(), 2);
    }

    #[test]
    fn memory_and_disk_behave_alike() {
        let dir = tempfile::tempdir().unwrap();
        for path in [None, Some(dir.path())] {
            let mut records = Records::open(PeerId::random(), path).unwrap();
            let one = record("one", Some(soon()));
            assert!(records.get(&one.key).is_none());
            records.put(one.clone()).unwrap();
            records.put(one.clone()).unwrap();
            assert_eq!(records.records().count(), 1);
            records.remove(&one.key);
            records.remove(&one.key);
            assert!(records.get(&one.key).is_none());
            let large = Record { value: vec![0; VALUE_BYTES_MAX + 1], ..one.clone() };
            assert!(matches!(records.put(large), Err(Error::ValueTooLarge)));
            let long = Record { key: RecordKey::new(&vec![0; KEY_BYTES_MAX + 1]), ..one };
            assert!(matches!(records.put(long), Err(Error::ValueTooLarge)));
        }
    }

    #[test]
    fn damaged_records_are_skipped() {
        assert!(decode(b"key", &encode(&record("key", Some(soon())))).is_some());
        for bytes in [&b""[..], &[9], &[1, 0, 0], &[1, 0, 0, 0, 0, 0, 0, 0, 0, 200, 1]] {
            assert!(decode(b"key", bytes).is_none(), "{bytes:?}");
        }
    }
}

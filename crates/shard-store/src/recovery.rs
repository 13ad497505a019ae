//! Opening a store: lock, identity, index, and the part of the log that the index has not seen.
//!
//! What a crash can leave, and what becomes of it:
//!
//! - an index older than the log: the log is read again from the position that the index names;
//! - a torn end of the last segment: it is cut off. Only what no later record proves to have been fsynced can
//!   be torn; an invalid record before that point is damage, and is stepped over;
//! - whole records at the end that were never fsynced, or whose fsync failed: they are written once more, in
//!   place, and fsynced. Reading them back would prove nothing, because the page cache may hold what the disk
//!   does not;
//! - a compaction's output that the index does not know: removed, its inputs are still there;
//! - inputs that the index does not know any more: removed, their output is there.
//!
//! An index that is missing, foreign, of another version or damaged is rebuilt from the segments alone.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datamesh_types::MIB;

use crate::changes::Changes;
use crate::config::ShardStoreConfig;
use crate::dir_lock::DirLock;
use crate::error::StoreError;
use crate::format::{
    Action, FORMAT_VERSION, FormatError, Origin, RecordHeader, SEGMENT_HEADER_LEN, SegmentHeader, StoreId,
    payload_crc,
};
use crate::host::Host;
use crate::identity::load_or_create_identity;
use crate::index::{Entry, Index, IndexBatch, Position, SegmentMeta};
use crate::scan::{Scanner, Stretch};
use crate::segment::{SEGMENT_SUFFIX, Segment, SegmentTable, UNFINISHED_SUFFIX, read_at, segment_path};
use crate::shared::Shared;
use crate::writer::create_segment;

/// Where the segments are, below the store's directory.
pub(crate) const SEGMENTS_DIR: &str = "segments";
const INDEX_DIR: &str = "index";
/// Records that are replayed in one step.
const REPLAY_BATCH: usize = 4096;

/// A store that is ready for its writer.
pub(crate) struct Opened {
    pub(crate) shared: Arc<Shared>,
    /// The segment that the log goes on in.
    pub(crate) active: Arc<Segment>,
    /// The same, writable.
    pub(crate) file: Arc<File>,
}

/// A segment file as found.
pub(crate) struct Found {
    pub(crate) id: u64,
    pub(crate) path: PathBuf,
    pub(crate) len: u64,
    /// `None` when it is damaged or was never completed.
    pub(crate) header: Option<SegmentHeader>,
}

/// Opens the store in `config.dir`.
pub(crate) fn open(config: ShardStoreConfig, host: Arc<dyn Host>) -> Result<Opened, StoreError> {
    config.check()?;
    let segments_dir = config.dir.join(SEGMENTS_DIR);
    std::fs::create_dir_all(&segments_dir).map_err(|error| StoreError::io("create", &segments_dir, error))?;
    let lock = DirLock::acquire(&config.dir)?;
    let found = find_segments(&segments_dir, &*host)?;
    let store = load_or_create_identity(&config.dir, &found, &*host)?;
    let index_dir = config.dir.join(INDEX_DIR);
    let index = open_index(&index_dir, &config)?;
    let known = if index.is_complete(store)? { known_segments(&index, &found)? } else { None };
    let (index, start, metas) = match known {
        Some((start, metas)) => (index, Some(start), metas),
        None => (fresh_index(index, &index_dir, &config, &found)?, None, Vec::new()),
    };
    let table = SegmentTable::new(config.open_files);
    let next_id = found.iter().map(|found| found.id).chain(metas.iter().map(|meta| meta.id)).max();
    let shared = Arc::new(Shared {
        store,
        index,
        table,
        active: AtomicU64::new(0),
        next_id: AtomicU64::new(next_id.unwrap_or(0) + 1),
        failure: std::sync::OnceLock::new(),
        closing: false.into(),
        compacting: false.into(),
        compaction: std::sync::Mutex::default(),
        compactor: std::sync::Mutex::default(),
        _lock: lock,
        config,
        host,
    });
    let log = enter_segments(&shared, found, &metas, start)?;
    let (active, file) = replay(&shared, log, start)?;
    shared.host.sync_dir(&segments_dir).map_err(|error| StoreError::io("sync", &segments_dir, error))?;
    if start.is_none() {
        complete_index(&shared, &active)?;
    }
    Ok(Opened { shared, active, file })
}

/// Lists the segments and removes unfinished outputs.
fn find_segments(dir: &Path, host: &dyn Host) -> Result<Vec<Found>, StoreError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |error| StoreError::io(action, path, error)
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed("list", dir))? {
        let path = entry.map_err(failed("list", dir))?.path();
        let suffix = path.extension().and_then(|suffix| suffix.to_str());
        if suffix == Some(UNFINISHED_SUFFIX) {
            host.remove(&path).map_err(failed("remove", &path))?;
        }
        let name = path.file_stem().and_then(|name| name.to_str());
        let id = name.and_then(|name| u64::from_str_radix(name, 16).ok());
        let (Some(SEGMENT_SUFFIX), Some(id)) = (suffix, id) else { continue };
        let file = File::open(&path).map_err(failed("open", &path))?;
        let len = file.metadata().map_err(failed("read", &path))?.len();
        let bytes = read_at(&file, 0, SEGMENT_HEADER_LEN as usize).map_err(failed("read", &path))?;
        let header = match SegmentHeader::decode(&bytes) {
            Ok(header) => Some(header).filter(|header| header.id == id),
            Err(FormatError::Invalid) => None,
            Err(FormatError::Newer(version)) => {
                return Err(StoreError::NewerFormat { path, found: version, supported: FORMAT_VERSION });
            }
        };
        found.push(Found { id, path, len, header });
    }
    found.sort_by_key(|found| found.id);
    Ok(found)
}

/// Opens the index, or an empty one in place of an index that cannot be read.
fn open_index(dir: &Path, config: &ShardStoreConfig) -> Result<Index, StoreError> {
    if !Index::damage_mark(dir).exists() {
        match Index::open(dir, config) {
            Err(error) if is_damage(&error) => {
                tracing::warn!(dir = %dir.display(), %error, "the index is damaged");
            }
            opened => return opened,
        }
    }
    remove_index(dir)?;
    Index::open(dir, config)
}

fn is_damage(error: &StoreError) -> bool {
    let StoreError::Index { source, .. } = error else { return false };
    match source.kind() {
        rocksdb::ErrorKind::IOError => source.as_ref().contains("No such file"),
        rocksdb::ErrorKind::Corruption
        | rocksdb::ErrorKind::InvalidArgument
        | rocksdb::ErrorKind::NotFound
        | rocksdb::ErrorKind::NotSupported => true,
        _ => false,
    }
}

fn remove_index(dir: &Path) -> Result<(), StoreError> {
    for removed in [std::fs::remove_dir_all(dir), std::fs::remove_file(Index::damage_mark(dir))] {
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::io("remove", dir, error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Where the index ends and which segments it knows, or `None` when it does not fit the files.
fn known_segments(
    index: &Index,
    found: &[Found],
) -> Result<Option<(Position, Vec<SegmentMeta>)>, StoreError> {
    let metas = index.segments()?;
    let Some(position) = index.position()? else { return Ok(None) };
    let is_known = |id| metas.iter().any(|meta| meta.id == id);
    let fits = |found: &Found| {
        let after_the_position = found.id > position.file && !is_output(found);
        is_known(found.id) || is_empty(found) || after_the_position || is_covered(found, &metas)
    };
    if is_known(position.file) && found.iter().all(fits) {
        return Ok(Some((position, metas)));
    }
    tracing::warn!("the index does not know all segments");
    Ok(None)
}

fn is_output(found: &Found) -> bool {
    found.header.is_some_and(|header| header.origin != Origin::Log)
}

/// Whether it holds no record: one whose creation a crash interrupted.
fn is_empty(found: &Found) -> bool {
    found.len <= SEGMENT_HEADER_LEN && !is_output(found)
}

/// Whether segments that the index knows hold the same part of the log.
fn is_covered(found: &Found, metas: &[SegmentMeta]) -> bool {
    let (first, last) = found.header.map_or((found.id, found.id), |header| (header.first, header.last));
    let holds = |number| metas.iter().any(|meta| (meta.first..=meta.last).contains(&number));
    holds(first) && holds(last)
}

fn fresh_index(
    old: Index,
    dir: &Path,
    config: &ShardStoreConfig,
    found: &[Found],
) -> Result<Index, StoreError> {
    if !found.is_empty() {
        tracing::warn!(dir = %dir.display(), segments = found.len(), "rebuilding the index from the segments");
    }
    drop(old);
    remove_index(dir)?;
    Index::open(dir, config)
}

/// Fills the table, removes files without a purpose, and returns the segments that are to be replayed, in order.
fn enter_segments(
    shared: &Shared,
    found: Vec<Found>,
    metas: &[SegmentMeta],
    start: Option<Position>,
) -> Result<Vec<Arc<Segment>>, StoreError> {
    let known: BTreeMap<u64, &SegmentMeta> = metas.iter().map(|meta| (meta.id, meta)).collect();
    let outputs: Vec<_> =
        found.iter().filter(|found| is_output(found)).filter_map(|found| found.header).collect();
    let newest_log = found.iter().filter(|found| !is_output(found)).map(|found| found.id).max();
    // Without an index, an output stands for everything older in its part of the log.
    let superseded = |found: &Found| {
        let (first, last) = found.header.map_or((found.id, found.id), |header| (header.first, header.last));
        outputs.iter().any(|output| output.id > found.id && output.first <= first && last <= output.last)
    };
    let mut log = Vec::new();
    for found in found {
        let meta = known.get(&found.id).copied();
        let useless = match (meta, start) {
            (Some(_), _) => false,
            (None, Some(position)) => found.id <= position.file || is_output(&found),
            (None, None) => superseded(&found),
        };
        let torn_creation = found.header.is_none() && is_empty(&found);
        if meta.is_none() && (useless || torn_creation || (is_empty(&found) && newest_log != Some(found.id)))
        {
            tracing::info!(path = %found.path.display(), "removing a segment that nothing refers to");
            shared.host.remove(&found.path).map_err(|error| StoreError::io("remove", &found.path, error))?;
            continue;
        }
        if found.header.is_none() {
            tracing::warn!(path = %found.path.display(), "the segment's header is damaged");
        }
        let segment = Arc::new(Segment::new(
            found.path.clone(),
            &meta.copied().unwrap_or_else(|| meta_of(&found)),
            found.len,
        ));
        shared.table.insert(Arc::clone(&segment));
        if start.is_none_or(|position| segment.id >= position.file && segment.origin == Origin::Log) {
            log.push(segment);
        }
    }
    for meta in metas.iter().filter(|meta| shared.table.get(meta.id).is_none()) {
        let path = segment_path(&shared.segments_dir(), meta.id, SEGMENT_SUFFIX);
        tracing::error!(path = %path.display(), shards = meta.live_shards, "a segment is lost");
        shared.table.insert(Arc::new(Segment::new(path, meta, 0)));
    }
    log.sort_by_key(|segment| segment.first);
    Ok(log)
}

fn meta_of(found: &Found) -> SegmentMeta {
    let (first, last, origin) = found
        .header
        .map_or((found.id, found.id, Origin::Log), |header| (header.first, header.last, header.origin));
    SegmentMeta { id: found.id, first, last, origin, live_bytes: 0, live_shards: 0 }
}

/// Brings the index up to the end of the log, and opens the segment that it goes on in.
fn replay(
    shared: &Shared,
    log: Vec<Arc<Segment>>,
    start: Option<Position>,
) -> Result<(Arc<Segment>, Arc<File>), StoreError> {
    let mut last = None;
    let count = log.len();
    for (number, segment) in log.into_iter().enumerate() {
        let from = match start {
            Some(position) if position.file == segment.id => position.offset,
            _ => SEGMENT_HEADER_LEN,
        };
        let is_end = number + 1 == count && segment.origin == Origin::Log;
        let tail = if is_end { Some(finish_tail(shared, &segment, from)?) } else { None };
        replay_segment(shared, &segment, from)?;
        last = tail.map(|file| (segment, file)).filter(|(segment, _)| {
            // Behind a position that the file does not reach, acknowledged bytes are missing: go on elsewhere,
            // so that nothing new comes to lie where the index still expects them.
            from <= segment.len() && segment.len() < shared.config.segment_bytes
        });
    }
    match last {
        Some((active, file)) => {
            shared.active.store(active.id, Ordering::Release);
            Ok((active, Arc::new(file)))
        }
        None => create_segment(shared),
    }
}

/// Applies a segment's records from `from` on to the index.
fn replay_segment(shared: &Shared, segment: &Segment, from: u64) -> Result<(), StoreError> {
    let Shared { index, table, store, .. } = shared;
    let file = table.open(segment).map_err(|error| StoreError::io("open", &segment.path, error))?;
    let mut scanner = Scanner::new(&segment.path, &file, *store, segment.id, from, segment.len());
    let mut changes = Changes::default();
    while let Some(stretch) = scanner.next()? {
        let Stretch::Record { offset, header } = stretch else {
            tracing::warn!(path = %segment.path.display(), ?stretch, "a stretch of the segment is damaged");
            continue;
        };
        match header.action {
            Action::Store => {
                changes.put(index, header.id, entry_of(segment.id, offset, &header))?;
            }
            Action::Delete { .. } => {
                changes.remove(index, header.id)?;
            }
        }
        if changes.len() >= REPLAY_BATCH {
            // The position stays where it was: after another crash the same records are replayed to the same
            // effect, as long as all of them are.
            std::mem::take(&mut changes).apply(index, table, segment, None)?;
        }
    }
    changes.apply(index, table, segment, Some(Position { file: segment.id, offset: segment.len() }))
}

fn entry_of(file: u64, offset: u64, header: &RecordHeader) -> Entry {
    let RecordHeader { len, crc, stored_at_ms, .. } = *header;
    Entry { file, offset: offset as u32, len, crc, stored_at_ms }
}

/// Cuts off what is torn behind `from` in the last segment, and makes the rest durable.
fn finish_tail(shared: &Shared, segment: &Segment, from: u64) -> Result<File, StoreError> {
    let path = &segment.path;
    let failed = |action| move |error| StoreError::io(action, path, error);
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed("open"))?;
    let (proven, end) = find_end(shared, segment, &file, from)?;
    if end < segment.len() {
        tracing::info!(path = %path.display(), end, len = segment.len(), "cutting off what was never fsynced");
        shared.host.truncate(path, &file, end).map_err(failed("cut"))?;
        segment.set_len(end);
    }
    let mut offset = proven;
    while offset < end {
        let bytes = read_at(&file, offset, (end - offset).min(MIB) as usize).map_err(failed("read"))?;
        let mut part = [IoSlice::new(&bytes)];
        shared.host.write_all_at(path, &file, &mut part, offset).map_err(failed("write"))?;
        offset += bytes.len() as u64;
    }
    shared.host.sync(path, &file).map_err(failed("sync"))?;
    Ok(file)
}

/// How far the segment is known to have been fsynced, and where its last whole record ends.
fn find_end(shared: &Shared, segment: &Segment, file: &File, from: u64) -> Result<(u64, u64), StoreError> {
    let mut scanner = Scanner::new(&segment.path, file, shared.store, segment.id, from, segment.len());
    let mut stretches = Vec::new();
    // The segment header is fsynced before the first record is written, but the file may end with it.
    let mut proven = if from > SEGMENT_HEADER_LEN { from } else { 0 };
    while let Some(stretch) = scanner.next()? {
        if let Stretch::Record { header, .. } = &stretch {
            proven = proven.max(u64::from(header.synced_to));
        }
        stretches.push(stretch);
    }
    let mut end = from.min(segment.len());
    for stretch in stretches {
        match stretch {
            Stretch::Record { offset, header } => {
                let record_end = offset + header.record_len();
                if offset >= proven && !is_whole(segment, file, offset, &header)? {
                    break;
                }
                end = record_end.min(segment.len());
            }
            Stretch::Gap { from, to } if from < proven => end = to,
            Stretch::Gap { .. } => break,
        }
    }
    Ok((proven.min(end), end))
}

fn is_whole(segment: &Segment, file: &File, offset: u64, header: &RecordHeader) -> Result<bool, StoreError> {
    let entry = entry_of(segment.id, offset, header);
    if offset + header.record_len() > segment.len() {
        return Ok(false);
    }
    let payload = crate::segment::read_payload(file, &entry)
        .map_err(|error| StoreError::io("read", &segment.path, error))?;
    Ok(payload_crc(&header.id, &payload) == header.crc)
}

/// Declares a rebuilt index complete.
fn complete_index(shared: &Shared, active: &Segment) -> Result<(), StoreError> {
    for segment in shared.table.in_log_order() {
        Changes::default().apply(&shared.index, &shared.table, &segment, None)?;
    }
    let position = Position { file: active.id, offset: active.len() };
    let mut batch = IndexBatch::default();
    batch.set_position(position);
    batch.set_complete(shared.store);
    shared.index.write(batch)?;
    shared.index.flush()
}

/// The identity that the segments name.
pub(crate) fn identity_of(found: &[Found]) -> Option<StoreId> {
    found.iter().find_map(|found| found.header).map(|header| header.store)
}

//! Compaction: neighbouring segments give way to one that holds what is left of them.
//!
//! The output stands for the same part of the log as its inputs, so the order of the log never changes and a
//! rebuild of the index needs nothing but that order. Reads are never blocked: an input stays readable until
//! the last reader lets go of its file, and a reader that comes late looks the shard up again.
//!
//! The output becomes valid in three steps, each durable before the next: the whole file under its final name,
//! the index that points into it, the removal of the inputs. Opening the store finishes or undoes what a crash
//! left between them.
//!
//! A delete record may go only when the record that it deletes is gone from the disk; otherwise a rebuild of
//! the index would bring the shard back. Each delete therefore names the part of the log that it reaches into.

use std::fs::File;
use std::io::IoSlice;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use datamesh_types::{KIB, MIB, ShardId};
use tokio::sync::{mpsc, oneshot};

use crate::error::StoreError;
use crate::format::{
    Action, Origin, Place, RECORD_HEADER_LEN, RecordHeader, SEGMENT_HEADER_LEN, SegmentHeader,
};
use crate::host::is_full;
use crate::index::{Entry, SegmentMeta};
use crate::scan::{Scanner, Stretch};
use crate::segment::{SEGMENT_SUFFIX, Segment, UNFINISHED_SUFFIX, forget_cached, read_payload, segment_path};
use crate::shared::Shared;
use crate::writer::Request;

/// A segment is worth rewriting when no more than this share of it is alive: each byte written then frees at
/// least one.
const LIVE_SHARE_MAX: f64 = 0.5;
/// The same once writes are refused or nearly so: space is then worth more writing.
const LIVE_SHARE_MAX_UNDER_PRESSURE: f64 = 0.9;
/// Rewriting for less is pointless.
const GAIN_MIN_BYTES: u64 = 4 * KIB;
/// Copied bytes are written in pieces of about this size.
const COPY_BYTES: usize = 4 * MIB as usize;

/// What one compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompactionReport {
    /// Segments that were replaced.
    pub segments: u64,
    /// Bytes that had to be written anew.
    pub rewritten_bytes: u64,
    /// Bytes that the disk got back.
    pub freed_bytes: u64,
}

/// A finished output, ready to take the place of its inputs.
#[derive(Debug)]
pub(crate) struct Compaction {
    pub(crate) inputs: Vec<Arc<Segment>>,
    pub(crate) output: Arc<Segment>,
    pub(crate) moved: Vec<Moved>,
}

/// A record that was copied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moved {
    pub(crate) id: ShardId,
    pub(crate) from: Entry,
    pub(crate) to: Entry,
}

/// Starts a thread that compacts what is worth it, unless one is running or the store does not want it.
pub(crate) fn start_in_background(shared: &Arc<Shared>, requests: &mpsc::WeakSender<Request>) {
    if !shared.config.auto_compact || shared.compacting.swap(true, Ordering::AcqRel) {
        return;
    }
    let (thread_shared, requests) = (Arc::clone(shared), requests.clone());
    let thread = std::thread::Builder::new().name("shard-compact".to_owned()).spawn(move || {
        let shared = thread_shared;
        if let Err(error) = compact_all(&shared, &requests) {
            let closed = matches!(error, StoreError::Closed);
            if !closed {
                tracing::warn!(dir = %shared.config.dir.display(), %error, "a compaction failed and was undone");
            }
        }
        shared.compacting.store(false, Ordering::Release);
    });
    match thread {
        Ok(thread) => {
            let earlier = shared.compactor.lock().unwrap_or_else(PoisonError::into_inner).replace(thread);
            if let Some(earlier) = earlier {
                // It has said that it is done, and only has to return.
                let _ = earlier.join();
            }
        }
        Err(error) => {
            shared.compacting.store(false, Ordering::Release);
            tracing::warn!(%error, "no thread for a compaction");
        }
    }
}

/// Compacts until nothing is worth it.
pub(crate) fn compact_all(
    shared: &Shared,
    requests: &mpsc::WeakSender<Request>,
) -> Result<CompactionReport, StoreError> {
    let _only_one = shared.compaction.lock().unwrap_or_else(PoisonError::into_inner);
    let mut total = CompactionReport::default();
    let share_max = live_share_max(shared);
    if let Some(active) = shared.table.get(shared.active.load(Ordering::Acquire))
        && dead_bytes(&active) >= (shared.config.segment_bytes / 8).max(GAIN_MIN_BYTES)
        && live_share(&active) <= share_max
    {
        ask(requests, Request::Seal)?;
    }
    while let Some(inputs) = choose(shared, share_max) {
        let report = compact(shared, requests, &inputs)?;
        total.segments += report.segments;
        total.rewritten_bytes += report.rewritten_bytes;
        total.freed_bytes += report.freed_bytes;
    }
    Ok(total)
}

fn live_share_max(shared: &Shared) -> f64 {
    let (used, ..) = shared.table.totals();
    let free = shared.host.free_bytes(&shared.config.dir).unwrap_or(u64::MAX);
    let near_capacity = used + shared.config.segment_bytes >= shared.config.capacity_bytes;
    let near_full = free <= shared.config.reserve_bytes.saturating_add(shared.config.segment_bytes);
    if near_capacity || near_full { LIVE_SHARE_MAX_UNDER_PRESSURE } else { LIVE_SHARE_MAX }
}

/// Bytes that rewriting the segment is expected to free.
fn dead_bytes(segment: &Segment) -> u64 {
    segment.len().saturating_sub(SEGMENT_HEADER_LEN + segment.live_bytes() + segment.kept_bytes())
}

fn live_share(segment: &Segment) -> f64 {
    1.0 - dead_bytes(segment) as f64 / segment.len().max(1) as f64
}

/// The sealed segment with the smallest live share, and those of its neighbours that fit into one segment with
/// it and are either worth rewriting as well or small.
fn choose(shared: &Shared, share_max: f64) -> Option<Vec<Arc<Segment>>> {
    let target = shared.config.segment_bytes;
    let active = shared.active.load(Ordering::Acquire);
    let sealed: Vec<_> =
        shared.table.in_log_order().into_iter().filter(|segment| segment.first < active).collect();
    let worthwhile =
        |segment: &Segment| dead_bytes(segment) >= GAIN_MIN_BYTES && live_share(segment) <= share_max;
    let (best, _) = sealed
        .iter()
        .enumerate()
        .filter(|(_, segment)| worthwhile(segment))
        .min_by(|(_, a), (_, b)| live_share(a).total_cmp(&live_share(b)))?;

    let left_over = |segment: &Segment| segment.live_bytes() + segment.kept_bytes();
    let mut size = left_over(&sealed[best]);
    let mut joins = |segment: &Segment| {
        let fits = size + left_over(segment) <= target;
        // A length of 0 stands for a file that is lost.
        let joins = fits && segment.len() > 0 && (worthwhile(segment) || segment.len() <= target / 8);
        size += if joins { left_over(segment) } else { 0 };
        joins
    };
    let before = sealed[..best].iter().rev().take_while(|segment| joins(segment)).count();
    let after = sealed[best + 1..].iter().take_while(|segment| joins(segment)).count();
    Some(sealed[best - before..=best + after].to_vec())
}

/// Replaces `inputs`, which are neighbours in the log, by one segment.
fn compact(
    shared: &Shared,
    requests: &mpsc::WeakSender<Request>,
    inputs: &[Arc<Segment>],
) -> Result<CompactionReport, StoreError> {
    let dir = shared.segments_dir();
    let mut copy = Copy::start(shared, inputs)?;
    let output = copy.all(inputs).and_then(|()| copy.finish());
    let (output, moved, dropped_shards) = output.inspect_err(|_| remove_quietly(shared, &copy.path))?;
    let report = CompactionReport {
        segments: inputs.len() as u64,
        rewritten_bytes: output.len(),
        freed_bytes: inputs.iter().map(|input| input.len()).sum::<u64>().saturating_sub(output.len()),
    };
    let path = output.path.clone();
    let compaction = Compaction { inputs: inputs.to_vec(), output, moved };
    ask(requests, |reply| Request::Adopt(compaction, reply))
        .inspect_err(|_| remove_quietly(shared, &path))?;
    // Once the inputs are gone, an older state of the index would be of no use.
    shared.index.flush()?;
    for input in inputs {
        shared.host.remove(&input.path).map_err(|error| StoreError::io("remove", &input.path, error))?;
    }
    shared.host.sync_dir(&dir).map_err(|error| StoreError::io("sync", &dir, error))?;
    if dropped_shards {
        // Deletes elsewhere may have lost their purpose.
        shared.table.in_log_order().iter().for_each(|segment| segment.set_kept_bytes(0));
    }
    Ok(report)
}

/// An output being written.
struct Copy<'a> {
    shared: &'a Shared,
    path: std::path::PathBuf,
    file: File,
    header: SegmentHeader,
    /// What is not written yet, and where it goes.
    buffer: Vec<u8>,
    written: u64,
    moved: Vec<Moved>,
    kept_bytes: u64,
    dropped_shards: bool,
    /// The segments in log order when the compaction began.
    log: Vec<Arc<Segment>>,
}

impl<'a> Copy<'a> {
    fn start(shared: &'a Shared, inputs: &[Arc<Segment>]) -> Result<Self, StoreError> {
        let (Some(front), Some(back)) = (inputs.first(), inputs.last()) else {
            unreachable!("a compaction has at least one input")
        };
        let header = SegmentHeader {
            store: shared.store,
            id: shared.take_id(),
            first: front.first,
            last: back.last,
            origin: Origin::Compaction { through: shared.active.load(Ordering::Acquire) },
            created_at_ms: shared.host.now_ms(),
        };
        let path = segment_path(&shared.segments_dir(), header.id, UNFINISHED_SUFFIX);
        let file = shared.host.create(&path).map_err(|error| failed(shared, "create", &path, error))?;
        let (buffer, moved) = (header.encode().to_vec(), Vec::new());
        Ok(Self {
            shared,
            path,
            file,
            header,
            buffer,
            written: 0,
            moved,
            kept_bytes: 0,
            dropped_shards: false,
            log: shared.table.in_log_order(),
        })
    }

    fn all(&mut self, inputs: &[Arc<Segment>]) -> Result<(), StoreError> {
        for input in inputs {
            let file = match self.shared.table.open(input) {
                Ok(file) => file,
                Err(error) => return Err(StoreError::io("open", &input.path, error)),
            };
            let before = self.moved.len();
            let mut scanner = Scanner::new(
                &input.path,
                &file,
                self.shared.store,
                input.id,
                SEGMENT_HEADER_LEN,
                input.len(),
            );
            while let Some(stretch) = scanner.next()? {
                if self.shared.closing.load(Ordering::Relaxed) {
                    return Err(StoreError::Closed);
                }
                match stretch {
                    Stretch::Record { offset, header } => {
                        self.record(inputs, input, &file, offset, &header)?;
                    }
                    Stretch::Gap { from, to } => {
                        tracing::warn!(path = %input.path.display(), from, to, "no record where one should be");
                    }
                }
            }
            if ((self.moved.len() - before) as u64) < input.live_shards() {
                self.rescue(input, &file, before)?;
            }
            forget_cached(&file, 0, 0);
        }
        Ok(())
    }

    fn record(
        &mut self,
        inputs: &[Arc<Segment>],
        input: &Segment,
        file: &File,
        offset: u64,
        header: &RecordHeader,
    ) -> Result<(), StoreError> {
        match header.action {
            Action::Store => {
                let entry = self.shared.index.get(&header.id)?;
                let here = |entry: &Entry| entry.file == input.id && u64::from(entry.offset) == offset;
                match entry.filter(here) {
                    Some(entry) => self.shard(header.id, entry, file)?,
                    None => self.dropped_shards = true,
                }
            }
            Action::Delete { home } => {
                if self.delete_is_needed(inputs, input, home) {
                    self.push(header, &[])?;
                    self.kept_bytes += RECORD_HEADER_LEN;
                }
            }
        }
        Ok(())
    }

    /// Whether the record that a delete in `input` reaches for may still be on the disk after this compaction.
    fn delete_is_needed(&self, inputs: &[Arc<Segment>], input: &Segment, home: u64) -> bool {
        if inputs.iter().any(|segment| segment.covers(home)) {
            return false;
        }
        let behind = self.log.partition_point(|segment| segment.first <= home);
        let home = self.log[..behind].last().filter(|segment| segment.covers(home));
        home.is_some_and(|home| match home.origin {
            // It was written after the delete had been applied, so the record is not in it.
            Origin::Compaction { through } => through <= input.last,
            Origin::Log => true,
        })
    }

    /// Copies the shards of which only the index knows, because the headers of their records are damaged.
    fn rescue(&mut self, input: &Segment, file: &File, before: usize) -> Result<(), StoreError> {
        let found: std::collections::HashSet<u32> =
            self.moved[before..].iter().map(|moved| moved.from.offset).collect();
        let mut missed = Vec::new();
        self.shared.index.scan(None, None, |id, entry| {
            if entry.file == input.id && !found.contains(&entry.offset) {
                missed.push((id, entry));
            }
            true
        })?;
        for (id, entry) in missed {
            self.shard(id, entry, file)?;
        }
        Ok(())
    }

    /// Copies one shard as it is: what is damaged stays recognisably damaged.
    fn shard(&mut self, id: ShardId, from: Entry, file: &File) -> Result<(), StoreError> {
        let mut payload = read_payload(file, &from).unwrap_or_else(|error| {
            tracing::warn!(shard = %id, %error, "a shard cannot be read and is kept as damaged");
            Vec::new()
        });
        payload.resize(from.len as usize, 0);
        let header = RecordHeader {
            action: Action::Store,
            id,
            len: from.len,
            synced_to: 0,
            stored_at_ms: from.stored_at_ms,
            crc: from.crc,
        };
        let offset = self.push(&header, &payload)?;
        let to = Entry { file: self.header.id, offset: offset as u32, ..from };
        self.moved.push(Moved { id, from, to });
        Ok(())
    }

    fn push(&mut self, header: &RecordHeader, payload: &[u8]) -> Result<u64, StoreError> {
        let offset = self.written + self.buffer.len() as u64;
        let place = Place { store: self.shared.store, file: self.header.id, offset };
        let end = self.buffer.len() + header.record_len() as usize;
        self.buffer.extend_from_slice(&RecordHeader { synced_to: 0, ..*header }.encode(&place));
        self.buffer.extend_from_slice(payload);
        self.buffer.resize(end, 0);
        if self.buffer.len() >= COPY_BYTES {
            self.write()?;
        }
        Ok(offset)
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let Shared { host, .. } = self.shared;
        host.write_all_at(&self.path, &self.file, &mut [IoSlice::new(&self.buffer)], self.written)
            .map_err(|error| failed(self.shared, "write", &self.path, error))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Makes the output durable under its final name.
    fn finish(&mut self) -> Result<(Arc<Segment>, Vec<Moved>, bool), StoreError> {
        self.write()?;
        let Shared { host, .. } = self.shared;
        let dir = self.shared.segments_dir();
        let path = segment_path(&dir, self.header.id, SEGMENT_SUFFIX);
        host.sync(&self.path, &self.file)
            .and_then(|()| host.rename(&self.path, &path))
            .and_then(|()| {
                self.path.clone_from(&path);
                host.sync_dir(&dir)
            })
            .map_err(|error| failed(self.shared, "save", &self.path, error))?;
        let SegmentHeader { id, first, last, origin, .. } = self.header;
        let meta = SegmentMeta { id, first, last, origin, live_bytes: 0, live_shards: 0 };
        let output = Arc::new(Segment::new(path, &meta, self.written));
        output.set_kept_bytes(self.kept_bytes);
        Ok((output, std::mem::take(&mut self.moved), self.dropped_shards))
    }
}

fn failed(
    shared: &Shared,
    action: &'static str,
    path: &std::path::Path,
    error: std::io::Error,
) -> StoreError {
    if is_full(&error) { shared.full() } else { StoreError::io(action, path, error) }
}

/// Removes an output that nothing refers to. If that fails, opening the store does it.
fn remove_quietly(shared: &Shared, path: &std::path::Path) {
    if let Err(error) = shared.host.remove(path) {
        tracing::debug!(path = %path.display(), %error, "an unused compaction output stays behind");
    }
}

fn ask(
    requests: &mpsc::WeakSender<Request>,
    request: impl FnOnce(oneshot::Sender<Result<(), StoreError>>) -> Request,
) -> Result<(), StoreError> {
    let (reply, answer) = oneshot::channel();
    let requests = requests.upgrade().ok_or(StoreError::Closed)?;
    requests.blocking_send(request(reply)).map_err(|_| StoreError::Closed)?;
    drop(requests);
    answer.blocking_recv().map_err(|_| StoreError::Closed)?
}

//! The writer: one thread per store that appends to the log and is alone in changing the index.
//!
//! Whatever has queued up while the previous batch was fsynced becomes the next batch: one write, one fsync,
//! one step of the index, and only then the answers. The order is what makes a crash harmless:
//!
//! 1. records are written behind the end of the log;
//! 2. fsync. If it fails, the batch was never there for anybody, and the store is read-only from then on;
//! 3. the index learns of the records, in memory, together with the new end of the log;
//! 4. callers are told.
//!
//! A crash before 2 loses only what nobody was promised; a crash after it loses at most index entries, which
//! opening the store finds again in the log.

use std::fs::File;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use datamesh_types::{MIB, ShardId};
use tokio::sync::{mpsc, oneshot};

use crate::changes::Changes;
use crate::compaction::{self, Compaction};
use crate::error::StoreError;
use crate::format::{
    Action, Origin, Place, RECORD_HEADER_LEN, RecordHeader, SEGMENT_HEADER_LEN, SegmentHeader, record_len,
};
use crate::host::is_full;
use crate::index::{Entry, Position, SegmentMeta};
use crate::segment::{SEGMENT_SUFFIX, Segment, segment_path};
use crate::shared::Shared;

/// A batch takes no more requests once it has this many bytes.
const BATCH_BYTES: u64 = 16 * MIB;

/// One operation on shards.
pub(crate) enum Operation {
    /// Stores a shard.
    Put {
        id: ShardId,
        data: Bytes,
        crc: u64,
        /// The entry of a record of the same shard that turned out to be damaged and may be replaced.
        damaged: Option<Entry>,
    },
    /// Deletes shards.
    Delete { ids: Vec<ShardId> },
}

/// Carries the number of shards stored or deleted.
pub(crate) type Reply<T = u64> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked for.
pub(crate) enum Request {
    /// Log something.
    Log(Operation, Reply),
    /// Start a new segment, unless the present one is empty.
    Seal(Reply<()>),
    /// Put the output of a compaction in the place of its inputs.
    Adopt(Compaction, Reply<()>),
    /// Save the index and stop.
    Close(Reply<()>),
}

/// The end of the log.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    requests: mpsc::WeakSender<Request>,
    active: Arc<Segment>,
    file: Arc<File>,
    /// Length of the log in the active segment. All of it is fsynced.
    len: u64,
    /// Fsynced records that the index refused to take, so far. Nothing else is logged before it does.
    pending: Option<Changes>,
    /// Bytes that have died since the last look for segments worth compacting.
    died_bytes: u64,
}

/// A batch that is ready to be written.
#[derive(Default)]
struct Plan {
    changes: Changes,
    records: Vec<([u8; RECORD_HEADER_LEN as usize], Bytes)>,
    len: u64,
    died_bytes: u64,
    refused_full: bool,
    /// One for each operation.
    answers: Vec<Result<u64, StoreError>>,
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        requests: mpsc::WeakSender<Request>,
        active: Arc<Segment>,
        file: Arc<File>,
    ) -> Self {
        let len = active.len();
        Self { shared, requests, active, file, len, pending: None, died_bytes: 0 }
    }

    /// Serves requests until it is told to close or nobody can send any more.
    pub(crate) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut close = None;
        let (mut batch, mut replies) = (Vec::new(), Vec::new());
        while let Some(request) = requests.blocking_recv() {
            let control = self.collect(request, &mut requests, &mut batch, &mut replies);
            let answers = self.commit(&batch);
            batch.clear();
            for (reply, answer) in replies.drain(..).zip(answers) {
                // A caller that went away does not need its answer.
                let _: Result<(), _> = Reply::send(reply, answer);
            }
            match control {
                Some(Request::Seal(reply)) => drop(reply.send(self.seal())),
                Some(Request::Adopt(compaction, reply)) => drop(reply.send(self.adopt(&compaction))),
                Some(Request::Close(reply)) => {
                    close = Some(reply);
                    break;
                }
                Some(Request::Log(..)) | None => {}
            }
        }
        self.shared.closing.store(true, Ordering::Relaxed);
        let saved = self.settle_pending().and_then(|()| self.shared.index.flush());
        // Whoever waits for the close may open the directory again right away: let go of it first.
        drop(self);
        match (close, saved) {
            (Some(reply), saved) => drop(reply.send(saved)),
            (None, Err(error)) => tracing::warn!(%error, "the index was not saved and will be caught up"),
            (None, Ok(())) => {}
        }
    }

    /// Moves queued operations into the batch, and returns the first request that is none.
    fn collect(
        &self,
        first: Request,
        requests: &mut mpsc::Receiver<Request>,
        batch: &mut Vec<Operation>,
        replies: &mut Vec<Reply>,
    ) -> Option<Request> {
        let limit = BATCH_BYTES.min(self.shared.config.segment_bytes / 2);
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(request) = next {
            let Request::Log(operation, reply) = request else { return Some(request) };
            bytes += operation.log_bytes();
            batch.push(operation);
            replies.push(reply);
            if bytes >= limit {
                return None;
            }
            next = requests.try_recv().ok();
        }
        None
    }

    fn commit(&mut self, batch: &[Operation]) -> Vec<Result<u64, StoreError>> {
        if batch.is_empty() {
            return Vec::new();
        }
        let plan = match self.log(batch) {
            Ok(plan) => plan,
            Err(error) => return batch.iter().map(|_| Err(error.clone())).collect(),
        };
        self.died_bytes += plan.died_bytes;
        if plan.refused_full || self.died_bytes >= self.shared.config.segment_bytes / 8 {
            self.died_bytes = 0;
            compaction::start_in_background(&self.shared, &self.requests);
        }
        plan.answers
    }

    fn log(&mut self, batch: &[Operation]) -> Result<Plan, StoreError> {
        self.shared.check_writable()?;
        self.settle_pending()?;
        let bytes = batch.iter().map(Operation::log_bytes).sum::<u64>();
        if self.len + bytes > self.shared.config.segment_bytes {
            // Without room for a new segment, the present one may still have room for deletes.
            match self.seal() {
                Ok(()) | Err(StoreError::Full { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let mut plan = self.plan(batch, self.room()?)?;
        match self.append(&plan) {
            Err(StoreError::Full { .. }) if batch.iter().any(|op| matches!(op, Operation::Delete { .. })) => {
                plan = self.plan(batch, 0)?;
                self.append(&plan)?;
            }
            appended => appended?,
        }
        if plan.records.is_empty() {
            return Ok(plan);
        }
        self.pending = Some(std::mem::take(&mut plan.changes));
        self.settle_pending()?;
        Ok(plan)
    }

    /// How many bytes of new shards fit.
    fn room(&self) -> Result<u64, StoreError> {
        let Shared { config, table, host, .. } = &*self.shared;
        let free = host
            .free_bytes(&config.dir)
            .map_err(|error| StoreError::io("ask for the free space of", &config.dir, error))?;
        let (used, ..) = table.totals();
        let addressable = u64::from(u32::MAX).saturating_sub(self.len);
        let room = config.capacity_bytes.saturating_sub(used).min(free.saturating_sub(config.reserve_bytes));
        Ok(room.min(addressable))
    }

    fn plan(&self, batch: &[Operation], room: u64) -> Result<Plan, StoreError> {
        let mut plan = Plan::default();
        let now_ms = self.shared.host.now_ms();
        for operation in batch {
            let answer = match operation {
                Operation::Put { id, data, crc, damaged } => {
                    let put = Put { id: *id, data, crc: *crc, damaged: damaged.as_ref() };
                    self.plan_put(&mut plan, &put, room, now_ms)
                }
                Operation::Delete { ids } => self.plan_delete(&mut plan, ids, now_ms),
            };
            match answer {
                Err(error @ (StoreError::Index { .. } | StoreError::Damaged { .. })) => return Err(error),
                answer => plan.answers.push(answer),
            }
        }
        Ok(plan)
    }

    fn plan_put(&self, plan: &mut Plan, put: &Put<'_>, room: u64, now_ms: i64) -> Result<u64, StoreError> {
        let existing = plan.changes.get(&self.shared.index, &put.id)?;
        let len = put.data.len() as u32;
        match existing {
            Some(entry) if (entry.len, entry.crc) != (len, put.crc) => {
                return Err(StoreError::Conflict { id: put.id });
            }
            Some(entry) if put.damaged != Some(&entry) => return Ok(0),
            _ => {}
        }
        if plan.len + record_len(len) + RECORD_HEADER_LEN > room {
            plan.refused_full = true;
            return Err(self.shared.full());
        }
        if existing.is_some() {
            self.plan_delete(plan, &[put.id], now_ms)?;
        }
        let offset = self.push(plan, Action::Store, put.id, put.data.clone(), put.crc, now_ms);
        let entry = Entry { file: self.active.id, offset, len, crc: put.crc, stored_at_ms: now_ms };
        plan.changes.put(&self.shared.index, put.id, entry)?;
        Ok(1)
    }

    fn plan_delete(&self, plan: &mut Plan, ids: &[ShardId], now_ms: i64) -> Result<u64, StoreError> {
        let mut deleted = 0;
        for id in ids {
            let Some(entry) = plan.changes.remove(&self.shared.index, *id)? else { continue };
            let home = self.shared.table.get(entry.file).map_or(entry.file, |segment| segment.first);
            let crc = crate::format::payload_crc(id, &[]);
            self.push(plan, Action::Delete { home }, *id, Bytes::new(), crc, now_ms);
            plan.died_bytes += record_len(entry.len);
            deleted += 1;
        }
        Ok(deleted)
    }

    /// Adds a record to the plan and returns its offset in the active segment.
    fn push(
        &self,
        plan: &mut Plan,
        action: Action,
        id: ShardId,
        data: Bytes,
        crc: u64,
        stored_at_ms: i64,
    ) -> u32 {
        let offset = self.len + plan.len;
        let header = RecordHeader {
            action,
            id,
            len: data.len() as u32,
            synced_to: self.len as u32,
            stored_at_ms,
            crc,
        };
        let place = Place { store: self.shared.store, file: self.active.id, offset };
        plan.len += header.record_len();
        plan.records.push((header.encode(&place), data));
        offset as u32
    }

    /// Writes the records and fsyncs them. On an error the log is as long as before, or the store is read-only.
    fn append(&mut self, plan: &Plan) -> Result<(), StoreError> {
        const PADDING: [u8; 8] = [0; 8];
        if plan.records.is_empty() {
            return Ok(());
        }
        let mut parts = Vec::with_capacity(plan.records.len() * 3);
        for (header, data) in &plan.records {
            parts.push(IoSlice::new(header));
            parts.push(IoSlice::new(data));
            parts.push(IoSlice::new(&PADDING[..data.len().next_multiple_of(8) - data.len()]));
        }
        let Shared { host, .. } = &*self.shared;
        let path = &self.active.path;
        match host.write_all_at(path, &self.file, &mut parts, self.len) {
            Err(error) if is_full(&error) => {
                let cut = host.truncate(path, &self.file, self.len);
                cut.and_then(|()| host.sync(path, &self.file)).map_err(|error| self.shared.fail(error))?;
                return Err(self.shared.full());
            }
            written => written.map_err(|error| self.shared.fail(error))?,
        }
        host.sync(path, &self.file).map_err(|error| self.shared.fail(error))?;
        self.len += plan.len;
        self.active.set_len(self.len);
        Ok(())
    }

    /// Brings the index up to the end of the log.
    fn settle_pending(&mut self) -> Result<(), StoreError> {
        if let Some(changes) = &self.pending {
            let Shared { index, table, .. } = &*self.shared;
            changes.apply(index, table, &self.active, Some(self.position()))?;
            self.pending = None;
        }
        Ok(())
    }

    fn position(&self) -> Position {
        Position { file: self.active.id, offset: self.len }
    }

    /// Starts a new segment, unless the present one is empty.
    fn seal(&mut self) -> Result<(), StoreError> {
        self.shared.check_writable()?;
        self.settle_pending()?;
        if self.len > SEGMENT_HEADER_LEN {
            let (active, file) = create_segment(&self.shared)?;
            self.len = active.len();
            (self.active, self.file) = (active, file);
        }
        Ok(())
    }

    fn adopt(&mut self, compaction: &Compaction) -> Result<(), StoreError> {
        self.settle_pending()?;
        let Shared { index, table, .. } = &*self.shared;
        let mut changes = Changes::default();
        for moved in &compaction.moved {
            if index.get(&moved.id)?.is_some_and(|entry| entry.same_place(&moved.from)) {
                changes.put(index, moved.id, moved.to)?;
            }
        }
        for input in &compaction.inputs {
            if !changes.leaves_empty(input) {
                return Err(StoreError::Damaged {
                    path: input.path.clone(),
                    what: "not all of its live records were found",
                });
            }
            changes.remove_segment(input.id);
        }
        changes.keep_segment(compaction.output.id);
        table.insert(Arc::clone(&compaction.output));
        if let Err(error) = changes.apply(index, table, &self.active, Some(self.position())) {
            table.remove(compaction.output.id);
            return Err(error);
        }
        for input in &compaction.inputs {
            table.remove(input.id);
        }
        Ok(())
    }
}

struct Put<'a> {
    id: ShardId,
    data: &'a Bytes,
    crc: u64,
    damaged: Option<&'a Entry>,
}

impl Operation {
    /// The most that it can add to the log.
    fn log_bytes(&self) -> u64 {
        match self {
            Self::Put { data, .. } => record_len(data.len() as u32) + RECORD_HEADER_LEN,
            Self::Delete { ids } => ids.len() as u64 * RECORD_HEADER_LEN,
        }
    }
}

/// Creates the segment that the log goes on in, durably, and enters it into the table.
pub(crate) fn create_segment(shared: &Shared) -> Result<(Arc<Segment>, Arc<File>), StoreError> {
    let Shared { host, store, table, .. } = shared;
    let dir = shared.segments_dir();
    let id = shared.take_id();
    let path = segment_path(&dir, id, SEGMENT_SUFFIX);
    let header = SegmentHeader {
        store: *store,
        id,
        first: id,
        last: id,
        origin: Origin::Log,
        created_at_ms: host.now_ms(),
    };
    let created = host.create(&path).and_then(|file| {
        host.write_all_at(&path, &file, &mut [IoSlice::new(&header.encode())], 0)?;
        host.sync(&path, &file)?;
        host.sync_dir(&dir)?;
        Ok(file)
    });
    let file = created.map_err(|error| {
        // Nothing refers to the file yet. If it stays, opening the store finds it empty and goes on in it.
        let _ = host.remove(&path);
        if is_full(&error) { shared.full() } else { shared.fail(error) }
    })?;
    let meta = SegmentMeta { id, first: id, last: id, origin: Origin::Log, live_bytes: 0, live_shards: 0 };
    let segment = Arc::new(Segment::new(path, &meta, SEGMENT_HEADER_LEN));
    table.insert(Arc::clone(&segment));
    shared.active.store(id, Ordering::Release);
    Ok((segment, Arc::new(file)))
}

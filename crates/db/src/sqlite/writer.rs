//! The one writer: a thread that runs many bodies in one transaction, so that they share an fsync.
//!
//! A body that fails is undone alone. A savepoint around each body would allow that, but it costs every body a copy of
//! each page that it changes, so bodies run without at first: when one fails, the transaction is rolled back, the bodies
//! before it run again, and for a while every body gets its savepoint.
//!
//! Replies leave after COMMIT, also those of failed bodies: what they saw may come from a neighbour in the same
//! transaction. The thread never waits for more bodies; while it commits, the next ones queue up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tracing::error;

use super::body::{self, Outcome};
use super::checkpoint::Checkpointer;
use super::commits::Commits;
use super::connection::statement_error;
use crate::watch::Watches;
use crate::{DbError, Tx, TxFuture};

/// Bodies that share one COMMIT at most.
const BATCH_BODIES: usize = 512;
/// After this long a batch takes no further body, so that the first one's reply is not held back.
const BATCH_TIME: Duration = Duration::from_millis(5);

/// Batches with savepoints after a body has failed: failures come in crowds, as when many clients want one key.
const CAREFUL_BATCHES: u32 = 64;

/// A body on its way to the writer and back.
pub(super) trait Job: Send {
    /// Runs the body; false asks to undo it.
    fn run(&mut self, tx: &mut Tx) -> bool;
    /// Replies. `failure` overrides what the body returned.
    fn finish(self: Box<Self>, failure: Option<&Failure>);
}

struct BodyJob<T, E, F> {
    body: F,
    outcome: Option<Outcome<T, E>>,
    reply: oneshot::Sender<Outcome<T, E>>,
}

impl<T, E, F> Job for BodyJob<T, E, F>
where
    T: Send,
    E: From<DbError> + Send,
    F: for<'t> Fn(&'t mut Tx) -> TxFuture<'t, T, E> + Send,
{
    fn run(&mut self, tx: &mut Tx) -> bool {
        self.outcome.insert(body::run(&self.body, tx)).is_ok()
    }

    fn finish(self: Box<Self>, failure: Option<&Failure>) {
        let outcome = match (failure, self.outcome) {
            (Some(failure), _) => Outcome::Returned(Err(failure.error().into())),
            (None, Some(outcome)) => outcome,
            (None, None) => Outcome::Returned(Err(DbError::Closed.into())),
        };
        // A caller that went away has no use for the reply.
        let _ = self.reply.send(outcome);
    }
}

/// A job for `body`, and where its outcome will arrive.
pub(super) fn job<T, E, F>(body: F) -> (Box<dyn Job>, oneshot::Receiver<Outcome<T, E>>)
where
    T: Send + 'static,
    E: From<DbError> + Send + 'static,
    F: for<'t> Fn(&'t mut Tx) -> TxFuture<'t, T, E> + Send + 'static,
{
    let (reply, outcome) = oneshot::channel();
    (Box::new(BodyJob { body, outcome: None, reply }), outcome)
}

/// Why a whole batch failed.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// Nothing of it took effect.
    RolledBack { sql: &'static str, code: rusqlite::ffi::Error, message: Option<String> },
    /// fsync failed during COMMIT: a crash now may or may not bring the transaction back.
    Unknown { message: String },
    /// An earlier fsync failed.
    ReadOnly,
}

impl Failure {
    fn new(sql: &'static str, source: &rusqlite::Error) -> Self {
        let code = source.sqlite_error().copied().unwrap_or_else(|| rusqlite::ffi::Error::new(1));
        Self::RolledBack { sql, code, message: Some(source.to_string()) }
    }

    fn error(&self) -> DbError {
        match self {
            Self::RolledBack { sql, code, message } => {
                statement_error(sql, rusqlite::Error::SqliteFailure(*code, message.clone()))
            }
            Self::Unknown { message } => DbError::OutcomeUnknown { source: message.clone().into() },
            Self::ReadOnly => DbError::ReadOnly,
        }
    }
}

pub(super) struct Writer {
    tx: Tx,
    queue: mpsc::Receiver<Box<dyn Job>>,
    checkpointer: Checkpointer,
    commits: Arc<Commits>,
    watches: Arc<Watches>,
    /// Frames in the write-ahead log, kept by SQLite's hook.
    wal_frames: Arc<AtomicU64>,
    /// How many of the next batches use savepoints.
    careful_batches: u32,
    read_only: bool,
}

impl Writer {
    pub(super) fn new(
        mut tx: Tx,
        queue: mpsc::Receiver<Box<dyn Job>>,
        checkpointer: Checkpointer,
        commits: Arc<Commits>,
        watches: Arc<Watches>,
    ) -> Result<Self, DbError> {
        let wal_frames = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&wal_frames);
        tx.sqlite()
            .raw()
            .wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, frames: i32| {
                counter.store(frames.unsigned_abs().into(), Ordering::Relaxed);
                Ok(())
            }))
            .map_err(|source| DbError::Sqlite { sql: "wal_hook", source })?;
        let watching = Arc::clone(&watches);
        tx.sqlite()
            .raw()
            .update_hook(Some(move |_, _: &str, table: &str, _| watching.changed(table)))
            .map_err(|source| DbError::Sqlite { sql: "update_hook", source })?;
        Ok(Self {
            tx,
            queue,
            checkpointer,
            commits,
            watches,
            wal_frames,
            careful_batches: 0,
            read_only: false,
        })
    }

    /// Serves until the last sender is gone and its bodies are committed.
    pub(super) fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_BODIES);
        while let Some(job) = self.queue.blocking_recv() {
            let failure = self.run_batch(job, &mut batch).err();
            for job in batch.drain(..) {
                job.finish(failure.as_ref());
            }
            let frames = self.wal_frames.load(Ordering::Relaxed);
            self.checkpointer.after_commit(self.tx.sqlite(), frames, &self.commits);
        }
    }

    fn run_batch(&mut self, first: Box<dyn Job>, batch: &mut Vec<Box<dyn Job>>) -> Result<(), Failure> {
        batch.push(first);
        if self.read_only {
            return Err(Failure::ReadOnly);
        }
        self.control("BEGIN IMMEDIATE")?;
        self.careful_batches = self.careful_batches.saturating_sub(1);
        let started = Instant::now();
        let mut kept = 0;
        let mut next = 0;
        loop {
            kept += usize::from(self.run_next(&mut batch[..=next])?);
            next += 1;
            if next == BATCH_BODIES || started.elapsed() >= BATCH_TIME {
                break;
            }
            match self.queue.try_recv() {
                Ok(job) => batch.push(job),
                Err(_) => break,
            }
        }
        if kept == 0 { self.control("ROLLBACK") } else { self.commit() }
    }

    /// Runs the last of these bodies; whether its changes stay. Those of the others do.
    fn run_next(&mut self, batch: &mut [Box<dyn Job>]) -> Result<bool, Failure> {
        let Some((job, before)) = batch.split_last_mut() else { return Ok(false) };
        if self.careful_batches > 0 {
            return self.run_in_savepoint(job);
        }
        if self.run_body(job)? {
            return Ok(true);
        }
        self.careful_batches = CAREFUL_BATCHES;
        self.control("ROLLBACK")?;
        self.control("BEGIN IMMEDIATE")?;
        for job in before {
            self.run_in_savepoint(job)?;
        }
        Ok(false)
    }

    /// Runs one body in its savepoint; whether its changes stay.
    fn run_in_savepoint(&mut self, job: &mut Box<dyn Job>) -> Result<bool, Failure> {
        self.control("SAVEPOINT body")?;
        let keep = self.run_body(job)?;
        if !keep {
            self.control("ROLLBACK TO body")?;
        }
        self.control("RELEASE body")?;
        Ok(keep)
    }

    fn run_body(&mut self, job: &mut Box<dyn Job>) -> Result<bool, Failure> {
        let keep = job.run(&mut self.tx);
        if self.tx.sqlite().is_idle() {
            // SQLite has rolled back the whole transaction, the neighbours' work included.
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL);
            return Err(Failure::RolledBack { sql: "a body of the batch", code, message: None });
        }
        Ok(keep)
    }

    fn commit(&mut self) -> Result<(), Failure> {
        self.commits.begin();
        self.watches.begin_commit();
        let committed = self.tx.sqlite().control("COMMIT");
        self.watches.end_commit();
        self.commits.end();
        let Err(source) = committed else { return Ok(()) };
        self.roll_back();
        if source.sqlite_error_code() == Some(rusqlite::ErrorCode::SystemIoFailure) {
            // The kernel may have dropped the pages it could not write: another fsync would lie (fsyncgate).
            self.read_only = true;
            error!(error = %source, "the database's COMMIT failed on the disk: no more writes until it is reopened");
            return Err(Failure::Unknown { message: source.to_string() });
        }
        Err(Failure::new("COMMIT", &source))
    }

    fn control(&mut self, sql: &'static str) -> Result<(), Failure> {
        let Err(source) = self.tx.sqlite().control(sql) else { return Ok(()) };
        self.roll_back();
        Err(Failure::new(sql, &source))
    }

    fn roll_back(&mut self) {
        if !self.tx.sqlite().is_idle()
            && let Err(source) = self.tx.sqlite().control("ROLLBACK")
        {
            error!(error = %source, "the database's ROLLBACK failed");
        }
    }
}

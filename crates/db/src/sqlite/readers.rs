//! The pool of read connections, opened when first needed.
//!
//! A transaction's beginning and end cost a point read as much as finding the row, for their locks on the file. So a
//! connection that reads twice without a commit in between keeps its snapshot, for as long as nothing is committed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::{self, Outcome};
use super::commits::Commits;
use super::connection::{Connection, Role};
use crate::{DbConfig, DbError, Row, Tx, TxFuture, Value};

pub(super) struct Readers {
    path: PathBuf,
    config: DbConfig,
    idle: Mutex<Vec<Reader>>,
    commits: Arc<Commits>,
    permits: Arc<Semaphore>,
    /// Long reads leave some connections to the short ones.
    scan_permits: Arc<Semaphore>,
    wait: Duration,
}

/// One connection.
struct Reader {
    tx: Tx,
    /// The newest commit when it last read a row.
    read_at: Option<u64>,
    /// Its transaction is still open.
    has_snapshot: bool,
}

impl Reader {
    /// Ends what is open; whether that worked.
    fn end_snapshot(&mut self) -> bool {
        let has_ended = !self.has_snapshot || self.tx.sqlite().control(END).is_ok();
        self.has_snapshot = false;
        has_ended
    }

    fn begin(&mut self) -> Result<(), DbError> {
        self.tx.sqlite().control(BEGIN).map_err(|source| DbError::Sqlite { sql: BEGIN, source })
    }
}

const BEGIN: &str = "BEGIN DEFERRED";
const END: &str = "COMMIT";

/// The right to use one connection.
pub(super) struct Permit {
    _any: OwnedSemaphorePermit,
    _scan: Option<OwnedSemaphorePermit>,
}

impl Readers {
    pub(super) fn new(path: PathBuf, config: &DbConfig, commits: Arc<Commits>) -> Self {
        let connections = config.connections.max(2);
        Self {
            path,
            config: config.clone(),
            idle: Mutex::default(),
            commits,
            permits: Arc::new(Semaphore::new(connections)),
            scan_permits: Arc::new(Semaphore::new(connections / 2)),
            wait: config.busy_timeout,
        }
    }

    /// Waits for a connection for a point read.
    pub(super) async fn permit(&self) -> Result<Permit, DbError> {
        Ok(Permit { _any: self.acquire(&self.permits).await?, _scan: None })
    }

    /// Waits for a connection for a long read.
    pub(super) async fn scan_permit(&self) -> Result<Permit, DbError> {
        let scan = self.acquire(&self.scan_permits).await?;
        Ok(Permit { _any: self.acquire(&self.permits).await?, _scan: Some(scan) })
    }

    async fn acquire(&self, permits: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, DbError> {
        if let Ok(permit) = Arc::clone(permits).try_acquire_owned() {
            return Ok(permit);
        }
        match Box::pin(tokio::time::timeout(self.wait, Arc::clone(permits).acquire_owned())).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(DbError::Closed),
            Err(_) => Err(DbError::PoolTimeout),
        }
    }

    /// Runs `body` on one snapshot, on this thread.
    pub(super) fn run<T, E, F>(&self, _permit: Permit, body: &F) -> Result<T, E>
    where
        E: From<DbError>,
        F: for<'t> Fn(&'t mut Tx) -> TxFuture<'t, T, E>,
    {
        let mut reader = self.reader()?;
        if !reader.end_snapshot() {
            reader = self.open()?;
        }
        reader.begin()?;
        let outcome: Outcome<T, E> = body::run(body, &mut reader.tx);
        // A connection that can't end its transaction is closed rather than kept.
        if reader.tx.sqlite().control(END).is_ok() {
            self.idle().push(reader);
        }
        outcome.unwrap()
    }

    /// The first row of one SELECT, on this thread: a snapshot of its own, or one that is the newest state.
    pub(super) fn row(
        &self,
        _permit: Permit,
        sql: &'static str,
        params: &[Value],
    ) -> Result<Option<Row>, DbError> {
        let mut reader = self.reader()?;
        let settled = self.commits.settled();
        let is_quiet = settled.is_some() && reader.read_at == settled;
        if reader.has_snapshot && !is_quiet && !reader.end_snapshot() {
            reader = self.open()?;
        }
        if is_quiet && !reader.has_snapshot {
            reader.begin()?;
            reader.has_snapshot = true;
        }
        // A connection whose statement failed is closed rather than kept.
        let rows = reader.tx.sqlite().query(sql, params, 1)?;
        reader.read_at = settled;
        self.keep(reader);
        Ok(rows.into_iter().next())
    }

    /// Ends the snapshots of connections that nobody uses, so that a checkpoint does not have to spare what they see.
    pub(super) fn end_snapshots(&self) {
        self.idle().retain_mut(Reader::end_snapshot);
    }

    /// Takes a connection back. Its snapshot has to be the newest state then: between two commits it cannot be mistaken
    /// for that, and a checkpoint that is about to begin finds it.
    fn keep(&self, mut reader: Reader) {
        {
            let mut idle = self.idle();
            if !reader.has_snapshot || self.commits.settled() == reader.read_at {
                idle.push(reader);
                return;
            }
        }
        if reader.end_snapshot() {
            self.idle().push(reader);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Reader>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> Result<Reader, DbError> {
        let idle = self.idle().pop();
        idle.map_or_else(|| self.open(), Ok)
    }

    fn open(&self) -> Result<Reader, DbError> {
        let tx = Tx::on_sqlite(Connection::open(&self.path, &self.config, Role::Reader)?);
        Ok(Reader { tx, read_at: None, has_snapshot: false })
    }
}

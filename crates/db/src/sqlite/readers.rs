//! The pool of read connections, opened when first needed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::{self, Outcome};
use super::connection::{Connection, Role};
use crate::{DbConfig, DbError, Row, Tx, TxFuture, Value};

pub(super) struct Readers {
    path: PathBuf,
    config: DbConfig,
    idle: Mutex<Vec<Tx>>,
    permits: Arc<Semaphore>,
    /// Long reads leave some connections to the short ones.
    scan_permits: Arc<Semaphore>,
    wait: Duration,
}

/// The right to use one connection.
pub(super) struct Permit {
    _any: OwnedSemaphorePermit,
    _scan: Option<OwnedSemaphorePermit>,
}

impl Readers {
    pub(super) fn new(path: PathBuf, config: &DbConfig) -> Self {
        let connections = config.connections.max(2);
        Self {
            path,
            config: config.clone(),
            idle: Mutex::default(),
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
        match tokio::time::timeout(self.wait, Arc::clone(permits).acquire_owned()).await {
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
        let mut tx = self.connection()?;
        tx.sqlite()
            .control("BEGIN DEFERRED")
            .map_err(|source| DbError::Sqlite { sql: "BEGIN DEFERRED", source })?;
        let outcome: Outcome<T, E> = body::run(body, &mut tx);
        // A connection that can't end its transaction is closed rather than kept.
        if tx.sqlite().control("COMMIT").is_ok() {
            self.keep(tx);
        }
        outcome.unwrap()
    }

    /// The first row of one SELECT, on this thread. A statement is a snapshot of its own.
    pub(super) fn row(
        &self,
        _permit: Permit,
        sql: &'static str,
        params: &[Value],
    ) -> Result<Option<Row>, DbError> {
        let mut tx = self.connection()?;
        let rows = tx.sqlite().query(sql, params, 1);
        if rows.is_ok() {
            self.keep(tx);
        }
        rows.map(|rows| rows.into_iter().next())
    }

    fn keep(&self, tx: Tx) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(tx);
    }

    fn connection(&self) -> Result<Tx, DbError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match idle {
            Some(tx) => Ok(tx),
            None => Connection::open(&self.path, &self.config, Role::Reader).map(Tx::on_sqlite),
        }
    }
}

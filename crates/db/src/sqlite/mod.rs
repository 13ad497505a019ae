//! The SQLite engine: one writer thread with group commit, and a pool of readers beside it.

mod body;
mod checkpoint;
mod commits;
mod connection;
mod file;
mod readers;
mod writer;

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use self::checkpoint::Checkpointer;
use self::commits::Commits;
pub(crate) use self::connection::Connection;
use self::connection::Role;
use self::file::FileLock;
use self::readers::Readers;
use self::writer::{Job, Writer};
use crate::watch::{TableWatch, Watches};
use crate::{DbConfig, DbError, Row, Tx, TxFuture, Value};

/// An open SQLite database. Clones share it; the last one waits for the writer to finish and closes the file.
#[derive(Clone)]
pub(crate) struct Sqlite {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Option<mpsc::Sender<Box<dyn Job>>>,
    writer: Option<JoinHandle<()>>,
    readers: Arc<Readers>,
    watches: Arc<Watches>,
    /// Last, so that it is released after every connection is closed.
    _lock: FileLock,
}

impl Sqlite {
    /// Opens the file at `path` (the URL without `sqlite:`).
    pub(crate) async fn open(path: &str, config: &DbConfig) -> Result<Self, DbError> {
        let (path, config) = (std::path::PathBuf::from(path), config.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let lock = file::prepare(&path, config.create)?;
            let connection = Connection::open(&path, &config, Role::Writer)?;
            let commits = Arc::<Commits>::default();
            let readers = Arc::new(Readers::new(path.clone(), &config, Arc::clone(&commits)));
            let checkpointer = Checkpointer::start(&path, &config, Arc::clone(&readers))?;
            let (queue, jobs) = mpsc::channel(config.write_queue.max(1));
            let watches = Arc::<Watches>::default();
            let writer =
                Writer::new(Tx::on_sqlite(connection), jobs, checkpointer, commits, Arc::clone(&watches))?;
            let writer = std::thread::Builder::new()
                .name("db-writer".to_owned())
                .spawn(move || writer.run())
                .map_err(|source| DbError::Io { path, source })?;
            let shared = Shared { queue: Some(queue), writer: Some(writer), readers, watches, _lock: lock };
            Ok(Self { shared: Arc::new(shared) })
        });
        opened.await.map_err(|_| DbError::Closed)?
    }

    pub(crate) async fn write<T, E, F>(&self, body: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
        F: for<'t> Fn(&'t mut Tx) -> TxFuture<'t, T, E> + Send + 'static,
    {
        let (job, outcome) = writer::job(body);
        let queue = self.shared.queue.as_ref().ok_or(DbError::Closed)?;
        queue.send(job).await.map_err(|_| DbError::Closed)?;
        outcome.await.map_err(|_| DbError::Closed)?.unwrap()
    }

    pub(crate) async fn watch(&self, table: &'static str) -> Result<TableWatch, DbError> {
        let watch = self.shared.watches.watch(table);
        // When this returns, every transaction that had begun before has ended.
        self.write::<(), DbError, _>(|_| Box::pin(async { Ok(()) })).await?;
        Ok(watch)
    }

    pub(crate) async fn read<T, E, F>(&self, body: F) -> Result<T, E>
    where
        E: From<DbError>,
        F: for<'t> Fn(&'t mut Tx) -> TxFuture<'t, T, E>,
    {
        let permit = self.shared.readers.permit().await?;
        self.shared.readers.run(permit, &body)
    }

    pub(crate) async fn row(&self, sql: &'static str, params: &[Value]) -> Result<Option<Row>, DbError> {
        let permit = self.shared.readers.permit().await?;
        self.shared.readers.row(permit, sql, params)
    }

    pub(crate) async fn scan<T, E, F>(&self, body: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
        F: for<'t> Fn(&'t mut Tx) -> TxFuture<'t, T, E> + Send + 'static,
    {
        let permit = self.shared.readers.scan_permit().await?;
        let shared = Arc::clone(&self.shared);
        let task = tokio::task::spawn_blocking(move || shared.readers.run(permit, &body));
        match task.await {
            Ok(result) => result,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(DbError::Closed.into()),
            },
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take()
            // A body may own the last clone, and then this runs on the writer's thread.
            && writer.thread().id() != std::thread::current().id()
        {
            // A panic of the thread has been reported by its hook.
            let _ = writer.join();
        }
    }
}

//! [`Db`]: opening a database and running transactions on it.

use std::sync::Arc;

use crate::postgres::Postgres;
use crate::sqlite::Sqlite;
use crate::{DbConfig, DbError, Engine, Migration, Row, TableWatch, Tx, TxFuture, Value, migration};

/// A database. Clones share it; dropping the last one waits for writes that SQLite's writer already has.
#[derive(Clone)]
pub struct Db {
    engine: Inner,
}

#[derive(Clone)]
enum Inner {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Db {
    /// Opens the database and checks that it answers.
    pub async fn open(config: &DbConfig) -> Result<Self, DbError> {
        if let Some(path) = config.url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return Ok(Self { engine: Inner::Sqlite(Sqlite::open(path, config).await?) });
        }
        if config.url.starts_with("postgres://") || config.url.starts_with("postgresql://") {
            return Ok(Self { engine: Inner::Postgres(Postgres::open(config).await?) });
        }
        Err(DbError::InvalidUrl { reason: "its scheme is neither sqlite nor postgres".to_owned() })
    }

    /// Which engine it is.
    pub const fn engine(&self) -> Engine {
        match self.engine {
            Inner::Sqlite(_) => Engine::Sqlite,
            Inner::Postgres(_) => Engine::Postgres,
        }
    }

    /// Brings the schema of `component` to the last of `steps`, each step in a transaction of its own. Several
    /// processes may do so at once.
    ///
    /// # Errors
    /// [`DbError::SchemaTooNew`] when the database is already past the last step.
    pub async fn migrate(&self, component: &'static str, steps: &'static [Migration]) -> Result<(), DbError> {
        migration::migrate(self, component, steps).await
    }

    /// Runs `body` in a transaction and commits it. When this returns `Ok`, the commit is durable.
    ///
    /// `body` may run more than once (PostgreSQL: after a serialisation failure, a deadlock or a connection lost
    /// before COMMIT), so it must not change anything but the database. It may await nothing but its [`Tx`]. On
    /// SQLite many bodies share a COMMIT, a failing one is undone alone. On an error nothing has taken effect,
    /// except for [`DbError::OutcomeUnknown`]. Dropping the future leaves the outcome open.
    pub async fn write<T, E, F>(&self, body: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
        F: for<'t> Fn(&'t mut Tx) -> TxFuture<'t, T, E> + Send + Sync + 'static,
    {
        match &self.engine {
            Inner::Sqlite(engine) => engine.write(body).await,
            Inner::Postgres(engine) => Box::pin(engine.write(body)).await,
        }
    }

    /// Commits one statement, as [`Db::write`] would, and tells how many rows it changed.
    pub async fn execute(&self, sql: &'static str, params: Arc<[Value]>) -> Result<u64, DbError> {
        self.write(move |tx| {
            let params = Arc::clone(&params);
            Box::pin(async move { tx.execute(sql, &params).await })
        })
        .await
    }

    /// Runs `body` on one snapshot: it sees one state of the database, that of a moment after the call.
    ///
    /// For point reads: on SQLite it runs on the calling thread, to spare the thread hop. Use [`Db::scan`] for
    /// what takes longer than a millisecond.
    pub async fn read<T, E, F>(&self, body: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
        F: for<'t> Fn(&'t mut Tx) -> TxFuture<'t, T, E> + Send + Sync + 'static,
    {
        match &self.engine {
            Inner::Sqlite(engine) => engine.read(body).await,
            Inner::Postgres(engine) => Box::pin(engine.read(body)).await,
        }
    }

    /// The first row of one SELECT, or `None`: what [`Db::read`] would give, at less cost.
    pub async fn row(&self, sql: &'static str, params: Arc<[Value]>) -> Result<Option<Row>, DbError> {
        match &self.engine {
            Inner::Sqlite(engine) => engine.row(sql, &params).await,
            Inner::Postgres(engine) => {
                let read = engine.read(move |tx| {
                    let params = Arc::clone(&params);
                    Box::pin(async move { tx.query_opt(sql, &params).await })
                });
                Box::pin(read).await
            }
        }
    }

    /// All rows of one SELECT: what [`Db::scan`] would give. Limit what can be many.
    pub async fn rows(&self, sql: &'static str, params: Arc<[Value]>) -> Result<Vec<Row>, DbError> {
        self.scan(move |tx| {
            let params = Arc::clone(&params);
            Box::pin(async move { tx.query(sql, &params).await })
        })
        .await
    }

    /// Watches a table with rowids for changes. They must not be made by a DELETE without WHERE, or by REPLACE, which
    /// SQLite does not tell of.
    pub async fn watch(&self, table: &'static str) -> Result<TableWatch, DbError> {
        match &self.engine {
            Inner::Sqlite(engine) => engine.watch(table).await,
            Inner::Postgres(_) => Ok(TableWatch::BLIND),
        }
    }

    /// Like [`Db::read`], for listings and other long reads: on SQLite it runs on the blocking pool.
    pub async fn scan<T, E, F>(&self, body: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
        F: for<'t> Fn(&'t mut Tx) -> TxFuture<'t, T, E> + Send + Sync + 'static,
    {
        match &self.engine {
            Inner::Sqlite(engine) => engine.scan(body).await,
            Inner::Postgres(engine) => Box::pin(engine.read(body)).await,
        }
    }
}

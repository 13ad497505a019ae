//! A transaction's handle: the same calls on both engines.

use std::pin::Pin;

use crate::postgres::Session;
use crate::sqlite::Connection;
use crate::{DbError, Engine, Row, Value};

/// What a transaction's body returns: a boxed future that borrows the [`Tx`].
pub type TxFuture<'t, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 't>>;

/// An open transaction. It commits when its body returns `Ok`, and rolls back otherwise.
///
/// Once a statement has failed, every further one fails with [`DbError::Aborted`] and the transaction rolls back,
/// whatever the body returns: PostgreSQL does so, and SQLite is made to.
pub struct Tx {
    handle: Handle,
    aborted: bool,
}

enum Handle {
    Sqlite(Connection),
    Postgres(Session),
}

impl Tx {
    pub(crate) const fn on_sqlite(connection: Connection) -> Self {
        Self { handle: Handle::Sqlite(connection), aborted: false }
    }

    pub(crate) const fn on_postgres(session: Session) -> Self {
        Self { handle: Handle::Postgres(session), aborted: false }
    }

    pub(crate) const fn reset(&mut self) {
        self.aborted = false;
    }

    pub(crate) const fn is_aborted(&self) -> bool {
        self.aborted
    }

    /// The SQLite connection under a transaction that was made of one.
    pub(crate) fn sqlite(&mut self) -> &mut Connection {
        match &mut self.handle {
            Handle::Sqlite(connection) => connection,
            Handle::Postgres(_) => unreachable!("only the SQLite engine asks for its connection"),
        }
    }

    /// The PostgreSQL session under a transaction that was made of one.
    pub(crate) fn into_postgres(self) -> Session {
        match self.handle {
            Handle::Postgres(session) => session,
            Handle::Sqlite(_) => unreachable!("only the PostgreSQL engine asks for its session"),
        }
    }

    fn checked<T>(&mut self, result: Result<T, DbError>) -> Result<T, DbError> {
        self.aborted |= result.is_err();
        result
    }

    const fn usable(&self) -> Result<(), DbError> {
        if self.aborted { Err(DbError::Aborted) } else { Ok(()) }
    }

    /// Which engine runs this transaction.
    pub const fn engine(&self) -> Engine {
        match self.handle {
            Handle::Sqlite(_) => Engine::Sqlite,
            Handle::Postgres(_) => Engine::Postgres,
        }
    }

    /// Runs a statement and returns how many rows it changed.
    pub async fn execute(&mut self, sql: &'static str, params: &[Value]) -> Result<u64, DbError> {
        self.usable()?;
        let result = match &mut self.handle {
            Handle::Sqlite(connection) => connection.execute(sql, params),
            Handle::Postgres(session) => session.execute(sql, params).await,
        };
        self.checked(result)
    }

    /// Runs a query, or a statement with RETURNING, and returns all its rows: limit what can be many.
    pub async fn query(&mut self, sql: &'static str, params: &[Value]) -> Result<Vec<Row>, DbError> {
        self.usable()?;
        let result = match &mut self.handle {
            Handle::Sqlite(connection) => connection.query(sql, params, usize::MAX),
            Handle::Postgres(session) => session.query(sql, params).await,
        };
        self.checked(result)
    }

    /// The first row, or `None`.
    pub async fn query_opt(&mut self, sql: &'static str, params: &[Value]) -> Result<Option<Row>, DbError> {
        self.usable()?;
        let result = match &mut self.handle {
            Handle::Sqlite(connection) => connection.query(sql, params, 1),
            Handle::Postgres(session) => session.query(sql, params).await,
        };
        self.checked(result).map(|rows| rows.into_iter().next())
    }

    /// Inserts one row into a table whose primary key the database draws; the key, or `None` when a conflict clause
    /// kept it out. `returning` is `insert` with RETURNING for that key: PostgreSQL needs it, and SQLite would make a
    /// temporary table for it.
    pub async fn insert(
        &mut self,
        insert: &'static str,
        returning: &'static str,
        params: &[Value],
    ) -> Result<Option<i64>, DbError> {
        match self.engine() {
            Engine::Sqlite => {
                let inserted = self.execute(insert, params).await?;
                Ok((inserted == 1).then(|| self.sqlite().last_inserted()))
            }
            Engine::Postgres => {
                let row = self.query_opt(returning, params).await?;
                row.map(|row| row.int(0)).transpose()
            }
        }
    }

    /// Runs statements without parameters, separated by semicolons: a migration.
    pub(crate) async fn execute_batch(&mut self, sql: &'static str) -> Result<(), DbError> {
        self.usable()?;
        let result = match &mut self.handle {
            Handle::Sqlite(connection) => connection.execute_batch(sql),
            Handle::Postgres(session) => session.execute_batch(sql).await,
        };
        self.checked(result)
    }

    /// Holds the lock named `key` until the transaction ends, waiting for whoever holds it.
    ///
    /// SQLite has one writer, so there it does nothing. Take several locks in one order everywhere. Keys are
    /// hashed to 64 bits: two keys may share a lock, so a lock must not be a condition for anything else.
    pub async fn lock(&mut self, key: &[u8]) -> Result<(), DbError> {
        match &self.handle {
            Handle::Sqlite(_) => self.usable(),
            Handle::Postgres(_) => {
                const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended(encode($1, 'hex'), 0))";
                self.query(LOCK, &[key.into()]).await.map(drop)
            }
        }
    }
}

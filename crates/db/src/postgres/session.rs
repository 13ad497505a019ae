//! One transaction on a PostgreSQL connection.
//!
//! To spare round trips, BEGIN travels together with the first statement, and ROLLBACK (or the end of a read) is sent
//! without waiting for the answer: the server works through them in order, before whatever the connection's next
//! user sends. A session that is dropped half-way, because its caller was cancelled, rolls back the same way.

use deadpool_postgres::Object;
use futures::FutureExt;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Statement};

use crate::{DbError, Row, Value};

pub(crate) struct Session {
    client: Object,
    begin: &'static str,
    state: State,
    /// Why the first failed statement may succeed when the transaction runs again.
    retryable: Option<String>,
}

#[derive(PartialEq, Eq)]
enum State {
    /// BEGIN goes out with the first statement.
    Idle,
    Open,
    Ended,
}

/// How a COMMIT failed.
pub(super) enum CommitError {
    /// It had no effect and may go better next time.
    RolledBack { reason: String },
    /// It will not go better, or its outcome is unknown.
    Failed(DbError),
}

impl Session {
    pub(super) const fn new(client: Object, begin: &'static str) -> Self {
        Self { client, begin, state: State::Idle, retryable: None }
    }

    pub(super) fn take_retryable(&mut self) -> Option<String> {
        self.retryable.take()
    }

    pub(crate) async fn execute(&mut self, sql: &'static str, params: &[Value]) -> Result<u64, DbError> {
        let result = self.try_execute(sql, params).await;
        result.map_err(|source| self.failed(sql, source))
    }

    async fn try_execute(&mut self, sql: &'static str, params: &[Value]) -> Result<u64, Error> {
        let statement = self.prepare(sql).await?;
        let params = borrowed(params);
        if self.first() {
            let (begun, changed) = futures::join!(
                self.client.batch_execute(self.begin),
                self.client.execute(&statement, &params)
            );
            return begun.and(changed);
        }
        self.client.execute(&statement, &params).await
    }

    pub(crate) async fn query(&mut self, sql: &'static str, params: &[Value]) -> Result<Vec<Row>, DbError> {
        let result = self.try_query(sql, params).await;
        result.map_err(|source| self.failed(sql, source))
    }

    async fn try_query(&mut self, sql: &'static str, params: &[Value]) -> Result<Vec<Row>, Error> {
        let statement = self.prepare(sql).await?;
        let params = borrowed(params);
        let rows = if self.first() {
            let (begun, rows) =
                futures::join!(self.client.batch_execute(self.begin), self.client.query(&statement, &params));
            begun.and(rows)?
        } else {
            self.client.query(&statement, &params).await?
        };
        rows.iter()
            .map(|row| (0..row.len()).map(|i| row.try_get(i)).collect::<Result<_, _>>().map(Row::new))
            .collect()
    }

    pub(crate) async fn execute_batch(&mut self, sql: &'static str) -> Result<(), DbError> {
        if self.first()
            && let Err(source) = self.client.batch_execute(self.begin).await
        {
            return Err(self.failed(self.begin, source));
        }
        let result = self.client.batch_execute(sql).await;
        result.map_err(|source| self.failed(sql, source))
    }

    /// Prepared outside of the transaction when it is the first statement, and then kept by the connection.
    async fn prepare(&self, sql: &'static str) -> Result<Statement, Error> {
        self.client.prepare_cached(sql).await
    }

    /// Whether BEGIN is still to be sent; from now on it counts as sent, so that a cancelled caller rolls back.
    fn first(&mut self) -> bool {
        std::mem::replace(&mut self.state, State::Open) == State::Idle
    }

    fn failed(&mut self, sql: &'static str, source: Error) -> DbError {
        if may_go_better(&source) && self.retryable.is_none() {
            self.retryable = Some(describe(&source));
        }
        DbError::Postgres { sql, source }
    }

    /// Commits. A lost connection leaves the outcome unknown, which is never retried here.
    pub(super) async fn commit(mut self) -> Result<(), CommitError> {
        if self.state != State::Open {
            return Ok(());
        }
        let committed = self.client.batch_execute("COMMIT").await;
        self.state = State::Ended;
        committed.map_err(|source| match source.code() {
            Some(&(SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED)) => {
                CommitError::RolledBack { reason: describe(&source) }
            }
            Some(code) if is_definite(code) => {
                CommitError::Failed(DbError::Postgres { sql: "COMMIT", source })
            }
            _ => CommitError::Failed(DbError::OutcomeUnknown { source: source.into() }),
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.state == State::Open && !self.client.is_closed() {
            // The first poll puts it on the wire's queue; nobody needs the answer.
            let _ = self.client.batch_execute("ROLLBACK").now_or_never();
        }
    }
}

fn borrowed(params: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    params.iter().map(|param| param as &(dyn ToSql + Sync)).collect()
}

/// Before COMMIT: the transaction collided with another, or the connection or the server went away.
fn may_go_better(error: &Error) -> bool {
    match error.code() {
        Some(code) => {
            matches!(*code, SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED)
                || lost_connection(code)
        }
        None => error.is_closed() || is_io(error),
    }
}

/// Class 08 (connection exceptions) and 57P (the operator or a crash ended the session).
fn lost_connection(code: &SqlState) -> bool {
    code.code().starts_with("08") || code.code().starts_with("57P")
}

/// Whether the server's refusal of a COMMIT says that nothing was committed. A server that ends the session may
/// have committed before, and 40003 says itself that it doesn't know.
fn is_definite(code: &SqlState) -> bool {
    !lost_connection(code) && *code != SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN
}

fn is_io(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
}

fn describe(error: &Error) -> String {
    error
        .as_db_error()
        .map_or_else(|| error.to_string(), |error| format!("{}: {}", error.code().code(), error.message()))
}

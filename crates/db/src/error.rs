//! What can go wrong between a caller and its database.

use std::path::PathBuf;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a database could not be opened, or a transaction did not commit.
///
/// Unless it is [`DbError::OutcomeUnknown`], nothing of the transaction has taken effect.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The URL names no database this crate can open. The URL itself may hold a password and is not repeated.
    #[error(
        "the database URL is not usable: {reason}; expected sqlite:PATH or postgres://USER@HOST/DATABASE"
    )]
    InvalidUrl {
        /// What is wrong with it.
        reason: String,
    },
    /// There is no database at the path or of that name.
    #[error("there is no database at {target}")]
    NoDatabase {
        /// The path, or host and name.
        target: String,
    },
    /// The file is not a SQLite database.
    #[error("{path} is not a SQLite database", path = path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// Another process has the SQLite file open.
    #[error("the database {path} is locked by another process", path = path.display())]
    Locked {
        /// The database file.
        path: PathBuf,
    },
    /// A file beside the database could not be used.
    #[error("cannot use {path}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The server did not answer, or refused us.
    #[error("cannot connect to the database {target}")]
    Connect {
        /// Host and database name.
        target: String,
        /// What the driver or the server said.
        source: Source,
    },
    /// All connections stayed in use for the whole busy timeout.
    #[error("no database connection became free in time")]
    PoolTimeout,
    /// A newer release has migrated this database.
    #[error(
        "the schema of {component} has version {found}, newer than this release knows ({supported}): \
         start a newer release"
    )]
    SchemaTooNew {
        /// Whose schema.
        component: &'static str,
        /// The version in the database.
        found: i64,
        /// The newest version this build knows.
        supported: i64,
    },
    /// SQLite refused a statement.
    #[error("SQLite failed on {sql:?}")]
    Sqlite {
        /// The statement.
        sql: &'static str,
        /// SQLite's reason.
        source: rusqlite::Error,
    },
    /// PostgreSQL refused a statement, or the connection failed during it.
    #[error("PostgreSQL failed on {sql:?}")]
    Postgres {
        /// The statement.
        sql: &'static str,
        /// The server's or the driver's reason.
        source: tokio_postgres::Error,
    },
    /// The disk is full. Reads go on; writes succeed again once there is space.
    #[error("the database's disk is full")]
    Full,
    /// An fsync of the database failed; nothing is written until it is opened again (faults.md, F3).
    #[error("the database is read-only since an I/O error: reopen it after checking the disk")]
    ReadOnly,
    /// The connection was lost, or fsync failed, during COMMIT: the transaction may or may not have taken effect.
    #[error("the outcome of the commit is unknown")]
    OutcomeUnknown {
        /// What happened.
        source: Source,
    },
    /// The transaction kept colliding with others, or losing its connection.
    #[error("the transaction gave up after {attempts} attempts: {reason}")]
    Busy {
        /// How often it ran.
        attempts: u32,
        /// Why the last attempt failed.
        reason: String,
    },
    /// An earlier statement of this transaction failed, so that it can only be rolled back.
    #[error("an earlier statement of this transaction failed")]
    Aborted,
    /// A commit hook refused the transaction; `source` says why, and can be downcast.
    #[error("the transaction was refused")]
    Rejected {
        /// The hook's own error.
        source: Source,
    },
    /// A body awaited something else than its [`crate::Tx`], which SQLite's one writer cannot wait for.
    #[error("a transaction awaited something other than its own statements")]
    BodyWaited,
    /// A row has no such column.
    #[error("the row has {columns} columns, no column {index}")]
    NoSuchColumn {
        /// The column asked for, from 0.
        index: usize,
        /// How many there are.
        columns: usize,
    },
    /// A column holds something else than was asked for.
    #[error("column {index} holds {found}, not {expected}")]
    ColumnType {
        /// The column, from 0.
        index: usize,
        /// What was asked for.
        expected: &'static str,
        /// What it holds.
        found: String,
    },
    /// The database has been closed.
    #[error("the database is closed")]
    Closed,
}

impl DbError {
    /// Whether a `UNIQUE` or `PRIMARY KEY` constraint was violated.
    pub fn is_unique_violation(&self) -> bool {
        match self {
            Self::Sqlite { source, .. } => source.sqlite_error().is_some_and(|error| {
                matches!(
                    error.extended_code,
                    rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE | rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY
                )
            }),
            Self::Postgres { source, .. } => {
                source.code() == Some(&tokio_postgres::error::SqlState::UNIQUE_VIOLATION)
            }
            _ => false,
        }
    }

    /// Whether the same call may succeed later without any change: a 503 rather than a 500.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::PoolTimeout | Self::OutcomeUnknown { .. } | Self::Busy { .. } => {
                true
            }
            Self::Postgres { source, .. } => source.is_closed() || source.code().is_none(),
            _ => false,
        }
    }
}

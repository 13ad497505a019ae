//! Which database to open, and how.

use std::time::Duration;

/// The two SQL engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Embedded, one file, one process.
    Sqlite,
    /// A PostgreSQL server, or one that speaks its protocol.
    Postgres,
}

/// Which database to open, and how.
#[derive(Debug, Clone)]
pub struct DbConfig {
    /// `sqlite:PATH`, or a `postgres://` URL with libpq's `sslmode` and `sslrootcert` parameters.
    pub url: String,
    /// Create a SQLite file that does not exist, with its folder. A PostgreSQL database is never created.
    pub create: bool,
    /// Connections: to PostgreSQL, or SQLite's readers (its writer comes on top).
    pub connections: usize,
    /// How long a call waits for a free connection, and for the database while another holds its lock.
    pub busy_timeout: Duration,
    /// Memory for SQLite's page cache, bytes per connection.
    pub page_cache_bytes: u64,
    /// Write transactions waiting for SQLite's writer; further callers wait for a place.
    pub write_queue: usize,
    /// How often a write is run again after a serialisation failure, a deadlock or a connection lost before its
    /// COMMIT (PostgreSQL).
    pub retries: u32,
}

impl DbConfig {
    /// The defaults, for the database at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            create: false,
            connections: 16,
            busy_timeout: Duration::from_secs(10),
            page_cache_bytes: 16 << 20,
            write_queue: 1024,
            retries: 8,
        }
    }

    /// The same, creating a SQLite file that does not exist.
    #[must_use]
    pub fn create(self) -> Self {
        Self { create: true, ..self }
    }
}

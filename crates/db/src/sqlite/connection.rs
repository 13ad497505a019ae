//! One SQLite connection: statements, their cache, and the translation of placeholders and errors.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Once;

use rusqlite::config::DbConfig as Setting;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, ErrorCode, OpenFlags, ToSql};

use crate::{DbConfig, DbError, Row, Value};

/// Statements kept prepared per connection: more than this project has.
const STATEMENTS_CACHED: usize = 512;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The one that changes the file.
    Writer,
    /// Refuses to change anything.
    Reader,
}

/// One connection. It belongs to one thread at a time.
pub(crate) struct Connection {
    db: rusqlite::Connection,
    /// `$1` names a parameter in SQLite whose number is its order of appearance; `?1` is what we mean. Texts are
    /// `'static`, so their address identifies them.
    texts: HashMap<(usize, usize), Box<str>>,
}

impl Connection {
    pub(crate) fn open(path: &Path, config: &DbConfig, role: Role) -> Result<Self, DbError> {
        stop_counting_memory();
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let failed = |source: rusqlite::Error| match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => DbError::NotADatabase { path: path.to_owned() },
            Some(ErrorCode::CannotOpen) => DbError::NoDatabase { target: path.display().to_string() },
            Some(ErrorCode::DatabaseBusy) => DbError::Locked { path: path.to_owned() },
            _ => DbError::Sqlite { sql: "open", source },
        };
        let db = rusqlite::Connection::open_with_flags(path, flags).map_err(failed)?;
        db.busy_timeout(config.busy_timeout).map_err(failed)?;
        // Without it SQLite plans anew each time that it is given other parameters: a third of a point read's cost.
        db.set_db_config(Setting::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(failed)?;
        let page_cache_kib = config.page_cache_bytes / 1024;
        db.execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
             PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;
             PRAGMA cache_size = -{page_cache_kib}; PRAGMA query_only = {};",
            i32::from(role == Role::Reader)
        ))
        .map_err(failed)?;
        db.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
        Ok(Self { db, texts: HashMap::new() })
    }

    /// The driver's own handle.
    pub(super) fn raw(&mut self) -> &mut rusqlite::Connection {
        &mut self.db
    }

    /// Whether no transaction is open. SQLite ends one by itself after some errors, such as a full disk.
    pub(super) fn is_idle(&self) -> bool {
        self.db.is_autocommit()
    }

    /// The key of the row that was inserted last.
    pub(crate) fn last_inserted(&self) -> i64 {
        self.db.last_insert_rowid()
    }

    fn prepare(&mut self, sql: &'static str) -> rusqlite::Result<CachedStatement<'_>> {
        let text =
            self.texts.entry((sql.as_ptr().addr(), sql.len())).or_insert_with(|| numbered_placeholders(sql));
        self.db.prepare_cached(text)
    }

    /// Runs a statement without parameters or rows: BEGIN, COMMIT and the like.
    pub(super) fn control(&mut self, sql: &'static str) -> Result<(), rusqlite::Error> {
        self.prepare(sql)?.execute([]).map(drop)
    }

    pub(crate) fn execute(&mut self, sql: &'static str, params: &[Value]) -> Result<u64, DbError> {
        let run = |connection: &mut Self| {
            let mut statement = connection.prepare(sql)?;
            statement.execute(rusqlite::params_from_iter(params))
        };
        run(self).map(|changed| changed as u64).map_err(|source| statement_error(sql, source))
    }

    pub(crate) fn query(
        &mut self,
        sql: &'static str,
        params: &[Value],
        limit: usize,
    ) -> Result<Vec<Row>, DbError> {
        let run = |connection: &mut Self| {
            let mut statement = connection.prepare(sql)?;
            let (columns, read_only) = (statement.column_count(), statement.readonly());
            let mut rows = statement.query(rusqlite::params_from_iter(params))?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                if found.len() < limit {
                    let values = (0..columns).map(|index| owned(index, row)).collect::<Result<_, _>>()?;
                    found.push(Row::new(values));
                }
                // A statement that changes something must run to its end, where constraints are checked.
                if found.len() == limit && read_only {
                    break;
                }
            }
            Ok(found)
        };
        run(self).map_err(|source| statement_error(sql, source))
    }

    pub(crate) fn execute_batch(&mut self, sql: &'static str) -> Result<(), DbError> {
        self.db.execute_batch(sql).map_err(|source| statement_error(sql, source))
    }
}

/// SQLite counts what it allocates, for all connections under one lock. On several threads they queue at it.
fn stop_counting_memory() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        #[allow(unsafe_code, reason = "the setting has no safe interface")]
        // SAFETY: the arguments are those of SQLITE_CONFIG_MEMSTATUS. It fails, and changes nothing, when SQLite runs.
        unsafe {
            rusqlite::ffi::sqlite3_config(rusqlite::ffi::SQLITE_CONFIG_MEMSTATUS, 0);
        }
    });
}

fn owned(index: usize, row: &rusqlite::Row<'_>) -> rusqlite::Result<Value> {
    Ok(match row.get_ref(index)? {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Int(value),
        ValueRef::Blob(value) => Value::Blob(value.to_vec()),
        other @ ValueRef::Text(_) => Value::Text(other.as_str()?.to_owned()),
        other @ ValueRef::Real(_) => {
            return Err(rusqlite::Error::InvalidColumnType(index, String::new(), other.data_type()));
        }
    })
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(value) => ValueRef::Integer(*value),
            Self::Text(value) => ValueRef::Text(value.as_bytes()),
            Self::Blob(value) => ValueRef::Blob(value),
        }))
    }
}

/// What a failed statement means to a caller.
pub(super) fn statement_error(sql: &'static str, source: rusqlite::Error) -> DbError {
    match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => DbError::Full,
        Some(ErrorCode::DatabaseBusy) => DbError::Busy { attempts: 1, reason: source.to_string() },
        _ => DbError::Sqlite { sql, source },
    }
}

/// `$1` outside of quotes becomes `?1`.
fn numbered_placeholders(sql: &str) -> Box<str> {
    let mut text = String::with_capacity(sql.len());
    let mut quote = None;
    let mut characters = sql.chars().peekable();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
        let placeholder =
            quote.is_none() && character == '$' && characters.peek().is_some_and(char::is_ascii_digit);
        text.push(if placeholder { '?' } else { character });
    }
    text.into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_placeholders_outside_of_quotes_are_renumbered() {
        assert_eq!(
            &*numbered_placeholders("SELECT '$1', \"a$2\", $2 || $10 FROM t WHERE c = 'it''s $3' AND d = $1"),
            "SELECT '$1', \"a$2\", ?2 || ?10 FROM t WHERE c = 'it''s $3' AND d = ?1"
        );
    }
}

//! SQL on SQLite and PostgreSQL behind one thin layer: transactions, migrations, group commit.
//!
//! A transaction is a closure over a [`Tx`]. [`Db::write`] runs it until it has committed once, [`Db::read`] and
//! [`Db::scan`] run it on one snapshot. The same SQL text serves both engines: placeholders are `$1`, `$2`, ...;
//! integers are `BIGINT`; keys and ids are bytes (`BYTEA` is accepted by both) and sort bytewise.
//!
//! Invariants:
//! - A reply to a write comes after its COMMIT is durable (SQLite: WAL with synchronous=FULL).
//! - A statement that fails aborts its transaction on both engines; use `ON CONFLICT` instead of catching errors.
//! - Only one process has a SQLite file open through this crate.

mod config;
mod database;
mod error;
mod hook;
mod migration;
mod postgres;
mod sqlite;
mod tx;
mod value;
mod watch;

pub use config::{DbConfig, Engine};
pub use database::Db;
pub use error::DbError;
pub use hook::{CommitHook, StoredCount, StoredUsage, UsageChange};
pub use migration::Migration;
pub use tx::{Tx, TxFuture};
pub use value::{Row, Value};
pub use watch::{TableVersion, TableWatch};

//! The PostgreSQL engine.

mod session;

pub(crate) use self::session::Session;
use crate::{DbConfig, DbError, Tx, TxFuture};

/// A pool of connections. Clones share it.
#[derive(Clone)]
pub(crate) struct Postgres {}

impl Postgres {
    pub(crate) async fn open(config: &DbConfig) -> Result<Self, DbError> {
        let _ = config;
        todo!()
    }

    pub(crate) async fn write<T, E, F>(&self, body: F) -> Result<T, E>
    where
        E: From<DbError>,
        F: for<'t> Fn(&'t mut Tx) -> TxFuture<'t, T, E>,
    {
        let _ = body;
        todo!()
    }

    pub(crate) async fn read<T, E, F>(&self, body: F) -> Result<T, E>
    where
        E: From<DbError>,
        F: for<'t> Fn(&'t mut Tx) -> TxFuture<'t, T, E>,
    {
        let _ = body;
        todo!()
    }
}

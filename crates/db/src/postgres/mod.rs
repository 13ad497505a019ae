//! The PostgreSQL engine: a pool of connections, and transactions that run again when they collide.
//!
//! Transactions are opened with a plain `BEGIN`: READ COMMITTED on PostgreSQL, whatever is stricter on an engine
//! that only speaks its protocol. Callers serialise with row locks and [`crate::Tx::lock`].

mod session;
mod tls;
mod url;
mod value;

use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType,
};
use tokio_postgres::error::SqlState;
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::debug;

use self::session::CommitError;
pub(crate) use self::session::Session;
use crate::{DbConfig, DbError, Tx, TxFuture};

const READ_WRITE: &str = "BEGIN";
/// One snapshot for all statements.
const READ_ONLY: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";

/// The first pause before a transaction runs again; it doubles, to at most [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(5);
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// A pool of connections. Clones share it.
#[derive(Clone)]
pub(crate) struct Postgres {
    pool: Pool,
    target: String,
    retries: u32,
}

/// How one run of a transaction ended.
enum Attempt<T, E> {
    Done(Result<T, E>),
    /// Nothing took effect, and it may go better next time.
    Again(DbError),
}

impl Postgres {
    pub(crate) async fn open(config: &DbConfig) -> Result<Self, DbError> {
        let parsed = url::parse(&config.url)?;
        let target = url::target(&parsed.config);
        let connector = MakeRustlsConnect::new(tls::client_config(&parsed.verification)?);
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let pool = Pool::builder(Manager::from_config(parsed.config, connector, recycling))
            .max_size(config.connections.max(1))
            .wait_timeout(Some(config.busy_timeout))
            .create_timeout(Some(config.busy_timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|source| DbError::Connect { target: target.clone(), source: source.into() })?;
        let engine = Self { pool, target, retries: config.retries };
        drop(engine.client().await?);
        Ok(engine)
    }

    pub(crate) async fn write<T, E, F>(&self, body: F) -> Result<T, E>
    where
        E: From<DbError>,
        F: for<'t> Fn(&'t mut Tx) -> TxFuture<'t, T, E>,
    {
        self.until_done(&body, READ_WRITE).await
    }

    pub(crate) async fn read<T, E, F>(&self, body: F) -> Result<T, E>
    where
        E: From<DbError>,
        F: for<'t> Fn(&'t mut Tx) -> TxFuture<'t, T, E>,
    {
        self.until_done(&body, READ_ONLY).await
    }

    async fn until_done<T, E, F>(&self, body: &F, begin: &'static str) -> Result<T, E>
    where
        E: From<DbError>,
        F: for<'t> Fn(&'t mut Tx) -> TxFuture<'t, T, E>,
    {
        let mut pause = BACKOFF_MIN;
        for attempt in 1.. {
            let error = match self.attempt(body, begin).await {
                Attempt::Done(result) => return result,
                Attempt::Again(error) => error,
            };
            if attempt > self.retries {
                return Err(error.into());
            }
            debug!(%error, attempt, "a transaction runs again");
            // Jitter, so that those who collided don't meet again.
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(BACKOFF_MAX);
        }
        unreachable!("the loop has no end but its returns")
    }

    async fn attempt<T, E, F>(&self, body: &F, begin: &'static str) -> Attempt<T, E>
    where
        E: From<DbError>,
        F: for<'t> Fn(&'t mut Tx) -> TxFuture<'t, T, E>,
    {
        let client = match self.client().await {
            Ok(client) => client,
            Err(error @ DbError::Connect { .. }) => return Attempt::Again(error),
            Err(error) => return Attempt::Done(Err(error.into())),
        };
        let mut tx = Tx::on_postgres(Session::new(client, begin));
        let result = body(&mut tx).await;
        let aborted = tx.is_aborted();
        let mut session = tx.into_postgres();
        if let Some(reason) = session.take_retryable() {
            return Attempt::Again(DbError::Busy { attempts: self.retries + 1, reason });
        }
        let value = match result {
            Ok(_) if aborted => return Attempt::Done(Err(DbError::Aborted.into())),
            Err(error) => return Attempt::Done(Err(error)),
            Ok(value) => value,
        };
        if begin == READ_ONLY {
            return Attempt::Done(Ok(value));
        }
        match session.commit().await {
            Ok(()) => Attempt::Done(Ok(value)),
            Err(CommitError::RolledBack { reason }) => {
                Attempt::Again(DbError::Busy { attempts: self.retries + 1, reason })
            }
            Err(CommitError::Failed(error)) => Attempt::Done(Err(error.into())),
        }
    }

    async fn client(&self) -> Result<Object, DbError> {
        let target = || self.target.clone();
        self.pool.get().await.map_err(|error| match error {
            PoolError::Timeout(TimeoutType::Wait) => DbError::PoolTimeout,
            PoolError::Closed => DbError::Closed,
            PoolError::Backend(source) if source.code() == Some(&SqlState::INVALID_CATALOG_NAME) => {
                DbError::NoDatabase { target: target() }
            }
            PoolError::Backend(source) => DbError::Connect { target: target(), source: source.into() },
            other => DbError::Connect { target: target(), source: other.into() },
        })
    }
}

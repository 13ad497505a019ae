//! Temporary databases: every SQL test runs once on SQLite and once on PostgreSQL.

use std::sync::atomic::{AtomicU64, Ordering};

use datamesh_db::{Db, DbConfig};
use tempfile::TempDir;

use crate::postgres_server::PostgresServer;

/// Runs `body` with a fresh SQLite database and then with a fresh PostgreSQL database, opened.
///
/// PostgreSQL is the server at `DATAMESH_TEST_POSTGRES` (a URL of a user who may create databases), or else one
/// that is started from Debian's `/usr/lib/postgresql` and ends with the test process.
///
/// # Panics
/// When `body` does, naming the engine; and when there is no PostgreSQL, unless `DATAMESH_SKIP_POSTGRES=1`.
pub async fn for_each_engine<F, Fut>(body: F)
where
    F: Fn(Db) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let open = async |config: DbConfig| Db::open(&config).await.expect("a fresh database opens");
    let database = Database::sqlite();
    let test = body(open(database.config.clone()).await);
    database.run(test).await;
    if let Some(database) = Database::postgres().await {
        let test = body(open(database.config.clone()).await);
        database.run(test).await;
    }
}

/// Like [`for_each_engine`], but `body` opens the database itself, perhaps several times.
pub async fn for_each_database<F, Fut>(body: F)
where
    F: Fn(DbConfig) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let database = Database::sqlite();
    let test = body(database.config.clone());
    database.run(test).await;
    if let Some(database) = Database::postgres().await {
        let test = body(database.config.clone());
        database.run(test).await;
    }
}

/// A fresh database for a test of more than the database: SQLite, or PostgreSQL if `DATAMESH_TEST_ENGINE=postgres`. The folder
/// is SQLite's; a database on PostgreSQL goes with its server, when the test process ends.
///
/// # Panics
/// When there is no PostgreSQL, or no engine of that name.
pub async fn fresh_database() -> (DbConfig, Option<TempDir>) {
    let database = match std::env::var("DATAMESH_TEST_ENGINE").as_deref() {
        Err(_) | Ok("sqlite") => Database::sqlite(),
        Ok("postgres") => Database::postgres().await.expect("PostgreSQL is asked for and skipped"),
        Ok(other) => panic!("DATAMESH_TEST_ENGINE={other}: expected sqlite or postgres"),
    };
    (database.config, database.folder)
}

struct Database {
    engine: &'static str,
    config: DbConfig,
    /// SQLite's folder, removed with it.
    folder: Option<TempDir>,
    /// PostgreSQL's name for it.
    name: Option<String>,
}

impl Database {
    fn sqlite() -> Self {
        let folder = TempDir::new().expect("the temporary folder can be written");
        let config =
            DbConfig::new(format!("sqlite:{}", folder.path().join("test.sqlite").display())).create();
        Self { engine: "SQLite", config, folder: Some(folder), name: None }
    }

    async fn postgres() -> Option<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        if std::env::var("DATAMESH_SKIP_POSTGRES").is_ok_and(|skip| skip == "1") {
            eprintln!("PostgreSQL is skipped, as DATAMESH_SKIP_POSTGRES asks");
            return None;
        }
        let server = PostgresServer::shared();
        let name = format!("test_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        server.create_database(&name).await;
        let config = DbConfig::new(server.url(&name));
        Some(Self { engine: "PostgreSQL", config, folder: None, name: Some(name) })
    }

    /// Runs a test to its end, removes the database, and only then lets the test's panic go on.
    async fn run(self, test: impl Future<Output = ()> + Send + 'static) {
        let result = tokio::spawn(test).await;
        if let Some(name) = &self.name {
            PostgresServer::shared().drop_database(name).await;
        }
        drop(self.folder);
        if let Err(failed) = result {
            eprintln!("this test failed on {}", self.engine);
            std::panic::resume_unwind(failed.into_panic());
        }
    }
}

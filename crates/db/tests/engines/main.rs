//! What a transaction promises, on both engines.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use datamesh_db::{Db, DbConfig, DbError, Engine, Migration, Tx, Value};
use datamesh_testkit::{for_each_database, for_each_engine};

mod postgres;
mod sqlite;

const COUNTERS: &[Migration] = &[Migration {
    version: 1,
    sqlite: "CREATE TABLE counter (name TEXT PRIMARY KEY, value BIGINT NOT NULL);",
    postgres: "CREATE TABLE counter (name TEXT PRIMARY KEY, value BIGINT NOT NULL);",
}];

/// A body's refusal that is not the database's.
#[derive(Debug)]
enum TestError {
    Refused,
    #[expect(dead_code, reason = "it is there to be printed when a test fails")]
    Db(DbError),
}

impl From<DbError> for TestError {
    fn from(error: DbError) -> Self {
        Self::Db(error)
    }
}

async fn insert(tx: &mut Tx, name: String, value: i64) -> Result<u64, DbError> {
    tx.execute("INSERT INTO counter (name, value) VALUES ($1, $2)", &[name.into(), value.into()]).await
}

async fn put(db: &Db, name: &'static str, value: i64) {
    db.write::<_, DbError, _>(move |tx| Box::pin(insert(tx, name.to_owned(), value))).await.unwrap();
}

async fn get(db: &Db, name: &'static str) -> Option<i64> {
    let found = db.read::<_, DbError, _>(move |tx| Box::pin(value_of(tx, name))).await;
    found.unwrap()
}

async fn value_of(tx: &mut Tx, name: &'static str) -> Result<Option<i64>, DbError> {
    let row = tx.query_opt("SELECT value FROM counter WHERE name = $1", &[name.into()]).await?;
    row.map(|row| row.int(0)).transpose()
}

async fn count(db: &Db) -> i64 {
    let counted = db.scan::<_, DbError, _>(|tx| {
        Box::pin(async move {
            tx.query_opt("SELECT COUNT(*) FROM counter", &[]).await?.expect("COUNT has a row").int(0)
        })
    });
    counted.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_committed_write_is_seen_by_the_next_read() {
    for_each_engine(|db| async move {
        db.migrate("test", COUNTERS).await.unwrap();
        assert_eq!(get(&db, "a").await, None);
        put(&db, "a", -7).await;
        assert_eq!(get(&db, "a").await, Some(-7));
        assert_eq!(count(&db).await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_body_leaves_nothing_and_its_neighbours_commit() {
    for_each_engine(|db| async move {
        db.migrate("test", COUNTERS).await.unwrap();
        let bodies = (0..64).map(|number| {
            let db = db.clone();
            tokio::spawn(async move {
                db.write::<(), TestError, _>(move |tx| {
                    Box::pin(async move {
                        insert(tx, format!("counter {number}"), number).await?;
                        if number % 2 == 0 { Ok(()) } else { Err(TestError::Refused) }
                    })
                })
                .await
            })
        });
        for (number, body) in bodies.collect::<Vec<_>>().into_iter().enumerate() {
            let result = body.await.unwrap();
            assert_eq!(matches!(result, Err(TestError::Refused)), number % 2 == 1, "{number}: {result:?}");
        }
        assert_eq!(count(&db).await, 32);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_undoes_its_body_and_reaches_its_caller() {
    for_each_engine(|db| async move {
        db.migrate("test", COUNTERS).await.unwrap();
        let panicking = db.clone();
        let body = tokio::spawn(async move {
            panicking
                .write::<(), DbError, _>(|tx| {
                    Box::pin(async move {
                        insert(tx, "a".to_owned(), 1).await?;
                        panic!("on purpose")
                    })
                })
                .await
        });
        assert!(body.await.unwrap_err().is_panic());
        put(&db, "b", 2).await;
        assert_eq!(count(&db).await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_statement_aborts_its_transaction_even_when_the_body_ignores_it() {
    for_each_engine(|db| async move {
        db.migrate("test", COUNTERS).await.unwrap();
        put(&db, "a", 1).await;
        let result = db
            .write::<(), DbError, _>(|tx| {
                Box::pin(async move {
                    insert(tx, "b".to_owned(), 1).await?;
                    let error = insert(tx, "a".to_owned(), 2).await.unwrap_err();
                    assert!(error.is_unique_violation(), "{error:?}");
                    let error = insert(tx, "c".to_owned(), 3).await.unwrap_err();
                    assert!(matches!(error, DbError::Aborted));
                    Ok(())
                })
            })
            .await;
        assert!(matches!(result, Err(DbError::Aborted)), "{result:?}");
        assert_eq!(count(&db).await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_read_sees_one_snapshot_while_others_commit() {
    for_each_engine(|db| async move {
        db.migrate("test", COUNTERS).await.unwrap();
        put(&db, "a", 1).await;
        // The body tells when it has read once, and reads again after the write. It blocks its thread in between:
        // awaiting anything but the transaction is not allowed.
        let (has_read, is_read) = std::sync::mpsc::channel();
        let (has_written, is_written) = std::sync::mpsc::channel();
        let is_written = Arc::new(std::sync::Mutex::new(is_written));
        let reading = db.clone();
        let read = tokio::spawn(async move {
            let body = reading.scan::<_, DbError, _>(move |tx| {
                let (has_read, is_written) = (has_read.clone(), Arc::clone(&is_written));
                Box::pin(async move {
                    let before = value_of(tx, "a").await?;
                    has_read.send(()).unwrap();
                    is_written.lock().unwrap().recv().unwrap();
                    Ok((before, value_of(tx, "a").await?, value_of(tx, "b").await?))
                })
            });
            body.await.unwrap()
        });
        tokio::task::spawn_blocking(move || is_read.recv().unwrap()).await.unwrap();
        put(&db, "b", 2).await;
        let update = db.write::<_, DbError, _>(|tx| {
            Box::pin(tx.execute("UPDATE counter SET value = 9 WHERE name = 'a'", &[]))
        });
        assert_eq!(update.await.unwrap(), 1);
        has_written.send(()).unwrap();
        assert_eq!(read.await.unwrap(), (Some(1), Some(1), None));
        assert_eq!(get(&db, "a").await, Some(9));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_value_survives_the_database() {
    const TABLE: &[Migration] = &[Migration {
        version: 1,
        sqlite: "CREATE TABLE kept (id BIGINT PRIMARY KEY, number BIGINT, name TEXT, bytes BLOB)",
        postgres: "CREATE TABLE kept (id BIGINT PRIMARY KEY, number BIGINT, name TEXT, bytes BYTEA)",
    }];
    for_each_engine(|db| async move {
        db.migrate("test", TABLE).await.unwrap();
        let rows: Vec<[Value; 3]> = vec![
            [Value::Null, Value::Null, Value::Null],
            [0.into(), "".into(), Value::Blob(vec![])],
            [i64::MIN.into(), "Grüße, 'quoted' $1 \u{1f30d}".into(), Value::Blob((0..=255).collect())],
            [u64::MAX.into(), "x".repeat(100_000).into(), vec![0; 1 << 20].into()],
        ];
        let rows = Arc::new(rows);
        let written = Arc::clone(&rows);
        db.write::<(), DbError, _>(move |tx| {
            let rows = Arc::clone(&written);
            Box::pin(async move {
                for (id, [number, name, bytes]) in rows.iter().enumerate() {
                    // The parameters appear out of order: they are numbered, not positional.
                    let params = [bytes.clone(), name.clone(), number.clone(), id.into()];
                    tx.execute("INSERT INTO kept (id, number, name, bytes) VALUES ($4, $3, $2, $1)", &params)
                        .await?;
                }
                Ok(())
            })
        })
        .await
        .unwrap();
        let found = db
            .read::<_, DbError, _>(|tx| {
                Box::pin(tx.query("SELECT number, name, bytes FROM kept ORDER BY id", &[]))
            })
            .await
            .unwrap();
        assert_eq!(found.len(), rows.len());
        for (found, row) in found.iter().zip(rows.iter()) {
            for (index, value) in row.iter().enumerate() {
                assert_eq!(found.value(index).unwrap(), value);
            }
        }
        assert!(matches!(found[1].int(1), Err(DbError::ColumnType { index: 1, .. })));
        assert!(matches!(found[0].int(0), Err(DbError::ColumnType { .. })));
        assert!(matches!(found[0].int(3), Err(DbError::NoSuchColumn { index: 3, columns: 3 })));
        assert_eq!(found[3].uint(0).unwrap(), u64::MAX);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_serialises_a_read_and_the_write_after_it() {
    for_each_engine(|db| async move {
        db.migrate("test", COUNTERS).await.unwrap();
        put(&db, "a", 0).await;
        let tasks = (0..16).map(|_| {
            let db = db.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    db.write::<_, DbError, _>(|tx| {
                        Box::pin(async move {
                            tx.lock(b"a").await?;
                            let value = value_of(tx, "a").await?.expect("it was put");
                            let params = [(value + 1).into()];
                            tx.execute("UPDATE counter SET value = $1 WHERE name = 'a'", &params).await
                        })
                    })
                    .await
                    .unwrap();
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        assert_eq!(get(&db, "a").await, Some(160));
    })
    .await;
}

const GROWN: &[Migration] = &[
    COUNTERS[0],
    Migration {
        version: 2,
        sqlite: "ALTER TABLE counter ADD COLUMN unit TEXT; INSERT INTO counter VALUES ('seed', 1, 'piece');",
        postgres: "ALTER TABLE counter ADD COLUMN unit TEXT; INSERT INTO counter VALUES ('seed', 1, 'piece');",
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_grows_step_by_step_and_a_newer_one_is_refused() {
    for_each_engine(|db| async move {
        db.migrate("test", COUNTERS).await.unwrap();
        put(&db, "a", 1).await;
        let starts = (0..8).map(|_| {
            let db = db.clone();
            tokio::spawn(async move { db.migrate("test", GROWN).await })
        });
        for start in starts.collect::<Vec<_>>() {
            start.await.unwrap().unwrap();
        }
        assert_eq!(count(&db).await, 2);
        db.migrate("another", COUNTERS).await.unwrap_err();
        let error = db.migrate("test", COUNTERS).await.unwrap_err();
        assert!(matches!(error, DbError::SchemaTooNew { component: "test", found: 2, supported: 1 }));
        assert!(error.to_string().contains("start a newer release"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_fails_leaves_the_version_before_it() {
    const BROKEN: &[Migration] = &[
        COUNTERS[0],
        Migration {
            version: 2,
            sqlite: "INSERT INTO counter VALUES ('half', 1); INSERT INTO nowhere VALUES (1);",
            postgres: "INSERT INTO counter VALUES ('half', 1); INSERT INTO nowhere VALUES (1);",
        },
    ];
    for_each_engine(|db| async move {
        db.migrate("test", BROKEN).await.unwrap_err();
        assert_eq!(count(&db).await, 0);
        db.migrate("test", GROWN).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_changes_nothing() {
    for_each_engine(|db| async move {
        db.migrate("test", COUNTERS).await.unwrap();
        db.read::<_, DbError, _>(|tx| Box::pin(insert(tx, "a".to_owned(), 1))).await.unwrap_err();
        assert_eq!(count(&db).await, 0);
        put(&db, "a", 1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_row_is_the_last_committed_one() {
    const SELECT: &str = "SELECT value FROM counter WHERE name = $1";
    for_each_engine(|db| async move {
        db.migrate("test", COUNTERS).await.unwrap();
        let row = async |sql| db.row(sql, [Value::from("a")].into()).await;
        assert!(row(SELECT).await.unwrap().is_none());
        put(&db, "a", 3).await;
        assert_eq!(row(SELECT).await.unwrap().unwrap().int(0).unwrap(), 3);
        row("UPDATE counter SET value = 4 WHERE name = $1 RETURNING value").await.unwrap_err();
        row("SELECT nothing FROM nowhere WHERE name = $1").await.unwrap_err();
        db.write::<_, DbError, _>(|tx| {
            Box::pin(async move { tx.execute("UPDATE counter SET value = 5", &[]).await })
        })
        .await
        .unwrap();
        assert_eq!(row(SELECT).await.unwrap().unwrap().int(0).unwrap(), 5);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_rows_are_those_of_the_last_commit() {
    const SELECT: &str = "SELECT name FROM counter WHERE value >= $1 ORDER BY name";
    for_each_engine(|db| async move {
        db.migrate("test", COUNTERS).await.unwrap();
        let names = async |least: i64| -> Vec<String> {
            let rows = db.rows(SELECT, [Value::from(least)].into()).await.unwrap();
            rows.iter().map(|row| row.text(0).unwrap().to_owned()).collect()
        };
        assert!(names(0).await.is_empty());
        for (name, value) in [("b", 2), ("a", 3), ("c", 1)] {
            put(&db, name, value).await;
        }
        assert_eq!(names(0).await, ["a", "b", "c"]);
        assert_eq!(names(2).await, ["a", "b"]);
        for wrong in [
            "UPDATE counter SET value = 4 WHERE value >= $1 RETURNING name",
            "SELECT nothing FROM nowhere WHERE name = $1",
        ] {
            db.rows(wrong, [Value::from(2)].into()).await.unwrap_err();
        }
        assert_eq!(names(3).await, ["a"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_is_there_after_reopening() {
    for_each_database(|config| async move {
        let db = Db::open(&config).await.unwrap();
        db.migrate("test", COUNTERS).await.unwrap();
        put(&db, "a", 5).await;
        drop(db);
        let db = Db::open(&DbConfig { create: false, ..config }).await.unwrap();
        assert_eq!(get(&db, "a").await, Some(5));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_callers_is_not_bounded_by_connections() {
    for_each_database(|config| async move {
        let db = Db::open(&DbConfig { connections: 2, write_queue: 2, ..config }).await.unwrap();
        db.migrate("test", COUNTERS).await.unwrap();
        put(&db, "a", 5).await;
        let runs = Arc::new(AtomicU32::new(0));
        let callers = (0..100).map(|number| {
            let (db, runs) = (db.clone(), Arc::clone(&runs));
            tokio::spawn(async move {
                db.write::<_, DbError, _>(move |tx| Box::pin(insert(tx, format!("caller {number}"), number)))
                    .await
                    .unwrap();
                assert_eq!(get(&db, "a").await, Some(5));
                assert!(count(&db).await > 1);
                runs.fetch_add(1, Ordering::Relaxed);
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.unwrap();
        }
        assert_eq!(runs.load(Ordering::Relaxed), 100);
    })
    .await;
}

#[tokio::test]
async fn a_url_of_no_engine_is_refused() {
    let error = Db::open(&DbConfig::new("mysql://root@localhost/x")).await.err().unwrap();
    assert!(matches!(error, DbError::InvalidUrl { .. }));
    assert!(error.to_string().contains("expected sqlite:PATH or postgres://"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_knows_its_name() {
    for_each_database(|config| async move {
        let db = Db::open(&config).await.unwrap();
        let expected = if config.url.starts_with("sqlite:") { Engine::Sqlite } else { Engine::Postgres };
        assert_eq!(db.engine(), expected);
    })
    .await;
}

//! What only SQLite has: a file, a lock on it, a write-ahead log and one writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use datamesh_db::{Db, DbConfig, DbError, Value};
use tempfile::TempDir;

use super::{COUNTERS, count, get, put, value_of};

fn config(folder: &TempDir) -> DbConfig {
    DbConfig::new(format!("sqlite:{}", folder.path().join("deep/inside/a.sqlite").display()))
}

async fn error(config: DbConfig) -> DbError {
    Db::open(&config).await.err().expect("it cannot be opened")
}

/// Gives the counter `a` a value.
async fn set(db: &Db, value: i64) {
    const SET: &str = "UPDATE counter SET value = $1 WHERE name = 'a'";
    db.write::<_, DbError, _>(move |tx| Box::pin(async move { tx.execute(SET, &[value.into()]).await }))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_missing_file_is_named_and_only_created_on_demand() {
    let folder = TempDir::new().unwrap();
    let refused = error(config(&folder)).await;
    assert!(
        matches!(&refused, DbError::NoDatabase { target } if target.ends_with("a.sqlite")),
        "{refused:?}"
    );
    drop(Db::open(&config(&folder).create()).await.unwrap());
    drop(Db::open(&config(&folder)).await.unwrap());
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new().unwrap();
    let db = Db::open(&config(&folder).create()).await.unwrap();
    db.migrate("test", COUNTERS).await.unwrap();
    for name in ["a.sqlite", "a.sqlite-wal", "a.sqlite-lock"] {
        let mode = folder.path().join("deep/inside").join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_second_gateway_cannot_open_the_file() {
    let folder = TempDir::new().unwrap();
    let first = Db::open(&config(&folder).create()).await.unwrap();
    let refused = error(config(&folder)).await;
    assert!(refused.to_string().ends_with("is locked by another process"), "{refused}");
    drop(first);
    drop(Db::open(&config(&folder)).await.unwrap());
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.sqlite");
    std::fs::write(&path, "this has never been a database. ".repeat(100)).unwrap();
    let refused = error(DbConfig::new(format!("sqlite:{}", path.display()))).await;
    assert!(matches!(refused, DbError::NotADatabase { .. }), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_waits_for_something_else_is_refused() {
    let folder = TempDir::new().unwrap();
    let db = Db::open(&config(&folder).create()).await.unwrap();
    db.migrate("test", COUNTERS).await.unwrap();
    let waiting = db.write::<(), DbError, _>(|_| {
        Box::pin(async {
            std::future::pending::<()>().await;
            Ok(())
        })
    });
    assert!(matches!(waiting.await, Err(DbError::BodyWaited)));
    put(&db, "a", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_last_handle_waits_for_writes_on_their_way() {
    let folder = TempDir::new().unwrap();
    let db = Db::open(&config(&folder).create()).await.unwrap();
    db.migrate("test", COUNTERS).await.unwrap();
    let writes: Vec<_> = (0..100)
        .map(|number| {
            let db = db.clone();
            Box::pin(async move {
                db.write::<_, DbError, _>(move |tx| {
                    Box::pin(super::insert(tx, format!("counter {number}"), number))
                })
                .await
            })
        })
        .collect();
    for mut write in writes {
        // One poll hands the body to the writer; then the caller goes away.
        let _ = futures::poll!(&mut write);
    }
    drop(db);
    let db = Db::open(&config(&folder)).await.unwrap();
    assert_eq!(count(&db).await, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_write_ahead_log_stays_bounded_under_constant_reads() {
    const WRITES: i64 = 4_000;
    let folder = TempDir::new().unwrap();
    let db = Db::open(&config(&folder).create()).await.unwrap();
    db.migrate("test", COUNTERS).await.unwrap();
    put(&db, "a", 1).await;
    let done = Arc::new(AtomicBool::new(false));
    let readers = (0..3).map(|_| {
        let (db, done) = (db.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) {
                assert_eq!(get(&db, "a").await, Some(1));
                // Connections keep their snapshots between these, which must not hold up the log either.
                for _ in 0..3 {
                    assert_eq!(point(&db, "a").await, Some(1));
                }
                count(&db).await;
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    let log = folder.path().join("deep/inside/a.sqlite-wal");
    let mut log_bytes_max = 0;
    for number in 0..WRITES {
        db.write::<_, DbError, _>(move |tx| {
            Box::pin(super::insert(tx, format!("{number}{}", "x".repeat(64 << 10)), number))
        })
        .await
        .unwrap();
        log_bytes_max = log_bytes_max.max(log.metadata().unwrap().len());
    }
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    // 4,000 writes of 64 KiB are 250 MiB and more of log, had it never started over.
    assert!(log_bytes_max < 180 << 20, "the log grew to {} MiB", log_bytes_max >> 20);
}

async fn point(db: &Db, name: &'static str) -> Option<i64> {
    let found = db.row("SELECT value FROM counter WHERE name = $1", [Value::from(name)].into()).await;
    found.unwrap().map(|row| row.int(0).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn point_reads_see_every_write_that_returned_and_never_go_back() {
    const WRITES: i64 = 2_000;
    let folder = TempDir::new().unwrap();
    let db = Db::open(&config(&folder).create()).await.unwrap();
    db.migrate("test", COUNTERS).await.unwrap();
    put(&db, "a", 0).await;
    // The newest value that a write has returned for, or that a read has seen.
    let newest = Arc::new(AtomicI64::new(0));
    let readers = (0..3).map(|_| {
        let (db, newest) = (db.clone(), Arc::clone(&newest));
        tokio::spawn(async move {
            let mut reads = 0_u64;
            while newest.load(Ordering::SeqCst) < WRITES {
                let before = newest.load(Ordering::SeqCst);
                let seen = point(&db, "a").await.unwrap();
                assert!(seen >= before, "{seen} after {before}");
                newest.fetch_max(seen, Ordering::SeqCst);
                reads += 1;
                if reads.is_multiple_of(64) {
                    tokio::task::yield_now().await;
                }
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    for value in 1..=WRITES {
        set(&db, value).await;
        newest.fetch_max(value, Ordering::SeqCst);
        assert_eq!(point(&db, "a").await, Some(value));
        if value % 10 == 0 {
            // Long enough for connections to keep a snapshot.
            for _ in 0..20 {
                assert_eq!(point(&db, "a").await, Some(value));
            }
        }
    }
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_while_a_table_stays_the_same_is_its_newest_state() {
    const WRITES: i64 = 2_000;
    let folder = TempDir::new().unwrap();
    let db = Db::open(&config(&folder).create()).await.unwrap();
    db.migrate("test", COUNTERS).await.unwrap();
    put(&db, "a", 0).await;
    let watch = db.watch("counter").await.unwrap();
    let newest = Arc::new(AtomicI64::new(0));
    let reader = tokio::spawn({
        let (db, watch, newest) = (db.clone(), watch.clone(), Arc::clone(&newest));
        async move {
            let mut known = None;
            let mut remembered = 0_u64;
            while newest.load(Ordering::SeqCst) < WRITES {
                let before = newest.load(Ordering::SeqCst);
                let version = watch.version();
                let value = match known {
                    Some((at, value)) if Some(at) == version => {
                        remembered += 1;
                        value
                    }
                    _ => point(&db, "a").await.unwrap(),
                };
                known = version.filter(|_| watch.version() == version).map(|version| (version, value));
                assert!(value >= before, "{value} after {before}");
                tokio::task::yield_now().await;
            }
            remembered
        }
    });
    for value in 1..=WRITES {
        set(&db, value).await;
        newest.fetch_max(value, Ordering::SeqCst);
    }
    assert!(reader.await.unwrap() > 0, "nothing was ever remembered");
    let version = watch.version();
    assert!(version.is_some());
    db.write::<(), DbError, _>(|_| Box::pin(async { Ok(()) })).await.unwrap();
    assert_eq!(watch.version(), version, "a commit that changes nothing");
    put(&db, "b", 1).await;
    assert_ne!(watch.version(), version);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_bodies_at_once_exactly_the_failing_ones_are_undone() {
    let folder = TempDir::new().unwrap();
    let db = Db::open(&config(&folder).create()).await.unwrap();
    db.migrate("test", COUNTERS).await.unwrap();
    put(&db, "a", 0).await;
    // Every body adds one; each seventh then fails, so that batches change between the two ways of running.
    for round in 0..200_i64 {
        let bodies = (0..16_i64).map(|body| {
            db.write::<i64, DbError, _>(move |tx| {
                Box::pin(async move {
                    tx.execute("UPDATE counter SET value = value + 1 WHERE name = 'a'", &[]).await?;
                    let seen = value_of(tx, "a").await?.unwrap_or_default();
                    if round % 50 == 0 && body % 7 == 3 { Err(DbError::Closed) } else { Ok(seen) }
                })
            })
        });
        let outcomes = futures::future::join_all(bodies).await;
        let kept = outcomes.iter().flatten().count() as i64;
        assert_eq!(kept, if round % 50 == 0 { 14 } else { 16 });
        let mut seen: Vec<i64> = outcomes.into_iter().flatten().collect();
        seen.sort_unstable();
        let last = point(&db, "a").await.unwrap();
        assert_eq!(seen, (last - kept + 1..=last).collect::<Vec<_>>(), "round {round}");
    }
}

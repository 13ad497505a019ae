//! What only a server has: connections that break, at the worst of moments, and transactions that collide.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use datamesh_db::{Db, DbConfig, DbError, Engine};
use datamesh_testkit::{for_each_database, for_each_engine};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::{COUNTERS, count, get, insert, put};

/// Where the proxy cuts the next connection that says the word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Cut {
    Nowhere,
    /// An INSERT never arrives.
    BeforeInsert,
    /// A COMMIT never arrives.
    BeforeCommit,
    /// A COMMIT arrives, its answer does not.
    AfterCommit,
}

/// A proxy before the server, and the configuration that goes through it.
async fn proxied(config: &DbConfig) -> (DbConfig, Arc<AtomicU8>) {
    let rest = config.url.strip_prefix("postgres://").unwrap();
    let (user_and_host, database) = rest.split_once('/').unwrap();
    let (user, host) = user_and_host.split_once('@').unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let cut = Arc::new(AtomicU8::new(Cut::Nowhere as u8));
    let (host, cut_by_proxy) = (host.to_owned(), Arc::clone(&cut));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(serve(client, host.clone(), Arc::clone(&cut_by_proxy)));
        }
    });
    let url = format!("postgres://{user}@{address}/{database}");
    (DbConfig { url, ..config.clone() }, cut)
}

async fn serve(client: TcpStream, host: String, cut: Arc<AtomicU8>) {
    let (mut from_client, mut to_client) = client.into_split();
    if let Some(escaped) = host.strip_prefix('%') {
        let path: Vec<u8> = escaped.split('%').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        let socket = format!("{}/.s.PGSQL.5432", String::from_utf8(path).unwrap());
        let (mut from_server, to_server) = UnixStream::connect(socket).await.unwrap().into_split();
        tokio::select! {
            () = forward(&mut from_client, to_server, &cut) => {}
            _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
        }
    } else {
        let address = if host.contains(':') { host } else { format!("{host}:5432") };
        let (mut from_server, to_server) = TcpStream::connect(address).await.unwrap().into_split();
        tokio::select! {
            () = forward(&mut from_client, to_server, &cut) => {}
            _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
        }
    }
}

/// Ends, and with it the connection, when it has come to the cut.
async fn forward(
    from_client: &mut (impl AsyncReadExt + Unpin),
    mut to_server: impl AsyncWriteExt + Unpin,
    cut: &AtomicU8,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
        let data = &buffer[..read];
        let says = |word: &[u8]| data.windows(word.len()).any(|window| window == word);
        let wanted = cut.load(Ordering::SeqCst);
        let reached = |kind: Cut, word: &[u8]| wanted == kind as u8 && says(word);
        if reached(Cut::BeforeInsert, b"INSERT") || reached(Cut::BeforeCommit, b"COMMIT") {
            cut.store(Cut::Nowhere as u8, Ordering::SeqCst);
            return;
        }
        to_server.write_all(data).await.unwrap();
        if reached(Cut::AfterCommit, b"COMMIT") {
            cut.store(Cut::Nowhere as u8, Ordering::SeqCst);
            return;
        }
    }
}

/// Opens the database through a proxy and lets one write meet `place`. What it returned, and how often it ran.
async fn write_through(config: &DbConfig, place: Cut) -> (Db, Result<u64, DbError>, u32) {
    let (config, cut) = proxied(config).await;
    let db = Db::open(&config).await.unwrap();
    db.migrate("test", COUNTERS).await.unwrap();
    cut.store(place as u8, Ordering::SeqCst);
    let runs = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&runs);
    let result = db
        .write::<_, DbError, _>(move |tx| {
            counted.fetch_add(1, Ordering::SeqCst);
            Box::pin(insert(tx, "a".to_owned(), 1))
        })
        .await;
    (db, result, runs.load(Ordering::SeqCst))
}

fn is_postgres(config: &DbConfig) -> bool {
    config.url.starts_with("postgres")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_lost_before_commit_is_replaced_and_the_transaction_runs_again() {
    for_each_database(|config| async move {
        if is_postgres(&config) {
            let (db, result, runs) = write_through(&config, Cut::BeforeInsert).await;
            assert_eq!((result.unwrap(), runs), (1, 2));
            assert_eq!(count(&db).await, 1);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_lost_during_commit_leaves_the_outcome_unknown_and_is_not_retried() {
    for_each_database(|config| async move {
        if is_postgres(&config) {
            let (db, result, runs) = write_through(&config, Cut::BeforeCommit).await;
            assert!(matches!(result, Err(DbError::OutcomeUnknown { .. })), "{result:?}");
            assert_eq!((runs, get(&db, "a").await), (1, None));
        }
    })
    .await;
    for_each_database(|config| async move {
        if is_postgres(&config) {
            let (db, result, runs) = write_through(&config, Cut::AfterCommit).await;
            assert!(matches!(result, Err(DbError::OutcomeUnknown { .. })), "{result:?}");
            // The server may still be at it when we come back: an INSERT of the same key waits for it.
            let again = db.write::<_, DbError, _>(|tx| {
                Box::pin(tx.execute("INSERT INTO counter VALUES ('a', 2) ON CONFLICT DO NOTHING", &[]))
            });
            again.await.unwrap();
            assert_eq!((runs, count(&db).await), (1, 1));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_runs_one_of_the_two_again() {
    for_each_engine(|db| async move {
        if db.engine() != Engine::Postgres {
            return;
        }
        db.migrate("test", COUNTERS).await.unwrap();
        let both_hold_one = Arc::new(tokio::sync::Barrier::new(2));
        let runs = Arc::new(AtomicU32::new(0));
        let writers = [["a", "b"], ["b", "a"]].map(|[first, second]| {
            let (db, both_hold_one, runs) = (db.clone(), Arc::clone(&both_hold_one), Arc::clone(&runs));
            tokio::spawn(async move {
                db.write::<_, DbError, _>(move |tx| {
                    let both_hold_one = Arc::clone(&both_hold_one);
                    let run = runs.fetch_add(1, Ordering::SeqCst);
                    Box::pin(async move {
                        tx.lock(first.as_bytes()).await?;
                        if run < 2 {
                            both_hold_one.wait().await;
                        }
                        tx.lock(second.as_bytes()).await?;
                        insert(tx, format!("{first} {second}"), 1).await
                    })
                })
                .await
            })
        });
        for writer in writers {
            writer.await.unwrap().unwrap();
        }
        assert_eq!(count(&db).await, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_write_rolls_back_and_its_connection_serves_on() {
    for_each_database(|config| async move {
        if !is_postgres(&config) {
            return;
        }
        let db = Db::open(&DbConfig { connections: 1, ..config }).await.unwrap();
        db.migrate("test", COUNTERS).await.unwrap();
        let (started, is_started) = tokio::sync::oneshot::channel::<()>();
        let started = Arc::new(std::sync::Mutex::new(Some(started)));
        let writing = db.clone();
        let write = tokio::spawn(async move {
            let body = writing.write::<(), DbError, _>(move |tx| {
                let started = started.lock().unwrap().take();
                Box::pin(async move {
                    insert(tx, "a".to_owned(), 1).await?;
                    drop(started);
                    std::future::pending::<()>().await;
                    Ok(())
                })
            });
            body.await
        });
        is_started.await.unwrap_err();
        write.abort();
        assert!(write.await.unwrap_err().is_cancelled());
        put(&db, "b", 1).await;
        assert_eq!(count(&db).await, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_database_and_an_absent_server_are_told_apart() {
    for_each_database(|config| async move {
        if !is_postgres(&config) {
            return;
        }
        let missing = DbConfig { url: format!("{}_not", config.url), ..config.clone() };
        let error = Db::open(&missing).await.err().unwrap();
        assert!(matches!(&error, DbError::NoDatabase { target } if target.ends_with("_not")), "{error:?}");

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let absent = DbConfig { url: format!("postgres://u:secret@{address}/d"), ..config };
        let error = Db::open(&absent).await.err().unwrap();
        assert!(matches!(error, DbError::Connect { .. }), "{error:?}");
        assert_eq!(error.to_string(), format!("cannot connect to the database postgres://{address}/d"));
    })
    .await;
}

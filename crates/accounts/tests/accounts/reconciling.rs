//! Reconciling: every counter that is not what it counts is told and mended, and commits meanwhile are not lost.

use super::*;
use datamesh_accounts::{Counter, Drift};
use datamesh_db::{Engine, UsageChange};
use tokio::sync::{Notify, oneshot};

const BUCKET: i64 = 1;

#[tokio::test(flavor = "multi_thread")]
async fn negative_counters_and_reservations_that_are_nobodys_are_told_and_mended() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db.clone());
        let accounts = fixture.gateway().await;
        let account = user(&accounts, "free").await.id;
        let held = accounts.reserve(account, 500, 1).await.unwrap();
        let rows = fixture.rows("SELECT bytes, objects FROM reservation").await;
        let (bytes, objects) = (rows[0].int(0).unwrap(), rows[0].int(1).unwrap());
        let nothing = Arc::new(Counted(Vec::new()));
        assert_eq!(accounts.reconcile(nothing.clone()).await.unwrap().drifts, []);
        for sql in [
            "UPDATE quota SET used = -3 WHERE dimension = 1",
            "UPDATE quota SET reserved = -1 WHERE dimension = 1",
            "UPDATE quota SET reserved = reserved + 2 WHERE dimension = 2",
        ] {
            db.execute(sql, [].into()).await.unwrap();
        }
        let drift = |dimension, counter, recorded, counted| Drift {
            owner: Owner::Account(account),
            dimension,
            counter,
            recorded,
            counted,
        };
        let expected = [
            drift(Dimension::Bytes, Counter::Used, -3, 0),
            drift(Dimension::Bytes, Counter::Reserved, -1, bytes),
            drift(Dimension::Objects, Counter::Reserved, objects + 2, objects),
        ];
        assert_eq!(accounts.reconcile(nothing.clone()).await.unwrap().drifts, expected);
        assert_eq!(accounts.mend_usage(nothing.clone()).await.unwrap().drifts, expected);
        assert_eq!(accounts.reconcile(nothing).await.unwrap().drifts, []);
        drop(held);
    })
    .await;
}

/// Counts what its table says; then a commit has its chance, before the count is used.
struct Racing {
    counted: Notify,
    committed: tokio::sync::Mutex<Option<oneshot::Receiver<()>>>,
}

impl StoredCount for Racing {
    fn count<'t>(&'t self, tx: &'t mut Tx, _bucket: Option<i64>) -> TxFuture<'t, Vec<StoredUsage>, DbError> {
        Box::pin(async move {
            let row = tx.query_opt("SELECT account, bytes, objects FROM counted", &[]).await?.unwrap();
            let stored = StoredUsage {
                account: AccountId(row.bytes(0)?),
                bucket: BUCKET,
                bytes: row.uint(1)?,
                objects: row.uint(2)?,
            };
            // SQLite has one writer, and its transactions run outside of tokio.
            if tx.engine() == Engine::Postgres
                && let Some(committed) = self.committed.lock().await.take()
            {
                self.counted.notify_one();
                let _ = tokio::time::timeout(Duration::from_millis(300), committed).await;
            }
            Ok(vec![stored])
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_while_usage_is_mended_is_counted() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db.clone());
        let accounts = fixture.gateway().await;
        let account = user(&accounts, "free").await.id;
        let counted = "CREATE TABLE counted AS SELECT id AS account, CAST(0 AS BIGINT) AS bytes,
            CAST(0 AS BIGINT) AS objects FROM account";
        db.execute(counted, [].into()).await.unwrap();
        let (done, committed) = oneshot::channel();
        let committed = tokio::sync::Mutex::new(Some(committed));
        let racing = Arc::new(Racing { counted: Notify::new(), committed });
        let writing = {
            let (db, accounts, racing) = (db.clone(), accounts.clone(), Arc::clone(&racing));
            tokio::spawn(async move {
                if db.engine() == Engine::Postgres {
                    racing.counted.notified().await;
                }
                let hook: Arc<dyn datamesh_db::CommitHook> =
                    Arc::new(accounts.reserve_in(account, BUCKET, 100, 1).await.unwrap());
                let change = UsageChange { account, bucket: BUCKET, bytes: 100, objects: 1 };
                db.write::<_, DbError, _>(move |tx| {
                    let hook = Arc::clone(&hook);
                    Box::pin(async move {
                        tx.execute("UPDATE counted SET bytes = bytes + 100, objects = objects + 1", &[])
                            .await?;
                        hook.run(tx, &change).await
                    })
                })
                .await
                .unwrap();
                let _ = done.send(());
            })
        };
        // Something is wrong from the start, so that there is something to mend.
        db.execute("UPDATE quota SET used = 7 WHERE dimension = 1", [].into()).await.unwrap();
        accounts.mend_usage(racing.clone()).await.unwrap();
        writing.await.unwrap();
        assert_eq!(accounts.reconcile(racing).await.unwrap().drifts, []);
        let usage = accounts.usage(account).await.unwrap();
        assert_eq!((usage.bytes.used, usage.objects.used), (100, 1));
    })
    .await;
}

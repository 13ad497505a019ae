//! Quotas against a simple model: whatever happens in whatever order, nothing exceeds a limit, and the sums agree.

use super::*;
use datamesh_accounts::Reservation;
use datamesh_db::{CommitHook, UsageChange};
use datamesh_types::AccountId;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const BUCKETS: i64 = 3;
const STEPS: usize = 400;

/// What is stored, as a list of sizes in each bucket.
#[derive(Default)]
struct Model {
    objects: [Vec<u64>; BUCKETS as usize],
    /// Limits of the account and of the first bucket.
    account: [Option<u64>; 2],
    bucket: [Option<u64>; 2],
}

impl Model {
    fn stored(&self, bucket: Option<usize>) -> [u64; 2] {
        let chosen =
            self.objects.iter().enumerate().filter(|(index, _)| bucket.is_none_or(|of| of == *index));
        chosen.fold([0, 0], |[bytes, objects], (_, sizes)| {
            [bytes + sizes.iter().sum::<u64>(), objects + sizes.len() as u64]
        })
    }

    /// Whether growth by that much fits, with nothing held by others.
    fn fits(&self, bucket: usize, growth: [u64; 2]) -> bool {
        let fits = |stored: [u64; 2], limits: [Option<u64>; 2]| {
            (0..2).all(|index| {
                growth[index] == 0 || limits[index].is_none_or(|limit| stored[index] + growth[index] <= limit)
            })
        };
        fits(self.stored(None), self.account) && (bucket != 0 || fits(self.stored(Some(0)), self.bucket))
    }
}

struct Run {
    db: Db,
    gateways: Vec<Accounts>,
    account: AccountId,
    model: Model,
    random: StdRng,
}

impl Run {
    fn gateway(&mut self) -> Accounts {
        let index = self.random.random_range(0..self.gateways.len());
        self.gateways[index].clone()
    }

    async fn reserve(&mut self, bucket: usize, bytes: u64, objects: u64) -> Option<Reservation> {
        match self.gateway().reserve_in(self.account, bucket as i64, bytes, objects).await {
            Ok(reservation) => Some(reservation),
            Err(AccountsError::QuotaExceeded { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// A write of `size` in place of `old`: through a reservation of all of it, or else of what it grows by, or else
    /// through none at all, which the commit judges.
    async fn put(&mut self, bucket: usize, size: u64, old: Option<usize>) {
        let old_size = old.map(|index| self.model.objects[bucket][index]);
        let objects = i64::from(old.is_none());
        let change = UsageChange {
            account: self.account,
            bucket: bucket as i64,
            bytes: size as i64 - old_size.unwrap_or(0) as i64,
            objects,
        };
        let growth = [change.bytes.max(0) as u64, objects as u64];
        let reservation = match self.reserve(bucket, size, 1).await {
            None => self.reserve(bucket, growth[0], growth[1]).await,
            reservation => reservation,
        };
        let must_succeed = reservation.is_some();
        assert!(must_succeed || growth != [0, 0], "what does not grow always fits");
        let hook: Arc<dyn CommitHook> = match reservation {
            Some(reservation) => Arc::new(reservation),
            None => self.gateway().release_hook(),
        };
        match quotas::commit(&self.db, hook, change).await {
            Ok(()) => assert!(self.model.fits(bucket, growth), "{growth:?} does not fit"),
            // Others hold what is left.
            Err(DbError::Rejected { .. }) if !must_succeed => return,
            Err(error) => panic!("{error}"),
        }
        match old {
            Some(index) => self.model.objects[bucket][index] = size,
            None => self.model.objects[bucket].push(size),
        }
    }

    async fn delete(&mut self, bucket: usize, index: usize) {
        let size = self.model.objects[bucket].swap_remove(index);
        let change =
            UsageChange { account: self.account, bucket: bucket as i64, bytes: -(size as i64), objects: -1 };
        let hook = self.gateway().release_hook();
        quotas::commit(&self.db, hook, change).await.expect("deletes are always allowed");
    }

    async fn limit(&mut self, fixture: &Fixture) {
        let is_bucket = self.random.random_bool(0.5);
        let index = self.random.random_range(0..2);
        let maximum = [1_000, 12][index];
        let limit = self.random.random_bool(0.8).then(|| self.random.random_range(0..maximum));
        let owner = if is_bucket { Owner::Bucket(0) } else { Owner::Account(self.account) };
        let dimension = [Dimension::Bytes, Dimension::Objects][index];
        let change = limit.map_or(LimitChange::Unlimited, |limit| LimitChange::Limit(Limit::enforced(limit)));
        let gateway = self.gateway();
        gateway.change_limits(&owner, &[(dimension, change)], self.counted()).await.unwrap();
        if is_bucket {
            self.model.bucket[index] = limit;
        } else {
            self.model.account[index] = limit;
        }
        // What gateways hold in advance from before a limit is lowered stays theirs until it expires.
        fixture.clock.advance(AccountsConfig::default().reservation_ttl);
        gateway.expire_reservations().await.unwrap();
    }

    fn counted(&self) -> Arc<Counted> {
        let stored = |bucket: usize| {
            let [bytes, objects] = self.model.stored(Some(bucket));
            StoredUsage { account: self.account, bucket: bucket as i64, bytes, objects }
        };
        Arc::new(Counted((0..BUCKETS as usize).map(stored).collect()))
    }

    async fn step(&mut self, fixture: &Fixture) {
        let bucket = self.random.random_range(0..BUCKETS as usize);
        let size = self.random.random_range(0..200);
        let present = self.model.objects[bucket].len();
        let some = (present > 0).then(|| self.random.random_range(0..present));
        match self.random.random_range(0..10) {
            0..=3 => self.put(bucket, size, None).await,
            4 | 5 => self.put(bucket, size, some).await,
            6 => drop(self.reserve(bucket, size, 1).await),
            7 => {
                let Some(growing) = self.reserve(bucket, 1, 1).await else { return };
                let _ = growing.extend(size).await;
                // A gateway that dies holds it until it expires.
                if self.random.random_bool(0.2) {
                    std::mem::forget(growing);
                    fixture.clock.advance(AccountsConfig::default().reservation_ttl);
                }
            }
            8 => {
                if let Some(index) = some {
                    self.delete(bucket, index).await;
                }
            }
            _ => self.limit(fixture).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_written_replaced_aborted_and_deleted_the_books_agree_with_a_model() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db.clone());
        for seed in 0..3 {
            let gateways = vec![fixture.gateway().await, fixture.gateway().await];
            let email = format!("model-{seed}@example.com");
            let account = gateways[0].create_user(&email, "Model", "unlimited").await.unwrap().id;
            let random = StdRng::seed_from_u64(seed);
            db.write::<_, DbError, _>(|tx| {
                Box::pin(async move {
                    tx.execute("DELETE FROM quota WHERE owner NOT IN (SELECT id FROM account)", &[]).await
                })
            })
            .await
            .unwrap();
            let mut run = Run { db: db.clone(), gateways, account, model: Model::default(), random };
            for _ in 0..STEPS {
                run.step(&fixture).await;
            }
            let usage = run.gateways[0].usage(account).await.unwrap();
            assert_eq!([usage.bytes.used, usage.objects.used], run.model.stored(None));
            let found = run.gateways[0].reconcile(run.counted()).await.unwrap();
            let own = |owner: &Owner| matches!(owner, Owner::Bucket(_)) || *owner == Owner::Account(account);
            let drifts: Vec<_> = found.drifts.iter().filter(|drift| own(&drift.owner)).collect();
            assert!(drifts.is_empty(), "seed {seed}: {drifts:?}");
            fixture.clock.advance(AccountsConfig::default().reservation_ttl);
            run.gateways[0].expire_reservations().await.unwrap();
            let rows = fixture
                .rows("SELECT COUNT(*), CAST(SUM(reserved) AS BIGINT) FROM quota WHERE reserved <> 0")
                .await;
            assert_eq!(rows[0].uint(0).unwrap(), 0, "everything that was reserved came back");
        }
    })
    .await;
}

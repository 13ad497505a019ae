//! A month's traffic against a simple model: over many months and two gateways, what is counted in each of them is what was
//! taken in it and moved, whenever that ended, and the limit holds.

use std::collections::BTreeMap;

use super::*;
use datamesh_accounts::{Admission, Direction, Effect, Month, Pace};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const STEPS: usize = 250;
/// Of what is sent. What is received has none.
const LIMIT: u64 = 100_000;
const OPEN_MAX: usize = 6;
/// How often it is looked whether what gateways held has come back.
const LOOKS_MAX: usize = 10_000;

/// Bytes received and sent.
type Bytes = [u64; 2];

/// A request under way.
struct Open {
    admission: Admission,
    month: Month,
    taken: Bytes,
    moved: Bytes,
}

struct Run<'a> {
    fixture: &'a Fixture,
    gateways: [Accounts; 2],
    owner: Owner,
    random: StdRng,
    open: Vec<Open>,
    /// What requests that ended have moved.
    moved: BTreeMap<Month, Bytes>,
}

impl Run<'_> {
    /// What counts in a month: requests under way count with what they have taken.
    fn counted(&self, month: Month) -> Bytes {
        let ended = self.moved.get(&month).copied().unwrap_or_default();
        let open = self.open.iter().filter(|open| open.month == month);
        open.fold(ended, |sum, open| {
            [0, 1].map(|index| sum[index] + open.taken[index].max(open.moved[index]))
        })
    }

    async fn begin(&mut self) {
        let gateway = &self.gateways[self.random.random_range(0..2)];
        let admission = gateway.admission(RequestClass::B);
        admission.enter(&self.owner, Effect::Read).await.unwrap();
        let month = Month::of(self.fixture.clock.now_ms());
        let (received, sent) = (self.random.random_range(1..LIMIT), self.random.random_range(0..LIMIT / 4));
        admission.take(Direction::Received, received).await.expect("what is received has no limit");
        let taken = match admission.take(Direction::Sent, sent).await {
            Ok(()) => [received, sent],
            Err(AccountsError::QuotaExceeded { dimension: Dimension::Egress, .. }) => [received, 0],
            Err(error) => panic!("{error}"),
        };
        self.open.push(Open { admission, month, taken, moved: [0, 0] });
    }

    /// Moves some of what was taken, and perhaps more than that of what nobody announced.
    fn advance(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let index = self.random.random_range(0..self.open.len());
        let open = &mut self.open[index];
        let unannounced = if self.random.random_bool(0.2) { 1_000 } else { 0 };
        for (index, direction) in [Direction::Received, Direction::Sent].into_iter().enumerate() {
            let left = open.taken[index].saturating_sub(open.moved[index]);
            let more = if index == 0 { unannounced } else { 0 };
            let bytes = self.random.random_range(0..=left) + more;
            open.admission.moved(direction, bytes, &mut Pace::default());
            open.moved[index] += bytes;
        }
    }

    fn end(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let index = self.random.random_range(0..self.open.len());
        let Open { admission, month, moved, .. } = self.open.swap_remove(index);
        drop(admission);
        let sum = self.moved.entry(month).or_default();
        *sum = [0, 1].map(|index| sum[index] + moved[index]);
    }

    async fn record(&self) {
        for gateway in &self.gateways {
            gateway.flush_meters().await;
        }
    }

    /// Days go by. Gateways record every few seconds, long before what they hold expires.
    async fn turn_clock(&mut self) {
        self.record().await;
        let hours = self.random.random_range(1..12 * 24);
        self.fixture.clock.advance(Duration::from_hours(hours));
        self.gateways[0].expire_reservations().await.unwrap();
    }

    async fn step(&mut self) {
        match self.random.random_range(0..16) {
            0..=5 if self.open.len() < OPEN_MAX => self.begin().await,
            0..=8 => self.advance(),
            9..=12 => self.end(),
            13 => self.record().await,
            _ => self.turn_clock().await,
        }
        let month = Month::of(self.fixture.clock.now_ms());
        let [_, sent] = self.counted(month);
        assert!(sent <= LIMIT, "{sent} bytes of {LIMIT} were let through in {month}");
        for row in self.fixture.rows(ROWS).await {
            let [used, reserved] = [2, 3].map(|column| row.int(column).unwrap());
            let maximum = row.opt_int(4).unwrap();
            assert!(used >= 0 && reserved >= 0, "{used} used, {reserved} held");
            assert!(maximum.is_none_or(|maximum| used + reserved <= maximum), "{used}, {reserved}");
        }
    }

    /// What is recorded of each month in which there was anything.
    async fn recorded(&self) -> BTreeMap<Month, Bytes> {
        let mut recorded = BTreeMap::<Month, Bytes>::new();
        for row in self.fixture.rows(ROWS).await {
            // The month stands behind "month/".
            let month: [u8; 4] = row.blob(0).unwrap()[6..10].try_into().unwrap();
            let index = usize::from(row.int(1).unwrap() == 4);
            recorded.entry(Month(u32::from_be_bytes(month))).or_default()[index] = row.uint(2).unwrap();
        }
        recorded.retain(|_, bytes| *bytes != [0, 0]);
        recorded
    }

    /// What is left of the month is there for whoever comes, and no byte more.
    async fn check_rest(&self) {
        let month = Month::of(self.fixture.clock.now_ms());
        let [_, sent] = self.counted(month);
        for _ in 0..LOOKS_MAX {
            if self.fixture.rows(HELD).await.is_empty() {
                break;
            }
            // Gateways give back what is free on their own.
            tokio::task::yield_now().await;
        }
        let admission = self.gateways[0].admission(RequestClass::B);
        admission.enter(&self.owner, Effect::Read).await.unwrap();
        admission.take(Direction::Sent, LIMIT - sent + 1).await.unwrap_err();
        admission.take(Direction::Sent, LIMIT - sent).await.unwrap();
    }
}

const ROWS: &str = "SELECT owner, dimension, used, reserved, maximum FROM quota WHERE dimension IN (3, 4)";
const HELD: &str = "SELECT owner FROM quota WHERE dimension IN (3, 4) AND reserved <> 0";

#[tokio::test(flavor = "multi_thread")]
async fn a_month_counts_what_was_taken_in_it_and_moved_whenever_that_ends() {
    for_each_engine(|db| async move {
        let fixture = Fixture::new(db);
        for seed in 0..2 {
            let gateways = [fixture.gateway().await, fixture.gateway().await];
            // What another seed has left.
            fixture.execute("DELETE FROM quota WHERE dimension IN (3, 4)").await;
            let email = format!("traffic-{seed}@example.com");
            let account = gateways[0].create_user(&email, "Traffic", "unlimited").await.unwrap().id;
            let owner = Owner::Account(account);
            set_limit(&gateways[0], &owner, Dimension::Egress, LIMIT).await;
            let random = StdRng::seed_from_u64(seed);
            let (open, moved) = (Vec::new(), BTreeMap::new());
            let mut run = Run { fixture: &fixture, gateways, owner, random, open, moved };
            for _ in 0..STEPS {
                run.step().await;
            }
            while !run.open.is_empty() {
                run.end();
            }
            run.record().await;
            let mut expected = run.moved.clone();
            expected.retain(|_, bytes| *bytes != [0, 0]);
            assert!(expected.len() > 2, "seed {seed}: {} months", expected.len());
            assert_eq!(run.recorded().await, expected, "seed {seed}");
            run.check_rest().await;
        }
    })
    .await;
}

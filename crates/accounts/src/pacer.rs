//! Bandwidth: streams of one owner take turns, a quantum of bytes each, at the owner's rate.
//!
//! A token bucket that may run into debt: a stream books its next quantum at the end of the queue and waits until that
//! is due. It has one booking at a time, so streams get the same number of bytes whatever the size of their pieces.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of a turn.
const QUANTUM: u64 = 16 << 10;
/// What an owner may take at once after a pause: also covers timers that fire late.
const BURST: Duration = Duration::from_millis(250);

/// The queue of one owner in one direction.
#[derive(Debug, Default)]
pub(crate) struct Pacer {
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    /// When the next booking is due.
    next: Duration,
    /// Bytes of streams that ended before their turns paid for them.
    left_over: u64,
}

impl Queue {
    /// Books a turn; how long to wait for it.
    fn book(&mut self, bytes_per_second: u64, now: Duration) -> Duration {
        let due = self.next.max(now.saturating_sub(BURST));
        let takes = u128::from(QUANTUM) * 1_000_000_000 / u128::from(bytes_per_second.max(1));
        self.next = due + Duration::from_nanos(takes.min(u128::from(u64::MAX)) as u64);
        due.saturating_sub(now)
    }
}

impl Pacer {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long until the next booking is due.
    fn wait(&self, now: Duration) -> Duration {
        self.queue().next.saturating_sub(now)
    }

    /// A stream ends and leaves this much unpaid; streams to come wait for it.
    pub(crate) fn leave(&self, bytes: u64, bytes_per_second: u64, now: Duration) {
        let mut queue = self.queue();
        queue.left_over += bytes;
        while queue.left_over >= QUANTUM {
            queue.left_over -= QUANTUM;
            queue.book(bytes_per_second, now);
        }
    }
}

/// One stream's place in the queues of its owners.
#[derive(Debug, Default)]
pub struct Pace {
    /// Bytes that have passed and are not paid for by a turn.
    owed: u64,
    /// Whether it has waited for those before it.
    started: bool,
}

impl Pace {
    /// Bytes that no turn has paid for.
    pub(crate) fn owed(&self) -> u64 {
        self.owed
    }

    /// Whether there is no turn to book.
    pub(crate) fn is_settled(&self) -> bool {
        self.started && self.owed < QUANTUM
    }

    /// `bytes` have passed. Call `Pace::turn` until it has nothing to wait for.
    pub(crate) fn passed(&mut self, bytes: u64) {
        self.owed += bytes;
    }

    /// Books the next turn in all queues, each with its rate in bytes a second; how long to wait before the next call.
    /// `None` when nothing is owed.
    pub(crate) fn turn<'a>(
        &mut self,
        queues: impl Iterator<Item = (&'a Pacer, u64)> + Clone,
        now: Duration,
    ) -> Option<Duration> {
        if !self.started {
            self.started = true;
            let wait = queues.clone().map(|(pacer, _)| pacer.wait(now)).max().unwrap_or_default();
            if !wait.is_zero() {
                return Some(wait);
            }
        }
        self.owed = self.owed.checked_sub(QUANTUM)?;
        Some(queues.map(|(pacer, rate)| pacer.queue().book(rate, now)).max().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Streams with pieces of these sizes run for `seconds`; how many bytes each got.
    fn run(rate: u64, pieces: &[u64], seconds: u64) -> Vec<u64> {
        let pacer = Pacer::default();
        let mut streams: Vec<_> = pieces.iter().map(|_| (Pace::default(), Duration::ZERO, 0)).collect();
        let end = Duration::from_secs(seconds);
        loop {
            let first = streams.iter().enumerate().min_by_key(|(_, (_, at, _))| *at);
            let (index, now) = first.map(|(index, (_, at, _))| (index, *at)).unwrap();
            if now >= end {
                return streams.into_iter().map(|(_, _, bytes)| bytes).collect();
            }
            let (pace, at, bytes) = &mut streams[index];
            if let Some(wait) = pace.turn(std::iter::once((&pacer, rate)), now) {
                *at = now + wait;
            } else {
                pace.passed(pieces[index]);
                *bytes += pieces[index];
            }
        }
    }

    #[test]
    fn one_stream_gets_the_rate_and_a_burst() {
        let [bytes] = run(1_000_000, &[60_000], 10)[..] else { panic!() };
        assert!((9_900_000..10_350_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn streams_share_the_rate_alike_whatever_the_size_of_their_pieces() {
        let bytes = run(1_000_000, &[1_000, 16_384, 300_000, 65_536], 20);
        let sum: u64 = bytes.iter().sum();
        assert!((19_800_000..21_500_000).contains(&sum), "{bytes:?}");
        for share in &bytes {
            assert!((4_700_000..5_500_000).contains(share), "{bytes:?}");
        }
    }

    #[test]
    fn in_no_window_do_more_bytes_pass_than_a_burst_and_the_rate() {
        const RATE: u64 = 1_000_000;
        const PIECE_MAX: u64 = 40_000;
        const STREAMS: usize = 4;
        let mut random = StdRng::seed_from_u64(5);
        let (pacer, mut passed) = (Pacer::default(), Vec::new());
        let mut streams: Vec<_> = (0..STREAMS).map(|_| (Pace::default(), Duration::ZERO)).collect();
        while passed.len() < 3_000 {
            let (pace, at) = streams.iter_mut().min_by_key(|(_, at)| *at).unwrap();
            let now = *at;
            if let Some(wait) = pace.turn(std::iter::once((&pacer, RATE)), now) {
                *at = now + wait;
                continue;
            }
            let piece = random.random_range(1..PIECE_MAX);
            pace.passed(piece);
            passed.push((now, piece));
            // Some stand still for a while, and some end and are followed by another one.
            if random.random_bool(0.02) {
                *at = now + Duration::from_millis(random.random_range(0..2_000));
            } else if random.random_bool(0.1) {
                pacer.leave(pace.owed(), RATE, now);
                *pace = Pace::default();
            }
        }
        // A piece has passed before its turns are booked, of each stream at the same time.
        let ahead = (STREAMS as u64 + 1) * (PIECE_MAX + QUANTUM);
        for (first, (from, _)) in passed.iter().enumerate() {
            let mut sum = 0;
            for (until, piece) in &passed[first..] {
                sum += piece;
                let window = BURST + until.saturating_sub(*from);
                let allowed = (RATE as f64 * window.as_secs_f64()) as u64 + ahead;
                assert!(sum <= allowed, "{sum} bytes of {allowed} from {from:?} to {until:?}");
            }
        }
    }

    #[test]
    fn many_short_streams_are_no_way_around_the_rate() {
        let pacer = Pacer::default();
        let (mut now, mut bytes) = (Duration::ZERO, 0);
        while now < Duration::from_secs(10) {
            let mut pace = Pace::default();
            while let Some(wait) = pace.turn(std::iter::once((&pacer, 1_000_000)), now) {
                now += wait;
            }
            pace.passed(10_000);
            bytes += 10_000;
            pacer.leave(pace.owed(), 1_000_000, now);
        }
        assert!((9_900_000..10_350_000).contains(&bytes), "{bytes}");
    }

    #[test]
    fn a_stream_waits_for_the_slowest_of_its_owners() {
        let (slow, fast) = (Pacer::default(), Pacer::default());
        let mut pace = Pace::default();
        pace.passed(4 * QUANTUM);
        let waits: Vec<_> = std::iter::from_fn(|| {
            pace.turn([(&slow, QUANTUM), (&fast, u64::MAX)].into_iter(), Duration::ZERO)
        })
        .collect();
        assert_eq!(waits, [0, 1, 2, 3].map(Duration::from_secs));
    }
}

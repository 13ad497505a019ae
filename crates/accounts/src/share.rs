//! Shares: one gateway's part of what an owner may do at a time, or in a second.
//!
//! Limits and the number of gateways change while requests run. What runs keeps its place in a changed share, and what is
//! left of a burst is carried over: a change is no occasion for a fresh start.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use governor::{Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Limit;
use crate::controls::{Limiter, LimiterClock};

/// A share of operations at a time. It is one at the least, so that more gateways than operations exceed the limit.
pub(crate) struct OperationShare {
    pub(crate) limit: Limit,
    pub(crate) permits: Arc<Permits>,
    size: usize,
}

impl OperationShare {
    pub(crate) fn new(limit: Limit, gateways: u64) -> Self {
        let size = Self::size(limit, gateways);
        Self { limit, permits: Arc::new(Permits::new(size)), size }
    }

    fn size(limit: Limit, gateways: u64) -> usize {
        (limit.maximum / gateways).clamp(1, Semaphore::MAX_PERMITS as u64) as usize
    }

    /// Gives it the size that it must have: operations that run beyond it still do, and nobody takes their places.
    pub(crate) fn resize(&mut self, limit: Limit, gateways: u64) {
        self.limit = limit;
        let size = Self::size(limit, gateways);
        if size > self.size {
            self.permits.add(size - self.size);
        } else {
            self.permits.remove(self.size - size);
        }
        self.size = size;
    }
}

/// Permits to run an operation. Some may be too many, and go as soon as their operations end: those that wait for a permit
/// would take them over, and a busy share would never shrink.
pub(crate) struct Permits {
    semaphore: Arc<Semaphore>,
    excess: AtomicUsize,
}

impl Permits {
    fn new(size: usize) -> Self {
        Self { semaphore: Arc::new(Semaphore::new(size)), excess: AtomicUsize::new(0) }
    }

    /// A permit, if there is one.
    pub(crate) fn try_acquire(self: &Arc<Self>) -> Option<Permit> {
        let permit = Arc::clone(&self.semaphore).try_acquire_owned().ok()?;
        Some(Permit { permit: Some(permit), of: Arc::clone(self) })
    }

    /// Waits for a permit, first come, first served. `None` only once there are to be none any more.
    pub(crate) async fn acquire(self: &Arc<Self>) -> Option<Permit> {
        let permit = Arc::clone(&self.semaphore).acquire_owned().await.ok()?;
        Some(Permit { permit: Some(permit), of: Arc::clone(self) })
    }

    /// Makes more, beginning with those that were too many.
    fn add(&self, more: usize) {
        let mut kept = 0;
        let keep = |excess: usize| {
            kept = excess.min(more);
            Some(excess - kept)
        };
        // It always has something to store.
        let _ = self.excess.fetch_update(Ordering::Relaxed, Ordering::Relaxed, keep);
        self.semaphore.add_permits(more - kept);
    }

    /// Takes away what is free, and the rest when it comes free.
    fn remove(&self, fewer: usize) {
        let removed = self.semaphore.forget_permits(fewer);
        self.excess.fetch_add(fewer - removed, Ordering::Relaxed);
    }
}

/// One operation's place. Dropping it makes place for another one, or lets the share shrink.
pub(crate) struct Permit {
    permit: Option<OwnedSemaphorePermit>,
    of: Arc<Permits>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let fewer = |excess: usize| excess.checked_sub(1);
        let is_excess = self.of.excess.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).is_ok();
        if let Some(permit) = self.permit.take_if(|_| is_excess) {
            permit.forget();
        }
    }
}

/// A share of a rate of requests, and of its burst.
pub(crate) struct RequestShare {
    pub(crate) limit: Limit,
    gateways: u64,
    pub(crate) limiter: Arc<Limiter>,
}

impl RequestShare {
    pub(crate) fn new(limit: Limit, gateways: u64, clock: &LimiterClock) -> Self {
        let (quota, _) = request_quota(limit, gateways);
        Self { limit, gateways, limiter: Arc::new(RateLimiter::direct_with_clock(quota, clock.clone())) }
    }

    /// Gives it another limit or size. What is left of the burst stays, as far as it fits.
    pub(crate) fn resize(&mut self, limit: Limit, gateways: u64, clock: &LimiterClock) {
        if (self.limit, self.gateways) == (limit, gateways) {
            return;
        }
        let left = drain(&self.limiter);
        *self = Self::new(limit, gateways, clock);
        let (_, burst) = request_quota(limit, gateways);
        if let Some(spent) = NonZeroU32::new(burst.get().saturating_sub(left)) {
            // It has not been used: all of the burst is there.
            let _ = self.limiter.check_n(spent);
        }
    }
}

/// Takes all that a limiter would let pass at once; how many requests that were.
fn drain(limiter: &Limiter) -> u32 {
    let takes =
        |amount: &u32| NonZeroU32::new(*amount).is_some_and(|n| matches!(limiter.check_n(n), Ok(Ok(()))));
    (0..u32::BITS).rev().map(|bit| 1_u32 << bit).filter(takes).sum()
}

/// A gateway's share of a rate of requests, and of its burst.
fn request_quota(limit: Limit, gateways: u64) -> (Quota, NonZeroU32) {
    let burst =
        (limit.burst.map_or(limit.maximum, u64::from) / gateways).clamp(1, u64::from(u32::MAX)) as u32;
    let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
    let nanos = 1_000_000_000u64.saturating_mul(gateways) / limit.maximum.max(1);
    let quota = Quota::with_period(Duration::from_nanos(nanos.max(1)));
    let quota = quota.unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN));
    (quota.allow_burst(burst), burst)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Clock;

    /// It stands still.
    struct Still;

    impl Clock for Still {
        fn now_ms(&self) -> u64 {
            0
        }

        fn elapsed(&self) -> Duration {
            Duration::from_secs(1)
        }
    }

    fn limit(maximum: u64) -> Limit {
        Limit::enforced(maximum)
    }

    #[test]
    fn operations_that_run_count_in_a_share_that_has_changed() {
        let mut share = OperationShare::new(limit(8), 1);
        let available = |share: &OperationShare| share.permits.semaphore.available_permits();
        let running: Vec<_> = (0..6).map(|_| share.permits.try_acquire().unwrap()).collect();
        share.resize(limit(8), 2);
        assert_eq!(available(&share), 0, "four of the six fill the share");
        drop(running);
        assert_eq!(available(&share), 4);
        let running = share.permits.try_acquire().unwrap();
        share.resize(limit(8), 1);
        assert_eq!(available(&share), 7);
        drop(running);
        share.resize(limit(3), 8);
        assert_eq!(available(&share), 1, "none is too little to work at all");
    }

    #[test]
    fn a_share_that_was_too_large_for_a_while_has_lost_and_gained_nothing() {
        let mut share = OperationShare::new(limit(8), 1);
        let mut running: Vec<_> = (0..8).map(|_| share.permits.try_acquire().unwrap()).collect();
        share.resize(limit(8), 4);
        running.truncate(7);
        share.resize(limit(8), 2);
        running.truncate(5);
        assert!(share.permits.try_acquire().is_none(), "five run in a share of four");
        share.resize(limit(8), 1);
        let more: Vec<_> = std::iter::from_fn(|| share.permits.try_acquire()).collect();
        assert_eq!(running.len() + more.len(), 8);
    }

    #[tokio::test]
    async fn a_share_shrinks_however_many_wait_for_their_turn() {
        let mut share = OperationShare::new(limit(4), 1);
        let mut running: Vec<_> = (0..4).map(|_| share.permits.try_acquire().unwrap()).collect();
        let wait = |permits: &Arc<Permits>| {
            let permits = Arc::clone(permits);
            tokio::spawn(async move { permits.acquire().await.unwrap() })
        };
        let waiting: Vec<_> = (0..3).map(|_| wait(&share.permits)).collect();
        tokio::task::yield_now().await;
        share.resize(limit(4), 4);
        running.truncate(1);
        tokio::task::yield_now().await;
        assert!(waiting.iter().all(|waiting| !waiting.is_finished()), "one runs in a share of one");
        drop(running);
        for waiting in waiting {
            drop(waiting.await.unwrap());
        }
    }

    #[test]
    fn what_is_spent_of_a_burst_stays_spent_when_the_share_changes() {
        let clock = LimiterClock(Arc::new(Still));
        let mut share = RequestShare::new(limit(100), 1, &clock);
        assert!(matches!(share.limiter.check_n(NonZeroU32::new(93).unwrap()), Ok(Ok(()))));
        share.resize(limit(100), 1, &clock);
        share.resize(limit(100), 2, &clock);
        share.resize(limit(1_000), 2, &clock);
        assert_eq!(drain(&share.limiter), 7);
        let mut whole = RequestShare::new(limit(100), 1, &clock);
        whole.resize(limit(100), 4, &clock);
        assert_eq!(drain(&whole.limiter), 25);
    }
}

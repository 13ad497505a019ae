//! Shares: one gateway's part of what an owner may do at a time, or in a second.
//!
//! Limits and the number of gateways change while requests run. What runs keeps its place in a changed share, and what is
//! left of a burst is carried over: a change is no occasion for a fresh start.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::{Quota, RateLimiter};
use tokio::sync::Semaphore;

use crate::Limit;
use crate::controls::{Limiter, LimiterClock};

/// A share of operations at a time. It is one at the least, so that more gateways than operations exceed the limit.
pub(crate) struct OperationShare {
    pub(crate) limit: Limit,
    pub(crate) permits: Arc<Semaphore>,
    /// Permits that there are, those of running operations too. It may be more than the share, until they end.
    total: usize,
}

impl OperationShare {
    pub(crate) fn new(limit: Limit, gateways: u64) -> Self {
        let total = Self::size(limit, gateways);
        Self { limit, permits: Arc::new(Semaphore::new(total)), total }
    }

    fn size(limit: Limit, gateways: u64) -> usize {
        (limit.maximum / gateways).clamp(1, Semaphore::MAX_PERMITS as u64) as usize
    }

    /// Gives it the size that it must have, as far as running operations allow; the next call does the rest.
    pub(crate) fn resize(&mut self, limit: Limit, gateways: u64) {
        self.limit = limit;
        let size = Self::size(limit, gateways);
        if size > self.total {
            self.permits.add_permits(size - self.total);
            self.total = size;
        } else {
            self.total -= self.permits.forget_permits(self.total - size);
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
        let running: Vec<_> =
            (0..6).map(|_| Arc::clone(&share.permits).try_acquire_owned().unwrap()).collect();
        share.resize(limit(8), 2);
        assert_eq!(share.permits.available_permits(), 0, "four of the six fill the share");
        drop(running);
        share.resize(limit(8), 2);
        assert_eq!(share.permits.available_permits(), 4);
        let running = Arc::clone(&share.permits).try_acquire_owned().unwrap();
        share.resize(limit(8), 1);
        assert_eq!(share.permits.available_permits(), 7);
        drop(running);
        share.resize(limit(3), 8);
        assert_eq!(share.permits.available_permits(), 1, "none is too little to work at all");
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

//! How often people may ask: strangers by the network that they come from, and by the name that they log in with, whether
//! there is such an account or not; those who have a session by their account.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use datamesh_types::AccountId;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::admin_api::ApiError;

/// When to try again what had no turn.
pub(super) const BUSY_FOR: Duration = Duration::from_secs(5);
/// Names, networks or accounts remembered before those that have recovered are forgotten.
const KEYS_MAX: usize = 65_536;
const HOUR: Duration = Duration::from_hours(1);

/// So many an hour, and so many of them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// In an hour.
    pub per_hour: NonZeroU32,
    /// At once.
    pub burst: NonZeroU32,
}

impl Pace {
    fn quota(self) -> Quota {
        let period = HOUR / self.per_hour.get();
        Quota::with_period(period).unwrap_or(Quota::per_second(self.per_hour)).allow_burst(self.burst)
    }
}

/// Who has asked lately.
pub struct Limiter {
    networks: DefaultKeyedRateLimiter<IpAddr>,
    names: DefaultKeyedRateLimiter<String>,
    accounts: DefaultKeyedRateLimiter<AccountId>,
    clock: DefaultClock,
}

impl Limiter {
    /// Nothing asked yet.
    pub fn new(by_network: Pace, by_name: Pace, by_account: Pace) -> Self {
        Self {
            networks: RateLimiter::keyed(by_network.quota()),
            names: RateLimiter::keyed(by_name.quota()),
            accounts: RateLimiter::keyed(by_account.quota()),
            clock: DefaultClock::default(),
        }
    }

    /// # Errors
    /// [`ApiError::TooMany`].
    pub fn admit_network(&self, address: IpAddr) -> Result<(), ApiError> {
        self.admit(&self.networks, &network(address))
    }

    /// # Errors
    /// [`ApiError::TooMany`].
    pub fn admit_name(&self, name: &str) -> Result<(), ApiError> {
        self.admit(&self.names, &name.trim().to_lowercase())
    }

    /// # Errors
    /// [`ApiError::TooMany`].
    pub fn admit_account(&self, account: AccountId) -> Result<(), ApiError> {
        self.admit(&self.accounts, &account)
    }

    fn admit<K: Hash + Eq + Clone>(
        &self,
        limiter: &DefaultKeyedRateLimiter<K>,
        key: &K,
    ) -> Result<(), ApiError> {
        if limiter.len() > KEYS_MAX {
            limiter.retain_recent();
        }
        limiter.check_key(key).map_err(|not_until| {
            let retry_after = not_until.wait_time_from(self.clock.now()).max(Duration::from_secs(1));
            ApiError::TooMany { retry_after }
        })
    }
}

/// One address, or the 64 bits of a network that somebody has all to themselves.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_a_name_and_an_account_have_their_own_bounds() {
        let pace = |per_hour, burst| Pace {
            per_hour: NonZeroU32::new(per_hour).unwrap(),
            burst: NonZeroU32::new(burst).unwrap(),
        };
        let limiter = Limiter::new(pace(1, 3), pace(1, 2), pace(1, 1));
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..3 {
            limiter.admit_network(one).unwrap();
        }
        let refused = limiter.admit_network(one).unwrap_err();
        assert!(matches!(refused, ApiError::TooMany { retry_after } if retry_after > Duration::from_mins(1)));
        limiter.admit_network("192.0.2.2".parse().unwrap()).unwrap();
        for host in ["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::3"] {
            limiter.admit_network(host.parse().unwrap()).unwrap();
        }
        limiter.admit_network("2001:db8::4".parse().unwrap()).unwrap_err();
        limiter.admit_network("2001:db8:0:1::1".parse().unwrap()).unwrap();
        for name in ["a@example.org", " A@Example.org"] {
            limiter.admit_name(name).unwrap();
        }
        limiter.admit_name("a@example.ORG").unwrap_err();
        limiter.admit_name("b@example.org").unwrap();
        limiter.admit_account(AccountId([1; 16])).unwrap();
        limiter.admit_account(AccountId([1; 16])).unwrap_err();
        limiter.admit_account(AccountId([2; 16])).unwrap();
    }
}

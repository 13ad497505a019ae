//! Service levels: how available a time was, and what is credited when that is less than was promised.
//!
//! A time is cut into windows of five minutes, and each of them weighs the same: an outage costs the share of the month
//! that it lasted, whether there were many requests in it or few. Within a window the share of requests that did not
//! fail counts; where nobody asked for anything, the share of probes that succeeded; where there was no probe either,
//! nothing was available. Whatever the reason is: maintenance is no excuse.

use serde::{Deserialize, Serialize};

use crate::BillingError;

/// How long a window is.
pub const WINDOW_MS: u64 = 300_000;
/// All of it, in parts per million.
const WHOLE_PPM: u32 = 1_000_000;
/// Windows are averaged in parts of this, so that rounding shows in no part per million of a century.
const PRECISION: u128 = 1_000_000_000_000;
/// The most steps that a service level has.
const TIERS_MAX: usize = 8;

/// What was seen of an account in five minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    /// Its requests.
    pub requests: u64,
    /// Those among them that failed through no fault of the client's.
    pub faults: u64,
    /// Probes that succeeded.
    pub probes_good: u64,
    /// Probes that failed.
    pub probes_bad: u64,
}

impl Window {
    /// Which part of it was good, in parts of [`PRECISION`], rounded down.
    fn good(self) -> u128 {
        let (good, all) = if self.requests > 0 {
            (self.requests.saturating_sub(self.faults), u128::from(self.requests))
        } else {
            (self.probes_good, u128::from(self.probes_good) + u128::from(self.probes_bad))
        };
        (u128::from(good) * PRECISION).checked_div(all).unwrap_or(0)
    }

    /// Whether nothing was wrong in it.
    pub fn is_good(self) -> bool {
        self.good() == PRECISION
    }
}

/// How available a time was that had these windows, in parts per million, rounded down: a doubt is the customer's.
/// `None` for no time at all.
pub fn availability(windows: impl IntoIterator<Item = Window>) -> Option<u32> {
    let (mut count, mut sum) = (0_u128, 0_u128);
    for window in windows {
        count += 1;
        sum += window.good();
    }
    let ppm = (sum * u128::from(WHOLE_PPM)).checked_div(count * PRECISION)?;
    u32::try_from(ppm).ok()
}

/// One step of a service level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreditTier {
    /// When less than so much of a month was available, in parts per million,
    pub below: u32,
    /// so many percent of what it costs are credited.
    pub credit: u32,
}

impl CreditTier {
    /// The credit on an amount, in micro-units, rounded once, halves up.
    pub fn of(self, amount: i64) -> i64 {
        let credit = (i128::from(amount.max(0)) * i128::from(self.credit) + 50) / 100;
        i64::try_from(credit).map_or(amount, |credit| credit.min(amount.max(0)))
    }
}

/// The step that an availability has fallen to, if it has to any.
pub fn tier(tiers: &[CreditTier], availability_ppm: u32) -> Option<CreditTier> {
    tiers.iter().copied().filter(|tier| availability_ppm < tier.below).max_by_key(|tier| tier.credit)
}

/// Whether steps make sense together: the lower the availability, the higher the credit.
pub(crate) fn check(plan: &str, tiers: &[CreditTier]) -> Result<(), BillingError> {
    let invalid =
        |reason: &str| Err(BillingError::InvalidPrices { reason: format!("{plan}: sla: {reason}") });
    if tiers.len() > TIERS_MAX {
        return invalid("at most 8 steps");
    }
    if tiers.iter().any(|tier| !(1..=WHOLE_PPM).contains(&tier.below)) {
        return invalid("`below` is in parts per million, from 1 to 1000000");
    }
    if tiers.iter().any(|tier| !(1..=100).contains(&tier.credit)) {
        return invalid("`credit` is in percent, from 1 to 100");
    }
    let is_steeper = |pair: &[CreditTier]| pair[1].below < pair[0].below && pair[1].credit > pair[0].credit;
    if !tiers.windows(2).all(is_steeper) {
        return invalid("each step must be below the one before, and credit more");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIERS: [CreditTier; 3] = [
        CreditTier { below: 999_000, credit: 10 },
        CreditTier { below: 990_000, credit: 25 },
        CreditTier { below: 950_000, credit: 100 },
    ];

    const fn asked(requests: u64, faults: u64) -> Window {
        Window { requests, faults, probes_good: 0, probes_bad: 0 }
    }

    const fn probed(probes_good: u64, probes_bad: u64) -> Window {
        Window { requests: 0, faults: 0, probes_good, probes_bad }
    }

    #[test]
    fn requests_count_before_probes_and_what_nobody_saw_was_not_available() {
        let both = Window { requests: 4, faults: 1, probes_good: 0, probes_bad: 5 };
        for (window, expected) in [
            (asked(10, 0), 1_000_000),
            (asked(3, 1), 666_666),
            (asked(1, 1), 0),
            (asked(1, 7), 0),
            (probed(5, 0), 1_000_000),
            (probed(4, 1), 800_000),
            (Window::default(), 0),
            (both, 750_000),
        ] {
            assert_eq!(availability([window]), Some(expected), "{window:?}");
        }
        assert_eq!(availability([]), None);
    }

    #[test]
    fn every_window_weighs_the_same() {
        let busy_and_idle = [asked(1_000_000, 0), asked(1, 1)];
        assert_eq!(availability(busy_and_idle), Some(500_000));
        // 43 minutes and 12 seconds of thirty days are a thousandth: nine windows are too much, eight are not.
        let month =
            |bad: u64| (0..8640).map(move |number| if number < bad { probed(0, 1) } else { probed(1, 0) });
        assert_eq!(tier(&TIERS, availability(month(8)).unwrap()), None);
        assert_eq!(tier(&TIERS, availability(month(9)).unwrap()), Some(TIERS[0]));
    }

    #[test]
    fn credits_grow_by_steps_below_each_threshold() {
        for (ppm, credit) in [
            (1_000_000, None),
            (999_000, None),
            (998_999, Some(10)),
            (990_000, Some(10)),
            (989_999, Some(25)),
            (950_000, Some(25)),
            (949_999, Some(100)),
            (0, Some(100)),
        ] {
            assert_eq!(tier(&TIERS, ppm).map(|tier| tier.credit), credit, "{ppm}");
        }
        assert_eq!(tier(&[], 0), None);
        for (amount, credit) in [(0, 0), (4, 0), (5, 1), (14, 1), (15, 2), (1_000_000, 100_000), (-7, 0)] {
            assert_eq!(TIERS[0].of(amount), credit, "{amount}");
        }
        assert_eq!(TIERS[2].of(i64::MAX), i64::MAX);
    }

    #[test]
    fn steps_that_make_no_sense_are_refused_with_the_reason() {
        check("premium", &TIERS).unwrap();
        check("premium", &[]).unwrap();
        let one = |below, credit| vec![CreditTier { below, credit }];
        for (tiers, reason) in [
            (one(0, 10), "`below`"),
            (one(1_000_001, 10), "`below`"),
            (one(5, 0), "`credit`"),
            (one(5, 101), "`credit`"),
            ([one(5, 10), one(5, 20)].concat(), "below the one before"),
            ([one(6, 10), one(5, 10)].concat(), "below the one before"),
            ((1..10).rev().flat_map(|step| one(step, 11 - step)).collect(), "at most 8"),
        ] {
            let refused = check("premium", &tiers).unwrap_err().to_string();
            assert!(refused.contains("premium: sla: ") && refused.contains(reason), "{refused}");
        }
    }

    /// Requests that divide 720,720, so that the sum of all shares is exact in integers.
    const DENOMINATOR: u64 = 720_720;

    fn windows() -> impl Strategy<Value = Vec<(u64, u64)>> {
        let requests =
            prop::sample::select((1..=16).filter(|n| DENOMINATOR.is_multiple_of(*n)).collect::<Vec<_>>());
        let window = requests.prop_flat_map(|requests| (Just(requests), 0..=requests));
        prop::collection::vec(window, 1..200)
    }

    proptest! {
        #[test]
        fn availability_is_the_mean_of_the_shares_rounded_down(windows in windows()) {
            let bad: u64 = windows.iter().map(|(requests, faults)| faults * (DENOMINATOR / requests)).sum();
            let whole = windows.len() as u64 * DENOMINATOR;
            let exact = u128::from(whole - bad) * 1_000_000;
            let found = availability(windows.iter().map(|(requests, faults)| asked(*requests, *faults))).unwrap();
            // Never more than it was; less than a part per million less, but for what the precision takes.
            prop_assert!(u128::from(found) * u128::from(whole) <= exact);
            prop_assert!((u128::from(found) + 1) * u128::from(whole) + u128::from(whole) / 1_000_000 >= exact);
            prop_assert_eq!(found == WHOLE_PPM, bad == 0);
        }

        #[test]
        fn another_fault_never_makes_a_month_better(windows in windows(), at in any::<prop::sample::Index>()) {
            let seen = |windows: &[(u64, u64)]| {
                availability(windows.iter().map(|(requests, faults)| asked(*requests, *faults))).unwrap()
            };
            let mut worse = windows.clone();
            let (requests, faults) = worse[at.index(windows.len())];
            worse[at.index(windows.len())].1 = (faults + 1).min(requests);
            prop_assert!(seen(&worse) <= seen(&windows));
        }

        #[test]
        fn a_credit_is_never_more_than_what_it_is_for(amount in any::<i64>(), credit in 1_u32..=100) {
            let credit = CreditTier { below: 1, credit }.of(amount);
            prop_assert!((0..=amount.max(0)).contains(&credit));
        }
    }
}

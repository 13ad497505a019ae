//! Reputation, in basis points. It begins at 5,000; what lowers it loses half of its weight every 30 days.
//!
//! The arithmetic is that of integers, so that every gateway finds the same: a power of two with a fractional exponent is
//! the product of square roots of one half, each computed once, one for each binary digit of the exponent.

use std::fmt;

use serde::Serialize;

const START: i128 = 5_000;
const MOST: i128 = 10_000;
const HALF_LIFE_MS: u64 = 30 * 24 * 3600 * 1000;
/// Digits after the point of what is summed.
const SCALE: u32 = 32;
/// Digits after the point of a root.
const ROOT_SCALE: u32 = 62;
/// Binary digits of an exponent: more than a millisecond in a half-life has.
const DIGITS: usize = 32;

/// `ROOTS[k]` is 2 to the power of -(2 to the power of -(k + 1)): the square root of the one before.
const ROOTS: [u128; DIGITS] = {
    let mut roots = [0; DIGITS];
    let mut last: u128 = 1 << (ROOT_SCALE - 1);
    let mut index = 0;
    while index < DIGITS {
        last = (last << ROOT_SCALE).isqrt();
        roots[index] = last;
        index += 1;
    }
    roots
};

/// How much an account is trusted, in basis points: 0 to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Reputation(u16);

impl Reputation {
    /// What everybody begins with.
    pub const START: Self = Self(START as u16);

    /// A reputation of so many basis points, at most 10,000.
    pub const fn new(basis_points: u16) -> Self {
        Self(if basis_points as i128 > MOST { MOST as u16 } else { basis_points })
    }

    /// Basis points.
    pub const fn basis_points(self) -> u16 {
        self.0
    }

    /// What is left of the start under penalties, each of so many basis points, so many milliseconds ago. Their order
    /// makes no difference.
    pub(crate) fn under(penalties: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let weight: i128 = penalties.into_iter().map(|(points, age_ms)| decayed(points, age_ms)).sum();
        let points = ((START << SCALE) - weight + (1 << (SCALE - 1))) >> SCALE;
        Self(points.clamp(0, MOST) as u16)
    }
}

impl fmt::Display for Reputation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is left of a penalty, times 2 to the power of [`SCALE`], rounded down.
fn decayed(points: u64, age_ms: u64) -> i128 {
    let (halvings, mut rest) = (age_ms / HALF_LIFE_MS, age_ms % HALF_LIFE_MS);
    let mut weight = (u128::from(points.min(MOST as u64)) << SCALE) << 16;
    for root in ROOTS {
        rest *= 2;
        if rest >= HALF_LIFE_MS {
            rest -= HALF_LIFE_MS;
            weight = (weight * root) >> ROOT_SCALE;
        }
    }
    let halvings = u32::try_from(halvings).unwrap_or(u32::MAX);
    weight.checked_shr(halvings.saturating_add(16)).unwrap_or(0) as i128
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::seq::SliceRandom;
    use rand::{RngExt, SeedableRng};

    use super::*;

    const DAY_MS: u64 = 24 * 3600 * 1000;

    #[test]
    fn a_penalty_loses_half_of_its_weight_every_thirty_days() {
        for (days, left) in [(0, 1_000), (30, 500), (60, 250), (90, 125), (300, 1)] {
            let reputation = Reputation::under([(1_000, days * DAY_MS)]);
            assert_eq!(reputation.basis_points(), 5_000 - left, "{days} days");
        }
        assert_eq!(Reputation::under([(1_000, u64::MAX)]), Reputation::START);
        assert_eq!(Reputation::under([]), Reputation::START);
        // 2^(-1/2) and 2^(-1/3).
        assert_eq!(Reputation::under([(4_000, 15 * DAY_MS)]).basis_points(), 5_000 - 2_828);
        assert_eq!(Reputation::under([(4_000, 10 * DAY_MS)]).basis_points(), 5_000 - 3_175);
    }

    #[test]
    fn a_reputation_stays_within_its_bounds() {
        assert_eq!(Reputation::under([(1_000, 0); 20]).basis_points(), 0);
        assert_eq!(Reputation::under([(u64::MAX, 0)]).basis_points(), 0);
        assert_eq!(Reputation::new(u16::MAX).basis_points(), 10_000);
    }

    #[test]
    fn the_order_of_penalties_makes_no_difference_and_time_in_steps_none_beyond_rounding() {
        let mut random = StdRng::seed_from_u64(7);
        for _ in 0..2_000 {
            let count = random.random_range(1..12);
            let mut penalties: Vec<(u64, u64)> = (0..count)
                .map(|_| (random.random_range(0..2_000), random.random_range(0..400 * DAY_MS)))
                .collect();
            let reputation = Reputation::under(penalties.iter().copied());
            penalties.shuffle(&mut random);
            assert_eq!(Reputation::under(penalties.iter().copied()), reputation);

            // Time that passes at once, or in two steps of which the first is rounded to whole basis points.
            let (first, second) =
                (random.random_range(0..100 * DAY_MS), random.random_range(0..100 * DAY_MS));
            let points = random.random_range(0..=10_000);
            let at_once = decayed(points, first + second);
            let halfway = u64::try_from((decayed(points, first) + (1 << (SCALE - 1))) >> SCALE).unwrap();
            let in_steps = decayed(halfway, second);
            assert!((at_once - in_steps).abs() <= 1 << SCALE, "{points} after {first} and {second}");
        }
    }

    #[test]
    fn a_reputation_never_falls_while_time_passes() {
        let mut random = StdRng::seed_from_u64(8);
        let ages: Vec<u64> = (0..3_000).map(|_| random.random_range(0..90 * DAY_MS)).collect();
        let mut sorted = ages.clone();
        sorted.sort_unstable();
        let values: Vec<_> = sorted.iter().map(|age| Reputation::under([(4_000, *age)])).collect();
        assert!(values.is_sorted());
    }
}

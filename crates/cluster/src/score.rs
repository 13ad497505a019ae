//! Which open group a chunk goes to: a weighted random pick among the best five.
//!
//! The weights are the founding plan's. The pick is random so that many writers don't all choose the same group.

use rand::{Rng, RngExt};

/// How many of the best are drawn from.
const BEST: usize = 5;

/// What speaks for a group, each from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Score {
    /// Free share of its fullest node.
    pub(crate) capacity: f64,
    /// Share of calls that succeed in time, of its least reliable node.
    pub(crate) reliability: f64,
    /// Share of its nodes in the writer's region.
    pub(crate) proximity: f64,
    /// How fast its nodes take shards of this size class, compared with the fastest group.
    pub(crate) specialisation: f64,
}

impl Score {
    pub(crate) fn total(self) -> f64 {
        self.capacity * 0.4 + self.reliability * 0.3 + self.proximity * 0.2 + self.specialisation * 0.1
    }
}

/// The position of the chosen one, or `None` of an empty list.
pub(crate) fn pick(totals: &[f64], rng: &mut impl Rng) -> Option<usize> {
    let mut order: Vec<usize> = (0..totals.len()).collect();
    order.sort_by(|a, b| totals[*b].total_cmp(&totals[*a]));
    order.truncate(BEST);
    let sum: f64 = order.iter().map(|at| totals[*at].max(f64::MIN_POSITIVE)).sum();
    let mut left = rng.random::<f64>() * sum;
    let last = order.last().copied();
    order
        .into_iter()
        .find(|at| {
            left -= totals[*at].max(f64::MIN_POSITIVE);
            left < 0.0
        })
        .or(last)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn the_weights_sum_to_one() {
        let best = Score { capacity: 1.0, reliability: 1.0, proximity: 1.0, specialisation: 1.0 };
        assert!((best.total() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn only_the_best_five_are_chosen_and_the_better_ones_more_often() {
        let totals = [0.1, 0.9, 0.5, 0.6, 0.7, 0.8, 0.2];
        let mut rng = StdRng::seed_from_u64(7);
        let mut counts = [0; 7];
        for _ in 0..10_000 {
            counts[pick(&totals, &mut rng).unwrap()] += 1;
        }
        assert_eq!((counts[0], counts[6]), (0, 0));
        assert!(counts[1] > counts[5] && counts[5] > counts[3] && counts[3] > counts[2] && counts[2] > 0);
    }

    #[test]
    fn nothing_is_chosen_from_nothing_and_hopeless_groups_are_still_chosen() {
        let mut rng = StdRng::seed_from_u64(7);
        assert_eq!(pick(&[], &mut rng), None);
        assert_eq!(pick(&[0.0], &mut rng), Some(0));
    }
}

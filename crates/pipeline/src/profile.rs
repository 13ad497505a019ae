//! Which profile suits a mesh of N nodes: the promise is that half of them may vanish.
//!
//! Up to [`WHOLE_MESH_NODES_MAX`] nodes a group is the whole mesh, n = N, with k = floor(N / 2): whichever floor(N / 2)
//! nodes are lost, at least k are left, so the promise is arithmetic. Wider meshes would pay for it with too many shards.
//! There a random half of the nodes is taken away instead: how many of a group's n nodes are left is hypergeometric,
//! and a profile will do when the chance of fewer than k is below [`LOSS_PROBABILITY_MAX`].
//!
//! Among those profiles the one with the least raw bytes per byte wins. Wider groups are always cheaper in bytes, and
//! always dearer in everything else: 255 shards of an average chunk are 12 KiB each at k = 86, a request and an fsync
//! apiece, and coding them takes seconds of CPU per GB. [`TOTAL_MAX`] is where the balance was struck:
//!
//! | nodes | widest 64 | widest 128 | widest 255 |
//! |---|---|---|---|
//! | 50 | 25+25, 2.00x | 25+25, 2.00x | 25+25, 2.00x |
//! | 100 | 18+45, 3.50x | 50+50, 2.00x | 50+50, 2.00x |
//! | 250 | 12+51, 5.25x | 41+87, 3.12x | 125+125, 2.00x |
//! | 1000 | 10+54, 6.40x | 33+95, 3.88x | 86+167, 2.94x |
//! | 10000 | 9+53, 6.89x | 31+96, 4.10x | 81+174, 3.15x |

use datamesh_types::Profile;

/// Up to this many nodes every group spans the whole mesh.
pub const WHOLE_MESH_NODES_MAX: usize = 32;
/// The most shards that [`auto_profile`] cuts a chunk into.
pub const TOTAL_MAX: u8 = 128;
/// A group may be lost with at most this probability when a random half of all nodes vanishes at once.
pub const LOSS_PROBABILITY_MAX: f64 = 1e-9;

/// A profile, and what it costs and gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProfileChoice {
    /// The profile.
    pub profile: Profile,
    /// Raw bytes stored for each byte of sealed chunks: n / k.
    pub expansion: f64,
    /// The probability that one group is lost when a random floor(N / 2) of all N nodes vanish at once.
    pub loss_probability: f64,
}

/// The default profile for a mesh of `nodes` nodes; none counts as one.
///
/// One node gives 1+0, which survives nothing: half of one, rounded down, is none.
pub fn auto_profile(nodes: usize) -> ProfileChoice {
    if nodes <= WHOLE_MESH_NODES_MAX {
        let total = nodes.max(1) as u8;
        return choice(nodes.max(1), (total / 2).max(1), total);
    }
    cheapest_profile(nodes, TOTAL_MAX, LOSS_PROBABILITY_MAX)
}

/// The profile with the least expansion among those of at most `total_max` shards and `nodes` nodes whose groups are
/// lost with a probability below `loss_max` when a random half of the nodes vanishes. The fewest shards win a tie.
///
/// Replication over all `total_max` nodes is returned if not even that is safe enough.
pub fn cheapest_profile(nodes: usize, total_max: u8, loss_max: f64) -> ProfileChoice {
    let widest = total_max.max(1).min(u8::try_from(nodes.max(1)).unwrap_or(u8::MAX));
    let mut best = choice(nodes, 1, widest);
    for total in 1..=widest {
        let Some(data) = most_data_shards(nodes, total, loss_max) else { continue };
        // n / k < best, in integers: no rounding decides.
        let cheaper = usize::from(total) * best.profile.data() < best.profile.total() * usize::from(data);
        let as_cheap = usize::from(total) * best.profile.data() == best.profile.total() * usize::from(data);
        if cheaper || (as_cheap && usize::from(total) < best.profile.total()) {
            best = choice(nodes, data, total);
        }
    }
    best
}

/// The largest k for groups of `total` nodes that keeps the probability of loss below `loss_max`.
fn most_data_shards(nodes: usize, total: u8, loss_max: f64) -> Option<u8> {
    let mut loss = 0.0;
    let mut data = None;
    for (candidate, fewer) in (1..=total).zip(survivor_probabilities(nodes, total)) {
        loss += fewer;
        if loss >= loss_max {
            break;
        }
        data = Some(candidate);
    }
    data
}

fn choice(nodes: usize, data: u8, total: u8) -> ProfileChoice {
    let profile = Profile::new(u32::from(data), u32::from(total - data)).expect("1 <= data <= total <= 255");
    ProfileChoice {
        profile,
        expansion: f64::from(total) / f64::from(data),
        loss_probability: loss_probability(nodes, profile),
    }
}

/// The probability that fewer than k of a group's n nodes are left when a random floor(N / 2) of all N `nodes` vanish.
///
/// Exact up to rounding, also far out in the tail. Takes `nodes` >= n; a group cannot have more nodes than there are.
pub fn loss_probability(nodes: usize, profile: Profile) -> f64 {
    let total = u8::try_from(profile.total()).expect("a profile has at most 255 shards");
    survivor_probabilities(nodes.max(profile.total()), total).take(profile.data()).sum()
}

/// P(exactly s of a group's `total` nodes survive) for s = 0, 1, ... `total`: hypergeometric.
fn survivor_probabilities(nodes: usize, total: u8) -> impl Iterator<Item = f64> {
    let total = usize::from(total);
    let lost = nodes / 2;
    let alive = nodes - lost;
    let all_ways = ln_choose(nodes, total);
    (0..=total).map(move |survivors| {
        let ways = ln_choose(alive, survivors) + ln_choose(lost, total - survivors);
        (ways - all_ways).exp()
    })
}

/// The natural logarithm of the binomial coefficient; minus infinity where it is zero.
fn ln_choose(from: usize, picked: usize) -> f64 {
    if picked > from {
        return f64::NEG_INFINITY;
    }
    (0..picked).map(|index| ((from - index) as f64 / (picked - index) as f64).ln()).sum()
}

#[cfg(test)]
mod tests;

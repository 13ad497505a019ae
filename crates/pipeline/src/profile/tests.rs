//! The calculator against exact fractions, and against meshes that really lose half their nodes.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::index;

use super::*;

fn profile(text: &str) -> Profile {
    text.parse().unwrap()
}

#[test]
fn up_to_32_nodes_no_loss_of_half_the_nodes_leaves_fewer_than_k() {
    for nodes in 1..=WHOLE_MESH_NODES_MAX {
        let choice = auto_profile(nodes);
        assert_eq!(choice.profile.total(), nodes);
        assert_eq!(choice.profile.data(), (nodes / 2).max(1));
        // The group is the whole mesh: what survives of it is what survives of the mesh.
        assert!(nodes - nodes / 2 >= choice.profile.data(), "{nodes} nodes");
        assert!(choice.loss_probability == 0.0, "{nodes} nodes");
        assert!((choice.expansion - nodes as f64 / choice.profile.data() as f64).abs() < 1e-12);
    }
    let shown = [1, 2, 3, 4, 5, 8, 32].map(|nodes| auto_profile(nodes).profile.to_string());
    assert_eq!(shown, ["1+0", "1+1", "1+2", "2+2", "2+3", "4+4", "16+16"]);
    assert_eq!(auto_profile(0), auto_profile(1));
}

/// C(from, picked), exactly.
fn choose(from: u128, picked: u128) -> u128 {
    if picked > from { 0 } else { (0..picked).fold(1, |ways, index| ways * (from - index) / (index + 1)) }
}

#[test]
fn probabilities_are_those_of_exact_fractions() {
    for nodes in 1..=64_usize {
        for total in 1..=nodes.min(20) {
            for data in 1..=total {
                let (lost, alive) = (nodes as u128 / 2, nodes as u128 - nodes as u128 / 2);
                let ways: u128 = (0..data as u128)
                    .map(|survivors| choose(alive, survivors) * choose(lost, total as u128 - survivors))
                    .sum();
                let exact = ways as f64 / choose(nodes as u128, total as u128) as f64;
                let profile = Profile::new(data as u32, (total - data) as u32).unwrap();
                let computed = loss_probability(nodes, profile);
                assert!((computed - exact).abs() <= exact * 1e-11, "{nodes} {profile}: {computed} {exact}");
            }
        }
    }
}

#[test]
fn the_seeds_profile_is_as_safe_at_1000_nodes_as_the_design_says() {
    let loss = loss_probability(1000, profile("29+81"));
    assert!((2.4e-8..2.6e-8).contains(&loss), "{loss}");
}

#[test]
fn beyond_32_nodes_the_choice_is_safe_and_no_cheaper_one_is() {
    for nodes in [33, 34, 50, 64, 127, 128, 129, 200, 255, 256, 500, 1000, 2500, 10_000, 1_000_000] {
        let choice = auto_profile(nodes);
        assert!(choice.loss_probability < LOSS_PROBABILITY_MAX, "{nodes}: {choice:?}");
        assert!(choice.profile.total() <= nodes.min(usize::from(TOTAL_MAX)));
        for total in 1..=nodes.min(usize::from(TOTAL_MAX)) {
            // The fewest data shards that would be cheaper are already too many.
            let data = total * choice.profile.data() / choice.profile.total() + 1;
            if data <= total {
                let cheaper = Profile::new(data as u32, (total - data) as u32).unwrap();
                assert!(loss_probability(nodes, cheaper) >= LOSS_PROBABILITY_MAX, "{nodes}: {cheaper}");
            }
        }
    }
}

#[test]
fn a_limit_that_nothing_meets_gives_replication() {
    assert_eq!(cheapest_profile(1000, 5, 1e-9).profile, profile("1+4"));
}

/// Takes half of the nodes away, `meshes` times, looks at `groups` random groups each time, and counts how many of
/// them have fewer than k nodes left.
fn count_lost(rng: &mut StdRng, nodes: usize, profile: Profile, meshes: usize, groups: usize) -> usize {
    let mut lost_groups = 0;
    let mut alive = vec![true; nodes];
    for _ in 0..meshes {
        alive.fill(true);
        for gone in index::sample(rng, nodes, nodes / 2) {
            alive[gone] = false;
        }
        for _ in 0..groups {
            let group = index::sample(rng, nodes, profile.total());
            let survivors = group.into_iter().filter(|node| alive[*node]).count();
            lost_groups += usize::from(survivors < profile.data());
        }
    }
    lost_groups
}

#[test]
fn simulated_meshes_of_up_to_10000_nodes_lose_as_many_groups_as_computed() {
    let seed = 20_261_122;
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let (meshes, groups) = (40, 500);
    let trials = (meshes * groups) as f64;
    for nodes in [8, 32, 33, 100, 333, 1000, 3000, 10_000] {
        let chosen = auto_profile(nodes).profile;
        assert_eq!(
            count_lost(&mut rng, nodes, chosen, meshes, groups),
            0,
            "{nodes} nodes, {chosen}, seed {seed}"
        );
        // 1e-9 cannot be seen in 20,000 groups. More data shards of the same total make losses that can.
        for target in [0.003, 0.03, 0.3] {
            let total = (chosen.total()).min(nodes / 2) as u8;
            let data = most_data_shards(nodes, total, target).unwrap_or(1);
            let risky = Profile::new(u32::from(data), u32::from(total - data)).unwrap();
            let expected = loss_probability(nodes, risky);
            let lost = count_lost(&mut rng, nodes, risky, meshes, groups) as f64;
            // Groups are drawn independently: the count is binomial. Six sigmas fail once in 10^8 runs or so.
            let sigma = (trials * expected * (1.0 - expected)).sqrt();
            assert!(
                (lost - trials * expected).abs() <= 6.0 * sigma + 3.0,
                "{nodes} nodes, {risky}: {lost} groups lost, {} expected, seed {seed}",
                trials * expected
            );
        }
    }
}

#[test]
fn the_table_in_the_documentation_is_current() {
    let documentation = include_str!("../profile.rs");
    let rows = [50, 100, 250, 1000, 10_000].map(|nodes| {
        let cell = |total_max| {
            let choice = cheapest_profile(nodes, total_max, LOSS_PROBABILITY_MAX);
            format!("{}, {:.2}x", choice.profile, choice.expansion)
        };
        format!("//! | {nodes} | {} | {} | {} |\n", cell(64), cell(128), cell(255))
    });
    let table = rows.concat();
    assert!(documentation.contains(&table), "the table should be\n{table}");
}

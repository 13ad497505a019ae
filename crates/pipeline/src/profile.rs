//! Which profile suits a mesh of N nodes.
use datamesh_types::Profile;
/// A profile and its price.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProfileChoice {
    /// The profile.
    pub profile: Profile,
    /// Raw bytes for each byte stored.
    pub expansion: f64,
    /// Probability that one group is lost when a random half of all nodes vanishes at once.
    pub loss_probability: f64,
}
/// The default profile for a mesh of `nodes` nodes.
pub fn auto_profile(_nodes: usize) -> ProfileChoice {
    todo!()
}

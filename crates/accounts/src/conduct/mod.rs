//! How an account behaves: reports of abuse, what was decided about them, and the reputation that follows.
//!
//! Invariants:
//! - Only cases that were upheld and have not expired count, for the reputation as for the hold.
//! - The hold that many cases bring is there exactly as long as that many count; it is placed and lifted in the
//!   transaction of the decision, or, when cases expire, at the next review.
//! - A reputation is what its cases say at a moment: whatever order they were decided in.

mod abuse;
mod case;
mod reputation;

pub(crate) use abuse::reputation_of;
pub use abuse::{AbuseSettings, Conduct};
pub use case::{AbuseCase, AbuseKind, AbuseStatus};
pub use reputation::Reputation;

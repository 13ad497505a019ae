//! How many denials get an entry of their own. Requests without a token come from anybody who reaches the listener; they
//! must not be able to fill the database.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const PER_WINDOW: u32 = 120;
const WINDOW: Duration = Duration::from_mins(1);

/// Denials of this gateway in the current minute.
#[derive(Debug, Default)]
pub(super) struct Denials {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    since: Option<Instant>,
    told: u32,
    untold: u64,
}

impl Denials {
    /// Whether a denial gets an entry; then, how many before it got none.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.since.is_none_or(|since| now.duration_since(since) >= WINDOW) {
            state.since = Some(now);
            state.told = 0;
        }
        if state.told < PER_WINDOW {
            state.told += 1;
            Some(std::mem::take(&mut state.untold))
        } else {
            state.untold += 1;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_denials_is_counted_and_told_afterwards() {
        let (denials, start) = (Denials::default(), Instant::now());
        for _ in 0..PER_WINDOW {
            assert_eq!(denials.admit(start), Some(0));
        }
        for _ in 0..7 {
            assert_eq!(denials.admit(start + WINDOW / 2), None);
        }
        assert_eq!(denials.admit(start + WINDOW), Some(7));
        assert_eq!(denials.admit(start + WINDOW), Some(0));
    }
}

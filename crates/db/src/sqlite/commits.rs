//! Which commits there have been, so that a reader knows whether its snapshot is still the newest state.

use std::sync::atomic::{AtomicU64, Ordering};

/// A sequence lock: odd while the writer is about to change what others see, even otherwise. Only the writer's thread
/// changes it.
#[derive(Debug, Default)]
pub(super) struct Commits(AtomicU64);

impl Commits {
    /// From now on, and until [`Commits::end`], no snapshot counts as the newest state.
    pub(super) fn begin(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// What was committed can be seen by everybody.
    pub(super) fn end(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// How many there have been; `None` while one is under way.
    pub(super) fn settled(&self) -> Option<u64> {
        let number = self.0.load(Ordering::SeqCst);
        number.is_multiple_of(2).then_some(number)
    }
}

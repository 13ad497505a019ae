//! A clock for something that must not stand still.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Fires once something has made no progress for the given time. Costs nothing while there is progress.
pub(super) struct Deadline {
    idle_max: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl Deadline {
    pub(super) fn new(idle_max: Duration) -> Self {
        Self { idle_max, sleep: None, armed: false }
    }

    /// Progress was made: the clock stops.
    pub(super) fn disarm(&mut self) {
        self.armed = false;
    }

    /// No progress: starts the clock if it stands, and is ready once the time is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.idle_max)));
        if !self.armed {
            sleep.as_mut().reset(Instant::now() + self.idle_max);
            self.armed = true;
        }
        sleep.as_mut().poll(cx)
    }
}

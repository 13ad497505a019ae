//! The pace of a body: it waits where its owners' bandwidth is limited, and counts what moves.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use datamesh_accounts::{Direction, Pace};
use tokio::time::Sleep;

use super::trace::RequestTrace;

/// Timers are no finer than this.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// One body's.
pub(super) struct Pacing {
    trace: Arc<RequestTrace>,
    direction: Direction,
    pace: Pace,
    delay: Option<Pin<Box<Sleep>>>,
}

impl Pacing {
    pub(super) fn new(trace: Arc<RequestTrace>, direction: Direction) -> Self {
        Self { trace, direction, pace: Pace::default(), delay: None }
    }

    /// Bytes have passed.
    pub(super) fn passed(&mut self, len: usize) {
        if let Some(admission) = self.trace.admission() {
            admission.moved(self.direction, len as u64, &mut self.pace);
        }
    }

    /// Ready when the body may go on.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(delay) = &mut self.delay {
                ready!(delay.as_mut().poll(cx));
                self.delay = None;
            }
            let Some(admission) = self.trace.admission() else { return Poll::Ready(()) };
            match admission.turn(self.direction, &mut self.pace) {
                None => return Poll::Ready(()),
                Some(wait) if wait < WAIT_MIN => {}
                Some(wait) => self.delay = Some(Box::pin(tokio::time::sleep(wait))),
            }
        }
    }
}

impl Drop for Pacing {
    fn drop(&mut self) {
        if let Some(admission) = self.trace.admission() {
            admission.leave(self.direction, &self.pace);
        }
    }
}

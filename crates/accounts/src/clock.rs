//! Time, passed in so that tests can turn it, and how it is told.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A time, milliseconds since 1970, as RFC 3339; `None` past the year 9999.
pub fn time_text(ms: u64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()?.format(&Rfc3339).ok()
}

/// Where time comes from.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970: for what other gateways read. It may jump.
    fn now_ms(&self) -> u64;
    /// Time since some fixed moment: for what stays in this process. It never jumps.
    fn elapsed(&self) -> Duration;
}

/// The system's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }

    fn elapsed(&self) -> Duration {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        START.elapsed()
    }
}

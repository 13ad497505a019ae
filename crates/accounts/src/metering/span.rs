//! Hours and months: the spans of rollups.

use crate::Month;

pub(crate) const HOUR_MS: u64 = 3_600_000;

/// How long the span of a rollup is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grain {
    /// An hour.
    Hour,
    /// A calendar month (UTC).
    Month,
}

impl Grain {
    pub(crate) const ALL: [Self; 2] = [Self::Hour, Self::Month];

    /// Its number in the database.
    pub(crate) const fn number(self) -> i64 {
        self as i64
    }

    /// What it is called in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Month => "month",
        }
    }

    /// Where the span of a moment begins and ends, milliseconds since 1970.
    pub(crate) fn span(self, at_ms: u64) -> (u64, u64) {
        match self {
            Self::Hour => {
                let start = at_ms - at_ms % HOUR_MS;
                (start, start + HOUR_MS)
            }
            Self::Month => {
                let month = Month::of(at_ms);
                (month.start_ms(), month.next().start_ms())
            }
        }
    }
}

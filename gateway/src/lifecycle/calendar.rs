//! How days are counted.

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 3600 * 1000;

/// How days are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calendar {
    /// As S3 does: what is due in the course of a day is due at the midnight (UTC) after it.
    Utc,
    /// For tests: a day of this many milliseconds, without a midnight.
    Shortened {
        /// The length of a day, in milliseconds.
        day_ms: u64,
    },
}

impl Calendar {
    /// Days of the given length; 24 hours are [`Calendar::Utc`].
    pub fn with_day_ms(day_ms: u64) -> Self {
        if day_ms == DAY_MS { Self::Utc } else { Self::Shortened { day_ms: day_ms.max(1) } }
    }

    /// When something that happened at `since_ms` has been so for `days`; milliseconds since 1970, like `since_ms`.
    pub fn due_ms(self, since_ms: u64, days: u32) -> u64 {
        match self {
            Self::Utc => {
                let exact = since_ms.saturating_add(u64::from(days) * DAY_MS);
                exact.div_ceil(DAY_MS).saturating_mul(DAY_MS)
            }
            Self::Shortened { day_ms } => since_ms.saturating_add(u64::from(days).saturating_mul(day_ms)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_day_ends_at_midnight_and_a_short_one_does_not() {
        let noon = DAY_MS / 2;
        assert_eq!(Calendar::Utc.due_ms(noon, 1), 2 * DAY_MS);
        assert_eq!(Calendar::Utc.due_ms(DAY_MS, 1), 2 * DAY_MS, "midnight itself is not rounded");
        assert_eq!(Calendar::Utc.due_ms(DAY_MS + 1, 0), 2 * DAY_MS);
        assert_eq!(Calendar::with_day_ms(10).due_ms(noon, 3), noon + 30);
        assert_eq!(Calendar::with_day_ms(DAY_MS), Calendar::Utc);
        assert_eq!(Calendar::with_day_ms(0).due_ms(5, 1), 6, "no day is empty");
    }
}

//! Times in requests and answers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) use datamesh_accounts::time_text;
use datamesh_types::TimeSpan;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::ApiError;

/// A time to come: 2027-01-31T12:00:00Z, or so long from now, such as 7d.
pub(crate) fn future(field: &str, text: &str) -> Result<u64, ApiError> {
    parse(field, text, Duration::saturating_add)
}

/// A time that was: 2027-01-31T12:00:00Z, or so long ago, such as 7d.
pub(super) fn past(field: &str, text: &str) -> Result<u64, ApiError> {
    parse(field, text, Duration::saturating_sub)
}

fn parse(field: &str, text: &str, move_by: fn(Duration, Duration) -> Duration) -> Result<u64, ApiError> {
    if let Ok(span) = text.parse::<TimeSpan>() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        return Ok(move_by(now, span.duration()).as_millis() as u64);
    }
    let at = OffsetDateTime::parse(text, &Rfc3339).ok().map(|at| at.unix_timestamp_nanos() / 1_000_000);
    at.and_then(|at| u64::try_from(at).ok()).ok_or_else(|| ApiError::Invalid {
        message: format!("{field}: {text:?} is no time: expected one such as 2027-01-31T12:00:00Z or 7d"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_absolute_or_so_long_from_now_or_ago() {
        assert_eq!(future("until", "2027-01-31T12:00:00Z").unwrap(), 1_801_396_800_000);
        assert_eq!(past("since", "2027-01-31T12:00:00Z").unwrap(), 1_801_396_800_000);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        assert!(future("until", "1d").unwrap().abs_diff(now + 86_400_000) < 60_000);
        assert!(past("since", "1d").unwrap().abs_diff(now - 86_400_000) < 60_000);
        assert_eq!(time_text(1_801_396_800_000).as_deref(), Some("2027-01-31T12:00:00Z"));
        for wrong in ["", "tomorrow", "-1d", "2027-01-31", "1960-01-01T00:00:00Z"] {
            let refused = future("until", wrong).unwrap_err().to_string();
            assert!(refused.starts_with("until: "), "{refused}");
        }
    }
}

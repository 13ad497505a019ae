//! Object lock: what a bucket retains by default, and what holds single versions.
//!
//! Whether a version may go, or its retention may change, is decided by the catalog inside its commit. Here is what
//! clients may ask for, and that they may ask only of buckets that have object lock.

use datamesh_catalog::{Bucket, ConfigKind, Retention, RetentionMode};
use datamesh_policy::Action;
use s3s::dto::{
    DefaultRetention as ShownDefault, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockLegalHoldStatus,
    ObjectLockMode, ObjectLockRetentionMode, ObjectLockRule, Timestamp,
};
use s3s::{S3Error, S3Result, s3_error};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::caller::Caller;
use super::gate::About;
use super::{S3Gateway, now_ms, timestamp};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const YEAR_MS: u64 = 365 * DAY_MS;
/// S3's limits on a default retention.
const DAYS_MAX: i32 = 36_500;
const YEARS_MAX: i32 = 100;

/// A bucket's object lock. That there is one means that its versions can be held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ObjectLock {
    /// What every new version is retained by, unless its writer says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    default: Option<DefaultRetention>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct DefaultRetention {
    mode: Mode,
    #[serde(flatten)]
    period: Period,
}

/// How firmly a retention holds, by S3's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    Governance,
    Compliance,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Period {
    Days(u32),
    Years(u32),
}

impl Mode {
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            ObjectLockRetentionMode::GOVERNANCE => Some(Self::Governance),
            ObjectLockRetentionMode::COMPLIANCE => Some(Self::Compliance),
            _ => None,
        }
    }

    pub(super) const fn of(mode: RetentionMode) -> Self {
        match mode {
            RetentionMode::Governance => Self::Governance,
            RetentionMode::Compliance => Self::Compliance,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Governance => ObjectLockRetentionMode::GOVERNANCE,
            Self::Compliance => ObjectLockRetentionMode::COMPLIANCE,
        }
    }

    pub(super) const fn stored(self) -> RetentionMode {
        match self {
            Self::Governance => RetentionMode::Governance,
            Self::Compliance => RetentionMode::Compliance,
        }
    }
}

impl ObjectLock {
    /// # Errors
    /// `MalformedXML`, `InvalidRetentionPeriod`.
    pub(super) fn from_dto(config: ObjectLockConfiguration) -> S3Result<Self> {
        let malformed = || s3_error!(MalformedXML);
        let enabled = config.object_lock_enabled.as_ref().map(ObjectLockEnabled::as_str);
        if enabled != Some(ObjectLockEnabled::ENABLED) {
            return Err(malformed());
        }
        let Some(rule) = config.rule else { return Ok(Self::default()) };
        let shown = rule.default_retention.ok_or_else(malformed)?;
        let mode = shown.mode.as_ref().and_then(|mode| Mode::parse(mode.as_str())).ok_or_else(malformed)?;
        let within = |asked: i32, max: i32| {
            let invalid = || {
                let mut error = S3Error::with_message(
                    s3s::S3ErrorCode::Custom("InvalidRetentionPeriod".into()),
                    "The retention period must be a positive integer value",
                );
                error.set_status_code(http::StatusCode::BAD_REQUEST);
                error
            };
            u32::try_from(asked).ok().filter(|_| (1..=max).contains(&asked)).ok_or_else(invalid)
        };
        let period = match (shown.days, shown.years) {
            (Some(days), None) => Period::Days(within(days, DAYS_MAX)?),
            (None, Some(years)) => Period::Years(within(years, YEARS_MAX)?),
            _ => return Err(malformed()),
        };
        Ok(Self { default: Some(DefaultRetention { mode, period }) })
    }

    pub(super) fn to_dto(&self) -> ObjectLockConfiguration {
        let rule = self.default.map(|default| {
            let (days, years) = match default.period {
                Period::Days(days) => (Some(days.cast_signed()), None),
                Period::Years(years) => (None, Some(years.cast_signed())),
            };
            let mode = Some(ObjectLockRetentionMode::from_static(default.mode.name()));
            ObjectLockRule { default_retention: Some(ShownDefault { days, mode, years }) }
        });
        let enabled = ObjectLockEnabled::from_static(ObjectLockEnabled::ENABLED);
        ObjectLockConfiguration { object_lock_enabled: Some(enabled), rule }
    }

    /// The retention of a version that is written now.
    fn default_retention(&self, now_ms: u64) -> Option<Retention> {
        let default = self.default?;
        let period_ms = match default.period {
            Period::Days(days) => u64::from(days) * DAY_MS,
            Period::Years(years) => u64::from(years) * YEAR_MS,
        };
        Some(Retention { mode: default.mode.stored(), until_ms: now_ms + period_ms })
    }
}

/// The lock headers of a write.
#[derive(Debug, Default)]
pub(super) struct AskedLock<'a> {
    pub mode: Option<&'a ObjectLockMode>,
    pub until: Option<&'a Timestamp>,
    pub legal_hold: Option<&'a ObjectLockLegalHoldStatus>,
}

impl AskedLock<'_> {
    const fn is_empty(&self) -> bool {
        self.mode.is_none() && self.until.is_none() && self.legal_hold.is_none()
    }

    fn retention(&self, now_ms: u64) -> S3Result<Option<Retention>> {
        match (self.mode, self.until) {
            (None, None) => Ok(None),
            (Some(mode), Some(until)) => {
                let mode = Mode::parse(mode.as_str())
                    .ok_or_else(|| s3_error!(InvalidArgument, "Unknown wormMode directive."))?;
                Ok(Some(Retention { mode: mode.stored(), until_ms: future(until, now_ms)? }))
            }
            _ => Err(s3_error!(
                InvalidArgument,
                "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied"
            )),
        }
    }

    fn held(&self) -> S3Result<bool> {
        let Some(status) = self.legal_hold else { return Ok(false) };
        parse_hold(status)
            .ok_or_else(|| s3_error!(InvalidArgument, "Legal Hold must be either of 'ON' or 'OFF'"))
    }
}

pub(super) fn parse_hold(status: &ObjectLockLegalHoldStatus) -> Option<bool> {
    match status.as_str() {
        ObjectLockLegalHoldStatus::ON => Some(true),
        ObjectLockLegalHoldStatus::OFF => Some(false),
        _ => None,
    }
}

/// Milliseconds since 1970 of a time that must lie ahead.
pub(super) fn future(time: &Timestamp, now_ms: u64) -> S3Result<u64> {
    let ms = OffsetDateTime::from(time.clone()).unix_timestamp_nanos() / 1_000_000;
    let ms = u64::try_from(ms).ok().filter(|ms| *ms > now_ms);
    ms.ok_or_else(|| s3_error!(InvalidArgument, "The retain until date must be in the future!"))
}

pub(super) fn no_lock_on_bucket() -> S3Error {
    s3_error!(InvalidRequest, "Bucket is missing Object Lock Configuration")
}

/// A version's retention, as answers show it.
pub(super) fn shown_retention(retention: &Retention) -> (ObjectLockMode, Timestamp) {
    let mode = ObjectLockMode::from_static(Mode::of(retention.mode).name());
    (mode, timestamp(retention.until_ms))
}

impl S3Gateway {
    /// What holds a version that is written now: what the request asks for, if the caller may, else the bucket's
    /// default.
    ///
    /// # Errors
    /// `InvalidRequest` for a bucket without object lock, `InvalidArgument`, `AccessDenied`.
    pub(super) async fn new_lock(
        &self,
        caller: &Caller<'_>,
        (bucket, key): (&Bucket, &str),
        asked: &AskedLock<'_>,
    ) -> S3Result<(Option<Retention>, bool)> {
        if !bucket.configured.contains(ConfigKind::ObjectLock) {
            return if asked.is_empty() { Ok((None, false)) } else { Err(no_lock_on_bucket()) };
        }
        let now_ms = now_ms();
        let (retention, held) = (asked.retention(now_ms)?, asked.held()?);
        if !asked.is_empty() {
            let gate = self.gate(caller, bucket).await?;
            if retention.is_some() {
                gate.check(Action::PutObjectRetention, About::Key(key))?;
            }
            if asked.legal_hold.is_some() {
                gate.check(Action::PutObjectLegalHold, About::Key(key))?;
            }
        }
        if retention.is_some() {
            return Ok((retention, held));
        }
        let lock = self.config::<ObjectLock>(bucket, ConfigKind::ObjectLock).await?;
        Ok((lock.and_then(|lock| lock.default_retention(now_ms)), held))
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn config(mode: &'static str, days: Option<i32>, years: Option<i32>) -> ObjectLockConfiguration {
        let mode = Some(ObjectLockRetentionMode::from_static(mode));
        ObjectLockConfiguration {
            object_lock_enabled: Some(ObjectLockEnabled::from_static(ObjectLockEnabled::ENABLED)),
            rule: Some(ObjectLockRule { default_retention: Some(ShownDefault { days, mode, years }) }),
        }
    }

    #[test]
    fn a_default_retention_has_one_positive_period_and_a_mode_in_capitals() {
        let table = [
            (config("GOVERNANCE", Some(1), None), None),
            (config("COMPLIANCE", None, Some(100)), None),
            (config("COMPLIANCE", None, Some(101)), Some("InvalidRetentionPeriod")),
            (config("GOVERNANCE", Some(0), None), Some("InvalidRetentionPeriod")),
            (config("GOVERNANCE", None, Some(-1)), Some("InvalidRetentionPeriod")),
            (config("GOVERNANCE", Some(1), Some(1)), Some("MalformedXML")),
            (config("GOVERNANCE", None, None), Some("MalformedXML")),
            (config("governance", Some(1), None), Some("MalformedXML")),
            (ObjectLockConfiguration::default(), Some("MalformedXML")),
        ];
        for (config, refused) in table {
            match ObjectLock::from_dto(config.clone()) {
                Ok(lock) => {
                    assert_eq!(refused, None);
                    let stored = serde_json::to_string(&lock).unwrap();
                    let read: ObjectLock = serde_json::from_str(&stored).unwrap();
                    assert_eq!(read.to_dto(), config, "{stored}");
                }
                Err(error) => assert_eq!(Some(error.code().as_str()), refused),
            }
        }
    }

    #[test]
    fn the_stored_form_stays_readable() {
        let lock: ObjectLock =
            serde_json::from_str(r#"{"default":{"mode":"compliance","years":2}}"#).unwrap();
        let until_ms = 5 + 2 * YEAR_MS;
        let expected = Retention { mode: RetentionMode::Compliance, until_ms };
        assert_eq!(lock.default_retention(5), Some(expected));
        assert_eq!(serde_json::from_str::<ObjectLock>("{}").unwrap(), ObjectLock::default());
    }

    #[test]
    fn the_headers_of_a_lock_come_together_and_look_ahead() {
        let later = Timestamp::from(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(10));
        let (governance, other) =
            (ObjectLockMode::from_static("GOVERNANCE"), ObjectLockMode::from_static("x"));
        let ask = |mode, until| AskedLock { mode, until, legal_hold: None };
        let granted = ask(Some(&governance), Some(&later)).retention(9_999).unwrap();
        assert_eq!(granted, Some(Retention { mode: RetentionMode::Governance, until_ms: 10_000 }));
        assert!(ask(Some(&governance), Some(&later)).retention(10_000).is_err(), "not in the past");
        assert!(ask(Some(&governance), None).retention(0).is_err());
        assert!(ask(None, Some(&later)).retention(0).is_err());
        assert!(ask(Some(&other), Some(&later)).retention(0).is_err());
        assert_eq!(ask(None, None).retention(0).unwrap(), None);
    }
}

//! Who limits are for, and the books that count against them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use datamesh_db::Value;
use datamesh_types::AccountId;
use time::{Date, OffsetDateTime};

use crate::{AccountsError, Dimension};

/// Who a limit is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// An account.
    Account(AccountId),
    /// A bucket, by its number in the catalog, which is never used again.
    Bucket(i64),
    /// An access key, by its id.
    Key(Arc<str>),
}

impl Owner {
    /// Its name in the tables: an account's is its id alone, as it was before buckets and keys had limits.
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Account(account) => account.0.to_vec(),
            Self::Bucket(bucket) => [b"bucket/".as_slice(), &bucket.to_be_bytes()].concat(),
            Self::Key(key) => [b"key/".as_slice(), key.as_bytes()].concat(),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(account) => write!(f, "account {account}"),
            Self::Bucket(bucket) => write!(f, "bucket number {bucket}"),
            Self::Key(key) => write!(f, "access key {key}"),
        }
    }
}

/// A calendar month in UTC, as the number YYYYMM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Month(pub u32);

impl Month {
    /// The month of a moment, milliseconds since 1970.
    pub fn of(now_ms: u64) -> Self {
        let at = OffsetDateTime::from_unix_timestamp((now_ms / 1000) as i64);
        let at = at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        Self(at.year().unsigned_abs() * 100 + u32::from(u8::from(at.month())))
    }

    /// The month after it.
    #[must_use]
    pub const fn next(self) -> Self {
        if self.0 % 100 == 12 { Self(self.0 + 89) } else { Self(self.0 + 1) }
    }

    /// The month before it.
    #[must_use]
    pub const fn previous(self) -> Self {
        if self.0 % 100 == 1 { Self(self.0 - 89) } else { Self(self.0 - 1) }
    }

    /// Where it begins, milliseconds since 1970. 0 for what is no month.
    pub fn start_ms(self) -> u64 {
        let month = u8::try_from(self.0 % 100).ok().and_then(|month| time::Month::try_from(month).ok());
        let year = i32::try_from(self.0 / 100).ok();
        let date = month.zip(year).and_then(|(month, year)| Date::from_calendar_date(year, month, 1).ok());
        let start = date.map_or(0, |date| date.midnight().assume_utc().unix_timestamp());
        u64::try_from(start).unwrap_or(0) * 1000
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.0 / 100, self.0 % 100)
    }
}

impl FromStr for Month {
    type Err = AccountsError;

    /// Reads "2026-11". Months are those from 1970-01 to 9998-12.
    fn from_str(text: &str) -> Result<Self, AccountsError> {
        let reason = || format!("{text:?} is no month: expected one such as 2026-11");
        let digits = |text: &str, len: usize| {
            let plain = text.len() == len && text.bytes().all(|digit| digit.is_ascii_digit());
            plain.then(|| text.parse::<u32>().ok()).flatten()
        };
        let parts = text.split_once('-');
        let parts = parts.and_then(|(year, month)| Some((digits(year, 4)?, digits(month, 2)?)));
        match parts {
            Some((year @ 1970..=9998, month @ 1..=12)) => Ok(Self(year * 100 + month)),
            _ => Err(AccountsError::InvalidPeriod { reason: reason() }),
        }
    }
}

/// Two of an owner's dimensions that are counted together: a pair of rows in `quota`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Book {
    /// Bytes and objects that are stored.
    Stored(Owner),
    /// Bytes received and sent in a month.
    Moved(Owner, Month),
}

impl Book {
    pub(crate) fn owner(&self) -> &Owner {
        match self {
            Self::Stored(owner) | Self::Moved(owner, _) => owner,
        }
    }

    /// The name of its rows.
    pub(crate) fn key(&self) -> Vec<u8> {
        match self {
            Self::Stored(owner) => owner.encode(),
            Self::Moved(owner, month) => {
                [b"month/".as_slice(), &month.0.to_be_bytes(), b"/", &owner.encode()].concat()
            }
        }
    }

    pub(crate) fn param(&self) -> Value {
        Value::from(self.key())
    }

    /// What its two rows count.
    pub(crate) const fn dimensions(&self) -> [Dimension; 2] {
        match self {
            Self::Stored(_) => [Dimension::Bytes, Dimension::Objects],
            Self::Moved(..) => [Dimension::Ingress, Dimension::Egress],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_begins_at_midnight_utc() {
        assert_eq!(Month::of(0), Month(197_001));
        assert_eq!(Month::of(1_796_083_199_999), Month(202_611));
        assert_eq!(Month::of(1_796_083_200_000), Month(202_612));
    }

    #[test]
    fn months_are_written_as_year_and_month_and_follow_each_other() {
        for (text, month, start_ms) in [
            ("1970-01", Month(197_001), 0),
            ("2026-12", Month(202_612), 1_796_083_200_000),
            ("2027-01", Month(202_701), 1_798_761_600_000),
        ] {
            assert_eq!(text.parse::<Month>().unwrap(), month);
            assert_eq!((month.to_string(), month.start_ms()), (text.to_owned(), start_ms));
            assert_eq!(Month::of(month.next().start_ms() - 1), month);
            assert_eq!(Month::of(month.next().start_ms()), month.next());
            assert_eq!(month.next().previous(), month);
        }
        for text in [
            "",
            "2026",
            "2026-13",
            "2026-00",
            "1969-12",
            "9999-01",
            "2026-1",
            "202-612",
            "+026-11",
            "2026-11-01",
        ] {
            let refused = text.parse::<Month>().unwrap_err().to_string();
            assert!(refused.contains(&format!("{text:?}")), "{refused}");
        }
    }

    #[test]
    fn no_two_books_share_rows() {
        let owners = [Owner::Account(AccountId([7; 16])), Owner::Bucket(7), Owner::Key("bucket/7".into())];
        let mut keys: Vec<Vec<u8>> = owners
            .iter()
            .flat_map(|owner| {
                let moved = |month| Book::Moved(owner.clone(), Month(month)).key();
                [Book::Stored(owner.clone()).key(), moved(202_611), moved(202_612)]
            })
            .collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 9);
    }
}

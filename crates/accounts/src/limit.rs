//! Limits: how much of a dimension, how strictly, and how they are written down.

use std::fmt;

use datamesh_types::ByteSize;
use serde::{Deserialize, Serialize};

use crate::{AccountsError, Dimension};

/// Limits beyond this are refused, so that sums of amounts stay inside 64 bits.
pub(crate) const MAXIMUM: u64 = 1 << 60;

/// What happens at a limit: new limits begin as observed ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It is only told to the operators.
    Observe,
    /// Clients are told, too.
    Warn,
    /// What exceeds it is refused.
    #[default]
    Enforce,
}

impl Stage {
    pub(crate) const fn number(self) -> i64 {
        self as i64
    }

    pub(crate) const fn from_number(number: i64) -> Self {
        match number {
            0 => Self::Observe,
            1 => Self::Warn,
            _ => Self::Enforce,
        }
    }
}

/// A limit. Sizes in bytes, rates a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// The most that is allowed.
    #[serde(with = "amount")]
    pub maximum: u64,
    /// How many requests may come at once before their rate counts. Default: a second's worth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// How strictly. Default: enforce.
    #[serde(default)]
    pub stage: Stage,
}

/// Numbers, or sizes such as "5 GB".
mod amount {
    use super::{ByteSize, Deserialize};

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(super) fn serialize<S: serde::Serializer>(amount: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(*amount)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        ByteSize::deserialize(deserializer).map(ByteSize::bytes)
    }
}

impl Limit {
    /// An enforced limit.
    pub const fn enforced(maximum: u64) -> Self {
        Self { maximum, burst: None, stage: Stage::Enforce }
    }

    /// What is refused beyond, if anything is.
    pub fn hard(self) -> Option<u64> {
        (self.stage == Stage::Enforce).then_some(self.maximum)
    }

    /// # Errors
    /// [`AccountsError::InvalidLimit`] when it makes no sense for `dimension`.
    pub(crate) fn check(self, dimension: Dimension) -> Result<(), AccountsError> {
        let invalid = |reason| Err(AccountsError::InvalidLimit { dimension, reason });
        if self.maximum > MAXIMUM {
            return invalid("expected at most 1 EiB (2^60)");
        }
        if self.burst.is_some() && dimension != Dimension::Requests {
            return invalid("only requests have a burst");
        }
        if self.burst == Some(0) {
            return invalid("expected a burst of at least 1");
        }
        let is_rate = matches!(dimension, Dimension::Requests | Dimension::Upload | Dimension::Download);
        if is_rate && self.maximum == 0 {
            return invalid("a rate is at least 1 a second; to stop an account, hold it");
        }
        if dimension == Dimension::Operations && self.maximum == 0 {
            return invalid("expected at least 1; to stop an account, hold it");
        }
        Ok(())
    }
}

/// A limit, or none, for each dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitSet([Option<Limit>; Dimension::ALL.len()]);

impl LimitSet {
    /// No limits.
    pub const NONE: Self = Self([None; Dimension::ALL.len()]);

    /// The limit of a dimension; `None` is no limit.
    pub const fn get(&self, dimension: Dimension) -> Option<Limit> {
        self.0[dimension as usize]
    }

    /// The limit that is enforced.
    pub fn hard(&self, dimension: Dimension) -> Option<u64> {
        self.get(dimension).and_then(Limit::hard)
    }

    /// Replaces one.
    pub const fn set(&mut self, dimension: Dimension, limit: Option<Limit>) {
        self.0[dimension as usize] = limit;
    }

    /// Those that there are.
    pub fn iter(&self) -> impl Iterator<Item = (Dimension, Limit)> {
        Dimension::ALL.into_iter().filter_map(|dimension| Some((dimension, self.get(dimension)?)))
    }

    /// Whether any of these dimensions has a limit.
    pub fn limits_any(&self, dimensions: &[Dimension]) -> bool {
        dimensions.iter().any(|dimension| self.get(*dimension).is_some())
    }

    /// # Errors
    /// That of [`Limit::check`], of the first that makes no sense.
    pub(crate) fn check(&self) -> Result<(), AccountsError> {
        self.iter().try_for_each(|(dimension, limit)| limit.check(dimension))
    }
}

impl FromIterator<(Dimension, Limit)> for LimitSet {
    fn from_iter<I: IntoIterator<Item = (Dimension, Limit)>>(limits: I) -> Self {
        let mut set = Self::NONE;
        for (dimension, limit) in limits {
            set.set(dimension, Some(limit));
        }
        set
    }
}

impl Serialize for LimitSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(dimension, limit)| (dimension.name(), limit)))
    }
}

impl<'de> Deserialize<'de> for LimitSet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = LimitSet;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("limits by dimension")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<LimitSet, A::Error> {
                let mut set = LimitSet::NONE;
                while let Some(name) = map.next_key::<String>()? {
                    let dimension: Dimension = name.parse().map_err(serde::de::Error::custom)?;
                    set.set(dimension, Some(map.next_value()?));
                }
                Ok(set)
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}

/// What is to become of one of an owner's own limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitChange {
    /// This limit, whatever the plan says.
    Limit(Limit),
    /// No limit, whatever the plan says.
    Unlimited,
    /// What the plan says; nothing for buckets and keys.
    Plan,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_make_no_sense_are_refused() {
        let burst = Limit { burst: Some(1), ..Limit::enforced(1) };
        for (dimension, limit) in [
            (Dimension::Bytes, Limit::enforced(MAXIMUM + 1)),
            (Dimension::Bytes, burst),
            (Dimension::Requests, Limit::enforced(0)),
            (Dimension::Requests, Limit { burst: Some(0), ..Limit::enforced(1) }),
            (Dimension::Operations, Limit::enforced(0)),
            (Dimension::Upload, Limit::enforced(0)),
        ] {
            let refused = limit.check(dimension);
            assert!(matches!(refused, Err(AccountsError::InvalidLimit { .. })), "{dimension} {limit:?}");
        }
        for (dimension, limit) in [
            (Dimension::Bytes, Limit::enforced(0)),
            (Dimension::Egress, Limit::enforced(MAXIMUM)),
            (Dimension::Requests, burst),
        ] {
            limit.check(dimension).unwrap();
        }
    }

    #[test]
    fn a_set_is_read_as_it_was_written() {
        let mut set = LimitSet::NONE;
        set.set(Dimension::Bytes, Some(Limit::enforced(5)));
        set.set(Dimension::Requests, Some(Limit { maximum: 20, burst: Some(100), stage: Stage::Warn }));
        let text = serde_json::to_string(&set).unwrap();
        assert_eq!(
            text,
            r#"{"bytes":{"maximum":5,"stage":"enforce"},"requests":{"maximum":20,"burst":100,"stage":"warn"}}"#
        );
        assert_eq!(serde_json::from_str::<LimitSet>(&text).unwrap(), set);
        let unknown = serde_json::from_str::<LimitSet>(r#"{"speed":{"maximum":1}}"#).unwrap_err();
        assert!(unknown.to_string().contains("\"speed\" is not a limit"), "{unknown}");
    }
}

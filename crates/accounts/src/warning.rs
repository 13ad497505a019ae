//! Warnings: an owner comes close to a limit.
//!
//! One is an event, kept in `quota_event` in the transaction that crossed the line, and a line in the log; clients see
//! it in a header for as long as it holds.

use std::fmt;

use aws_lc_rs::rand;
use datamesh_db::Tx;
use datamesh_types::AccountId;
use tracing::warn;

use crate::owner::Owner;
use crate::{Accounts, AccountsError, Dimension, Stage};

/// How close to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// 80 % or more.
    Percent80,
    /// 95 % or more.
    Percent95,
    /// All of it, or more.
    Percent100,
}

impl Level {
    /// The level of `used` of `limit`, if any.
    pub fn of(used: u64, limit: u64) -> Option<Self> {
        let reaches = |percent: u128| u128::from(used) * 100 >= u128::from(limit) * percent;
        [Self::Percent100, Self::Percent95, Self::Percent80]
            .into_iter()
            .find(|level| reaches(level.percent().into()))
    }

    /// As a number.
    pub const fn percent(self) -> u8 {
        match self {
            Self::Percent80 => 80,
            Self::Percent95 => 95,
            Self::Percent100 => 100,
        }
    }
}

/// An owner is close to a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Whose limit.
    pub owner: Owner,
    /// Which.
    pub dimension: Dimension,
    /// How close.
    pub level: Level,
    /// How strict the limit is.
    pub stage: Stage,
    /// What is used.
    pub used: u64,
    /// The limit.
    pub limit: u64,
    /// Whether the change that was just recorded crossed the line.
    pub is_new: bool,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match &self.owner {
            Owner::Account(_) => "account",
            Owner::Bucket(_) => "bucket",
            Owner::Key(_) => "key",
        };
        let Self { dimension, level, used, limit, .. } = self;
        write!(f, "{whose} {dimension} {percent}%: {used} of {limit}", percent = level.percent())
    }
}

/// An event as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaEvent {
    /// Which limit.
    pub dimension: Dimension,
    /// The line that was crossed: 80, 95 or 100.
    pub percent: u8,
    /// What was used then.
    pub used: u64,
    /// The limit then.
    pub limit: u64,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
}

/// Records the lines that were crossed, in the transaction that crossed them.
pub(crate) async fn record(tx: &mut Tx, warnings: &[Warning], now_ms: u64) -> Result<(), AccountsError> {
    const INSERT: &str = "INSERT INTO quota_event (id, owner, dimension, percent, used, maximum, at_ms)
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    for warning in warnings.iter().filter(|warning| warning.is_new) {
        let mut id = [0; 16];
        rand::fill(&mut id).map_err(|_| AccountsError::Random)?;
        let params = [
            hex::encode(id).into(),
            warning.owner.encode().into(),
            warning.dimension.number().into(),
            warning.level.percent().into(),
            warning.used.into(),
            warning.limit.into(),
            now_ms.into(),
        ];
        tx.execute(INSERT, &params).await?;
        warn!(
            owner = %warning.owner, dimension = %warning.dimension, percent = warning.level.percent(),
            used = warning.used, limit = warning.limit, "an owner comes close to a limit"
        );
    }
    Ok(())
}

impl Accounts {
    /// The last events of an account, newest first, at most `limit`.
    pub async fn quota_events(
        &self,
        account: AccountId,
        limit: usize,
    ) -> Result<Vec<QuotaEvent>, AccountsError> {
        const LAST: &str = "SELECT dimension, percent, used, maximum, at_ms FROM quota_event WHERE owner = $1
            ORDER BY at_ms DESC, id LIMIT $2";
        let owner = Owner::Account(account).encode();
        let rows = self.db().rows(LAST, [owner.into(), limit.into()].into()).await?;
        let event = |row: &datamesh_db::Row| {
            let dimension = Dimension::from_number(row.int(0)?);
            Ok(QuotaEvent {
                dimension: dimension
                    .ok_or_else(|| AccountsError::Damaged { name: "quota_event".to_owned() })?,
                percent: row.int(1)? as u8,
                used: row.uint(2)?,
                limit: row.uint(3)?,
                at_ms: row.uint(4)?,
            })
        };
        rows.iter().map(event).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_at_80_95_and_100_percent() {
        for (used, limit, level) in [
            (0, 100, None),
            (79, 100, None),
            (80, 100, Some(Level::Percent80)),
            (94, 100, Some(Level::Percent80)),
            (95, 100, Some(Level::Percent95)),
            (99, 100, Some(Level::Percent95)),
            (100, 100, Some(Level::Percent100)),
            (u64::MAX, 100, Some(Level::Percent100)),
            (4, 5, Some(Level::Percent80)),
            (0, 0, Some(Level::Percent100)),
        ] {
            assert_eq!(Level::of(used, limit), level, "{used} of {limit}");
        }
    }
}

//! Lines: what a row of a book says, and what fits.

use datamesh_db::Row;

use crate::limit::MAXIMUM;
use crate::owner::Owner;
use crate::warning::{Level, Warning};
use crate::{AccountsError, Dimension, Stage};

/// Amounts of a book's two dimensions together: bytes and objects stored, or bytes received and sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Amount {
    pub(crate) first: i64,
    pub(crate) second: i64,
}

impl Amount {
    pub(crate) const ZERO: Self = Self { first: 0, second: 0 };

    pub(crate) fn new(first: u64, second: u64) -> Self {
        Self { first: clamp(first), second: clamp(second) }
    }

    /// One of the two, as it is shown.
    pub(crate) fn shown(self, index: usize) -> u64 {
        unsigned(if index == 0 { self.first } else { self.second })
    }

    pub(crate) const fn is_zero(self) -> bool {
        self.first == 0 && self.second == 0
    }

    pub(crate) const fn covers(self, other: Self) -> bool {
        self.first >= other.first && self.second >= other.second
    }

    pub(crate) fn each(self, other: Self, combine: impl Fn(i64, i64) -> i64) -> Self {
        Self { first: combine(self.first, other.first), second: combine(self.second, other.second) }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        self.each(other, i64::saturating_add)
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        self.each(other, i64::saturating_sub)
    }
}

/// An amount far beyond any disk, so that sums stay inside 64 bits.
fn clamp(amount: u64) -> i64 {
    amount.min(MAXIMUM) as i64
}

pub(crate) fn unsigned(amount: i64) -> u64 {
    amount.max(0) as u64
}

/// One row of a book.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    pub(crate) dimension: Dimension,
    /// What is refused beyond.
    pub(crate) hard: Option<i64>,
    /// The limit, enforced or not.
    pub(crate) soft: Option<i64>,
    pub(crate) stage: Stage,
    pub(crate) used: i64,
    pub(crate) reserved: i64,
}

/// `dimension, maximum, soft, stage, used, reserved`
pub(crate) fn line(row: &Row, at: usize) -> Result<Line, AccountsError> {
    let dimension = Dimension::from_number(row.int(at)?);
    Ok(Line {
        dimension: dimension.ok_or_else(|| AccountsError::Damaged { name: "quota".to_owned() })?,
        hard: row.opt_int(at + 1)?,
        soft: row.opt_int(at + 2)?,
        stage: Stage::from_number(row.int(at + 3)?),
        used: row.int(at + 4)?,
        reserved: row.int(at + 5)?,
    })
}

impl Line {
    pub(super) fn room(&self) -> i64 {
        self.hard.map_or(i64::MAX, |hard| hard - self.used - self.reserved)
    }

    pub(super) fn exceeded(&self, owner: &Owner, requested: i64) -> AccountsError {
        AccountsError::QuotaExceeded {
            owner: owner.clone(),
            dimension: self.dimension,
            limit: unsigned(self.hard.unwrap_or(i64::MAX)),
            used: unsigned(self.used),
            reserved: unsigned(self.reserved),
            requested: unsigned(requested),
        }
    }

    /// What to tell the owner after a change of `by` has been recorded.
    pub(super) fn warning(&self, owner: &Owner, by: i64) -> Option<Warning> {
        let limit = self.soft?;
        let level = Level::of(unsigned(self.used), unsigned(limit))?;
        let before = Level::of(unsigned(self.used - by), unsigned(limit));
        Some(Warning {
            owner: owner.clone(),
            dimension: self.dimension,
            level,
            stage: self.stage,
            used: unsigned(self.used),
            limit: unsigned(limit),
            is_new: before < Some(level),
        })
    }
}

/// The two rows of a book.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quota(pub(crate) [Line; 2]);

impl Quota {
    pub(crate) const fn is_unlimited(&self) -> bool {
        self.0[0].hard.is_none() && self.0[1].hard.is_none()
    }

    /// How much more fits.
    pub(crate) fn room(&self) -> Amount {
        Amount { first: self.0[0].room(), second: self.0[1].room() }
    }

    pub(crate) const fn used(&self) -> Amount {
        Amount { first: self.0[0].used, second: self.0[1].used }
    }

    pub(crate) const fn reserved(&self) -> Amount {
        Amount { first: self.0[0].reserved, second: self.0[1].reserved }
    }

    /// The error for `requested`, which does not fit.
    pub(crate) fn exceeded(&self, owner: &Owner, requested: Amount) -> AccountsError {
        let [first, second] = &self.0;
        if second.room() < requested.second {
            second.exceeded(owner, requested.second)
        } else {
            first.exceeded(owner, requested.first)
        }
    }
}

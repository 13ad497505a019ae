//! Limits and usage: the statements that keep `used + reserved` below the limit.
//!
//! Every transaction here touches the reservation's row first and the quota's rows after it, so that none of them
//! deadlock. A statement on both dimensions of an owner changes two rows or none counts.

use std::fmt;

use datamesh_db::{DbError, Row, Tx, UsageChange, Value};
use datamesh_types::AccountId;

use crate::{Accounts, AccountsError, Limits};

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dimension {
    /// Logical bytes stored.
    Bytes,
    /// Objects: versions that hold data.
    Objects,
}

impl Dimension {
    pub(crate) const fn number(self) -> i64 {
        match self {
            Self::Bytes => 1,
            Self::Objects => 2,
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bytes => "bytes",
            Self::Objects => "objects",
        })
    }
}

/// What an account stores, holds in reserve and may store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountUsage {
    /// The account.
    pub account: AccountId,
    /// Logical bytes stored.
    pub bytes: u64,
    /// Objects stored.
    pub objects: u64,
    /// Bytes that uploads under way, or gateways in advance, hold.
    pub bytes_reserved: u64,
    /// Objects held likewise.
    pub objects_reserved: u64,
    /// The limits.
    pub limits: Limits,
}

/// What an account stores in truth, counted by the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredUsage {
    /// The account.
    pub account: AccountId,
    /// Logical bytes.
    pub bytes: u64,
    /// Objects.
    pub objects: u64,
}

/// An account whose recorded usage was not what it stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drift {
    /// What was recorded.
    pub recorded: StoredUsage,
    /// What was counted, and is recorded now.
    pub counted: StoredUsage,
}

/// Bytes and objects together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Amount {
    pub(crate) bytes: i64,
    pub(crate) objects: i64,
}

impl Amount {
    pub(crate) fn new(bytes: u64, objects: u64) -> Self {
        Self { bytes: clamp(bytes), objects: clamp(objects) }
    }

    /// One of the two, as it is shown.
    pub(crate) fn of(self, dimension: Dimension) -> u64 {
        match dimension {
            Dimension::Bytes => self.bytes.max(0) as u64,
            Dimension::Objects => self.objects.max(0) as u64,
        }
    }

    pub(crate) const fn is_zero(self) -> bool {
        self.bytes == 0 && self.objects == 0
    }

    pub(crate) const fn covers(self, other: Self) -> bool {
        self.bytes >= other.bytes && self.objects >= other.objects
    }

    pub(crate) fn each(self, other: Self, combine: impl Fn(i64, i64) -> i64) -> Self {
        Self { bytes: combine(self.bytes, other.bytes), objects: combine(self.objects, other.objects) }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        self.each(other, i64::saturating_add)
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        self.each(other, i64::saturating_sub)
    }
}

/// A quota far beyond any disk, so that sums stay inside 64 bits.
fn clamp(amount: u64) -> i64 {
    const MAX: u64 = 1 << 60;
    amount.min(MAX) as i64
}

/// The two rows of an account.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quota {
    pub(crate) used: Amount,
    pub(crate) reserved: Amount,
    maximum: [Option<i64>; 2],
}

impl Quota {
    pub(crate) const fn is_unlimited(&self) -> bool {
        self.maximum[0].is_none() && self.maximum[1].is_none()
    }

    /// How much more fits.
    pub(crate) fn room(&self) -> Amount {
        let taken = self.used.plus(self.reserved);
        let left = |maximum: Option<i64>, taken: i64| maximum.map_or(i64::MAX, |maximum| maximum - taken);
        Amount { bytes: left(self.maximum[0], taken.bytes), objects: left(self.maximum[1], taken.objects) }
    }

    /// The error for `requested`, which does not fit.
    fn exceeded(&self, requested: Amount) -> AccountsError {
        let objects_fit = self.room().objects >= requested.objects;
        let (dimension, index) = if objects_fit { (Dimension::Bytes, 0) } else { (Dimension::Objects, 1) };
        AccountsError::QuotaExceeded {
            dimension,
            limit: self.maximum[index].unwrap_or(i64::MAX) as u64,
            used: self.used.of(dimension),
            reserved: self.reserved.of(dimension),
            requested: requested.of(dimension),
        }
    }
}

pub(crate) async fn load(tx: &mut Tx, account: AccountId) -> Result<Quota, AccountsError> {
    let rows = tx
        .query(
            "SELECT maximum, used, reserved FROM quota WHERE owner = $1 ORDER BY dimension",
            &[account.into()],
        )
        .await?;
    let [bytes, objects] = rows.as_slice() else { return Err(AccountsError::NoSuchAccount { account }) };
    Ok(Quota {
        used: Amount { bytes: bytes.int(1)?, objects: objects.int(1)? },
        reserved: Amount { bytes: bytes.int(2)?, objects: objects.int(2)? },
        maximum: [bytes.opt_int(0)?, objects.opt_int(0)?],
    })
}

/// Adds to `used` and `reserved`, as long as `extra`, the sum's growth, fits where it is positive.
pub(crate) async fn adjust(
    tx: &mut Tx,
    account: AccountId,
    used: Amount,
    reserved: Amount,
    extra: Amount,
) -> Result<(), AccountsError> {
    const ADJUST: &str = "UPDATE quota SET
            used = used + CASE dimension WHEN 1 THEN CAST($2 AS BIGINT) ELSE CAST($3 AS BIGINT) END,
            reserved = reserved + CASE dimension WHEN 1 THEN CAST($4 AS BIGINT) ELSE CAST($5 AS BIGINT) END
        WHERE owner = $1 AND (maximum IS NULL
            OR CASE dimension WHEN 1 THEN CAST($6 AS BIGINT) ELSE CAST($7 AS BIGINT) END <= 0
            OR used + reserved
                + CASE dimension WHEN 1 THEN CAST($6 AS BIGINT) ELSE CAST($7 AS BIGINT) END <= maximum)";
    let params = [
        account.into(),
        used.bytes.into(),
        used.objects.into(),
        reserved.bytes.into(),
        reserved.objects.into(),
        extra.bytes.into(),
        extra.objects.into(),
    ];
    if tx.execute(ADJUST, &params).await? == 2 {
        return Ok(());
    }
    // Whatever one of the rows took is undone with the transaction.
    let quota = load(tx, account).await?;
    Err(quota.exceeded(extra))
}

/// Records `change` in its transaction, paying for growth from `held`, which is in the reservation `id`, first.
/// What it took from there.
pub(crate) async fn settle(
    tx: &mut Tx,
    change: &UsageChange,
    id: Option<&[u8; 16]>,
    held: Amount,
) -> Result<Amount, AccountsError> {
    let used = Amount { bytes: change.bytes, objects: change.objects };
    let growth = used.each(Amount::default(), i64::max);
    let mut paid = Amount::default();
    if let Some(id) = id {
        let wanted = growth.each(held, i64::min);
        // Without its row the reservation has expired, and the growth must fit anew.
        if !wanted.is_zero() && shrink(tx, id, wanted).await? {
            paid = wanted;
        }
    }
    let unpaid = growth.minus(paid);
    adjust(tx, change.account, used, Amount::default().minus(paid), unpaid).await?;
    Ok(paid)
}

/// Takes `amount` out of a reservation's row; false when there is no such row any more.
pub(crate) async fn shrink(tx: &mut Tx, id: &[u8; 16], amount: Amount) -> Result<bool, DbError> {
    let params = [id.into(), amount.bytes.into(), amount.objects.into()];
    let changed = tx
        .execute("UPDATE reservation SET bytes = bytes - $2, objects = objects - $3 WHERE id = $1", &params)
        .await?;
    Ok(changed == 1)
}

impl Accounts {
    /// What an account stores and may store.
    pub async fn usage(&self, account: AccountId) -> Result<AccountUsage, AccountsError> {
        let quota = self.db().read::<_, AccountsError, _>(move |tx| Box::pin(load(tx, account))).await?;
        Ok(usage_of(account, &quota))
    }

    /// The same of every account, as one snapshot.
    pub async fn usage_of_all(&self) -> Result<Vec<AccountUsage>, AccountsError> {
        const ALL: &str = "SELECT b.owner, b.maximum, b.used, b.reserved, o.maximum, o.used, o.reserved
            FROM quota b JOIN quota o ON o.owner = b.owner AND o.dimension = 2
            WHERE b.dimension = 1 ORDER BY b.owner";
        let rows = self
            .db()
            .scan::<_, AccountsError, _>(|tx| Box::pin(async move { Ok(tx.query(ALL, &[]).await?) }))
            .await?;
        let usage = |row: &Row| {
            let quota = Quota {
                used: Amount { bytes: row.int(2)?, objects: row.int(5)? },
                reserved: Amount { bytes: row.int(3)?, objects: row.int(6)? },
                maximum: [row.opt_int(1)?, row.opt_int(4)?],
            };
            Ok(usage_of(AccountId(row.bytes(0)?), &quota))
        };
        rows.iter().map(usage).collect()
    }

    /// Changes what an account may store. A limit below its usage takes nothing away: it only refuses more.
    pub async fn set_limits(&self, account: AccountId, limits: Limits) -> Result<(), AccountsError> {
        const SET: &str = "UPDATE quota SET
            maximum = CASE dimension WHEN 1 THEN CAST($2 AS BIGINT) ELSE CAST($3 AS BIGINT) END WHERE owner = $1";
        let params = [account.into(), limits.bytes.map(clamp).into(), limits.objects.map(clamp).into()];
        let changed = self
            .db()
            .write::<_, AccountsError, _>(move |tx| {
                let params: [Value; 3] = params.clone();
                Box::pin(async move { Ok(tx.execute(SET, &params).await?) })
            })
            .await?;
        self.leases().forget_unlimited(account);
        if changed == 2 { Ok(()) } else { Err(AccountsError::NoSuchAccount { account }) }
    }

    /// Makes the recorded usage what `counted` says, zero for accounts it leaves out, and reports every difference.
    ///
    /// No account of `counted` may change meanwhile: an upload between the count and this would be taken for drift.
    pub async fn reconcile(&self, counted: &[StoredUsage]) -> Result<Vec<Drift>, AccountsError> {
        let mut drifts = Vec::new();
        for recorded in self.usage_of_all().await? {
            let account = recorded.account;
            let counted = counted
                .iter()
                .find(|counted| counted.account == account)
                .copied()
                .unwrap_or(StoredUsage { account, bytes: 0, objects: 0 });
            let drift =
                self.db().write::<_, AccountsError, _>(move |tx| Box::pin(reconcile(tx, counted))).await?;
            drifts.extend(drift);
        }
        Ok(drifts)
    }
}

async fn reconcile(tx: &mut Tx, counted: StoredUsage) -> Result<Option<Drift>, AccountsError> {
    let quota = load(tx, counted.account).await?;
    let difference = Amount::new(counted.bytes, counted.objects).minus(quota.used);
    if difference.is_zero() {
        return Ok(None);
    }
    adjust(tx, counted.account, difference, Amount::default(), Amount::default()).await?;
    let recorded = usage_of(counted.account, &quota);
    let recorded = StoredUsage { account: counted.account, bytes: recorded.bytes, objects: recorded.objects };
    Ok(Some(Drift { recorded, counted }))
}

fn usage_of(account: AccountId, quota: &Quota) -> AccountUsage {
    let unsigned = |amount: i64| amount.max(0) as u64;
    let limit = |index: usize| quota.maximum[index].map(unsigned);
    AccountUsage {
        account,
        bytes: unsigned(quota.used.bytes),
        objects: unsigned(quota.used.objects),
        bytes_reserved: unsigned(quota.reserved.bytes),
        objects_reserved: unsigned(quota.reserved.objects),
        limits: Limits { bytes: limit(0), objects: limit(1) },
    }
}

//! Usage: what is counted against limits, as it is shown.

use std::collections::BTreeMap;

use datamesh_types::AccountId;

use crate::owner::{Book, Owner};
use crate::quota::{self, Line, Quota, unsigned};
use crate::{Accounts, AccountsError, Dimension};

/// A dimension that is counted: its limit, what is used, and what is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The limit, in whatever stage it is.
    pub limit: Option<u64>,
    /// What is used.
    pub used: u64,
    /// What uploads under way, or gateways in advance, hold.
    pub reserved: u64,
}

impl Standing {
    pub(crate) fn of(line: &Line) -> Self {
        Self { limit: line.soft.map(unsigned), used: unsigned(line.used), reserved: unsigned(line.reserved) }
    }
}

/// What an account stores, holds in reserve and may store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountUsage {
    /// The account.
    pub account: AccountId,
    /// Logical bytes.
    pub bytes: Standing,
    /// Objects.
    pub objects: Standing,
}

impl Accounts {
    /// What an account stores and may store.
    ///
    /// # Errors
    /// [`AccountsError::NoSuchAccount`].
    pub async fn usage(&self, account: AccountId) -> Result<AccountUsage, AccountsError> {
        let book = Book::Stored(Owner::Account(account));
        let found = self
            .db()
            .read::<_, AccountsError, _>(move |tx| {
                let book = book.clone();
                Box::pin(async move { quota::find(tx, &book).await })
            })
            .await?;
        let Quota([bytes, objects]) = found.ok_or(AccountsError::NoSuchAccount { account })?;
        Ok(AccountUsage { account, bytes: Standing::of(&bytes), objects: Standing::of(&objects) })
    }

    /// The same of every account, as one snapshot.
    pub async fn usage_of_all(&self) -> Result<Vec<AccountUsage>, AccountsError> {
        self.usage_between(None, AccountId([u8::MAX; 16])).await
    }

    /// The same of the accounts whose ids follow `after`, up to `last`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn usage_between(
        &self,
        after: Option<AccountId>,
        last: AccountId,
    ) -> Result<Vec<AccountUsage>, AccountsError> {
        const BETWEEN: &str = "SELECT a.id, q.dimension, q.maximum, q.soft, q.stage, q.used, q.reserved
            FROM account a JOIN quota q ON q.owner = a.id WHERE a.id > $1 AND a.id <= $2
            ORDER BY a.id, q.dimension";
        let after = after.map_or_else(Vec::new, |after| after.0.to_vec());
        let rows = self.db().rows(BETWEEN, [after.into(), last.into()].into()).await?;
        let mut standings = BTreeMap::<AccountId, [Option<Standing>; 2]>::new();
        for row in &rows {
            let line = quota::line(row, 1)?;
            let index = usize::from(line.dimension == Dimension::Objects);
            standings.entry(AccountId(row.bytes(0)?)).or_default()[index] = Some(Standing::of(&line));
        }
        let usage = |(account, standings): (AccountId, [Option<Standing>; 2])| match standings {
            [Some(bytes), Some(objects)] => Some(AccountUsage { account, bytes, objects }),
            _ => None,
        };
        Ok(standings.into_iter().filter_map(usage).collect())
    }
}

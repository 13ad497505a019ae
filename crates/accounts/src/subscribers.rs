//! Who subscribes to a plan, whatever its version: whom a change of the plan or of its prices is about.

use datamesh_types::AccountId;

use crate::{Accounts, AccountsError};

/// The accounts on a plan; erased ones are not among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscribers {
    /// How many they are.
    pub accounts: u64,
    /// The first of them, in the order of their ids.
    pub first: Vec<AccountId>,
}

impl Accounts {
    /// Who subscribes to a plan; no more than `named` are named, which is at least 1. A plan that is not there has nobody.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn subscribers(&self, plan: &str, named: usize) -> Result<Subscribers, AccountsError> {
        const FIRST: &str = "SELECT s.account, COUNT(*) OVER () FROM subscription s
            JOIN account a ON a.id = s.account WHERE s.plan = $1 AND a.status <> 'erased'
            ORDER BY s.account LIMIT $2";
        let rows = self.db().rows(FIRST, [plan.into(), named.into()].into()).await?;
        let accounts = rows.first().map(|row| row.uint(1)).transpose()?.unwrap_or(0);
        let first = rows.iter().map(|row| Ok(AccountId(row.bytes(0)?)));
        Ok(Subscribers { accounts, first: first.collect::<Result<_, AccountsError>>()? })
    }
}

//! Who verifies people: a provider behind a trait, and cases that wait for its decision.

use std::pin::Pin;

use aws_lc_rs::rand;
use datamesh_db::{Row, Tx};
use datamesh_types::AccountId;
use serde::Serialize;

use super::{AccountStatus, IdentityError, VerificationLevel};
use crate::named::named;
use crate::{Accounts, AccountsError};

/// A provider failed: the case is tried again.
#[derive(Debug, thiserror::Error)]
#[error("the verification provider {provider} failed")]
pub struct VerificationError {
    /// Its name.
    pub provider: &'static str,
    /// Why.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// What becomes of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Not known yet.
    Waiting,
    /// They are who they say.
    Approved,
    /// They are not, or it could not be found out.
    Rejected,
}

/// A decision to come.
pub type Judgement<'c> = Pin<Box<dyn Future<Output = Result<Decision, VerificationError>> + Send + 'c>>;

/// Verifies people.
pub trait VerificationProvider: Send + Sync + 'static {
    /// Its name, which is recorded with its cases.
    fn name(&self) -> &'static str;

    /// Asked again and again while a case is open, until it is decided. It may be asked about a case twice at once, and
    /// after its decision.
    fn judge<'c>(&'c self, case: &'c VerificationCase) -> Judgement<'c>;
}

/// An operator decides.
#[derive(Debug, Clone, Copy, Default)]
pub struct ManualProvider;

impl VerificationProvider for ManualProvider {
    fn name(&self) -> &'static str {
        "manual"
    }

    fn judge<'c>(&'c self, _case: &'c VerificationCase) -> Judgement<'c> {
        Box::pin(std::future::ready(Ok(Decision::Waiting)))
    }
}

/// The state of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CaseStatus {
    /// Nobody has decided.
    Open,
    /// The level was reached.
    Approved,
    /// It was not.
    Rejected,
}

named!(CaseStatus {
    Open = "open", Approved = "approved", Rejected = "rejected",
} name => AccountsError::Damaged { name: "verification_case".to_owned() });

/// A person to be verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerificationCase {
    /// Its id.
    pub id: String,
    /// The account.
    pub account: AccountId,
    /// How far.
    pub level: VerificationLevel,
    /// By which provider.
    pub provider: String,
    /// What became of it.
    pub status: CaseStatus,
    /// Since when, milliseconds since 1970.
    pub opened_at_ms: u64,
    /// When it was decided.
    pub decided_at_ms: Option<u64>,
}

/// Opens a case.
pub(super) async fn open_case(
    tx: &mut Tx,
    account: AccountId,
    level: VerificationLevel,
    provider: &str,
    now_ms: u64,
) -> Result<(), AccountsError> {
    const OPEN: &str = "INSERT INTO verification_case (id, account, level, provider, status, opened_at_ms)
        VALUES ($1, $2, $3, $4, 'open', $5)";
    let mut id = [0; 8];
    rand::fill(&mut id).map_err(|_| AccountsError::Random)?;
    let params =
        [hex::encode(id).into(), account.into(), level.number().into(), provider.into(), now_ms.into()];
    tx.execute(OPEN, &params).await?;
    Ok(())
}

/// Who decides: only operators go back on a rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decider {
    Operator,
    Provider,
}

/// Opens a case like the account's last one, if that was rejected; an operator decides it. Whether it did.
async fn reopen(tx: &mut Tx, account: AccountId, now_ms: u64) -> Result<bool, AccountsError> {
    const LAST: &str = "SELECT level, status FROM verification_case WHERE account = $1
        ORDER BY opened_at_ms DESC, decided_at_ms DESC LIMIT 1";
    let Some(last) = tx.query_opt(LAST, &[account.into()]).await? else { return Ok(false) };
    if last.text(1)?.parse::<CaseStatus>()? != CaseStatus::Rejected {
        return Ok(false);
    }
    let level = VerificationLevel::from_number(last.int(0)?)?;
    open_case(tx, account, level, ManualProvider.name(), now_ms).await?;
    Ok(true)
}

fn from_row(row: &Row) -> Result<VerificationCase, AccountsError> {
    Ok(VerificationCase {
        id: row.text(0)?.to_owned(),
        account: AccountId(row.bytes(1)?),
        level: VerificationLevel::from_number(row.int(2)?)?,
        provider: row.text(3)?.to_owned(),
        status: row.text(4)?.parse()?,
        opened_at_ms: row.uint(5)?,
        decided_at_ms: row.opt_int(6)?.map(i64::cast_unsigned),
    })
}

impl Accounts {
    /// Up to `limit` cases that nobody has decided, oldest first.
    pub async fn open_cases(&self, limit: usize) -> Result<Vec<VerificationCase>, AccountsError> {
        const OPEN: &str = "SELECT id, account, level, provider, status, opened_at_ms, decided_at_ms
            FROM verification_case WHERE status = 'open' ORDER BY opened_at_ms, id LIMIT $1";
        let rows = self.db().rows(OPEN, [limit.into()].into()).await?;
        rows.iter().map(from_row).collect()
    }

    /// Decides the open case of an account, as an operator does. Once the owner is verified as far as the plan needs, the
    /// account is active. One that was rejected can be approved later: in a new case, so that both decisions stay. The
    /// account's state afterwards.
    ///
    /// # Errors
    /// [`IdentityError::NoCase`] when there is none to decide.
    pub async fn decide_case(
        &self,
        account: AccountId,
        is_approved: bool,
    ) -> Result<AccountStatus, IdentityError> {
        self.decide(account, is_approved, Decider::Operator).await
    }

    async fn decide(
        &self,
        account: AccountId,
        is_approved: bool,
        by: Decider,
    ) -> Result<AccountStatus, IdentityError> {
        const DECIDE: &str = "UPDATE verification_case SET status = $2, decided_at_ms = $3
            WHERE account = $1 AND status = 'open' RETURNING level";
        const RAISE: &str = "UPDATE account SET level = $2,
            status = CASE WHEN status = 'pending' THEN 'active' ELSE status END WHERE id = $1";
        const STATUS: &str = "SELECT status FROM account WHERE id = $1";
        let status = if is_approved { CaseStatus::Approved } else { CaseStatus::Rejected };
        let now_ms = self.now_ms();
        self.write(move |tx| {
            Box::pin(async move {
                let params = [account.into(), status.name().into(), now_ms.into()];
                let mut row = tx.query_opt(DECIDE, &params).await?;
                if row.is_none()
                    && is_approved
                    && by == Decider::Operator
                    && reopen(tx, account, now_ms).await?
                {
                    row = tx.query_opt(DECIDE, &params).await?;
                }
                let row = row.ok_or(IdentityError::NoCase)?;
                if is_approved {
                    tx.execute(RAISE, &[account.into(), row.int(0)?.into()]).await?;
                }
                let row = tx.query_opt(STATUS, &[account.into()]).await?;
                let row = row.ok_or(AccountsError::NoSuchAccount { account })?;
                Ok(row.text(0)?.parse()?)
            })
        })
        .await
    }

    /// Asks the provider about every open case of its own, and decides those that it has a decision on; how many.
    pub async fn judge_cases(&self, limit: usize) -> Result<u64, IdentityError> {
        let provider = self.verification_provider();
        let mut decided = 0;
        for case in self.open_cases(limit).await? {
            if case.provider != provider.name() {
                continue;
            }
            let is_approved = match provider.judge(&case).await? {
                Decision::Waiting => continue,
                Decision::Approved => true,
                Decision::Rejected => false,
            };
            match self.decide(case.account, is_approved, Decider::Provider).await {
                // Another gateway, or an operator, was faster.
                Ok(_) | Err(IdentityError::NoCase) => decided += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(decided)
    }
}

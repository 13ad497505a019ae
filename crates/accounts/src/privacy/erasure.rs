//! Erasures: opened with a date, withdrawn until they begin, and what stands in their way.

use aws_lc_rs::rand;
use datamesh_db::{Row, Tx, Value};
use datamesh_types::AccountId;
use serde::Serialize;

use super::ErasureError;
use crate::hold::{self, Hold, NewHold, lock_holds};
use crate::named::named;
use crate::owner::Owner;
use crate::{AccountStatus, Accounts, AccountsError, HoldKind, HoldScope};

/// The state of an erasure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ErasureStatus {
    /// It waits for its date, or for what stands in its way.
    Open,
    /// It has begun, and goes on until it is done.
    Running,
    /// The account is erased.
    Done,
    /// The account is as it was.
    Withdrawn,
}

named!(ErasureStatus {
    Open = "open", Running = "running", Done = "done", Withdrawn = "withdrawn",
} name => AccountsError::Damaged { name: "erasure".to_owned() });

/// The erasure of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// Its id.
    pub id: String,
    /// Whose.
    pub account: AccountId,
    /// Its state.
    pub status: ErasureStatus,
    /// When it was opened, milliseconds since 1970.
    pub opened_at_ms: u64,
    /// When it is to begin.
    pub due_at_ms: u64,
    /// When it began.
    pub begun_at_ms: Option<u64>,
    /// When it was done or withdrawn.
    pub ended_at_ms: Option<u64>,
    /// What stood in its way at its last turn.
    pub obstacle: Option<String>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, account, status, opened_at_ms, due_at_ms, begun_at_ms, ended_at_ms, obstacle FROM erasure ",
            $rest
        )
    };
}

fn from_row(row: &Row) -> Result<Erasure, AccountsError> {
    Ok(Erasure {
        id: row.text(0)?.to_owned(),
        account: AccountId(row.bytes(1)?),
        status: row.text(2)?.parse()?,
        opened_at_ms: row.uint(3)?,
        due_at_ms: row.uint(4)?,
        begun_at_ms: row.opt_int(5)?.map(i64::cast_unsigned),
        ended_at_ms: row.opt_int(6)?.map(i64::cast_unsigned),
        obstacle: row.opt_text(7)?.map(str::to_owned),
    })
}

/// The erasure of an account that has not ended.
pub(super) async fn unended(tx: &mut Tx, account: AccountId) -> Result<Option<Erasure>, AccountsError> {
    const UNENDED: &str = select!("WHERE account = $1 AND ended_at_ms IS NULL");
    tx.query_opt(UNENDED, &[account.into()]).await?.map(|row| from_row(&row)).transpose()
}

/// Keeps holds from being placed until the transaction ends, and says whether a legal one is in force.
///
/// # Errors
/// [`ErasureError::Held`].
pub(super) async fn check_no_legal_hold(
    tx: &mut Tx,
    account: AccountId,
    now_ms: u64,
) -> Result<(), ErasureError> {
    match hold::legal(tx, account, now_ms).await? {
        Some(hold) => Err(ErasureError::Held { hold: hold.id }),
        None => Ok(()),
    }
}

impl Accounts {
    /// Opens the erasure of an account. Until it is due it can be withdrawn; nothing can be stored any more.
    ///
    /// # Errors
    /// [`ErasureError::NotToCome`], [`ErasureError::AlreadyOpen`], [`ErasureError::Erased`],
    /// [`AccountsError::NoSuchAccount`].
    pub async fn open_erasure(&self, account: AccountId, due_at_ms: u64) -> Result<Erasure, ErasureError> {
        let now_ms = self.now_ms();
        if due_at_ms <= now_ms {
            return Err(ErasureError::NotToCome);
        }
        let mut ids = [0; 16];
        rand::fill(&mut ids).map_err(|_| AccountsError::Random)?;
        let erasure = Erasure {
            id: hex::encode(&ids[..8]),
            account,
            status: ErasureStatus::Open,
            opened_at_ms: now_ms,
            due_at_ms,
            begun_at_ms: None,
            ended_at_ms: None,
            obstacle: None,
        };
        let (opened, hold) = (erasure.clone(), hex::encode(&ids[8..]));
        self.write(move |tx| {
            let (opened, hold) = (opened.clone(), hold.clone());
            Box::pin(async move { open(tx, &opened, &hold).await })
        })
        .await?;
        self.limits_changed(&Owner::Account(account));
        Ok(erasure)
    }

    /// Withdraws the erasure of an account that has not begun: everything is as it was.
    ///
    /// # Errors
    /// [`ErasureError::NotOpen`], [`ErasureError::Begun`].
    pub async fn withdraw_erasure(&self, account: AccountId) -> Result<Erasure, ErasureError> {
        let now_ms = self.now_ms();
        let withdrawn =
            self.write(move |tx| Box::pin(async move { withdraw(tx, account, now_ms).await })).await?;
        self.limits_changed(&Owner::Account(account));
        Ok(withdrawn)
    }

    /// The erasures of an account, or the last `limit` of all that were opened; newest first.
    pub async fn erasures(
        &self,
        account: Option<AccountId>,
        limit: usize,
    ) -> Result<Vec<Erasure>, AccountsError> {
        const ALL: &str = select!("ORDER BY opened_at_ms DESC, id LIMIT $1");
        const OF: &str = select!("WHERE account = $2 ORDER BY opened_at_ms DESC, id LIMIT $1");
        let rows = match account {
            None => self.db().rows(ALL, [limit.into()].into()).await?,
            Some(account) => self.db().rows(OF, [limit.into(), account.into()].into()).await?,
        };
        rows.iter().map(from_row).collect()
    }

    /// Up to `limit` erasures that are due or have begun.
    pub async fn due_erasures(&self, limit: usize) -> Result<Vec<Erasure>, AccountsError> {
        const DUE: &str =
            select!("WHERE ended_at_ms IS NULL AND due_at_ms <= $1 ORDER BY due_at_ms, id LIMIT $2");
        let rows = self.db().rows(DUE, [self.now_ms().into(), limit.into()].into()).await?;
        rows.iter().map(from_row).collect()
    }

    /// Begins an erasure that is due: from now on it cannot be withdrawn. Doing so again changes nothing.
    ///
    /// # Errors
    /// [`ErasureError::NotOpen`] when it was withdrawn, or is not due; [`ErasureError::Held`].
    pub async fn begin_erasure(&self, erasure: &Erasure) -> Result<(), ErasureError> {
        const BEGIN: &str = "UPDATE erasure SET status = 'running', begun_at_ms = $2, obstacle = NULL
            WHERE id = $1 AND status = 'open' AND due_at_ms <= $2";
        let (id, account, now_ms) = (erasure.id.clone(), erasure.account, self.now_ms());
        if erasure.status == ErasureStatus::Running {
            return Ok(());
        }
        self.write(move |tx| {
            let id = id.clone();
            Box::pin(async move {
                check_no_legal_hold(tx, account, now_ms).await?;
                match tx.execute(BEGIN, &[id.into(), now_ms.into()]).await? {
                    0 => Err(ErasureError::NotOpen { account }),
                    _ => Ok(()),
                }
            })
        })
        .await
    }

    /// Records what stands in the way of an erasure.
    pub async fn obstruct_erasure(&self, erasure: &Erasure, obstacle: &str) -> Result<(), AccountsError> {
        const OBSTRUCT: &str = "UPDATE erasure SET obstacle = $2 WHERE id = $1 AND ended_at_ms IS NULL";
        let params = [Value::from(&erasure.id), obstacle.into()];
        self.db().execute(OBSTRUCT, params.into()).await?;
        Ok(())
    }
}

async fn open(tx: &mut Tx, erasure: &Erasure, hold: &str) -> Result<(), ErasureError> {
    const STATUS: &str = "SELECT status FROM account WHERE id = $1";
    const CLOSE: &str = "UPDATE account SET status = 'closing' WHERE id = $1";
    const OPEN: &str =
        "INSERT INTO erasure (id, account, status, status_before, hold, opened_at_ms, due_at_ms)
        VALUES ($1, $2, 'open', $3, $4, $5, $6)";
    let account = erasure.account;
    lock_holds(tx, account).await?;
    let row = tx.query_opt(STATUS, &[account.into()]).await?;
    let status: AccountStatus = row.ok_or(AccountsError::NoSuchAccount { account })?.text(0)?.parse()?;
    if status == AccountStatus::Erased {
        return Err(ErasureError::Erased { account });
    }
    if unended(tx, account).await?.is_some() {
        return Err(ErasureError::AlreadyOpen { account });
    }
    let new = NewHold {
        kind: HoldKind::Erasure,
        scope: HoldScope::Write,
        reason: "an erasure is open".to_owned(),
        until_ms: None,
    };
    let begun = Hold::begin(hold.to_owned(), account, new, erasure.opened_at_ms);
    hold::place(tx, &Hold { is_automatic: true, ..begun }).await?;
    let params = [
        (&erasure.id).into(),
        account.into(),
        status.name().into(),
        hold.into(),
        erasure.opened_at_ms.into(),
        erasure.due_at_ms.into(),
    ];
    tx.execute(OPEN, &params).await?;
    tx.execute(CLOSE, &[account.into()]).await?;
    Ok(())
}

async fn withdraw(tx: &mut Tx, account: AccountId, now_ms: u64) -> Result<Erasure, ErasureError> {
    const WITHDRAW: &str = "UPDATE erasure SET status = 'withdrawn', ended_at_ms = $2, obstacle = NULL
        WHERE id = $1 RETURNING status_before, hold";
    // Somebody who was waiting for a verification may have got it meanwhile.
    const REOPEN: &str = "UPDATE account SET status = CASE WHEN EXISTS (SELECT 1 FROM verification_case c
            WHERE c.account = account.id AND c.status = 'approved') THEN 'active' ELSE $2 END
        WHERE id = $1 AND status = 'closing'";
    const LIFT: &str = "UPDATE hold SET lifted_at_ms = $2 WHERE id = $1";
    lock_holds(tx, account).await?;
    let erasure = unended(tx, account).await?.ok_or(ErasureError::NotOpen { account })?;
    if erasure.status != ErasureStatus::Open {
        return Err(ErasureError::Begun { account });
    }
    let row = tx.query_opt(WITHDRAW, &[(&erasure.id).into(), now_ms.into()]).await?;
    let row = row.ok_or(ErasureError::NotOpen { account })?;
    tx.execute(REOPEN, &[account.into(), row.text(0)?.into()]).await?;
    tx.execute(LIFT, &[row.text(1)?.into(), now_ms.into()]).await?;
    let status = ErasureStatus::Withdrawn;
    Ok(Erasure { status, ended_at_ms: Some(now_ms), obstacle: None, ..erasure })
}

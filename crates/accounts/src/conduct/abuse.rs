//! Cases of abuse are reported, decided, appealed by deciding again, and over after a while.

use std::time::Duration;

use aws_lc_rs::rand;
use datamesh_db::{Tx, Value};
use datamesh_types::AccountId;

use super::case::{cases_of, from_row, select};
use super::{AbuseCase, AbuseKind, AbuseStatus, Reputation};
use crate::hold::{Hold, NewHold, lock_holds, place};
use crate::owner::Owner;
use crate::{Accounts, AccountsError, HoldKind, HoldScope};

const EVIDENCE_LEN_MAX: usize = 4_096;

/// What abuse leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbuseSettings {
    /// By how many basis points an upheld case lowers the reputation.
    pub penalty: u16,
    /// How long an upheld case counts.
    pub lifetime: Duration,
    /// From how many cases on that count an account may not write.
    pub cases_held: u64,
    /// Below this reputation nobody may upload.
    pub upload_minimum: Reputation,
}

impl Default for AbuseSettings {
    fn default() -> Self {
        Self {
            penalty: 1_000,
            lifetime: Duration::from_hours(365 * 24),
            cases_held: 5,
            upload_minimum: Reputation::new(1_000),
        }
    }
}

/// How an account behaves, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conduct {
    /// How much it is trusted.
    pub reputation: Reputation,
    /// Cases that nobody has decided.
    pub open: u64,
    /// Cases that were upheld and have not expired.
    pub counting: u64,
    /// All cases that there ever were.
    pub cases: u64,
}

fn reputation(cases: &[AbuseCase], now_ms: u64) -> Reputation {
    let counting = cases.iter().filter(|case| case.counts(now_ms));
    Reputation::under(counting.map(|case| {
        let since_ms = case.decided_at_ms.unwrap_or(case.opened_at_ms);
        (case.penalty, now_ms.saturating_sub(since_ms))
    }))
}

/// How much an account is trusted now.
pub(crate) async fn reputation_of(
    tx: &mut Tx,
    account: AccountId,
    now_ms: u64,
) -> Result<Reputation, AccountsError> {
    Ok(reputation(&cases_of(tx, account).await?, now_ms))
}

impl Accounts {
    /// Opens a case. It counts for nothing before it is decided.
    ///
    /// # Errors
    /// [`AccountsError::NoSuchAccount`]; [`AccountsError::InvalidCase`] for evidence that is missing or too long.
    pub async fn report_abuse(
        &self,
        account: AccountId,
        kind: AbuseKind,
        evidence: &str,
    ) -> Result<AbuseCase, AccountsError> {
        const OPEN: &str = "INSERT INTO abuse_case (id, account, kind, status, evidence, opened_at_ms)
            SELECT $1, id, $3, 'open', $4, $5 FROM account WHERE id = $2";
        if !(1..=EVIDENCE_LEN_MAX).contains(&evidence.len()) {
            let reason = format!("evidence: expected 1 to {EVIDENCE_LEN_MAX} bytes");
            return Err(AccountsError::InvalidCase { reason });
        }
        let mut id = [0; 8];
        rand::fill(&mut id).map_err(|_| AccountsError::Random)?;
        let case = AbuseCase {
            id: hex::encode(id),
            account,
            kind,
            status: AbuseStatus::Open,
            evidence: evidence.to_owned(),
            penalty: 0,
            opened_at_ms: self.now_ms(),
            decided_at_ms: None,
            expires_at_ms: None,
        };
        let params = [
            Value::from(&case.id),
            account.into(),
            kind.name().into(),
            evidence.into(),
            case.opened_at_ms.into(),
        ];
        self.write(move |tx| {
            let params = params.clone();
            Box::pin(async move {
                match tx.execute(OPEN, &params).await? {
                    0 => Err(AccountsError::NoSuchAccount { account }),
                    _ => Ok(()),
                }
            })
        })
        .await?;
        Ok(case)
    }

    /// Decides a case, also one that was decided otherwise before. Places or lifts the hold that many cases bring.
    ///
    /// # Errors
    /// [`AccountsError::NoSuchCase`].
    pub async fn decide_abuse(
        &self,
        case: &str,
        is_upheld: bool,
    ) -> Result<(AbuseCase, Conduct), AccountsError> {
        let (id, settings, now_ms) = (case.to_owned(), self.config().abuse, self.now_ms());
        let decided = self
            .write::<_, AccountsError, _>(move |tx| {
                let id = id.clone();
                Box::pin(async move { decide(tx, id, is_upheld, settings, now_ms).await })
            })
            .await?;
        self.limits_changed(&Owner::Account(decided.0.account));
        Ok(decided)
    }

    /// Lifts holds of accounts whose cases no longer count for one; how many.
    pub async fn review_abuse(&self) -> Result<u64, AccountsError> {
        const HELD: &str = "SELECT DISTINCT account FROM hold
            WHERE kind = 'abuse' AND automatic = 1 AND lifted_at_ms IS NULL ORDER BY account";
        let rows = self.db().rows(HELD, [].into()).await?;
        let mut lifted = 0;
        for row in rows {
            let account = AccountId(row.bytes(0)?);
            let (settings, now_ms) = (self.config().abuse, self.now_ms());
            let held = self
                .db()
                .write::<_, AccountsError, _>(move |tx| {
                    Box::pin(async move {
                        lock_holds(tx, account).await?;
                        let cases = cases_of(tx, account).await?;
                        settle(tx, account, &cases, settings, now_ms).await
                    })
                })
                .await?;
            lifted += u64::from(!held);
            self.limits_changed(&Owner::Account(account));
        }
        Ok(lifted)
    }

    /// Up to `limit` cases, of one account or of all, newest first.
    pub async fn abuse_cases(
        &self,
        account: Option<AccountId>,
        limit: usize,
    ) -> Result<Vec<AbuseCase>, AccountsError> {
        const ALL: &str = select!("ORDER BY opened_at_ms DESC, id LIMIT $1");
        const OF: &str = select!("WHERE account = $2 ORDER BY opened_at_ms DESC, id LIMIT $1");
        let rows = match account {
            None => self.db().rows(ALL, [limit.into()].into()).await?,
            Some(account) => self.db().rows(OF, [limit.into(), account.into()].into()).await?,
        };
        rows.iter().map(from_row).collect()
    }

    /// A case.
    ///
    /// # Errors
    /// [`AccountsError::NoSuchCase`].
    pub async fn abuse_case(&self, id: &str) -> Result<AbuseCase, AccountsError> {
        const ONE: &str = select!("WHERE id = $1");
        let row = self.db().row(ONE, [id.into()].into()).await?;
        from_row(&row.ok_or_else(|| AccountsError::NoSuchCase { id: id.to_owned() })?)
    }

    /// How an account behaves.
    pub async fn conduct(&self, account: AccountId) -> Result<Conduct, AccountsError> {
        let now_ms = self.now_ms();
        let cases = self
            .db()
            .scan::<_, AccountsError, _>(move |tx| Box::pin(async move { cases_of(tx, account).await }))
            .await?;
        Ok(conduct(&cases, now_ms))
    }
}

fn conduct(cases: &[AbuseCase], now_ms: u64) -> Conduct {
    let count = |is: fn(&AbuseCase, u64) -> bool| cases.iter().filter(|case| is(case, now_ms)).count() as u64;
    Conduct {
        reputation: reputation(cases, now_ms),
        open: count(|case, _| case.status == AbuseStatus::Open),
        counting: count(AbuseCase::counts),
        cases: cases.len() as u64,
    }
}

async fn decide(
    tx: &mut Tx,
    id: String,
    is_upheld: bool,
    settings: AbuseSettings,
    now_ms: u64,
) -> Result<(AbuseCase, Conduct), AccountsError> {
    const ACCOUNT: &str = "SELECT account FROM abuse_case WHERE id = $1";
    // Saying the same again neither renews a case nor makes it weigh anew.
    const DECIDE: &str =
        "UPDATE abuse_case SET status = $2, penalty = $3, decided_at_ms = $4, expires_at_ms = $5
        WHERE id = $1 AND status <> $2";
    let row = tx.query_opt(ACCOUNT, &[(&id).into()]).await?;
    let account = AccountId(row.ok_or_else(|| AccountsError::NoSuchCase { id: id.clone() })?.bytes(0)?);
    lock_holds(tx, account).await?;
    let lifetime_ms = settings.lifetime.as_millis() as u64;
    let (status, penalty, expires_at_ms) = if is_upheld {
        (AbuseStatus::Upheld, settings.penalty, Some(now_ms.saturating_add(lifetime_ms)))
    } else {
        (AbuseStatus::Rejected, 0, None)
    };
    let params = [(&id).into(), status.name().into(), penalty.into(), now_ms.into(), expires_at_ms.into()];
    tx.execute(DECIDE, &params).await?;
    let cases = cases_of(tx, account).await?;
    settle(tx, account, &cases, settings, now_ms).await?;
    let conduct = conduct(&cases, now_ms);
    let decided = cases.into_iter().find(|case| case.id == id);
    Ok((decided.ok_or(AccountsError::NoSuchCase { id })?, conduct))
}

/// Places the hold that many cases bring, or lifts it; whether it is there now.
async fn settle(
    tx: &mut Tx,
    account: AccountId,
    cases: &[AbuseCase],
    settings: AbuseSettings,
    now_ms: u64,
) -> Result<bool, AccountsError> {
    const HELD: &str = "SELECT id FROM hold
        WHERE account = $1 AND kind = 'abuse' AND automatic = 1 AND lifted_at_ms IS NULL";
    const LIFT: &str = "UPDATE hold SET lifted_at_ms = $2
        WHERE account = $1 AND kind = 'abuse' AND automatic = 1 AND lifted_at_ms IS NULL";
    let is_held = tx.query_opt(HELD, &[account.into()]).await?.is_some();
    let counting = cases.iter().filter(|case| case.counts(now_ms)).count() as u64;
    let shall_be_held = counting >= settings.cases_held;
    if shall_be_held && !is_held {
        let mut id = [0; 8];
        rand::fill(&mut id).map_err(|_| AccountsError::Random)?;
        let new = NewHold {
            kind: HoldKind::Abuse,
            scope: HoldScope::Write,
            reason: "cases of abuse".to_owned(),
            until_ms: None,
        };
        let hold = Hold { is_automatic: true, ..Hold::begin(hex::encode(id), account, new, now_ms) };
        place(tx, &hold).await?;
    }
    if is_held && !shall_be_held {
        tx.execute(LIFT, &[account.into(), now_ms.into()]).await?;
    }
    Ok(shall_be_held)
}

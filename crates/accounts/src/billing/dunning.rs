//! Dunning: what happens to an account whose invoice is overdue, step by step, through holds.
//!
//! Each step has a hold of its own, whose id follows from the invoice, how often it was reopened, and the step: taking a step
//! twice places one hold.

use std::time::Duration;

use datamesh_db::Tx;
use datamesh_types::AccountId;
use tracing::warn;

use super::invoice::{InvoiceStatus, StoredInvoice};
use super::letter;
use crate::hold::{Hold, NewHold, place};
use crate::named::named;
use crate::{Accounts, AccountsError, HoldKind, HoldScope, Owner};

/// Invoices per query.
const PAGE: usize = 100;

/// How far an overdue invoice has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DunningStage {
    /// The account is warned.
    Warned,
    /// It cannot write.
    WritesFrozen,
    /// It cannot do anything.
    Frozen,
    /// An operator may delete what it stores.
    DeletionPending,
}

named!(DunningStage {
    Warned = "warned", WritesFrozen = "writes_frozen", Frozen = "frozen", DeletionPending = "deletion_pending",
});

impl DunningStage {
    const ALL: [Self; 4] = [Self::Warned, Self::WritesFrozen, Self::Frozen, Self::DeletionPending];

    /// Greater than 0, which is no stage.
    pub(super) const fn number(self) -> i64 {
        self as i64 + 1
    }

    pub(super) fn from_number(number: i64) -> Result<Self, AccountsError> {
        let stage = Self::ALL.into_iter().find(|stage| stage.number() == number);
        stage.ok_or_else(|| AccountsError::Damaged { name: "invoice".to_owned() })
    }

    /// What it keeps the account from.
    const fn scope(self) -> Option<HoldScope> {
        match self {
            Self::WritesFrozen => Some(HoldScope::Write),
            Self::Frozen => Some(HoldScope::All),
            Self::Warned | Self::DeletionPending => None,
        }
    }
}

/// How an account stands with what it owes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SubscriptionState {
    /// Nothing is overdue.
    Active,
    /// An invoice is overdue.
    PastDue,
    /// It may not write, or not do anything, because of that; also when the invoice was given up.
    Frozen,
}

named!(SubscriptionState { Active = "active", PastDue = "past_due", Frozen = "frozen" });

/// How long after an invoice was due each step is taken.
#[derive(Debug, Clone, Copy)]
pub struct DunningPolicy {
    /// Writes are frozen.
    pub freeze_writes_after: Duration,
    /// Everything is frozen.
    pub freeze_after: Duration,
    /// Deletion is pending.
    pub delete_after: Duration,
}

impl DunningPolicy {
    fn stage(&self, overdue: Duration) -> DunningStage {
        if overdue >= self.delete_after {
            DunningStage::DeletionPending
        } else if overdue >= self.freeze_after {
            DunningStage::Frozen
        } else if overdue >= self.freeze_writes_after {
            DunningStage::WritesFrozen
        } else {
            DunningStage::Warned
        }
    }
}

impl Accounts {
    /// How an account stands: the worst of its invoices. It follows from them and from the steps that were taken.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn subscription_state(&self, account: AccountId) -> Result<SubscriptionState, AccountsError> {
        const WORST: &str = "SELECT COALESCE(MAX(dunning), 0), MIN(CASE WHEN status = $2 THEN due_at_ms END)
            FROM invoice WHERE account = $1 AND status IN ($2, $3)";
        let (open, given_up) = (InvoiceStatus::Final.number(), InvoiceStatus::Uncollectible.number());
        let row = self.db().row(WORST, [account.into(), open.into(), given_up.into()].into()).await?;
        let Some(row) = row else { return Ok(SubscriptionState::Active) };
        let is_overdue = row.opt_int(1)?.is_some_and(|due_ms| due_ms.cast_unsigned() < self.now_ms());
        Ok(if row.int(0)? >= DunningStage::WritesFrozen.number() {
            SubscriptionState::Frozen
        } else if is_overdue {
            SubscriptionState::PastDue
        } else {
            SubscriptionState::Active
        })
    }

    /// How far an invoice has come.
    pub(super) async fn dunning_stage(&self, id: &str) -> Result<Option<DunningStage>, AccountsError> {
        const STAGE: &str = "SELECT dunning FROM invoice WHERE id = $1";
        let row = self.db().row(STAGE, [id.into()].into()).await?;
        let row = row.ok_or_else(|| AccountsError::NoSuchInvoice { id: id.to_owned() })?;
        Some(row.int(0)?).filter(|number| *number > 0).map(DunningStage::from_number).transpose()
    }

    /// Takes the steps that are due; how many. None is taken twice, and a step that was missed is made up for.
    ///
    /// # Errors
    /// Those of the database; steps that were taken stay.
    pub async fn dun(&self, policy: DunningPolicy) -> Result<u64, AccountsError> {
        const OVERDUE: &str = "SELECT id, account, due_at_ms, dunning, reopened FROM invoice
            WHERE status = $1 AND due_at_ms < $2 AND id > $3 ORDER BY id LIMIT $4";
        let now_ms = self.now_ms();
        let mut after = String::new();
        let mut taken = 0;
        loop {
            let params = [InvoiceStatus::Final.number().into(), now_ms.into(), (&after).into(), PAGE.into()];
            let rows = self.db().rows(OVERDUE, params.into()).await?;
            let Some(last) = rows.last() else { return Ok(taken) };
            last.text(0)?.clone_into(&mut after);
            for row in &rows {
                let (id, account) = (row.text(0)?.to_owned(), AccountId(row.bytes(1)?));
                let overdue = Duration::from_millis(now_ms.saturating_sub(row.uint(2)?));
                let (stage, before) = (policy.stage(overdue), row.int(3)?);
                if stage.number() > before {
                    self.take_step((&id, row.uint(4)?), account, (before, stage)).await?;
                    taken += 1;
                }
            }
        }
    }

    async fn take_step(
        &self,
        (id, round): (&str, u64),
        account: AccountId,
        (before, stage): (i64, DunningStage),
    ) -> Result<(), AccountsError> {
        let now_ms = self.now_ms();
        let owned = id.to_owned();
        let was_taken = self
            .db()
            .write::<_, AccountsError, _>(move |tx| {
                let id = owned.clone();
                Box::pin(async move { step(tx, (&id, round, account), (before, stage), now_ms).await })
            })
            .await?;
        if was_taken {
            warn!(%account, invoice = id, stage = stage.name(), "an invoice is overdue");
            self.limits_changed(&Owner::Account(account));
        }
        Ok(())
    }
}

/// `round` is how often the invoice was reopened: a hold that was lifted stays so, for the record.
fn hold_id(invoice: &str, round: u64, stage: DunningStage) -> String {
    match round {
        0 => format!("{invoice}-{}", stage.name()),
        _ => format!("{invoice}-{}-{round}", stage.name()),
    }
}

async fn step(
    tx: &mut Tx,
    (id, round, account): (&str, u64, AccountId),
    (before, stage): (i64, DunningStage),
    now_ms: u64,
) -> Result<bool, AccountsError> {
    const ADVANCE: &str = "UPDATE invoice SET dunning = $2 WHERE id = $1 AND status = $3 AND dunning = $4
        AND reopened = $5";
    let status = InvoiceStatus::Final.number();
    let params = [id.into(), stage.number().into(), status.into(), before.into(), round.into()];
    if tx.execute(ADVANCE, &params).await? == 0 {
        return Ok(false);
    }
    let passed = DunningStage::ALL
        .into_iter()
        .filter(|passed| (before + 1..=stage.number()).contains(&passed.number()));
    for passed in passed {
        let Some(scope) = passed.scope() else { continue };
        let reason = format!("invoice {id} is overdue");
        let new = NewHold { kind: HoldKind::Billing, scope, reason, until_ms: None };
        place(tx, &Hold::begin(hold_id(id, round, passed), account, new, now_ms)).await?;
    }
    letter::put_down(tx, (id, round, account), Some(stage), now_ms).await?;
    Ok(true)
}

/// Lifts what was placed for an invoice.
pub(super) async fn lift(tx: &mut Tx, invoice: &StoredInvoice, now_ms: u64) -> Result<(), AccountsError> {
    const LIFT: &str = "UPDATE hold SET lifted_at_ms = $2 WHERE id = $1 AND lifted_at_ms IS NULL";
    for stage in DunningStage::ALL {
        let id = hold_id(&invoice.export.id, invoice.reopened, stage);
        tx.execute(LIFT, &[id.into(), now_ms.into()]).await?;
    }
    Ok(())
}

//! Letters about bills: an account is told what it owes, and what happens because it did not pay.
//!
//! A letter is put down in the transaction of what it tells, and what it says is decided when it is written: one that was
//! overtaken by a payment or by the next step is not written.

use std::time::Duration;

use datamesh_db::{Row, Tx};
use datamesh_types::AccountId;

use super::dunning::DunningStage;
use super::invoice::{InvoiceStatus, StoredInvoice};
use crate::{AccountStatus, Accounts, AccountsError, Month};

const TAKEN_FOR_MS: u64 = 60 * 1000;
/// After this long without success a letter is given up.
const LIFETIME: Duration = Duration::from_hours(7 * 24);

/// A letter that an account may be due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillLetter {
    /// Names the letter to [`Accounts::bill_letter_sent`].
    pub id: String,
    /// Where it goes.
    pub email: String,
    /// What it says; `None` when there is nothing to say any more.
    pub text: Option<BillText>,
    /// How often it was tried before.
    pub attempts: u32,
}

/// What a letter about an invoice says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillText {
    /// The step that was taken because the invoice is overdue; `None` for a new invoice.
    pub stage: Option<DunningStage>,
    /// The invoice.
    pub invoice: String,
    /// Its month.
    pub month: Month,
    /// Micro-units of the currency that are owed.
    pub owed: u64,
    /// The currency, such as `USD`.
    pub currency: String,
    /// When it is due, or was, milliseconds since 1970.
    pub due_at_ms: u64,
}

/// Puts a letter down. `round` is how often the invoice was reopened.
pub(super) async fn put_down(
    tx: &mut Tx,
    (invoice, round, account): (&str, u64, AccountId),
    stage: Option<DunningStage>,
    now_ms: u64,
) -> Result<(), AccountsError> {
    const INSERT: &str =
        "INSERT INTO bill_letter (id, account, invoice, stage, created_at_ms, mail_at_ms, mails)
        VALUES ($1, $2, $3, $4, $5, $5, 0) ON CONFLICT (id) DO NOTHING";
    let about = stage.map_or("due", DunningStage::name);
    let number = stage.map(DunningStage::number);
    let params = [
        format!("{invoice}-{about}-{round}").into(),
        account.into(),
        invoice.into(),
        number.into(),
        now_ms.into(),
    ];
    tx.execute(INSERT, &params).await?;
    Ok(())
}

impl Accounts {
    /// Takes up to `limit` letters about bills that are due, for whoever asks alone: one that is neither sent nor postponed
    /// is due again after a minute.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn take_bill_letters(&self, limit: usize) -> Result<Vec<BillLetter>, AccountsError> {
        // The time is compared twice: another gateway may have taken a row since it was found.
        const TAKE: &str = "UPDATE bill_letter SET mail_at_ms = $2 WHERE mail_at_ms <= $1 AND id IN
            (SELECT id FROM bill_letter WHERE mail_at_ms <= $1 AND created_at_ms > $4 ORDER BY mail_at_ms LIMIT $3)
            RETURNING id, account, invoice, stage, mails";
        let now_ms = self.now_ms();
        let (again_ms, oldest_ms) = (now_ms + TAKEN_FOR_MS, self.bill_letters_oldest_ms());
        let rows = self
            .db()
            .write::<_, AccountsError, _>(move |tx| {
                let params = [now_ms.into(), again_ms.into(), limit.into(), oldest_ms.into()];
                Box::pin(async move { Ok(tx.query(TAKE, &params).await?) })
            })
            .await?;
        let mut letters = Vec::with_capacity(rows.len());
        for row in &rows {
            letters.push(self.bill_letter(row).await?);
        }
        Ok(letters)
    }

    async fn bill_letter(&self, row: &Row) -> Result<BillLetter, AccountsError> {
        let (id, attempts) = (row.text(0)?.to_owned(), row.int(4)? as u32);
        let user = self.user(AccountId(row.bytes(1)?)).await?;
        let email = user.filter(|user| user.status != AccountStatus::Erased).map(|user| user.email);
        let Some(email) = email else {
            return Ok(BillLetter { id, email: String::new(), text: None, attempts });
        };
        let invoice = self.invoice(row.text(2)?).await?;
        let stage = row.opt_int(3)?.map(DunningStage::from_number).transpose()?;
        let text = self.bill_text(&invoice, stage).await?;
        Ok(BillLetter { id, email, text, attempts })
    }

    async fn bill_text(
        &self,
        invoice: &StoredInvoice,
        stage: Option<DunningStage>,
    ) -> Result<Option<BillText>, AccountsError> {
        let owed = u64::try_from(self.settlement(invoice).await?.owed).unwrap_or_default();
        let (InvoiceStatus::Final, Some(due_at_ms), 1..) = (invoice.status, invoice.due_at_ms, owed) else {
            return Ok(None);
        };
        if stage < self.dunning_stage(&invoice.export.id).await? {
            return Ok(None);
        }
        Ok(Some(BillText {
            stage,
            invoice: invoice.export.id.clone(),
            month: invoice.month,
            owed,
            currency: invoice.export.invoice.currency.clone(),
            due_at_ms,
        }))
    }

    /// A letter about a bill was sent, or there was nothing to say.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn bill_letter_sent(&self, id: &str) -> Result<(), AccountsError> {
        self.db().execute("DELETE FROM bill_letter WHERE id = $1", [id.into()].into()).await?;
        Ok(())
    }

    /// A letter about a bill could not be sent: it is due again after `delay`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn postpone_bill_letter(&self, id: &str, delay: Duration) -> Result<(), AccountsError> {
        const LATER: &str = "UPDATE bill_letter SET mail_at_ms = $2, mails = mails + 1 WHERE id = $1";
        let at_ms = self.now_ms() + delay.as_millis() as u64;
        self.db().execute(LATER, [id.into(), at_ms.into()].into()).await?;
        Ok(())
    }

    /// Forgets letters about bills that could not be sent for a week.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn forget_bill_letters(&self) -> Result<u64, AccountsError> {
        const OLD: &str = "DELETE FROM bill_letter WHERE created_at_ms <= $1";
        Ok(self.db().execute(OLD, [self.bill_letters_oldest_ms().into()].into()).await?)
    }

    fn bill_letters_oldest_ms(&self) -> u64 {
        self.now_ms().saturating_sub(LIFETIME.as_millis() as u64)
    }
}

//! What comes in for final invoices: payments and credit notes.

use std::sync::Arc;

use aws_lc_rs::rand;
use datamesh_db::{Tx, Value};

use super::dunning;
use super::invoice::{InvoiceStatus, StoredInvoice, locked};
use crate::{Accounts, AccountsError, Owner};

/// A payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Through whom it came.
    pub provider: String,
    /// What the provider calls it: the same payment can be told twice.
    pub reference: String,
    /// Micro-units of the invoice's currency.
    pub amount: u64,
    /// When it was recorded, milliseconds since 1970.
    pub at_ms: u64,
}

/// A correction of a final invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreditNote {
    /// Its id.
    pub id: String,
    /// Micro-units of the invoice's currency.
    pub amount: u64,
    /// Why.
    pub reason: String,
    /// When it was made, milliseconds since 1970.
    pub at_ms: u64,
}

impl Accounts {
    /// Records a payment for a final invoice, or for one that was given up. What covers the invoice makes it paid and lifts
    /// what was placed for it. Telling the same payment again changes nothing.
    ///
    /// # Errors
    /// [`AccountsError::NoSuchInvoice`]; [`AccountsError::InvoiceState`] when nothing is owed;
    /// [`AccountsError::PaymentConflict`] when the reference stands for something else.
    pub async fn record_payment(&self, id: &str, payment: Payment) -> Result<StoredInvoice, AccountsError> {
        let shared = Arc::new((id.to_owned(), payment));
        let now_ms = self.now_ms();
        let invoice = self
            .write(move |tx| {
                let shared = Arc::clone(&shared);
                Box::pin(async move { pay(tx, &shared.0, &shared.1, now_ms).await })
            })
            .await?;
        self.limits_changed(&Owner::Account(invoice.account));
        Ok(invoice)
    }

    /// Corrects a final invoice: so much of it is not owed.
    ///
    /// # Errors
    /// [`AccountsError::NoSuchInvoice`]; [`AccountsError::InvoiceState`] for a draft, or for more than the invoice says.
    pub async fn credit_invoice(
        &self,
        id: &str,
        amount: u64,
        reason: &str,
    ) -> Result<(StoredInvoice, CreditNote), AccountsError> {
        let mut note_id = [0; 8];
        rand::fill(&mut note_id).map_err(|_| AccountsError::Random)?;
        let now_ms = self.now_ms();
        let note = CreditNote {
            id: format!("credit-{}", hex::encode(note_id)),
            amount,
            reason: reason.to_owned(),
            at_ms: now_ms,
        };
        let shared = Arc::new((id.to_owned(), note.clone()));
        let invoice = self
            .write(move |tx| {
                let shared = Arc::clone(&shared);
                Box::pin(async move { credit(tx, &shared.0, &shared.1, now_ms).await })
            })
            .await?;
        self.limits_changed(&Owner::Account(invoice.account));
        Ok((invoice, note))
    }

    /// Gives a final invoice up. What was placed for it stays until it is paid or lifted.
    ///
    /// # Errors
    /// [`AccountsError::NoSuchInvoice`], [`AccountsError::InvoiceState`].
    pub async fn write_off_invoice(&self, id: &str) -> Result<StoredInvoice, AccountsError> {
        let (id, now_ms) = (Arc::<str>::from(id), self.now_ms());
        self.write(move |tx| {
            let id = Arc::clone(&id);
            Box::pin(async move {
                let invoice = locked(tx, &id).await?;
                if invoice.status != InvoiceStatus::Final {
                    return Err(refused(&invoice, "only a final invoice can be given up"));
                }
                close(tx, &id, InvoiceStatus::Uncollectible, now_ms).await?;
                locked(tx, &id).await
            })
        })
        .await
    }

    /// What came in for an invoice, oldest first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn payments(&self, id: &str) -> Result<(Vec<Payment>, Vec<CreditNote>), AccountsError> {
        const PAYMENTS: &str = "SELECT provider, reference, amount, at_ms FROM payment WHERE invoice = $1
            ORDER BY at_ms, provider, reference";
        const NOTES: &str = "SELECT id, amount, reason, at_ms FROM credit_note WHERE invoice = $1
            ORDER BY at_ms, id";
        let param = Value::from(id);
        self.db()
            .read(move |tx| {
                let params = [param.clone()];
                Box::pin(async move {
                    let mut payments = Vec::new();
                    for row in &tx.query(PAYMENTS, &params).await? {
                        let [provider, reference] = [row.text(0)?.to_owned(), row.text(1)?.to_owned()];
                        let (amount, at_ms) = (row.uint(2)?, row.uint(3)?);
                        payments.push(Payment { provider, reference, amount, at_ms });
                    }
                    let mut notes = Vec::new();
                    for row in &tx.query(NOTES, &params).await? {
                        let [id, reason] = [row.text(0)?.to_owned(), row.text(2)?.to_owned()];
                        notes.push(CreditNote { id, amount: row.uint(1)?, reason, at_ms: row.uint(3)? });
                    }
                    Ok((payments, notes))
                })
            })
            .await
    }
}

fn refused(invoice: &StoredInvoice, reason: &'static str) -> AccountsError {
    AccountsError::InvoiceState { id: invoice.export.id.clone(), status: invoice.status, reason }
}

async fn pay(tx: &mut Tx, id: &str, payment: &Payment, now_ms: u64) -> Result<StoredInvoice, AccountsError> {
    const KNOWN: &str = "SELECT invoice, amount FROM payment WHERE provider = $1 AND reference = $2";
    const INSERT: &str = "INSERT INTO payment (provider, reference, invoice, amount, at_ms)
        VALUES ($1, $2, $3, $4, $5)";
    let invoice = locked(tx, id).await?;
    let name: [Value; 2] = [(&payment.provider).into(), (&payment.reference).into()];
    tx.lock(&[b"payment/".as_slice(), payment.reference.as_bytes()].concat()).await?;
    if let Some(row) = tx.query_opt(KNOWN, &name).await? {
        if (row.text(0)?, row.uint(1)?) == (id, payment.amount) {
            return Ok(invoice);
        }
        return Err(AccountsError::PaymentConflict { reference: payment.reference.clone() });
    }
    if !matches!(invoice.status, InvoiceStatus::Final | InvoiceStatus::Uncollectible) {
        return Err(refused(&invoice, "nothing is owed for it"));
    }
    let [provider, reference] = name;
    let params = [provider, reference, id.into(), payment.amount.into(), payment.at_ms.into()];
    tx.execute(INSERT, &params).await?;
    settle(tx, &invoice, now_ms).await
}

async fn credit(
    tx: &mut Tx,
    id: &str,
    note: &CreditNote,
    now_ms: u64,
) -> Result<StoredInvoice, AccountsError> {
    const INSERT: &str = "INSERT INTO credit_note (id, invoice, amount, reason, at_ms)
        VALUES ($1, $2, $3, $4, $5)";
    let invoice = locked(tx, id).await?;
    if invoice.status == InvoiceStatus::Draft {
        return Err(refused(&invoice, "a draft is corrected by making it again"));
    }
    let (_, credited) = received(tx, id).await?;
    if credited + i128::from(note.amount) > i128::from(invoice.export.invoice.total) {
        return Err(refused(&invoice, "credit notes cannot exceed its total"));
    }
    let params = [(&note.id).into(), id.into(), note.amount.into(), (&note.reason).into(), note.at_ms.into()];
    tx.execute(INSERT, &params).await?;
    settle(tx, &invoice, now_ms).await
}

/// What was paid and credited.
async fn received(tx: &mut Tx, id: &str) -> Result<(i128, i128), AccountsError> {
    const SUMS: &str =
        "SELECT CAST(COALESCE((SELECT SUM(amount) FROM payment WHERE invoice = $1), 0) AS BIGINT),
        CAST(COALESCE((SELECT SUM(amount) FROM credit_note WHERE invoice = $1), 0) AS BIGINT)";
    let row = tx.query_opt(SUMS, &[id.into()]).await?;
    row.map_or(Ok((0, 0)), |row| Ok((row.int(0)?.into(), row.int(1)?.into())))
}

/// Makes an invoice paid when it is covered.
async fn settle(tx: &mut Tx, invoice: &StoredInvoice, now_ms: u64) -> Result<StoredInvoice, AccountsError> {
    let id = &invoice.export.id;
    let (paid, credited) = received(tx, id).await?;
    let is_covered = paid + credited >= i128::from(invoice.export.invoice.total);
    if is_covered && invoice.status != InvoiceStatus::Paid {
        close(tx, id, InvoiceStatus::Paid, now_ms).await?;
        dunning::lift(tx, id, now_ms).await?;
    }
    locked(tx, id).await
}

async fn close(tx: &mut Tx, id: &str, status: InvoiceStatus, now_ms: u64) -> Result<(), AccountsError> {
    const CLOSE: &str = "UPDATE invoice SET status = $2, closed_at_ms = $3 WHERE id = $1";
    tx.execute(CLOSE, &[id.into(), status.number().into(), now_ms.into()]).await?;
    Ok(())
}

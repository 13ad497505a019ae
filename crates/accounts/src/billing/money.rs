//! What comes in for final invoices, and what goes back: payments, refunds, credit notes, and what is owed.
//!
//! At all times an invoice's account owes its total, less credit notes, less payments, plus refunds. Payments and refunds
//! are sets: neither order nor repetition matters. A refund counts once its payment is known, and never for more than that.
//! Less than nothing is owed when too much was paid.

use std::sync::Arc;

use aws_lc_rs::rand;
use datamesh_db::{Row, Tx, Value};

use super::dunning;
use super::intent::{self, PaymentIntent};
use super::invoice::{DUE_AFTER, InvoiceStatus, StoredInvoice, locked};
use super::payment::check_amount;
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

/// What went back of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// Through whom the payment came.
    pub provider: String,
    /// What the provider calls the refund.
    pub reference: String,
    /// What the provider calls the payment.
    pub payment: String,
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

impl CreditNote {
    /// Reads the columns `id, amount, reason, at_ms`.
    pub(crate) fn from_row(row: &Row) -> Result<Self, AccountsError> {
        let [id, reason] = [row.text(0)?.to_owned(), row.text(2)?.to_owned()];
        Ok(Self { id, amount: row.uint(1)?, reason, at_ms: row.uint(3)? })
    }
}

/// What came in for an invoice, each oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settlement {
    /// Payments.
    pub payments: Vec<Payment>,
    /// Refunds of them.
    pub refunds: Vec<Refund>,
    /// Corrections.
    pub credit_notes: Vec<CreditNote>,
    /// Payments that were asked for.
    pub intents: Vec<PaymentIntent>,
    /// Micro-units that are owed; less than nothing when too much was paid.
    pub owed: i64,
}

/// What to do with a payment that nobody owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unowed {
    /// It has come in all the same.
    Keep,
    /// Somebody mistook one invoice for another.
    Refuse,
}

impl Accounts {
    /// Records a payment for a final invoice, or for one that was given up. What covers the invoice makes it paid and lifts
    /// what was placed for it. Telling the same payment again changes nothing.
    ///
    /// # Errors
    /// [`AccountsError::NoSuchInvoice`]; [`AccountsError::InvoiceState`] when nothing is owed;
    /// [`AccountsError::PaymentConflict`] when the reference stands for something else.
    pub async fn record_payment(&self, id: &str, payment: Payment) -> Result<StoredInvoice, AccountsError> {
        self.take_payment(id, payment, None, Unowed::Refuse).await
    }

    /// Records a payment that a provider tells of, also when nothing is owed any more.
    pub(super) async fn receive_payment(
        &self,
        id: &str,
        payment: Payment,
        currency: Option<String>,
    ) -> Result<StoredInvoice, AccountsError> {
        self.take_payment(id, payment, currency, Unowed::Keep).await
    }

    async fn take_payment(
        &self,
        id: &str,
        payment: Payment,
        currency: Option<String>,
        unowed: Unowed,
    ) -> Result<StoredInvoice, AccountsError> {
        let shared = Arc::new((id.to_owned(), payment, currency));
        let now_ms = self.now_ms();
        let invoice = self
            .write(move |tx| {
                let shared = Arc::clone(&shared);
                Box::pin(async move {
                    let (id, payment, currency) = &*shared;
                    pay(tx, id, (payment, currency.as_deref()), unowed, now_ms).await
                })
            })
            .await?;
        self.limits_changed(&Owner::Account(invoice.account));
        Ok(invoice)
    }

    /// Records what went back of a payment. An invoice that is not covered any more is owed again, and due in two weeks.
    /// Telling the same refund again changes nothing; one whose payment is not known yet waits for it.
    pub(super) async fn record_refund(&self, refund: Refund) -> Result<(), AccountsError> {
        let shared = Arc::new(refund);
        let now_ms = self.now_ms();
        let invoice = self
            .write(move |tx| {
                let refund = Arc::clone(&shared);
                Box::pin(async move { take_back(tx, &refund, now_ms).await })
            })
            .await?;
        if let Some(invoice) = invoice {
            self.limits_changed(&Owner::Account(invoice.account));
        }
        Ok(())
    }

    /// Corrects a final invoice: so much of it is not owed.
    ///
    /// # Errors
    /// [`AccountsError::NoSuchInvoice`]; [`AccountsError::InvoiceState`] for a draft, or for more than the invoice says;
    /// [`AccountsError::InvalidPayment`] for nothing.
    pub async fn credit_invoice(
        &self,
        id: &str,
        amount: u64,
        reason: &str,
    ) -> Result<(StoredInvoice, CreditNote), AccountsError> {
        check_amount(amount)?;
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

    /// What came in for an invoice, as one snapshot.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn settlement(&self, invoice: &StoredInvoice) -> Result<Settlement, AccountsError> {
        let (id, total) = (Arc::<str>::from(invoice.export.id.as_str()), invoice.export.invoice.total);
        self.db()
            .scan(move |tx| {
                let id = Arc::clone(&id);
                Box::pin(async move { settlement_of(tx, &id, total).await })
            })
            .await
    }
}

async fn settlement_of(tx: &mut Tx, id: &str, total: i64) -> Result<Settlement, AccountsError> {
    const PAYMENTS: &str = "SELECT provider, reference, amount, at_ms FROM payment WHERE invoice = $1
        ORDER BY at_ms, provider, reference";
    const REFUNDS: &str = "SELECT r.provider, r.reference, r.payment, r.amount, r.at_ms FROM refund r
        JOIN payment p ON p.provider = r.provider AND p.reference = r.payment WHERE p.invoice = $1
        ORDER BY r.at_ms, r.provider, r.reference";
    const NOTES: &str = "SELECT id, amount, reason, at_ms FROM credit_note WHERE invoice = $1
        ORDER BY at_ms, id";
    let params = [id.into()];
    let mut settlement = Settlement { owed: owed(tx, id, total).await?, ..Settlement::default() };
    for row in &tx.query(PAYMENTS, &params).await? {
        let [provider, reference] = [row.text(0)?.to_owned(), row.text(1)?.to_owned()];
        let (amount, at_ms) = (row.uint(2)?, row.uint(3)?);
        settlement.payments.push(Payment { provider, reference, amount, at_ms });
    }
    for row in &tx.query(REFUNDS, &params).await? {
        let [provider, reference] = [row.text(0)?.to_owned(), row.text(1)?.to_owned()];
        let (payment, amount, at_ms) = (row.text(2)?.to_owned(), row.uint(3)?, row.uint(4)?);
        settlement.refunds.push(Refund { provider, reference, payment, amount, at_ms });
    }
    for row in &tx.query(NOTES, &params).await? {
        settlement.credit_notes.push(CreditNote::from_row(row)?);
    }
    settlement.intents = intent::of_invoice(tx, id).await?;
    Ok(settlement)
}

fn refused(invoice: &StoredInvoice, reason: &'static str) -> AccountsError {
    AccountsError::InvoiceState { id: invoice.export.id.clone(), status: invoice.status, reason }
}

/// Payments and their refunds wait for each other. This lock is taken before an invoice's.
async fn lock_payment(tx: &mut Tx, reference: &str) -> Result<(), AccountsError> {
    Ok(tx.lock(&[b"payment/".as_slice(), reference.as_bytes()].concat()).await?)
}

async fn pay(
    tx: &mut Tx,
    id: &str,
    (payment, currency): (&Payment, Option<&str>),
    unowed: Unowed,
    now_ms: u64,
) -> Result<StoredInvoice, AccountsError> {
    const KNOWN: &str = "SELECT invoice, amount FROM payment WHERE provider = $1 AND reference = $2";
    const INSERT: &str = "INSERT INTO payment (provider, reference, invoice, amount, at_ms)
        VALUES ($1, $2, $3, $4, $5)";
    lock_payment(tx, &payment.reference).await?;
    let invoice = locked(tx, id).await?;
    let name: [Value; 2] = [(&payment.provider).into(), (&payment.reference).into()];
    if let Some(row) = tx.query_opt(KNOWN, &name).await? {
        if (row.text(0)?, row.uint(1)?) == (id, payment.amount) {
            return Ok(invoice);
        }
        return Err(AccountsError::PaymentConflict { reference: payment.reference.clone() });
    }
    let expected = &invoice.export.invoice.currency;
    if let Some(currency) = currency.filter(|currency| currency != expected) {
        let reason = format!("currency: {currency} was paid for an invoice in {expected}");
        return Err(AccountsError::InvalidPayment { reason });
    }
    let is_owed = matches!(invoice.status, InvoiceStatus::Final | InvoiceStatus::Uncollectible);
    if invoice.status == InvoiceStatus::Draft || (unowed == Unowed::Refuse && !is_owed) {
        return Err(refused(&invoice, "nothing is owed for it"));
    }
    let [provider, reference] = name;
    let params = [provider, reference, id.into(), payment.amount.into(), payment.at_ms.into()];
    tx.execute(INSERT, &params).await?;
    settle(tx, &invoice, now_ms).await
}

/// The invoice of the payment, if it is known.
async fn take_back(
    tx: &mut Tx,
    refund: &Refund,
    now_ms: u64,
) -> Result<Option<StoredInvoice>, AccountsError> {
    const KNOWN: &str = "SELECT payment, amount FROM refund WHERE provider = $1 AND reference = $2";
    const INSERT: &str = "INSERT INTO refund (provider, reference, payment, amount, at_ms)
        VALUES ($1, $2, $3, $4, $5)";
    const PAYMENT: &str = "SELECT invoice FROM payment WHERE provider = $1 AND reference = $2";
    lock_payment(tx, &refund.payment).await?;
    let name: [Value; 2] = [(&refund.provider).into(), (&refund.reference).into()];
    if let Some(row) = tx.query_opt(KNOWN, &name).await? {
        if (row.text(0)?, row.uint(1)?) == (refund.payment.as_str(), refund.amount) {
            return Ok(None);
        }
        return Err(AccountsError::PaymentConflict { reference: refund.reference.clone() });
    }
    let [provider, reference] = name;
    let params = [provider, reference, (&refund.payment).into(), refund.amount.into(), refund.at_ms.into()];
    tx.execute(INSERT, &params).await?;
    let payment = [(&refund.provider).into(), (&refund.payment).into()];
    let Some(row) = tx.query_opt(PAYMENT, &payment).await? else { return Ok(None) };
    let invoice = locked(tx, row.text(0)?).await?;
    settle(tx, &invoice, now_ms).await.map(Some)
}

/// Adds a credit note.
///
/// # Errors
/// [`AccountsError::InvoiceState`] for a draft, or for more than the invoice says.
pub(super) async fn credit(
    tx: &mut Tx,
    id: &str,
    note: &CreditNote,
    now_ms: u64,
) -> Result<StoredInvoice, AccountsError> {
    const INSERT: &str = "INSERT INTO credit_note (id, invoice, amount, reason, at_ms)
        VALUES ($1, $2, $3, $4, $5)";
    const CREDITED: &str =
        "SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM credit_note WHERE invoice = $1";
    let invoice = locked(tx, id).await?;
    if invoice.status == InvoiceStatus::Draft {
        return Err(refused(&invoice, "a draft is corrected by making it again"));
    }
    let credited = tx.query_opt(CREDITED, &[id.into()]).await?.map_or(Ok(0), |row| row.uint(0))?;
    if i128::from(credited) + i128::from(note.amount) > i128::from(invoice.export.invoice.total) {
        return Err(refused(&invoice, "credit notes cannot exceed its total"));
    }
    let params = [(&note.id).into(), id.into(), note.amount.into(), (&note.reason).into(), note.at_ms.into()];
    tx.execute(INSERT, &params).await?;
    settle(tx, &invoice, now_ms).await
}

/// What is owed for an invoice of that total, in micro-units.
pub(super) async fn owed(tx: &mut Tx, id: &str, total: i64) -> Result<i64, AccountsError> {
    const SUMS: &str = "SELECT
        CAST(COALESCE((SELECT SUM(amount) FROM credit_note WHERE invoice = $1), 0) AS BIGINT),
        CAST(COALESCE((SELECT SUM(amount) FROM payment WHERE invoice = $1), 0) AS BIGINT),
        CAST(COALESCE((SELECT SUM(CASE WHEN refunded > amount THEN amount ELSE refunded END)
            FROM (SELECT p.amount AS amount, (SELECT COALESCE(SUM(r.amount), 0) FROM refund r
                    WHERE r.provider = p.provider AND r.payment = p.reference) AS refunded
                  FROM payment p WHERE p.invoice = $1) AS payments), 0) AS BIGINT)";
    let row = tx.query_opt(SUMS, &[id.into()]).await?;
    let Some(row) = row else { return Ok(total) };
    Ok(total - row.int(0)? - row.int(1)? + row.int(2)?)
}

/// Makes an invoice paid when it is covered, and final again when it is not any more.
async fn settle(tx: &mut Tx, invoice: &StoredInvoice, now_ms: u64) -> Result<StoredInvoice, AccountsError> {
    const REOPEN: &str = "UPDATE invoice SET status = $2, due_at_ms = $3, closed_at_ms = NULL, dunning = 0,
        reopened = reopened + 1 WHERE id = $1";
    let id = &invoice.export.id;
    let is_covered = owed(tx, id, invoice.export.invoice.total).await? <= 0;
    match (invoice.status, is_covered) {
        (InvoiceStatus::Final | InvoiceStatus::Uncollectible, true) => {
            close(tx, id, InvoiceStatus::Paid, now_ms).await?;
            dunning::lift(tx, invoice, now_ms).await?;
        }
        (InvoiceStatus::Paid, false) => {
            let due_ms = now_ms + DUE_AFTER.as_millis() as u64;
            let params = [id.into(), InvoiceStatus::Final.number().into(), due_ms.into()];
            tx.execute(REOPEN, &params).await?;
        }
        _ => {}
    }
    locked(tx, id).await
}

async fn close(tx: &mut Tx, id: &str, status: InvoiceStatus, now_ms: u64) -> Result<(), AccountsError> {
    const CLOSE: &str = "UPDATE invoice SET status = $2, closed_at_ms = $3 WHERE id = $1";
    tx.execute(CLOSE, &[id.into(), status.number().into(), now_ms.into()]).await?;
    Ok(())
}

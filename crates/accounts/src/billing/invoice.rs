//! Invoices: made for a month, drafts until it is over, final then.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand;
use datamesh_billing::{BillingError, Export, Invoice, Span, Term};
use datamesh_db::{Row, Tx};
use datamesh_types::AccountId;

use super::{letter, money, price};
use crate::named::named;
use crate::service_level::credit_due;
use crate::{Accounts, AccountsError, Freshness, Month};

/// Accounts per query.
const PAGE: usize = 100;
/// How long after its end a month can become final: every gateway has delivered what it metered by then.
pub(super) const SETTLED_AFTER: Duration = Duration::from_mins(5);
/// When a final invoice is due.
pub(super) const DUE_AFTER: Duration = Duration::from_hours(14 * 24);

/// What has become of an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvoiceStatus {
    /// It is made anew with every run.
    Draft,
    /// It is owed, and never changes.
    Final,
    /// It is paid, or credited.
    Paid,
    /// Nobody will pay it.
    Uncollectible,
}

impl InvoiceStatus {
    const ALL: [Self; 4] = [Self::Draft, Self::Final, Self::Paid, Self::Uncollectible];

    pub(super) const fn number(self) -> i64 {
        self as i64
    }
}

named!(InvoiceStatus { Draft = "draft", Final = "final", Paid = "paid", Uncollectible = "uncollectible" });

/// An invoice as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredInvoice {
    /// Whose it is.
    pub account: AccountId,
    /// Its month.
    pub month: Month,
    /// What has become of it.
    pub status: InvoiceStatus,
    /// The invoice, and what it was made of.
    pub export: Export,
    /// When it was made last, milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it became final.
    pub final_at_ms: Option<u64>,
    /// When it is due.
    pub due_at_ms: Option<u64>,
    /// When it was paid or given up.
    pub closed_at_ms: Option<u64>,
    /// How often it was owed again after it had been paid.
    pub reopened: u64,
}

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InvoiceRun {
    /// Invoices that were made, or made again.
    pub made: Vec<StoredInvoice>,
    /// Invoices that were final already, and stayed as they are.
    pub kept: Vec<StoredInvoice>,
    /// Accounts whose invoice could not be made, and why. Those of the others were.
    pub failed: Vec<(AccountId, BillingError)>,
}

macro_rules! invoice_columns {
    () => {
        "account, month, status, body, created_at_ms, final_at_ms, due_at_ms, closed_at_ms, reopened"
    };
}

fn from_row(row: &Row) -> Result<StoredInvoice, AccountsError> {
    let damaged = || AccountsError::Damaged { name: "invoice".to_owned() };
    let status =
        InvoiceStatus::ALL.into_iter().find(|status| row.int(2).is_ok_and(|of| of == status.number()));
    let moment = |index| Ok::<_, AccountsError>(row.opt_int(index)?.map(i64::cast_unsigned));
    Ok(StoredInvoice {
        account: AccountId(row.bytes(0)?),
        month: Month(u32::try_from(row.int(1)?).map_err(|_| damaged())?),
        status: status.ok_or_else(damaged)?,
        export: serde_json::from_str(row.text(3)?).map_err(|_| damaged())?,
        created_at_ms: row.uint(4)?,
        final_at_ms: moment(5)?,
        due_at_ms: moment(6)?,
        closed_at_ms: moment(7)?,
        reopened: row.uint(8)?,
    })
}

/// An invoice, which does not change until the transaction ends.
///
/// # Errors
/// [`AccountsError::NoSuchInvoice`].
pub(super) async fn locked(tx: &mut Tx, id: &str) -> Result<StoredInvoice, AccountsError> {
    const ONE: &str = concat!("SELECT ", invoice_columns!(), " FROM invoice WHERE id = $1");
    tx.lock(&[b"invoice/".as_slice(), id.as_bytes()].concat()).await?;
    let row = tx.query_opt(ONE, &[id.into()]).await?;
    let row = row.ok_or_else(|| AccountsError::NoSuchInvoice { id: id.to_owned() })?;
    from_row(&row)
}

impl Accounts {
    /// Makes the invoices of a month for everybody whose plan has prices, or had some in that month. For a month that is
    /// not over they are drafts up to now. Drafts are made anew, whatever is final stays.
    ///
    /// # Errors
    /// [`AccountsError::InvalidPeriod`] when the month has not begun.
    pub async fn run_invoices(&self, month: Month) -> Result<InvoiceRun, AccountsError> {
        if month.start_ms() > self.now_ms() {
            let reason = format!("the month {month} has not begun");
            return Err(AccountsError::InvalidPeriod { reason });
        }
        let mut run = InvoiceRun::default();
        let mut after = None;
        loop {
            let accounts = self.account_ids(after, PAGE).await?;
            let Some(last) = accounts.last() else { return Ok(run) };
            after = Some(*last);
            for account in accounts {
                let invoice = match self.make_invoice(account, month).await {
                    Ok(Some(invoice)) => invoice,
                    Ok(None) => continue,
                    Err(AccountsError::Billing(error)) => {
                        run.failed.push((account, error));
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                let is_draft = invoice.status == InvoiceStatus::Draft;
                if is_draft { &mut run.made } else { &mut run.kept }.push(invoice);
            }
        }
    }

    async fn account_ids(
        &self,
        after: Option<AccountId>,
        limit: usize,
    ) -> Result<Vec<AccountId>, AccountsError> {
        const IDS: &str = "SELECT id FROM account WHERE id > $1 ORDER BY id LIMIT $2";
        let after = after.map_or_else(Vec::new, |after| after.0.to_vec());
        let rows = self.db().rows(IDS, [after.into(), limit.into()].into()).await?;
        rows.iter().map(|row| Ok(AccountId(row.bytes(0)?))).collect()
    }

    /// Makes one account's invoice, or its draft anew; the final one, if that is what there is, and `None` when no plan of
    /// the month has prices.
    async fn make_invoice(
        &self,
        account: AccountId,
        month: Month,
    ) -> Result<Option<StoredInvoice>, AccountsError> {
        let known = self.db().read(move |tx| Box::pin(invoice_of_month(tx, account, month))).await?;
        // It stays, also when nobody could make it again.
        if let Some(known) = known.filter(|known| known.status != InvoiceStatus::Draft) {
            return Ok(Some(known));
        }
        let report = self.usage_of_month(account, month, Freshness::Current).await?;
        let billed = Span { from_ms: report.from_ms, until_ms: report.until_ms };
        let terms = self
            .db()
            .read::<_, AccountsError, _>(move |tx| Box::pin(terms_of(tx, account, month, billed)))
            .await?;
        if terms.is_empty() {
            return Ok(None);
        }
        let usage = self.usage_by_term(account, &report, &terms).await?;
        let whole = Span { from_ms: month.start_ms(), until_ms: month.next().start_ms() };
        let invoice =
            Invoice::compute(&account.to_string(), &month.to_string(), (whole, billed), &terms, &usage)?;
        let mut id = [0; 6];
        rand::fill(&mut id).map_err(|_| AccountsError::Random)?;
        let id = format!("{month}-{}", hex::encode(id));
        let export = Arc::new(Export { id, invoice, terms, usage });
        let now_ms = self.now_ms();
        let stored = self.db().write(move |tx| {
            let export = Arc::clone(&export);
            Box::pin(async move { store_draft(tx, (account, month), &export, now_ms).await })
        });
        stored.await.map(Some)
    }

    /// One invoice.
    ///
    /// # Errors
    /// [`AccountsError::NoSuchInvoice`].
    pub async fn invoice(&self, id: &str) -> Result<StoredInvoice, AccountsError> {
        const ONE: &str = concat!("SELECT ", invoice_columns!(), " FROM invoice WHERE id = $1");
        let row = self.db().row(ONE, [id.into()].into()).await?;
        from_row(&row.ok_or_else(|| AccountsError::NoSuchInvoice { id: id.to_owned() })?)
    }

    /// An account's invoices, newest month first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn invoices(&self, account: AccountId) -> Result<Vec<StoredInvoice>, AccountsError> {
        const OF: &str =
            concat!("SELECT ", invoice_columns!(), " FROM invoice WHERE account = $1 ORDER BY month DESC");
        let rows = self.db().rows(OF, [account.into()].into()).await?;
        rows.iter().map(from_row).collect()
    }

    /// Makes a draft final, as it is after a last run: from now on it is owed, and never changes. What costs nothing is
    /// paid at once, and what a service level was missed by is credited in the same transaction. Doing it again changes
    /// nothing.
    ///
    /// # Errors
    /// [`AccountsError::NoSuchInvoice`]; [`AccountsError::InvalidPeriod`] while its month is not over.
    pub async fn finalize_invoice(&self, id: &str) -> Result<StoredInvoice, AccountsError> {
        let draft = self.invoice(id).await?;
        let now_ms = self.now_ms();
        if draft.status == InvoiceStatus::Draft {
            let settled_ms = draft.month.next().start_ms() + SETTLED_AFTER.as_millis() as u64;
            if now_ms < settled_ms {
                let reason = format!("the month {} is not over yet", draft.month);
                return Err(AccountsError::InvalidPeriod { reason });
            }
            self.make_invoice(draft.account, draft.month).await?;
        }
        let id = Arc::<str>::from(id);
        self.write(move |tx| {
            let id = Arc::clone(&id);
            Box::pin(async move { finalize(tx, &id, now_ms).await })
        })
        .await
    }
}

async fn finalize(tx: &mut Tx, id: &str, now_ms: u64) -> Result<StoredInvoice, AccountsError> {
    const FINALIZE: &str =
        "UPDATE invoice SET status = $2, final_at_ms = $3, due_at_ms = $4, closed_at_ms = $5
        WHERE id = $1 AND status = 0";
    let draft = locked(tx, id).await?;
    let is_free = draft.export.invoice.total == 0;
    let status = if is_free { InvoiceStatus::Paid } else { InvoiceStatus::Final };
    let due_ms = now_ms + DUE_AFTER.as_millis() as u64;
    let closed = is_free.then_some(now_ms);
    let params = [id.into(), status.number().into(), now_ms.into(), due_ms.into(), closed.into()];
    if tx.execute(FINALIZE, &params).await? == 1 {
        let invoice = locked(tx, id).await?;
        if !is_free {
            letter::put_down(tx, (id, invoice.reopened, invoice.account), None, now_ms).await?;
        }
        if let Some(note) = credit_due(tx, &invoice, now_ms).await? {
            return money::credit(tx, id, &note, now_ms).await;
        }
    }
    locked(tx, id).await
}

/// An account's invoice for a month, if there is one.
pub(crate) async fn invoice_of_month(
    tx: &mut Tx,
    account: AccountId,
    month: Month,
) -> Result<Option<StoredInvoice>, AccountsError> {
    const OF: &str =
        concat!("SELECT ", invoice_columns!(), " FROM invoice WHERE account = $1 AND month = $2");
    let row = tx.query_opt(OF, &[account.into(), month.0.into()]).await?;
    row.map(|row| from_row(&row)).transpose()
}

/// Stores a draft, or replaces the month's; the invoice that there is when it is final.
async fn store_draft(
    tx: &mut Tx,
    (account, month): (AccountId, Month),
    export: &Export,
    now_ms: u64,
) -> Result<StoredInvoice, AccountsError> {
    const FIND: &str = "SELECT id FROM invoice WHERE account = $1 AND month = $2";
    const INSERT: &str = "INSERT INTO invoice (id, account, month, status, body, created_at_ms)
        VALUES ($1, $2, $3, 0, $4, $5)";
    const REPLACE: &str = "UPDATE invoice SET body = $2, created_at_ms = $3 WHERE id = $1 AND status = 0";
    tx.lock(&[b"invoice of ".as_slice(), &account.0].concat()).await?;
    let known = tx.query_opt(FIND, &[account.into(), month.0.into()]).await?;
    let known = known.map(|row| row.text(0).map(str::to_owned)).transpose()?;
    let mut export = export.clone();
    if let Some(id) = &known {
        export.id.clone_from(id);
    }
    let body = serde_json::to_string(&export)
        .map_err(|_| AccountsError::Damaged { name: format!("invoice/{}", export.id) })?;
    if known.is_some() {
        // A final one stays.
        locked(tx, &export.id).await?;
        tx.execute(REPLACE, &[(&export.id).into(), body.into(), now_ms.into()]).await?;
    } else {
        let params = [(&export.id).into(), account.into(), month.0.into(), body.into(), now_ms.into()];
        tx.execute(INSERT, &params).await?;
    }
    locked(tx, &export.id).await
}

/// The times on plans that had prices when the month began, within what is billed.
pub(crate) async fn terms_of(
    tx: &mut Tx,
    account: AccountId,
    month: Month,
    billed: Span,
) -> Result<Vec<Term>, AccountsError> {
    const TERMS: &str = "SELECT since_ms, plan FROM subscription_term WHERE account = $1 AND since_ms < $2
        ORDER BY since_ms";
    let rows = tx.query(TERMS, &[account.into(), billed.until_ms.into()]).await?;
    let mut terms = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let until_ms = rows.get(index + 1).map_or(Ok(billed.until_ms), |next| next.uint(0))?;
        let from_ms = row.uint(0)?.max(billed.from_ms);
        if from_ms >= until_ms {
            continue;
        }
        let Some(version) = price::in_force(tx, row.text(1)?, month).await? else { continue };
        // Another version of the same plan costs the same.
        if let Some(last) = terms.last_mut().filter(|last: &&mut Term| {
            last.span.until_ms == from_ms
                && (&last.plan, last.price_version) == (&version.plan, version.version)
        }) {
            last.span.until_ms = until_ms;
            continue;
        }
        terms.push(Term {
            plan: version.plan,
            price_version: version.version,
            span: Span { from_ms, until_ms },
            prices: version.prices,
        });
    }
    Ok(terms)
}

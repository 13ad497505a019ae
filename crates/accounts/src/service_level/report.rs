//! How available a month was for an account, and what is credited for it.

use std::collections::BTreeMap;

use datamesh_billing::{CreditTier, Export, Invoice, Span, Term, WINDOW_MS, Window, availability, tier};
use datamesh_db::Tx;
use datamesh_types::AccountId;

use crate::billing::{CreditNote, StoredInvoice, invoice_of_month, terms_of};
use crate::metering::Mark;
use crate::{Accounts, AccountsError, Month};

/// A window, and when it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenWindow {
    /// Where it begins, milliseconds since 1970.
    pub start_ms: u64,
    /// What was seen.
    pub window: Window,
}

/// An account's month, as its service level sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceLevel {
    /// The month.
    pub month: Month,
    /// What was promised; nothing if there are no steps.
    pub promised: Vec<CreditTier>,
    /// All windows, in order: of the time on plans that promise something, or else of all the account's time.
    pub windows: Vec<SeenWindow>,
    /// How much was available, in parts per million; `None` when nothing was seen at all.
    pub availability: Option<u32>,
    /// The step that it has fallen to.
    pub tier: Option<CreditTier>,
    /// What the plans that promise something cost, in micro-units, if there is an invoice.
    pub base: Option<i64>,
    /// What is credited of it, or would be.
    pub credit: Option<i64>,
    /// What was credited when the invoice became final.
    pub issued: Option<CreditNote>,
}

impl ServiceLevel {
    fn new(month: Month, promised: Vec<CreditTier>, windows: Vec<SeenWindow>, base: Option<i64>) -> Self {
        let available = availability(windows.iter().map(|seen| seen.window));
        let fallen = available.and_then(|available| tier(&promised, available));
        let credit = fallen.zip(base).map(|(tier, base)| tier.of(base));
        Self { month, promised, windows, availability: available, tier: fallen, base, credit, issued: None }
    }
}

impl Accounts {
    /// How available a month was for an account, up to now.
    ///
    /// # Errors
    /// [`AccountsError::InvalidPeriod`] when the month has not begun; [`AccountsError::NoSuchAccount`].
    pub async fn service_level(
        &self,
        account: AccountId,
        month: Month,
    ) -> Result<ServiceLevel, AccountsError> {
        let now_ms = self.now_ms();
        if month.start_ms() > now_ms {
            let reason = format!("the month {month} has not begun");
            return Err(AccountsError::InvalidPeriod { reason });
        }
        self.write_windows().await?;
        let user = self.user(account).await?.ok_or(AccountsError::NoSuchAccount { account })?;
        let until_ms = now_ms.min(month.next().start_ms());
        let whole = Span { from_ms: month.start_ms().max(user.created_at_ms), until_ms };
        self.db()
            .scan(move |tx| Box::pin(async move { service_level_of(tx, account, month, whole).await }))
            .await
    }
}

async fn service_level_of(
    tx: &mut Tx,
    account: AccountId,
    month: Month,
    whole: Span,
) -> Result<ServiceLevel, AccountsError> {
    let billed = Span { from_ms: month.start_ms(), until_ms: whole.until_ms };
    let terms = terms_of(tx, account, month, billed).await?;
    let promised = promised(&terms);
    let mut spans = spans(&terms);
    if promised.is_empty() {
        spans = vec![whole];
    }
    let windows = windows(tx, account, &spans).await?;
    let stored = invoice_of_month(tx, account, month).await?;
    let base = stored.as_ref().map(|stored| base(&stored.export));
    let mut level = ServiceLevel::new(month, promised, windows, base);
    if let Some(stored) = stored {
        level.issued = issued(tx, &stored.export.id).await?;
    }
    Ok(level)
}

/// The steps of the last plan of the month that promises something.
fn promised(terms: &[Term]) -> Vec<CreditTier> {
    let last = terms.iter().rfind(|term| !term.prices.sla.is_empty());
    last.map(|term| term.prices.sla.clone()).unwrap_or_default()
}

fn spans(terms: &[Term]) -> Vec<Span> {
    terms.iter().filter(|term| !term.prices.sla.is_empty()).map(|term| term.span).collect()
}

/// What the lines cost whose plans promise something.
fn base(Export { invoice: Invoice { lines, .. }, terms, .. }: &Export) -> i64 {
    let promises = |plan: &str| terms.iter().any(|term| term.plan == plan && !term.prices.sla.is_empty());
    lines.iter().filter(|line| promises(&line.plan)).map(|line| line.amount).sum()
}

/// Every window that has any part in one of the spans, which are in order, since there are probes. The one that is not over
/// counts as far as something was seen of it.
async fn windows(tx: &mut Tx, account: AccountId, spans: &[Span]) -> Result<Vec<SeenWindow>, AccountsError> {
    let Some(first_ms) = Mark::WindowsCountFrom.read(tx).await? else { return Ok(Vec::new()) };
    let mut starts = Vec::new();
    for span in spans {
        let from_ms = span.from_ms.max(first_ms);
        let from_ms = from_ms - from_ms % WINDOW_MS;
        let next_ms = starts.last().map_or(0, |last| last + WINDOW_MS);
        starts.extend((from_ms.max(next_ms)..span.until_ms).step_by(WINDOW_MS as usize));
    }
    let (Some(first), Some(last)) = (starts.first(), starts.last()) else { return Ok(Vec::new()) };
    let mut seen = seen(tx, account, (*first, last + WINDOW_MS)).await?;
    let until_ms = spans.last().map_or(0, |span| span.until_ms);
    let window = |start_ms: u64| {
        let window = seen.remove(&start_ms);
        let is_over = start_ms + WINDOW_MS <= until_ms;
        let window = if is_over { Some(window.unwrap_or_default()) } else { window };
        window.map(|window| SeenWindow { start_ms, window })
    };
    Ok(starts.into_iter().filter_map(window).collect())
}

/// What was seen of an account between two moments, by window: its requests and everybody's probes.
async fn seen(
    tx: &mut Tx,
    account: AccountId,
    (from_ms, until_ms): (u64, u64),
) -> Result<BTreeMap<u64, Window>, AccountsError> {
    const REQUESTS: &str =
        "SELECT start_ms, CAST(SUM(requests) AS BIGINT), CAST(SUM(faults) AS BIGINT) FROM sla_window
        WHERE account = $1 AND start_ms >= $2 AND start_ms < $3 GROUP BY start_ms";
    const PROBES: &str = "SELECT start_ms, good, bad FROM sla_probe WHERE start_ms >= $1 AND start_ms < $2";
    let mut windows = BTreeMap::<u64, Window>::new();
    for row in &tx.query(REQUESTS, &[account.into(), from_ms.into(), until_ms.into()]).await? {
        let window = windows.entry(row.uint(0)?).or_default();
        (window.requests, window.faults) = (row.uint(1)?, row.uint(2)?);
    }
    for row in &tx.query(PROBES, &[from_ms.into(), until_ms.into()]).await? {
        let window = windows.entry(row.uint(0)?).or_default();
        (window.probes_good, window.probes_bad) = (row.uint(1)?, row.uint(2)?);
    }
    Ok(windows)
}

/// The credit note of an invoice has its name from it, so that there is one at most.
fn note_id(invoice: &str) -> String {
    format!("sla-{invoice}")
}

async fn issued(tx: &mut Tx, invoice: &str) -> Result<Option<CreditNote>, AccountsError> {
    const ISSUED: &str = "SELECT id, amount, reason, at_ms FROM credit_note WHERE id = $1";
    let row = tx.query_opt(ISSUED, &[note_id(invoice).into()]).await?;
    row.map(|row| CreditNote::from_row(&row)).transpose()
}

/// The credit note that an invoice gets as it becomes final, if its month was less available than promised.
pub(crate) async fn credit_due(
    tx: &mut Tx,
    invoice: &StoredInvoice,
    now_ms: u64,
) -> Result<Option<CreditNote>, AccountsError> {
    let Export { id, terms, .. } = &invoice.export;
    let promised = promised(terms);
    if promised.is_empty() {
        return Ok(None);
    }
    let windows = windows(tx, invoice.account, &spans(terms)).await?;
    let level = ServiceLevel::new(invoice.month, promised, windows, Some(base(&invoice.export)));
    let (Some(available), Some(tier), Some(credit @ 1..)) = (level.availability, level.tier, level.credit)
    else {
        return Ok(None);
    };
    let percent = |ppm: u32| format!("{}.{:04} %", ppm / 10_000, ppm % 10_000);
    let reason = format!(
        "{} of {} was available, less than {}: {} % of what it costs",
        percent(available),
        invoice.month,
        percent(tier.below),
        tier.credit
    );
    Ok(Some(CreditNote { id: note_id(id), amount: credit.unsigned_abs(), reason, at_ms: now_ms }))
}

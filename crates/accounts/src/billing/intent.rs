//! Payment intents: payments that a provider was asked for.
//!
//! What has become of one follows from what is recorded of its payment, so that events may come in any order.

use std::sync::Arc;

use aws_lc_rs::rand;
use datamesh_db::{Row, Tx, Value};

use super::invoice::{InvoiceStatus, locked};
use super::money;
use crate::named::named;
use crate::{Accounts, AccountsError};

/// What has become of an intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntentStatus {
    /// Nothing yet.
    Pending,
    /// Its payment came in.
    Succeeded,
    /// The provider could not get the payment.
    Failed,
}

named!(IntentStatus { Pending = "pending", Succeeded = "succeeded", Failed = "failed" });

/// A payment that a provider was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentIntent {
    /// Its id.
    pub id: String,
    /// The invoice's id.
    pub invoice: String,
    /// Who was asked.
    pub provider: String,
    /// What the provider calls the payment, once it has answered.
    pub reference: Option<String>,
    /// Micro-units.
    pub amount: u64,
    /// The invoice's currency.
    pub currency: String,
    /// What has become of it.
    pub status: IntentStatus,
    /// Why it failed.
    pub failure: Option<String>,
    /// When it was made, milliseconds since 1970.
    pub created_at_ms: u64,
}

macro_rules! select_intents {
    ($condition:literal) => {
        concat!(
            "SELECT i.id, i.invoice, i.provider, i.reference, i.amount, i.currency, i.failure, i.created_at_ms,
                p.reference FROM payment_intent i
             LEFT JOIN payment p ON p.provider = i.provider AND p.reference = i.reference WHERE ",
            $condition,
            " ORDER BY i.created_at_ms, i.id"
        )
    };
}

fn from_row(row: &Row) -> Result<PaymentIntent, AccountsError> {
    let text = |index| Ok::<_, AccountsError>(row.opt_text(index)?.map(str::to_owned));
    let failure = text(6)?;
    let status = match (row.opt_text(8)?, &failure) {
        (Some(_), _) => IntentStatus::Succeeded,
        (None, Some(_)) => IntentStatus::Failed,
        (None, None) => IntentStatus::Pending,
    };
    Ok(PaymentIntent {
        id: row.text(0)?.to_owned(),
        invoice: row.text(1)?.to_owned(),
        provider: row.text(2)?.to_owned(),
        reference: text(3)?,
        amount: row.uint(4)?,
        currency: row.text(5)?.to_owned(),
        status,
        failure,
        created_at_ms: row.uint(7)?,
    })
}

/// The intents of an invoice, oldest first.
pub(super) async fn of_invoice(tx: &mut Tx, id: &str) -> Result<Vec<PaymentIntent>, AccountsError> {
    const OF: &str = select_intents!("i.invoice = $1");
    tx.query(OF, &[id.into()]).await?.iter().map(from_row).collect()
}

impl Accounts {
    /// Asks a provider for what is owed for an invoice. While it has been asked and has not told what became of it, asking
    /// again is the same intent, and nobody is asked for anything else: both payments could come in. Nobody is asked for
    /// what is owed no longer either, also when it is not known whether the provider was ever reached.
    ///
    /// # Errors
    /// [`AccountsError::UnknownProvider`], [`AccountsError::NoSuchInvoice`]; [`AccountsError::InvoiceState`] when nothing is
    /// owed, or while another provider or another amount was asked; those of [`super::PaymentProvider::charge`].
    pub async fn charge_invoice(&self, id: &str, provider: &str) -> Result<PaymentIntent, AccountsError> {
        const ANSWERED: &str = "UPDATE payment_intent SET reference = $2 WHERE id = $1 AND reference IS NULL";
        let provider = self.payment_provider(provider)?;
        let mut digits = [0; 8];
        rand::fill(&mut digits).map_err(|_| AccountsError::Random)?;
        let new_id = Arc::<str>::from(format!("intent-{}", hex::encode(digits)));
        let (invoice, name, now_ms) = (Arc::<str>::from(id), provider.name(), self.now_ms());
        let opened = self.db().write(move |tx| {
            let (invoice, new_id) = (Arc::clone(&invoice), Arc::clone(&new_id));
            Box::pin(async move { open(tx, (&invoice, name), &new_id, now_ms).await })
        });
        let Opened { intent, status, is_asked } = opened.await?;
        if !is_asked {
            let reason = if intent.reference.is_some() {
                "its payment was asked for otherwise, and the provider has not told what became of it"
            } else {
                "its payment was asked for otherwise, and the provider has not answered: fail that intent once it is \
                 certain that nothing was taken"
            };
            return Err(AccountsError::InvoiceState { id: id.to_owned(), status, reason });
        }
        if intent.reference.is_none() {
            let reference = provider.charge(&intent).await?;
            // Also of one that was failed meanwhile: what its payment is called decides what became of it.
            let params = [Value::from(&intent.id), reference.into()];
            self.db().execute(ANSWERED, params.into()).await?;
        }
        self.payment_intent(&intent.id).await
    }

    /// Takes an intent for failed that nobody else will ever end: its provider has not answered, or is no longer a provider
    /// here. Whoever does so has to know that the provider has taken nothing and will not: the next intent is another
    /// payment to it. What it tells all the same still counts.
    ///
    /// # Errors
    /// [`AccountsError::NoSuchIntent`]; [`AccountsError::InvoiceState`] when it is over, or its provider will tell.
    pub async fn fail_unanswered_intent(
        &self,
        id: &str,
        reason: &str,
    ) -> Result<PaymentIntent, AccountsError> {
        let providers: Arc<[_]> = self.payment_providers().iter().map(|provider| provider.name()).collect();
        let asked = Arc::new((id.to_owned(), reason.to_owned()));
        self.write(move |tx| {
            let (asked, providers) = (Arc::clone(&asked), Arc::clone(&providers));
            Box::pin(async move { fail_unanswered(tx, &asked.0, &asked.1, &providers).await })
        })
        .await
    }

    /// One intent.
    ///
    /// # Errors
    /// [`AccountsError::NoSuchIntent`].
    pub async fn payment_intent(&self, id: &str) -> Result<PaymentIntent, AccountsError> {
        const ONE: &str = select_intents!("i.id = $1");
        let row = self.db().row(ONE, [id.into()].into()).await?;
        from_row(&row.ok_or_else(|| AccountsError::NoSuchIntent { id: id.to_owned() })?)
    }

    /// Keeps why a payment failed. It changes nothing when the payment came in, by whatever way.
    ///
    /// # Errors
    /// [`AccountsError::NoSuchIntent`] when neither an intent nor a payment has that reference: the provider may have been
    /// faster than the gateway that asked it, so it has to tell again.
    pub(super) async fn fail_intent(
        &self,
        provider: &str,
        reference: &str,
        reason: &str,
    ) -> Result<(), AccountsError> {
        const FAIL: &str = "UPDATE payment_intent SET failure = $3 WHERE provider = $1 AND reference = $2";
        const PAID: &str = "SELECT 1 FROM payment WHERE provider = $1 AND reference = $2";
        let params = [Value::from(provider), reference.into(), reason.into()];
        if self.db().execute(FAIL, params.into()).await? > 0 {
            return Ok(());
        }
        let params = [Value::from(provider), reference.into()];
        match self.db().row(PAID, params.into()).await? {
            Some(_) => Ok(()),
            None => Err(AccountsError::NoSuchIntent { id: reference.to_owned() }),
        }
    }
}

/// An intent, as it is in a transaction.
async fn find(tx: &mut Tx, id: &str) -> Result<PaymentIntent, AccountsError> {
    const ONE: &str = select_intents!("i.id = $1");
    let row = tx.query_opt(ONE, &[id.into()]).await?;
    from_row(&row.ok_or_else(|| AccountsError::NoSuchIntent { id: id.to_owned() })?)
}

async fn fail_unanswered(
    tx: &mut Tx,
    id: &str,
    reason: &str,
    providers: &[&str],
) -> Result<PaymentIntent, AccountsError> {
    const FAIL_UNANSWERED: &str =
        "UPDATE payment_intent SET failure = $2 WHERE id = $1 AND failure IS NULL AND reference IS NULL";
    const FAIL_ABANDONED: &str = "UPDATE payment_intent SET failure = $2 WHERE id = $1 AND failure IS NULL";
    let known = find(tx, id).await?;
    let invoice = locked(tx, &known.invoice).await?;
    let intent = find(tx, id).await?;
    let is_abandoned = !providers.contains(&intent.provider.as_str());
    let fail = if is_abandoned { FAIL_ABANDONED } else { FAIL_UNANSWERED };
    let is_pending = intent.status == IntentStatus::Pending;
    // The answer of a provider may have come in between.
    if !is_pending || tx.execute(fail, &[id.into(), reason.into()]).await? == 0 {
        let reason = if is_pending {
            "its provider has answered, and will tell what becomes of that payment"
        } else {
            "it is known what became of that payment"
        };
        return Err(AccountsError::InvoiceState { id: intent.invoice, status: invoice.status, reason });
    }
    find(tx, id).await
}

/// The one intent of an invoice that waits for its payment.
struct Opened {
    intent: PaymentIntent,
    /// The invoice's.
    status: InvoiceStatus,
    /// Whether it is for what was asked: this provider, and what is owed.
    is_asked: bool,
}

/// The intent that waits for its payment, or a new one.
async fn open(
    tx: &mut Tx,
    (id, provider): (&str, &str),
    new_id: &str,
    now_ms: u64,
) -> Result<Opened, AccountsError> {
    const INSERT: &str = "INSERT INTO payment_intent (id, invoice, provider, amount, currency, created_at_ms)
        VALUES ($1, $2, $3, $4, $5, $6)";
    let invoice = locked(tx, id).await?;
    let owed = money::owed(tx, id, invoice.export.invoice.total).await?;
    let is_open = matches!(invoice.status, InvoiceStatus::Final | InvoiceStatus::Uncollectible);
    let Some(amount) = u64::try_from(owed).ok().filter(|owed| is_open && *owed > 0) else {
        let (id, status) = (id.to_owned(), invoice.status);
        return Err(AccountsError::InvoiceState { id, status, reason: "nothing is owed for it" });
    };
    let known = of_invoice(tx, id).await?;
    let status = invoice.status;
    if let Some(intent) = known.into_iter().find(|intent| intent.status == IntentStatus::Pending) {
        let is_asked = (intent.provider.as_str(), intent.amount) == (provider, amount);
        return Ok(Opened { intent, status, is_asked });
    }
    let intent = PaymentIntent {
        id: new_id.to_owned(),
        invoice: id.to_owned(),
        provider: provider.to_owned(),
        reference: None,
        amount,
        currency: invoice.export.invoice.currency,
        status: IntentStatus::Pending,
        failure: None,
        created_at_ms: now_ms,
    };
    let params =
        [new_id.into(), id.into(), provider.into(), amount.into(), (&intent.currency).into(), now_ms.into()];
    tx.execute(INSERT, &params).await?;
    Ok(Opened { intent, status, is_asked: true })
}

//! Payments through a provider: asked for, told of in any order and more than once, and taken back.

use super::invoices::{Books, DAY};
use super::*;
use datamesh_accounts::{
    DunningPolicy, IntentStatus, InvoiceStatus, Month, PaymentEvent, Settlement, StoredInvoice,
};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};

pub const SECRET: &str = "what the sandbox and the gateway know";
/// What [`Books::owed`] owes.
const TOTAL: u64 = 10_000_000;
const POLICY: DunningPolicy =
    DunningPolicy { freeze_writes_after: DAY, freeze_after: DAY, delete_after: Duration::MAX };

fn sandbox(secret: &str) -> SandboxPayments {
    SandboxPayments::new(&Secret::new(secret.to_owned()))
}

fn succeeded(invoice: &str, payment: &str, amount: u64) -> PaymentEvent {
    let (payment, invoice) = (payment.to_owned(), invoice.to_owned());
    PaymentEvent::Succeeded { payment, invoice, amount, currency: Some("USD".to_owned()) }
}

fn refunded(payment: &str, refund: &str, amount: u64) -> PaymentEvent {
    PaymentEvent::Refunded { payment: payment.to_owned(), refund: refund.to_owned(), amount }
}

fn failed(payment: &str) -> PaymentEvent {
    PaymentEvent::Failed { payment: payment.to_owned(), reason: "no money".to_owned() }
}

impl Books {
    /// The provider tells it, properly signed.
    async fn hear(&self, event: &PaymentEvent) -> Result<PaymentEvent, AccountsError> {
        let body = serde_json::to_vec(event).unwrap();
        let signature = sandbox(SECRET).sign(&body, self.fixture.clock.now_ms());
        self.accounts.receive_notice("sandbox", &body, Some(&signature)).await
    }

    async fn state(&self, id: &str) -> (StoredInvoice, Settlement) {
        let invoice = self.accounts.invoice(id).await.unwrap();
        let settlement = self.accounts.settlement(&invoice).await.unwrap();
        (invoice, settlement)
    }

    /// The invoice of the month after that, once it is over.
    async fn owed_after(&self, month: Month) -> StoredInvoice {
        let month = month.next();
        let settled_ms = month.next().start_ms() + 600_000;
        self.advance(Duration::from_millis(settled_ms - self.fixture.clock.now_ms()));
        let draft = self.accounts.run_invoices(month).await.unwrap().made.remove(0);
        self.accounts.finalize_invoice(&draft.export.id).await.unwrap()
    }

    async fn owes(&self, id: &str) -> (InvoiceStatus, i64) {
        let (invoice, settlement) = self.state(id).await;
        (invoice.status, settlement.owed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_counts_once_and_only_when_it_is_the_providers_and_new() {
    for_each_engine(|db| async move {
        let books = Books::open(db, "enterprise").await;
        let invoice = books.owed().await;
        let id = invoice.export.id.as_str();
        let untouched = books.state(id).await;
        let body = serde_json::to_vec(&succeeded(id, "p1", TOTAL)).unwrap();
        let now_ms = books.fixture.clock.now_ms();
        let sign = |secret: &str, at_ms: u64| sandbox(secret).sign(&body, at_ms);
        let attempts = [
            ("sandbox", None),
            ("sandbox", Some(sign("what nobody knows", now_ms))),
            ("sandbox", Some(sign(SECRET, now_ms - 301_000))),
            ("sandbox", Some(sign(SECRET, now_ms + 301_000))),
            ("manual", Some(sign(SECRET, now_ms))),
        ];
        for (provider, signature) in attempts {
            let heard = books.accounts.receive_notice(provider, &body, signature.as_deref()).await;
            let refused = heard.unwrap_err();
            assert!(
                matches!(
                    refused,
                    AccountsError::UnprovenNotice { .. } | AccountsError::UnknownProvider { .. }
                ),
                "{signature:?}: {refused}"
            );
        }
        let unknown = books.hear(&succeeded("2026-11-000000", "p1", TOTAL)).await.unwrap_err();
        assert!(matches!(unknown, AccountsError::NoSuchInvoice { .. }), "{unknown}");
        let mut euros = succeeded(id, "p1", TOTAL);
        if let PaymentEvent::Succeeded { currency, .. } = &mut euros {
            *currency = Some("EUR".to_owned());
        }
        let currency = books.hear(&euros).await.unwrap_err();
        assert!(matches!(currency, AccountsError::InvalidPayment { .. }), "{currency}");
        assert_eq!(books.state(id).await, untouched, "nothing of that was recorded");

        // Less than what is owed is a part of it.
        books.hear(&succeeded(id, "p1", TOTAL - 1)).await.unwrap();
        assert_eq!(books.owes(id).await, (InvoiceStatus::Final, 1));
        for _ in 0..3 {
            books.hear(&succeeded(id, "p1", TOTAL - 1)).await.unwrap();
        }
        assert_eq!(books.owes(id).await, (InvoiceStatus::Final, 1), "a replay counts once");
        let other = books.hear(&succeeded(id, "p1", TOTAL)).await.unwrap_err();
        assert!(matches!(other, AccountsError::PaymentConflict { .. }), "{other}");
        // What nobody owed has come in all the same; only by hand it is taken for a mistake.
        books.hear(&succeeded(id, "p2", 5)).await.unwrap();
        books.hear(&succeeded(id, "p3", 5)).await.unwrap();
        assert_eq!(books.owes(id).await, (InvoiceStatus::Paid, -9));
        assert!(matches!(books.pay(id, 5, "by hand").await, Err(AccountsError::InvoiceState { .. })));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_for_a_payment_twice_asks_once_until_it_is_known_what_became_of_it() {
    for_each_engine(|db| async move {
        let books = Books::open(db, "enterprise").await;
        let invoice = books.owed().await;
        let id = invoice.export.id.as_str();
        let charge = || books.accounts.charge_invoice(id, "sandbox");
        let (one, other) = tokio::join!(charge(), charge());
        let (first, same) = (one.unwrap(), other.unwrap());
        assert_eq!(first.id, same.id);
        assert_eq!((first.amount, first.currency.as_str()), (TOTAL, "USD"));
        assert_eq!(charge().await.unwrap().status, IntentStatus::Pending);
        let reference = first.reference.unwrap();

        books.hear(&failed(&reference)).await.unwrap();
        let after = books.accounts.payment_intent(&first.id).await.unwrap();
        assert_eq!((after.status, after.failure.as_deref()), (IntentStatus::Failed, Some("no money")));
        let second = charge().await.unwrap();
        assert_ne!(second.id, first.id, "one that failed is over");
        // The customer tried again: the first one came in after all, and then the news that it had failed, once more.
        books.hear(&succeeded(id, &reference, TOTAL)).await.unwrap();
        books.hear(&failed(&reference)).await.unwrap();
        let after = books.accounts.payment_intent(&first.id).await.unwrap();
        assert_eq!(after.status, IntentStatus::Succeeded);
        assert_eq!(books.owes(id).await, (InvoiceStatus::Paid, 0));
        let nothing = charge().await.unwrap_err();
        assert!(matches!(nothing, AccountsError::InvoiceState { .. }), "{nothing}");
        assert_eq!(books.state(id).await.1.intents.len(), 2);

        let unknown = books.accounts.charge_invoice(id, "manual").await.unwrap_err();
        assert!(matches!(unknown, AccountsError::UnknownProvider { .. }), "{unknown}");
        let draft = books.accounts.run_invoices(books.month.next()).await.unwrap().made.remove(0);
        let draft = books.accounts.charge_invoice(&draft.export.id, "sandbox").await.unwrap_err();
        assert!(matches!(draft, AccountsError::InvoiceState { .. }), "{draft}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_is_told_before_its_payment_is_known_must_be_told_again() {
    for_each_engine(|db| async move {
        let books = Books::open(db, "enterprise").await;
        let id = books.owed().await.export.id;
        let intent = books.accounts.charge_invoice(&id, "sandbox").await.unwrap();
        let reference = intent.reference.clone().unwrap();
        // As it is between the provider's answer and the row that keeps it.
        let forget = "UPDATE payment_intent SET reference = NULL";
        books.fixture.db.execute(forget, [].into()).await.unwrap();
        let early = books.hear(&failed(&reference)).await.unwrap_err();
        assert!(matches!(early, AccountsError::NoSuchIntent { .. }), "{early}");
        let again = books.accounts.charge_invoice(&id, "sandbox").await.unwrap();
        assert_eq!((&again.id, again.reference.as_deref()), (&intent.id, Some(reference.as_str())));
        books.hear(&failed(&reference)).await.unwrap();
        assert_eq!(books.accounts.payment_intent(&intent.id).await.unwrap().status, IntentStatus::Failed);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_is_never_charged_for_while_a_payment_of_another_amount_may_still_come_in() {
    for_each_engine(|db| async move {
        let books = Books::open(db, "enterprise").await;
        let id = books.owed().await.export.id;
        let charge = || books.accounts.charge_invoice(&id, "sandbox");
        let whole = charge().await.unwrap();
        assert_eq!(whole.amount, TOTAL);
        books.pay(&id, 4_000_000, "a part").await.unwrap();
        books.accounts.credit_invoice(&id, 1_000_000, "a mistake").await.unwrap();
        let refused = charge().await.unwrap_err();
        assert!(matches!(refused, AccountsError::InvoiceState { .. }), "{refused}");
        let (invoice, settlement) = books.state(&id).await;
        assert_eq!((invoice.status, settlement.intents.len()), (InvoiceStatus::Final, 1));
        books.hear(&failed(whole.reference.as_deref().unwrap())).await.unwrap();
        let rest = charge().await.unwrap();
        assert_eq!((rest.amount, rest.status), (TOTAL - 5_000_000, IntentStatus::Pending));
        books.hear(&succeeded(&id, rest.reference.as_deref().unwrap(), rest.amount)).await.unwrap();
        assert_eq!(books.owes(&id).await, (InvoiceStatus::Paid, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chargeback_is_owed_again_and_dunned_again_from_the_start() {
    for_each_engine(|db| async move {
        let books = Books::open(db, "enterprise").await;
        let invoice = books.owed().await;
        let id = invoice.export.id.as_str();
        let holds = async || {
            let now_ms = books.fixture.clock.now_ms();
            let all = books.accounts.holds(books.account).await.unwrap();
            (all.iter().filter(|hold| hold.is_active(now_ms)).count(), all.len())
        };
        books.advance(16 * DAY);
        books.accounts.dun(POLICY).await.unwrap();
        assert_eq!(holds().await, (2, 2), "writes and everything");
        books.hear(&succeeded(id, "p1", TOTAL)).await.unwrap();
        assert_eq!(holds().await, (0, 2));

        books.hear(&refunded("p1", "r1", 4)).await.unwrap();
        books.hear(&refunded("p1", "r1", 4)).await.unwrap();
        let (reopened, settlement) = books.state(id).await;
        assert_eq!((reopened.status, settlement.owed), (InvoiceStatus::Final, 4));
        assert_eq!((reopened.reopened, reopened.closed_at_ms), (1, None));
        assert!(reopened.due_at_ms > invoice.due_at_ms, "it is due anew");
        let other = books.hear(&refunded("p1", "r1", 5)).await.unwrap_err();
        assert!(matches!(other, AccountsError::PaymentConflict { .. }), "{other}");
        assert_eq!(books.accounts.dun(POLICY).await.unwrap(), 0);
        books.advance(16 * DAY);
        books.accounts.dun(POLICY).await.unwrap();
        assert_eq!(holds().await, (2, 4), "holds of their own, beside those that were lifted");
        books.hear(&succeeded(id, "p2", 4)).await.unwrap();
        assert_eq!(books.owes(id).await, (InvoiceStatus::Paid, 0));
        assert_eq!(holds().await, (0, 4));
        // No more can come back than was paid.
        books.hear(&refunded("p2", "r2", TOTAL)).await.unwrap();
        assert_eq!(books.owes(id).await, (InvoiceStatus::Final, 4));
    })
    .await;
}

/// What an invoice must owe: all that anybody has told, whatever the order.
#[derive(Default)]
struct Model {
    payments: Vec<(String, u64)>,
    refunds: Vec<(String, String, u64)>,
    credited: u64,
}

impl Model {
    fn owed(&self) -> i64 {
        let mut owed = (TOTAL - self.credited) as i64;
        for (payment, amount) in &self.payments {
            let refunds = self.refunds.iter().filter(|(of, ..)| of == payment);
            let refunded: u64 = refunds.map(|(.., amount)| amount).sum();
            owed = owed - *amount as i64 + refunded.min(*amount) as i64;
        }
        owed
    }

    fn hear(&mut self, event: &PaymentEvent) {
        match event {
            PaymentEvent::Succeeded { payment, amount, .. } => {
                if !self.payments.iter().any(|(known, _)| known == payment) {
                    self.payments.push((payment.clone(), *amount));
                }
            }
            PaymentEvent::Refunded { payment, refund, amount } => {
                if !self.refunds.iter().any(|(_, known, _)| known == refund) {
                    self.refunds.push((payment.clone(), refund.clone(), *amount));
                }
            }
            PaymentEvent::Failed { .. } => {}
        }
    }
}

/// Events of four payments, each with refunds, in any order; some twice.
fn told(random: &mut StdRng, invoice: &str) -> Vec<PaymentEvent> {
    let mut events = Vec::new();
    for number in 0..4 {
        let payment = format!("{invoice}-{number}");
        events.push(succeeded(invoice, &payment, random.random_range(1..=TOTAL)));
        events.push(failed(&payment));
        for number in 0..random.random_range(0..3) {
            let refund = format!("{payment}-r{number}");
            events.push(refunded(&payment, &refund, random.random_range(1..=TOTAL)));
        }
    }
    let again: Vec<_> = events.sample(random, 4).cloned().collect();
    events.extend(again);
    events.shuffle(random);
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_owed_is_the_total_less_credits_and_payments_plus_refunds_at_all_times() {
    for_each_engine(|db| async move {
        let books = Books::open(db, "enterprise").await;
        // What is stored stays, so that every month has the same total.
        let mut invoice = books.owed().await;
        for seed in 0..8 {
            let mut random = StdRng::seed_from_u64(seed);
            let id = invoice.export.id.as_str();
            assert_eq!(books.owes(id).await, (InvoiceStatus::Final, TOTAL as i64));
            let mut model = Model::default();
            for event in told(&mut random, id) {
                match books.hear(&event).await {
                    Ok(_) => model.hear(&event),
                    // Of what nobody asked for, and nobody has paid.
                    Err(AccountsError::NoSuchIntent { id }) => {
                        assert!(
                            !model.payments.iter().any(|(known, _)| *known == id),
                            "seed {seed}: {event:?}"
                        );
                        assert!(matches!(event, PaymentEvent::Failed { .. }), "seed {seed}: {event:?}");
                    }
                    Err(error) => panic!("seed {seed}: {error}"),
                }
                if random.random_ratio(1, 6) {
                    let amount = random.random_range(1..=TOTAL / 3);
                    match books.accounts.credit_invoice(id, amount, "a mistake").await {
                        Ok(_) => model.credited += amount,
                        Err(AccountsError::InvoiceState { .. }) => assert!(model.credited + amount > TOTAL),
                        Err(error) => panic!("{error}"),
                    }
                }
                let owed = model.owed();
                let status = if owed <= 0 { InvoiceStatus::Paid } else { InvoiceStatus::Final };
                assert_eq!(books.owes(id).await, (status, owed), "seed {seed} after {event:?}");
            }
            invoice = books.owed_after(invoice.month).await;
        }
    })
    .await;
}

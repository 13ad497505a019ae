//! Payments that a provider was asked for, and that it may have taken or not.

use std::sync::Mutex;

use super::invoices::Books;
use super::*;
use datamesh_accounts::{Charging, IntentStatus, Notice, PaymentEvent, PaymentIntent, PaymentProvider};

/// What [`Books::owed`] owes.
const TOTAL: u64 = 10_000_000;

/// A provider that keeps what it was asked for, and may not answer.
struct Unreliable {
    name: &'static str,
    answers: bool,
    asked: Mutex<Vec<u64>>,
}

impl Unreliable {
    fn new(name: &'static str, answers: bool) -> Arc<Self> {
        Arc::new(Self { name, answers, asked: Mutex::default() })
    }

    fn asked(&self) -> Vec<u64> {
        self.asked.lock().unwrap().clone()
    }
}

impl PaymentProvider for Unreliable {
    fn name(&self) -> &'static str {
        self.name
    }

    fn read(&self, _: Notice<'_>) -> Result<PaymentEvent, AccountsError> {
        Err(AccountsError::UnprovenNotice { reason: "it tells nothing" })
    }

    fn charge<'c>(&'c self, intent: &'c PaymentIntent) -> Charging<'c> {
        self.asked.lock().unwrap().push(intent.amount);
        let unanswered = || AccountsError::InvalidPayment { reason: "no answer".to_owned() };
        let answer = self.answers.then(|| format!("{}-{}", self.name, intent.id)).ok_or_else(unanswered);
        Box::pin(std::future::ready(answer))
    }
}

/// One more gateway, with these providers.
async fn gateway_with(fixture: &Fixture, payment_providers: Vec<Arc<dyn PaymentProvider>>) -> Accounts {
    let clock: Arc<dyn Clock> = fixture.clock.clone();
    let config = AccountsConfig { clock, payment_providers, ..AccountsConfig::default() };
    Accounts::open(fixture.db.clone(), fixture.keyring().await.unwrap(), config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_asked_for_what_is_owed_no_longer_and_no_provider_blocks_an_invoice_for_good() {
    for_each_engine(|db| async move {
        let books = Books::open(db, "enterprise").await;
        let invoice = books.owed().await;
        let id = invoice.export.id.as_str();
        let (silent, other) = (Unreliable::new("silent", false), Unreliable::new("other", true));
        let both = gateway_with(&books.fixture, vec![silent.clone(), other.clone()]).await;
        for _ in 0..2 {
            let unanswered = both.charge_invoice(id, "silent").await.unwrap_err();
            assert!(matches!(unanswered, AccountsError::InvalidPayment { .. }), "{unanswered}");
        }
        assert_eq!(silent.asked(), [TOTAL; 2], "the same payment, asked for again");
        books.accounts.credit_invoice(id, 4_000_000, "a mistake").await.unwrap();
        let without = gateway_with(&books.fixture, vec![other.clone()]).await;
        for (accounts, provider) in [(&both, "silent"), (&both, "other"), (&without, "other")] {
            let refused = accounts.charge_invoice(id, provider).await.unwrap_err();
            assert!(matches!(refused, AccountsError::InvoiceState { .. }), "{provider}: {refused}");
            assert!(refused.to_string().contains("fail that intent"), "{refused}");
        }
        assert_eq!((silent.asked(), other.asked()), (vec![TOTAL; 2], vec![]));

        let [intent] = &books.accounts.settlement(&invoice).await.unwrap().intents[..] else {
            panic!("there is one intent")
        };
        let fail = async |accounts: &Accounts, intent: &PaymentIntent| {
            accounts.fail_unanswered_intent(&intent.id, "it has no such payment").await
        };
        let failed = fail(&both, intent).await.unwrap();
        let reason = Some("it has no such payment".to_owned());
        assert_eq!((failed.status, failed.failure), (IntentStatus::Failed, reason));
        let again = fail(&both, intent).await.unwrap_err();
        assert!(matches!(again, AccountsError::InvoiceState { .. }), "{again}");

        let rest = without.charge_invoice(id, "other").await.unwrap();
        assert_eq!((rest.amount, rest.provider.as_str()), (TOTAL - 4_000_000, "other"));
        let refused = fail(&without, &rest).await.unwrap_err();
        assert!(refused.to_string().contains("will tell"), "{refused}");
        // A provider that is none any more tells nothing, whatever it has answered.
        let abandoned = fail(&books.accounts, &rest).await.unwrap();
        assert_eq!((abandoned.status, abandoned.reference), (IntentStatus::Failed, rest.reference));
        assert_eq!(books.accounts.charge_invoice(id, "sandbox").await.unwrap().amount, rest.amount);
        let unknown = books.accounts.fail_unanswered_intent("intent-0", "none").await.unwrap_err();
        assert!(matches!(unknown, AccountsError::NoSuchIntent { .. }), "{unknown}");
    })
    .await;
}

//! Invoices: made of what was used, final once, paid or dunned.

use super::*;
use datamesh_accounts::{
    Act, Digest, DunningPolicy, Effect, HoldScope, InvoiceStatus, Month, Payment, Settlement, StoredInvoice,
    SubscriptionState,
};
use datamesh_billing::{BillingError, Item, PriceSheet};
use datamesh_db::UsageChange;
use datamesh_types::AccountId;

const BUCKET: i64 = 1;
pub const DAY: Duration = Duration::from_hours(24);
/// 100 GB.
const BYTES: i64 = 100_000_000_000;

pub struct Books {
    pub fixture: Fixture,
    pub accounts: Accounts,
    pub account: AccountId,
    /// The month in which it began.
    pub month: Month,
}

impl Books {
    /// A clock at the beginning of a month, and an account with that plan.
    pub async fn open(db: Db, plan: &str) -> Self {
        let fixture = Fixture::new(db);
        let month = Month::of(fixture.clock.now_ms()).next();
        fixture.clock.advance(Duration::from_millis(month.start_ms() - fixture.clock.now_ms()));
        let accounts = fixture.gateway().await;
        let account = user(&accounts, plan).await.id;
        Self { fixture, accounts, account, month }
    }

    pub fn advance(&self, by: Duration) {
        self.fixture.clock.advance(by);
    }

    /// Until the month is over and settled.
    pub fn end_month(&self) {
        let now_ms = self.fixture.clock.now_ms();
        self.advance(Duration::from_millis(self.month.next().start_ms() - now_ms) + Duration::from_mins(10));
    }

    pub async fn store(&self, bytes: i64) {
        let change = UsageChange { account: self.account, bucket: BUCKET, bytes, objects: bytes.signum() };
        quotas::commit(&self.fixture.db, self.accounts.release_hook(), change).await.unwrap();
    }

    async fn run(&self) -> StoredInvoice {
        let mut run = self.accounts.run_invoices(self.month).await.unwrap();
        assert_eq!(run.kept, []);
        assert_eq!(run.made.len(), 1, "{run:?}");
        let invoice = run.made.remove(0);
        assert_eq!(invoice.status, InvoiceStatus::Draft);
        invoice
    }

    /// An invoice of 10 that is final and due in two weeks.
    pub async fn owed(&self) -> StoredInvoice {
        self.store(BYTES).await;
        self.end_month();
        let draft = self.run().await;
        self.accounts.finalize_invoice(&draft.export.id).await.unwrap()
    }

    pub async fn pay(&self, id: &str, amount: u64, reference: &str) -> Result<StoredInvoice, AccountsError> {
        let payment = Payment {
            provider: "manual".to_owned(),
            reference: reference.to_owned(),
            amount,
            at_ms: self.fixture.clock.now_ms(),
        };
        self.accounts.record_payment(id, payment).await
    }
}

fn amounts(invoice: &StoredInvoice) -> Vec<(Item, i128, i64)> {
    let lines = &invoice.export.invoice.lines;
    lines.iter().map(|line| (line.item, line.quantity, line.amount)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_follows_the_usage_while_it_is_a_draft_and_never_changes_once_it_is_final() {
    for_each_engine(|db| async move {
        let books = Books::open(db, "enterprise").await;
        books.store(BYTES).await;
        books.advance(10 * DAY);
        let early = books.run().await;
        let stored_ms = |days: i128| i128::from(BYTES) * days * 86_400_000;
        assert_eq!(amounts(&early)[0].1, stored_ms(10), "a draft goes up to now");
        let refused = books.accounts.finalize_invoice(&early.export.id).await.unwrap_err();
        assert!(refused.to_string().contains("not over"), "{refused}");
        let future = books.accounts.run_invoices(books.month.next()).await.unwrap_err();
        assert!(matches!(future, AccountsError::InvalidPeriod { .. }), "{future}");

        books.end_month();
        let whole = books.run().await;
        assert_eq!(whole.export.id, early.export.id, "a month has one invoice");
        let days = i128::from(books.month.next().start_ms() - books.month.start_ms()) / 86_400_000;
        // 100 GB for a month at 0.10.
        assert_eq!(amounts(&whole), [(Item::Storage, stored_ms(days), 10_000_000)]);
        assert_eq!(whole.export.verify().unwrap(), Vec::<String>::new());
        let owed = books.accounts.finalize_invoice(&whole.export.id).await.unwrap();
        assert_eq!((owed.status, &owed.export), (InvoiceStatus::Final, &whole.export));

        // What comes late is in no invoice that is final.
        books.fixture.clock.set_back(5 * DAY);
        books.store(BYTES).await;
        books.advance(5 * DAY);
        let again = books.accounts.run_invoices(books.month).await.unwrap();
        assert_eq!((again.made, again.kept), (vec![], vec![owed.clone()]));
        assert_eq!(books.accounts.finalize_invoice(&whole.export.id).await.unwrap(), owed);
        assert_eq!(books.accounts.invoices(books.account).await.unwrap(), [owed]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_is_divided_by_plan_and_who_leaves_pays_for_what_was_used() {
    for_each_engine(|db| async move {
        let books = Books::open(db, "premium").await;
        let month_ms = books.month.next().start_ms() - books.month.start_ms();
        books.store(BYTES).await;
        books.advance(Duration::from_millis(month_ms / 2));
        books.store(-BYTES).await;
        books.accounts.subscribe(books.account, "free", None).await.unwrap();
        books.end_month();
        let invoice = books.run().await;
        let used = i128::from(BYTES) * i128::from(month_ms / 2);
        // Half of the base; 50 GB-months used, of the 50 included those for half a month.
        let expected =
            [(Item::Month, i128::from(month_ms / 2000), 4_500_000), (Item::Storage, used, 2_500_000)];
        assert_eq!(amounts(&invoice), expected);
        assert_eq!(invoice.export.invoice.total, 7_000_000);
        let [term] = invoice.export.terms.as_slice() else { panic!("{:?}", invoice.export.terms) };
        assert_eq!((term.plan.as_str(), term.price_version), ("premium", 1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_used_before_there_were_prices_costs_nothing() {
    for_each_engine(|db| async move {
        let books = Books::open(db, "free").await;
        // As much as the free plan allows.
        let bytes = 4_000_000_000;
        books.store(bytes).await;
        let month_ms = books.month.next().start_ms() - books.month.start_ms();
        // In the middle of an hour, of which nothing is billed.
        let paid_ms = DAY.as_millis() as u64;
        books.advance(Duration::from_millis(month_ms - paid_ms - 20 * 60_000));
        books.accounts.subscribe(books.account, "enterprise", None).await.unwrap();
        books.advance(Duration::from_mins(20) + DAY / 2);
        books.accounts.subscribe(books.account, "premium", None).await.unwrap();
        books.end_month();
        let invoice = books.run().await;
        let half = i128::from(bytes) * i128::from(paid_ms / 2);
        let storage: Vec<_> =
            amounts(&invoice).into_iter().filter(|(item, ..)| *item == Item::Storage).collect();
        let [(_, on_enterprise, dear), (_, on_premium, cheap)] = storage[..] else { panic!("{storage:?}") };
        assert_eq!(
            (on_enterprise, on_premium),
            (half, half),
            "each is priced by the plan that it was stored on"
        );
        // 4 GB for half a day at 0.10 for the month; premium includes them.
        let expected = 400_000 * paid_ms / 2 / month_ms;
        assert!(dear.unsigned_abs().abs_diff(expected) <= 1, "{dear} is not {expected}");
        assert_eq!(cheap, 0);
        assert_eq!(invoice.export.verify().unwrap(), Vec::<String>::new());
        let mut moved = invoice.export.clone();
        moved.usage[0].term = 1;
        assert_ne!(moved.verify().unwrap(), Vec::<String>::new(), "usage belongs to its plan");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_costs_what_was_in_force_when_it_began() {
    for_each_engine(|db| async move {
        let books = Books::open(db, "enterprise").await;
        books.store(BYTES).await;
        let sheet = |price: u64| {
            PriceSheet::parse(&format!("[enterprise]\ncurrency = \"USD\"\nstorage = {{ price = {price} }}"))
                .unwrap()
        };
        let apply = |price: u64, from: Month| {
            let (accounts, sheet) = (books.accounts.clone(), sheet(price));
            async move { accounts.apply_prices(&sheet, from).await }
        };
        let applied = apply(200_000, books.month.next()).await.unwrap();
        assert_eq!((applied[0].version.version, applied[0].is_new), (2, true));
        let again = apply(200_000, books.month.next()).await.unwrap();
        assert_eq!(
            (again[0].version.version, again[0].is_new),
            (2, false),
            "prices that are the same make no version"
        );
        books.end_month();
        assert_eq!(amounts(&books.run().await)[0].2, 10_000_000);
        let past = apply(1, books.month).await.unwrap_err();
        assert!(matches!(past, AccountsError::InvalidPeriod { .. }), "{past}");
        let nothing = PriceSheet::parse("[gold]\ncurrency = \"USD\"").unwrap();
        let unknown = books.accounts.apply_prices(&nothing, books.month.next()).await.unwrap_err();
        assert!(matches!(unknown, AccountsError::UnknownPlan { .. }), "{unknown}");
        let euros = PriceSheet::parse("[premium]\ncurrency = \"EUR\"\nmonth = 1").unwrap();
        books.accounts.apply_prices(&euros, books.month.next()).await.unwrap();

        let second = books.month.next();
        books.advance(20 * DAY);
        let run = books.accounts.run_invoices(second).await.unwrap();
        assert_eq!(run.made[0].export.terms[0].price_version, 2);
        books.accounts.subscribe(books.account, "premium", None).await.unwrap();
        books.advance(DAY);
        let mixed = books.accounts.run_invoices(second).await.unwrap();
        let [(account, error)] = mixed.failed.as_slice() else { panic!("{mixed:?}") };
        assert!(matches!(error, BillingError::TwoCurrencies { .. }), "{error}");
        assert_eq!((*account, mixed.made), (books.account, vec![]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_and_credit_notes_cover_an_invoice_once() {
    for_each_engine(|db| async move {
        let books = Books::open(db, "enterprise").await;
        let invoice = books.owed().await;
        let id = invoice.export.id.as_str();
        assert_eq!(invoice.export.invoice.total, 10_000_000);
        let part = books.pay(id, 4_000_000, "first").await.unwrap();
        assert_eq!(part.status, InvoiceStatus::Final);
        assert_eq!(books.pay(id, 4_000_000, "first").await.unwrap(), part, "the same payment again");
        let other = books.pay(id, 5_000_000, "first").await.unwrap_err();
        assert!(matches!(other, AccountsError::PaymentConflict { .. }), "{other}");
        let much = books.accounts.credit_invoice(id, 10_000_001, "a mistake").await.unwrap_err();
        assert!(matches!(much, AccountsError::InvoiceState { .. }), "{much}");
        let (credited, note) = books.accounts.credit_invoice(id, 1_000_000, "an outage").await.unwrap();
        assert_eq!(credited.status, InvoiceStatus::Final);
        let paid = books.pay(id, 5_000_000, "second").await.unwrap();
        assert_eq!(paid.status, InvoiceStatus::Paid);
        assert_eq!(paid.export, invoice.export, "the invoice itself stays as it was");
        assert!(paid.closed_at_ms.is_some());
        let more = books.pay(id, 1, "third").await.unwrap_err();
        assert!(matches!(more, AccountsError::InvoiceState { .. }), "{more}");
        assert!(books.accounts.write_off_invoice(id).await.is_err());
        let settlement = books.accounts.settlement(&paid).await.unwrap();
        let amounts: Vec<_> = settlement.payments.iter().map(|payment| payment.amount).collect();
        assert_eq!((amounts, settlement.owed), (vec![4_000_000, 5_000_000], 0));
        assert_eq!(settlement.credit_notes, [note]);
        let unknown = books.pay("2026-11-000000", 1, "fourth").await.unwrap_err();
        assert!(matches!(unknown, AccountsError::NoSuchInvoice { .. }), "{unknown}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overdue_invoice_freezes_step_by_step_and_its_payment_restores_everything() {
    for_each_engine(|db| async move {
        let books = Books::open(db, "enterprise").await;
        let invoice = books.owed().await;
        let id = invoice.export.id.as_str();
        let policy =
            DunningPolicy { freeze_writes_after: 7 * DAY, freeze_after: 30 * DAY, delete_after: 90 * DAY };
        let owner = Owner::Account(books.account);
        let may = async |effect| {
            let entered = books.accounts.admission(RequestClass::A).enter(&owner, effect).await;
            assert!(matches!(entered, Ok(()) | Err(AccountsError::Held { .. })), "{entered:?}");
            entered.is_ok()
        };
        let state = || books.accounts.subscription_state(books.account);
        assert_eq!(books.accounts.dun(policy).await.unwrap(), 0, "it is not due");
        assert_eq!(state().await.unwrap(), SubscriptionState::Active);
        books.advance(15 * DAY);
        assert_eq!(books.accounts.dun(policy).await.unwrap(), 1, "a warning");
        assert_eq!(books.accounts.dun(policy).await.unwrap(), 0, "a step is taken once");
        assert!(may(Effect::Write).await);
        assert_eq!(state().await.unwrap(), SubscriptionState::PastDue);
        books.advance(7 * DAY);
        assert_eq!(books.accounts.dun(policy).await.unwrap(), 1);
        assert_eq!(state().await.unwrap(), SubscriptionState::Frozen);
        assert!(!may(Effect::Write).await && may(Effect::Read).await && may(Effect::Delete).await);
        // The step in between was missed.
        books.advance(100 * DAY);
        assert_eq!(books.accounts.dun(policy).await.unwrap(), 1);
        assert!(!may(Effect::Read).await && !may(Effect::Delete).await);
        let holds = books.accounts.holds(books.account).await.unwrap();
        let scopes: Vec<_> = holds.iter().map(|hold| hold.scope).collect();
        assert_eq!(scopes, [HoldScope::Write, HoldScope::All]);
        assert!(holds.iter().all(|hold| hold.reason.contains(id)));

        books.accounts.write_off_invoice(id).await.unwrap();
        assert!(!may(Effect::Read).await, "giving up restores nothing");
        assert_eq!(state().await.unwrap(), SubscriptionState::Frozen);
        let paid = books.pay(id, 10_000_000, "late").await.unwrap();
        assert_eq!(paid.status, InvoiceStatus::Paid);
        assert!(may(Effect::Write).await && may(Effect::Read).await);
        assert_eq!(state().await.unwrap(), SubscriptionState::Active);
        assert_eq!(books.accounts.dun(policy).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_tried_out_with_money_shows_the_outcome_and_changes_nothing() {
    for_each_engine(|db| async move {
        let books = Books::open(db, "enterprise").await;
        let invoice = books.owed().await;
        let id = invoice.export.id.as_str();
        let act = || Arc::new(Act::new("operator", "invoice", "", "", Digest::NONE, true));
        let preview = || books.accounts.acting(act());
        let payment = Payment {
            provider: "manual".to_owned(),
            reference: "first".to_owned(),
            amount: 10_000_000,
            at_ms: books.fixture.clock.now_ms(),
        };
        let paid = preview().record_payment(id, payment).await.unwrap();
        assert_eq!(paid.status, InvoiceStatus::Paid);
        let (credited, _) = preview().credit_invoice(id, 10_000_000, "all of it").await.unwrap();
        assert_eq!(credited.status, InvoiceStatus::Paid);
        let given_up = preview().write_off_invoice(id).await.unwrap();
        assert_eq!(given_up.status, InvoiceStatus::Uncollectible);
        let sheet = PriceSheet::parse("[enterprise]\ncurrency = \"USD\"\nmonth = 7").unwrap();
        let prices = books.accounts.prices().await.unwrap();
        let applied = preview().apply_prices(&sheet, books.month.next()).await.unwrap();
        assert!(applied[0].is_new);
        let refused = preview().credit_invoice(id, 10_000_001, "too much").await;
        assert!(matches!(refused, Err(AccountsError::InvoiceState { .. })), "it fails as it would");

        assert_eq!(books.accounts.invoice(id).await.unwrap(), invoice);
        let expected = Settlement { owed: 10_000_000, ..Settlement::default() };
        assert_eq!(books.accounts.settlement(&invoice).await.unwrap(), expected);
        assert_eq!(books.accounts.prices().await.unwrap(), prices);
    })
    .await;
}

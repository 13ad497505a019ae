//! Service levels: what gateways and probes have seen, and the credit that follows from it without being asked for.

use super::invoices::{Books, DAY};
use super::*;
use datamesh_accounts::{Effect, InvoiceStatus, Retention, ServiceLevel, Settlement, StoredInvoice};
use datamesh_billing::Window;

const WINDOW: Duration = Duration::from_mins(5);
const HOUR_MS: u64 = 3_600_000;

impl Books {
    /// An account that is on a plan with a service level for the last hours of the month, and stores a petabyte.
    async fn promised(db: Db, hours: u64) -> Self {
        let books = Self::open(db, "free").await;
        let from_ms = books.month.next().start_ms() - hours * HOUR_MS;
        books.advance(Duration::from_millis(from_ms - books.fixture.clock.now_ms()));
        books.accounts.subscribe(books.account, "enterprise", None).await.unwrap();
        books.store(1_000_000_000_000_000).await;
        books
    }

    /// A request that the gateway answered.
    async fn request(&self, accounts: &Accounts, is_fault: bool) {
        let admission = accounts.admission(RequestClass::B);
        admission.enter(&Owner::Account(self.account), Effect::Read).await.unwrap();
        admission.signed_by(self.account, "KEY".into());
        if is_fault {
            admission.failed();
        }
    }

    /// The month's invoice, once it is final.
    async fn finalized(&self) -> (StoredInvoice, Settlement) {
        self.end_month();
        let id = self.accounts.run_invoices(self.month).await.unwrap().made.remove(0).export.id;
        let invoice = self.accounts.finalize_invoice(&id).await.unwrap();
        let settlement = self.accounts.settlement(&invoice).await.unwrap();
        (invoice, settlement)
    }

    async fn level(&self) -> ServiceLevel {
        self.accounts.service_level(self.account, self.month).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_are_judged_by_requests_then_by_probes_and_are_bad_when_nobody_was_there() {
    for_each_engine(|db| async move {
        let books = Books::promised(db, 1).await;
        assert_eq!(books.level().await.availability, None, "nothing counts before the first probe");
        books.advance(Duration::from_mins(1));
        let other = books.fixture.gateway().await;
        books.accounts.record_probe(true).await.unwrap();
        books.request(&books.accounts, false).await;
        books.request(&other, true).await;
        books.request(&other, false).await;
        for gateway in [&books.accounts, &other, &other] {
            gateway.flush_meters().await;
        }
        books.request(&books.accounts, false).await;
        books.advance(WINDOW);
        // Nobody asks: one probe of two fails; then nobody is there at all; then all is well.
        books.accounts.record_probe(false).await.unwrap();
        books.accounts.record_probe(true).await.unwrap();
        books.advance(2 * WINDOW);
        books.accounts.record_probe(true).await.unwrap();

        let level = books.level().await;
        let windows: Vec<_> = level.windows.iter().map(|seen| seen.window).collect();
        let expected = [
            Window { requests: 4, faults: 1, probes_good: 1, probes_bad: 0 },
            Window { requests: 0, faults: 0, probes_good: 1, probes_bad: 1 },
            Window::default(),
            Window { requests: 0, faults: 0, probes_good: 1, probes_bad: 0 },
        ];
        assert_eq!(windows, expected);
        assert_eq!(level.availability, Some((750_000 + 500_000 + 1_000_000) / 4));
        assert_eq!(level.tier.map(|tier| tier.credit), Some(100));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_that_was_less_available_than_promised_is_credited_once_as_it_becomes_final() {
    for_each_engine(|db| async move {
        let books = Books::promised(db, 2).await;
        // One bad window of the 24 that were promised.
        for number in 0..24 {
            books.accounts.record_probe(number != 7).await.unwrap();
            books.advance(WINDOW);
        }
        books.end_month();
        let id = books.accounts.run_invoices(books.month).await.unwrap().made.remove(0).export.id;
        let before = books.level().await;
        assert_eq!((before.windows.len(), before.availability), (24, Some(958_333)));
        assert_eq!(before.issued, None);
        let base = before.base.unwrap();
        assert!(base > 0);

        let gateways = [books.fixture.gateway().await, books.fixture.gateway().await];
        let finalized = tokio::join!(gateways[0].finalize_invoice(&id), gateways[1].finalize_invoice(&id));
        finalized.0.unwrap();
        finalized.1.unwrap();
        let invoice = books.accounts.finalize_invoice(&id).await.unwrap();
        assert_eq!(invoice.status, InvoiceStatus::Final);
        let settlement = books.accounts.settlement(&invoice).await.unwrap();
        let [note] = settlement.credit_notes.as_slice() else { panic!("{settlement:?}") };
        let credit = (base + 2) / 4;
        assert_eq!((note.amount as i64, settlement.owed), (credit, invoice.export.invoice.total - credit));
        assert_eq!(
            note.reason,
            format!("95.8333 % of {} was available, less than 99.0000 %: 25 % of what it costs", books.month)
        );
        assert_eq!(books.level().await.issued.as_ref(), Some(note));
        assert_eq!(invoice.export.verify().unwrap(), Vec::<String>::new(), "the invoice stays as it was");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_in_which_nothing_worked_costs_nothing() {
    for_each_engine(|db| async move {
        let books = Books::promised(db, 1).await;
        books.accounts.record_probe(false).await.unwrap();
        let (invoice, settlement) = books.finalized().await;
        assert_eq!((invoice.status, settlement.owed), (InvoiceStatus::Paid, 0));
        assert_eq!(settlement.credit_notes[0].amount as i64, invoice.export.invoice.total);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_that_kept_its_promise_is_owed_as_a_whole() {
    for_each_engine(|db| async move {
        let books = Books::promised(db, 1).await;
        for _ in 0..12 {
            books.accounts.record_probe(true).await.unwrap();
            books.advance(WINDOW);
        }
        let (invoice, settlement) = books.finalized().await;
        assert_eq!((invoice.status, settlement.owed), (InvoiceStatus::Final, invoice.export.invoice.total));
        assert_eq!((settlement.credit_notes, books.level().await.tier), (vec![], None));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_that_becomes_final_after_its_windows_were_forgotten_is_not_credited_for_them() {
    for_each_engine(|db| async move {
        let books = Books::promised(db, 2).await;
        for number in 0..24 {
            books.accounts.record_probe(true).await.unwrap();
            // Four of them are kept: the oldest was under way at the age at which they are forgotten.
            if number < 23 {
                books.advance(WINDOW);
            }
        }
        books.advance(WINDOW / 2);
        let retention = |windows| Retention { events: 99 * DAY, hours: 99 * DAY, warnings: DAY, windows };
        books.accounts.purge(retention(3 * WINDOW)).await.unwrap();
        books.advance(WINDOW / 2);
        let level = books.level().await;
        assert_eq!((level.windows.len(), level.availability), (4, Some(1_000_000)));
        books.end_month();
        let id = books.accounts.run_invoices(books.month).await.unwrap().made.remove(0).export.id;
        books.accounts.purge(retention(WINDOW)).await.unwrap();
        let invoice = books.accounts.finalize_invoice(&id).await.unwrap();
        let settlement = books.accounts.settlement(&invoice).await.unwrap();
        assert_eq!((settlement.credit_notes, settlement.owed), (vec![], invoice.export.invoice.total));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_are_forgotten_after_a_while() {
    for_each_engine(|db| async move {
        let books = Books::promised(db, 1).await;
        books.accounts.record_probe(true).await.unwrap();
        books.request(&books.accounts, false).await;
        books.accounts.flush_meters().await;
        let purge = || {
            let retention = Retention { events: DAY, hours: DAY, warnings: DAY, windows: 100 * DAY };
            books.accounts.purge(retention)
        };
        books.advance(99 * DAY);
        assert_eq!(purge().await.unwrap().windows, 0);
        books.advance(2 * DAY);
        assert_eq!(purge().await.unwrap().windows, 2);
    })
    .await;
}

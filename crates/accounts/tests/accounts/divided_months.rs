//! Invoices of months whose hours are no longer kept.

use super::invoices::{Books, DAY};
use super::*;
use datamesh_accounts::{InvoiceStatus, Retention};
use datamesh_billing::BillingError;
use datamesh_db::UsageChange;

/// 100 GB.
const BYTES: i64 = 100_000_000_000;

/// Stores so much in a bucket of that number.
async fn store(books: &Books, account: AccountId, bucket: i64) {
    let change = UsageChange { account, bucket, bytes: BYTES, objects: 1 };
    quotas::commit(&books.fixture.db, books.accounts.release_hook(), change).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_needs_its_hours_only_while_it_is_a_draft_and_plans_changed_in_it() {
    for_each_engine(|db| async move {
        let books = Books::open(db, "enterprise").await;
        let open = async |email: &str, plan: &str| {
            books.accounts.create_user(email, "Customer", plan).await.unwrap().id
        };
        let [final_one, draft] =
            [open("a@example.com", "premium").await, open("b@example.com", "premium").await];
        books.advance(10 * DAY + Duration::from_mins(20));
        for account in [final_one, draft] {
            books.accounts.subscribe(account, "enterprise", None).await.unwrap();
        }
        let late = open("c@example.com", "enterprise").await;
        let stored_ms = i128::from(books.month.next().start_ms() - books.fixture.clock.now_ms());
        for (account, bucket) in [(final_one, 1), (draft, 2), (late, 3)] {
            store(&books, account, bucket).await;
        }
        books.end_month();
        let run = books.accounts.run_invoices(books.month).await.unwrap();
        assert_eq!((run.made.len(), run.failed.len()), (4, 0), "{run:?}");
        let of = |account: AccountId| run.made.iter().find(|invoice| invoice.account == account).unwrap();
        let kept = books.accounts.finalize_invoice(&of(final_one).export.id).await.unwrap();
        assert_eq!(kept.status, InvoiceStatus::Final);

        books.advance(70 * DAY);
        let retention =
            Retention { events: 7 * DAY, hours: 30 * DAY, warnings: 365 * DAY, windows: 365 * DAY };
        assert!(books.accounts.purge(retention).await.unwrap().hours > 0);
        let again = books.accounts.run_invoices(books.month).await.unwrap();
        assert_eq!(again.kept, [kept], "what is final needs nothing");
        let [(failed, error)] = again.failed.as_slice() else { panic!("{:?}", again.failed) };
        assert_eq!((*failed, matches!(error, BillingError::HoursGone { .. })), (draft, true), "{error}");
        let made = again.made.iter().find(|invoice| invoice.account == late).expect("no plan has changed");
        assert_eq!(made.export, of(late).export);
        let used: Vec<_> = made.export.usage.iter().map(|row| row.byte_milliseconds).collect();
        assert_eq!(used, [i128::from(BYTES) * stored_ms]);
        assert_eq!(made.export.verify().unwrap(), Vec::<String>::new());
    })
    .await;
}

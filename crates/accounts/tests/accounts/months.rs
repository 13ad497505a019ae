//! Months that bill themselves, whoever is cut off meanwhile.

use super::invoices::{Books, DAY};
use super::*;
use datamesh_accounts::{BillingTurn, InvoiceStatus};
use datamesh_billing::PriceSheet;

const GRACE: Duration = Duration::from_hours(48);

/// What there is of a month: how many drafts and how many that are not.
async fn counts(books: &Books) -> (usize, usize) {
    let mut counts = (0, 0);
    for user in books.accounts.list_users(None, 100).await.unwrap() {
        let invoices = books.accounts.invoices(user.id).await.unwrap();
        let of_month: Vec<_> = invoices.iter().filter(|invoice| invoice.month == books.month).collect();
        assert!(of_month.len() <= 1, "a month has one invoice");
        for invoice in of_month {
            let is_draft = invoice.status == InvoiceStatus::Draft;
            *(if is_draft { &mut counts.0 } else { &mut counts.1 }) += 1;
        }
    }
    counts
}

async fn with_customers(db: Db) -> Books {
    let books = Books::open(db, "premium").await;
    for number in 0..5 {
        let email = format!("{number}@example.com");
        books.accounts.create_user(&email, "Customer", "premium").await.unwrap();
    }
    books
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_is_drafted_when_it_is_over_and_final_after_the_grace() {
    for_each_engine(|db| async move {
        let books = with_customers(db).await;
        let turn = || books.accounts.bill_months(GRACE);
        assert_eq!(turn().await.unwrap(), BillingTurn::default(), "the month before had no accounts");
        assert_eq!(counts(&books).await, (0, 0));
        books.end_month();
        assert_eq!(turn().await.unwrap().drafted, 6);
        assert_eq!(counts(&books).await, (6, 0));
        assert_eq!(turn().await.unwrap(), BillingTurn::default(), "drafts are made once");
        books.advance(Duration::from_hours(47));
        assert_eq!(turn().await.unwrap(), BillingTurn::default(), "operators still look");
        books.advance(Duration::from_hours(1));
        assert_eq!(turn().await.unwrap().finalized, 6);
        assert_eq!(counts(&books).await, (0, 6));
        assert_eq!(turn().await.unwrap(), BillingTurn::default(), "the month is closed");

        // Nobody was there for three months: they are made up for.
        books.advance(95 * DAY);
        let late = turn().await.unwrap();
        assert_eq!((late.drafted, late.finalized), (18, 18));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_is_billed_once_by_gateways_that_are_cut_off_and_run_at_once() {
    for_each_engine(|db| async move {
        let books = with_customers(db).await;
        books.accounts.bill_months(GRACE).await.unwrap();
        books.end_month();
        books.advance(GRACE);
        // Cut off later and later, until one gets through.
        for patience in 0..200 {
            let accounts = books.fixture.gateway().await;
            let cut = tokio::spawn(async move { accounts.bill_months(GRACE).await });
            tokio::time::sleep(Duration::from_millis(patience)).await;
            cut.abort();
            if matches!(cut.await, Ok(Ok(_))) {
                break;
            }
        }
        let gateways = [books.fixture.gateway().await, books.fixture.gateway().await];
        let (one, other) = tokio::join!(gateways[0].bill_months(GRACE), gateways[1].bill_months(GRACE));
        one.unwrap();
        other.unwrap();
        assert_eq!(counts(&books).await, (0, 6));
        assert_eq!(books.accounts.bill_months(GRACE).await.unwrap(), BillingTurn::default());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invoice_that_cannot_be_made_holds_up_no_other_and_keeps_its_month_open() {
    for_each_engine(|db| async move {
        let books = with_customers(db).await;
        books.accounts.bill_months(GRACE).await.unwrap();
        let euros = PriceSheet::parse("[enterprise]\ncurrency = \"EUR\"\nmonth = 1").unwrap();
        books.accounts.apply_prices(&euros, books.month).await.unwrap();
        let shipped = books.accounts.prices().await.unwrap();
        assert!(shipped.iter().any(|version| version.prices.currency == "EUR"));
        books.advance(DAY);
        books.accounts.subscribe(books.account, "enterprise", None).await.unwrap();
        books.end_month();
        books.advance(GRACE);
        for finalized in [5, 0] {
            let turn = books.accounts.bill_months(GRACE).await.unwrap();
            assert_eq!(turn.finalized, finalized);
            let failed: Vec<_> = turn.failed.iter().map(|(account, _)| *account).collect();
            assert_eq!(failed, [books.account]);
        }
        assert_eq!(counts(&books).await, (0, 5));
    })
    .await;
}

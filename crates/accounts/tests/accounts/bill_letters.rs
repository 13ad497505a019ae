//! Letters about bills: one for each thing to tell, and none that is not true any more.

use super::invoices::{Books, DAY};
use super::*;
use datamesh_accounts::{BillLetter, DunningPolicy, DunningStage};

const POLICY: DunningPolicy =
    DunningPolicy { freeze_writes_after: Duration::from_hours(7 * 24), freeze_after: DAY, delete_after: DAY };

/// What is due, told and done with.
async fn told(books: &Books) -> Vec<BillLetter> {
    let letters = books.accounts.take_bill_letters(10).await.unwrap();
    for letter in &letters {
        books.accounts.bill_letter_sent(&letter.id).await.unwrap();
    }
    letters
}

/// What each letter says: `nothing`, that an invoice is `due`, or the stage by its name.
fn stages(letters: &[BillLetter]) -> Vec<&'static str> {
    let stage = |letter: &BillLetter| {
        letter.text.as_ref().map_or("nothing", |text| text.stage.map_or("due", DunningStage::name))
    };
    letters.iter().map(stage).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_told_of_its_invoice_and_of_each_step_that_follows() {
    for_each_engine(|db| async move {
        let policy =
            DunningPolicy { freeze_writes_after: 7 * DAY, freeze_after: 30 * DAY, delete_after: 90 * DAY };
        let books = Books::open(db, "enterprise").await;
        let email = books.accounts.user(books.account).await.unwrap().unwrap().email;
        let invoice = books.owed().await;
        let letters = told(&books).await;
        assert_eq!(stages(&letters), ["due"]);
        let text = letters[0].text.clone().unwrap();
        assert_eq!((&letters[0].email, &text.invoice), (&email, &invoice.export.id));
        assert_eq!((text.owed, text.currency.as_str()), (10_000_000, "USD"));
        assert_eq!((text.month, Some(text.due_at_ms)), (books.month, invoice.due_at_ms));
        assert_eq!(told(&books).await, [], "it is told once");
        for (days, stage) in [
            (15, DunningStage::Warned),
            (7, DunningStage::WritesFrozen),
            (30, DunningStage::Frozen),
            (60, DunningStage::DeletionPending),
        ] {
            books.advance(days * DAY);
            books.accounts.dun(policy).await.unwrap();
            assert_eq!(stages(&told(&books).await), [stage.name()]);
            assert_eq!(books.accounts.dun(policy).await.unwrap(), 0);
            assert_eq!(told(&books).await, []);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_overtaken_is_not_told() {
    for_each_engine(|db| async move {
        let books = Books::open(db, "enterprise").await;
        let invoice = books.owed().await;
        books.advance(Duration::from_hours(24 * 15));
        books.accounts.dun(POLICY).await.unwrap();
        // A letter of more than a week is given up; the newer one is told.
        assert_eq!(books.accounts.forget_bill_letters().await.unwrap(), 1);
        assert_eq!(books.accounts.take_bill_letters(10).await.unwrap().len(), 1);
        assert_eq!(books.accounts.take_bill_letters(10).await.unwrap(), [], "somebody has it");
        books.advance(Duration::from_mins(1));
        books.pay(&invoice.export.id, 10_000_000, "at last").await.unwrap();
        assert_eq!(stages(&told(&books).await), ["nothing"], "it is paid");
        assert_eq!(told(&books).await, []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_cannot_be_sent_waits_and_is_counted() {
    for_each_engine(|db| async move {
        let books = Books::open(db, "enterprise").await;
        books.owed().await;
        for attempts in 0..3 {
            let letters = books.accounts.take_bill_letters(10).await.unwrap();
            assert_eq!((letters.len(), letters[0].attempts), (1, attempts));
            books.accounts.postpone_bill_letter(&letters[0].id, Duration::from_mins(5)).await.unwrap();
            assert_eq!(books.accounts.take_bill_letters(10).await.unwrap(), []);
            books.advance(Duration::from_mins(5));
        }
    })
    .await;
}

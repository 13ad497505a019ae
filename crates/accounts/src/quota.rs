//! Books: the statements that keep `used + reserved` below the limit.
//!
//! Every transaction here touches the reservations' rows first and the quota's rows after them, so that none of them
//! deadlock. A book has two rows, one for each of its dimensions: an odd number and the next even one.

mod line;

use datamesh_db::{DbError, Engine, Row, Tx, UsageChange};

pub(crate) use self::line::{Amount, Line, Quota, line, unsigned};
use crate::metering::{StorageEvent, insert_storage_event};
use crate::owner::{Book, Month, Owner};
use crate::warning::Warning;
use crate::{AccountsError, Dimension, LimitSet, Stage};

/// A book's rows; `None` when it has none.
pub(crate) async fn find(tx: &mut Tx, book: &Book) -> Result<Option<Quota>, AccountsError> {
    const FIND: &str = "SELECT dimension, maximum, soft, stage, used, reserved FROM quota
        WHERE owner = $1 ORDER BY dimension";
    let rows = tx.query(FIND, &[book.param()]).await?;
    match rows.as_slice() {
        [first, second] => Ok(Some(Quota([line(first, 0)?, line(second, 0)?]))),
        _ => Ok(None),
    }
}

/// What an owner's clients should be told of its limits.
pub(crate) async fn warnings_of(
    tx: &mut Tx,
    owner: &Owner,
    month: Month,
    limits: &LimitSet,
) -> Result<Vec<Warning>, AccountsError> {
    let mut warnings = Vec::new();
    for book in [Book::Stored(owner.clone()), Book::Moved(owner.clone(), month)] {
        if limits.limits_any(&book.dimensions())
            && let Some(Quota(lines)) = find(tx, &book).await?
        {
            let told = lines.iter().filter(|line| line.stage != Stage::Observe);
            warnings.extend(told.filter_map(|line| line.warning(owner, 0)));
        }
    }
    Ok(warnings)
}

/// Makes a book's rows if there are none, with these limits and `used`; else gives them these limits.
pub(crate) async fn set_limits(
    tx: &mut Tx,
    book: &Book,
    limits: &LimitSet,
    used: Amount,
) -> Result<(), AccountsError> {
    const SET: &str = "INSERT INTO quota (owner, dimension, maximum, soft, stage, used, reserved)
        VALUES ($1, $2, $3, $4, $5, $6, 0)
        ON CONFLICT (owner, dimension) DO UPDATE SET maximum = excluded.maximum, soft = excluded.soft,
            stage = excluded.stage";
    for (dimension, used) in book.dimensions().into_iter().zip([used.first, used.second]) {
        let limit = limits.get(dimension);
        let params = [
            book.param(),
            dimension.number().into(),
            limits.hard(dimension).into(),
            limit.map(|limit| limit.maximum).into(),
            limit.map_or(Stage::Enforce, |limit| limit.stage).number().into(),
            used.into(),
        ];
        tx.execute(SET, &params).await?;
    }
    Ok(())
}

/// Adds to `reserved`, as long as what is added fits where it is positive; whether it did. When it did not, the
/// transaction must be undone: one of the rows may have taken it.
pub(crate) async fn reserve(tx: &mut Tx, book: &Book, more: Amount) -> Result<bool, DbError> {
    const RESERVE: &str = "UPDATE quota
        SET reserved = reserved + CASE dimension % 2 WHEN 1 THEN CAST($2 AS BIGINT) ELSE CAST($3 AS BIGINT) END
        WHERE owner = $1 AND (maximum IS NULL
            OR CASE dimension % 2 WHEN 1 THEN CAST($2 AS BIGINT) ELSE CAST($3 AS BIGINT) END <= 0
            OR used + reserved
                + CASE dimension % 2 WHEN 1 THEN CAST($2 AS BIGINT) ELSE CAST($3 AS BIGINT) END <= maximum)";
    Ok(tx.execute(RESERVE, &[book.param(), more.first.into(), more.second.into()]).await? == 2)
}

/// What a commit holds of one of its books.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Held {
    /// The reservation's row, if there is any.
    pub(crate) row: Option<[u8; 16]>,
    pub(crate) amount: Amount,
}

/// What became of a commit's books: what it took of what it held, the account's and the bucket's, and what its owner
/// should be told.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    pub(crate) paid: [Amount; 2],
    pub(crate) warnings: Vec<Warning>,
}

/// Records what is stored more or less, in the transaction that stores it: for the account, and for the bucket if that
/// has a book. Growth is paid from what is held, and what is not held must fit. A change leaves `event`, if it is metered.
///
/// # Errors
/// [`AccountsError::QuotaExceeded`], [`AccountsError::NoSuchAccount`]; the transaction must be undone then.
pub(crate) async fn settle(
    tx: &mut Tx,
    change: &UsageChange,
    held: [Held; 2],
    event: Option<StorageEvent>,
) -> Result<Settled, AccountsError> {
    let books = [Book::Stored(Owner::Account(change.account)), Book::Stored(Owner::Bucket(change.bucket))];
    let used = Amount { first: change.bytes, second: change.objects };
    let growth = used.each(Amount::ZERO, i64::max);
    let mut paid = [Amount::ZERO; 2];
    for (paid, held) in paid.iter_mut().zip(held) {
        let Some(row) = held.row else { continue };
        let wanted = growth.each(held.amount, i64::min);
        // Without its row the reservation has expired, and the growth must fit anew.
        if !wanted.is_zero() && shrink(tx, &row, wanted).await? {
            *paid = wanted;
        }
    }
    let rows = record(tx, [&books[0], &books[1]], (change, event), paid).await?;
    let warnings = judge(&rows, [&books[0], &books[1]], (used, growth), paid)?;
    Ok(Settled { paid, warnings })
}

/// Records a change in both books and leaves its event; what the books are afterwards.
async fn record(
    tx: &mut Tx,
    books: [&Book; 2],
    (change, event): (&UsageChange, Option<StorageEvent>),
    paid: [Amount; 2],
) -> Result<Vec<Row>, DbError> {
    let event = event.filter(|_| (change.bytes, change.objects) != (0, 0));
    match tx.engine() {
        Engine::Sqlite => {
            if let Some(event) = event {
                event.insert(tx, change).await?;
            }
            record_on_sqlite(tx, books, change, paid).await
        }
        Engine::Postgres => record_on_postgres(tx, books, (change, event), paid).await,
    }
}

/// Plain statements: RETURNING, and IN with a list, each make a temporary table on SQLite.
async fn record_on_sqlite(
    tx: &mut Tx,
    books: [&Book; 2],
    change: &UsageChange,
    paid: [Amount; 2],
) -> Result<Vec<Row>, DbError> {
    const RECORD: &str = "UPDATE quota SET used = used + CASE dimension % 2 WHEN 1 THEN $2 ELSE $3 END,
            reserved = reserved - CASE dimension % 2 WHEN 1 THEN $4 ELSE $5 END
        WHERE owner = $1";
    const BOOKS: &str =
        "SELECT owner, dimension, maximum, soft, stage, used, reserved FROM quota WHERE owner = $1
        UNION ALL SELECT owner, dimension, maximum, soft, stage, used, reserved FROM quota WHERE owner = $2";
    let keys = books.map(Book::param);
    for (key, paid) in keys.iter().zip(paid) {
        let params =
            [key.clone(), change.bytes.into(), change.objects.into(), paid.first.into(), paid.second.into()];
        tx.execute(RECORD, &params).await?;
    }
    tx.query(BOOKS, &keys).await
}

macro_rules! record {
    () => {
        "UPDATE quota SET
            used = used + CASE dimension % 2 WHEN 1 THEN CAST($3 AS BIGINT) ELSE CAST($4 AS BIGINT) END,
            reserved = reserved - CASE WHEN owner = $1
                THEN CASE dimension % 2 WHEN 1 THEN CAST($5 AS BIGINT) ELSE CAST($6 AS BIGINT) END
                ELSE CASE dimension % 2 WHEN 1 THEN CAST($7 AS BIGINT) ELSE CAST($8 AS BIGINT) END END
        WHERE owner IN ($1, $2)
        RETURNING owner, dimension, maximum, soft, stage, used, reserved"
    };
}

/// One statement, with the event too: each would be a round trip, while the account's row is locked.
async fn record_on_postgres(
    tx: &mut Tx,
    books: [&Book; 2],
    (change, event): (&UsageChange, Option<StorageEvent>),
    paid: [Amount; 2],
) -> Result<Vec<Row>, DbError> {
    const RECORD: &str = record!();
    const RECORD_WITH_EVENT: &str = concat!(
        "WITH event AS (",
        insert_storage_event!("$9", "$10", "$11", "$12", "$13", "$14", "$15"),
        ") ",
        record!()
    );
    let mut params = vec![
        books[0].param(),
        books[1].param(),
        change.bytes.into(),
        change.objects.into(),
        paid[0].first.into(),
        paid[0].second.into(),
        paid[1].first.into(),
        paid[1].second.into(),
    ];
    match event {
        Some(event) => {
            params.extend(event.params(change));
            tx.query(RECORD_WITH_EVENT, &params).await
        }
        None => tx.query(RECORD, &params).await,
    }
}

/// Whether the books should have been changed, and what their owners should be told.
fn judge(
    rows: &[Row],
    books: [&Book; 2],
    (used, growth): (Amount, Amount),
    paid: [Amount; 2],
) -> Result<Vec<Warning>, AccountsError> {
    let account_key = books[0].key();
    let mut lines_of_account = 0;
    let mut warnings = Vec::new();
    for row in rows {
        let index = usize::from(row.blob(0)? != account_key.as_slice());
        lines_of_account += 1 - index;
        let line = line(row, 1)?;
        let owner = books[index].owner();
        let pick =
            |amount: Amount| if line.dimension.number() % 2 == 1 { amount.first } else { amount.second };
        let unpaid = pick(growth.minus(paid[index]));
        if unpaid > 0 && line.room() < 0 {
            // Told as it was before.
            let before =
                Line { used: line.used - pick(used), reserved: line.reserved + pick(paid[index]), ..line };
            return Err(before.exceeded(owner, unpaid));
        }
        warnings.extend(line.warning(owner, pick(used)));
    }
    match (lines_of_account, books[0].owner()) {
        (2, _) => Ok(warnings),
        (_, Owner::Account(account)) => Err(AccountsError::NoSuchAccount { account: *account }),
        (_, owner) => Err(AccountsError::Damaged { name: format!("quota/{owner}") }),
    }
}

/// Records what was moved, however much it is: it has happened. What was held of it comes out of `reserved`.
pub(crate) async fn record_moved(
    tx: &mut Tx,
    book: &Book,
    moved: Amount,
    held: Held,
) -> Result<Settled, AccountsError> {
    const RECORD: &str = "UPDATE quota SET
            used = used + CASE dimension % 2 WHEN 1 THEN CAST($2 AS BIGINT) ELSE CAST($3 AS BIGINT) END,
            reserved = reserved - CASE dimension % 2 WHEN 1 THEN CAST($4 AS BIGINT) ELSE CAST($5 AS BIGINT) END
        WHERE owner = $1 RETURNING dimension, maximum, soft, stage, used, reserved";
    let mut paid = Amount::ZERO;
    if let Some(row) = held.row {
        let wanted = moved.each(held.amount, i64::min).each(Amount::ZERO, i64::max);
        if !wanted.is_zero() && shrink(tx, &row, wanted).await? {
            paid = wanted;
        }
    }
    let params =
        [book.param(), moved.first.into(), moved.second.into(), paid.first.into(), paid.second.into()];
    let mut warnings = Vec::new();
    for row in &tx.query(RECORD, &params).await? {
        let line = line(row, 0)?;
        let by = if line.dimension == Dimension::Ingress { moved.first } else { moved.second };
        warnings.extend(line.warning(book.owner(), by));
    }
    Ok(Settled { paid: [paid, Amount::ZERO], warnings })
}

/// Takes `amount` out of a reservation's row; false when there is no such row any more.
pub(crate) async fn shrink(tx: &mut Tx, id: &[u8; 16], amount: Amount) -> Result<bool, DbError> {
    let params = [id.into(), amount.first.into(), amount.second.into()];
    let changed = tx
        .execute("UPDATE reservation SET bytes = bytes - $2, objects = objects - $3 WHERE id = $1", &params)
        .await?;
    Ok(changed == 1)
}

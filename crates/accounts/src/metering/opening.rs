//! Where metering begins and ends: what was stored before anything was metered enters the books once, and leaves them
//! while nothing is metered any more.

use std::sync::Arc;

use datamesh_db::{DbError, StoredCount, StoredUsage, Tx, TxFuture};

use super::event::{Event, Metered};
use super::measures::Traffic;
use super::verify::{self, Difference};
use crate::{Accounts, AccountsError};

/// What is known of the metering itself, by name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mark {
    /// When metering began, for the last time.
    Began,
    /// When metering ended, for the last time.
    Ended,
    /// From when on every event is in the history.
    EventsKeptFrom,
    /// From when on there are rollups by hour.
    HoursKeptFrom,
    /// From when on service levels count: since the first probe, and since what is kept of them.
    WindowsCountFrom,
}

impl Mark {
    const fn name(self) -> &'static str {
        match self {
            Self::Began => "began",
            Self::Ended => "ended",
            Self::EventsKeptFrom => "events kept from",
            Self::HoursKeptFrom => "hours kept from",
            Self::WindowsCountFrom => "windows count from",
        }
    }

    /// Milliseconds since 1970, if it was ever set.
    pub(crate) async fn read(self, tx: &mut Tx) -> Result<Option<u64>, AccountsError> {
        const READ: &str = "SELECT at_ms FROM usage_mark WHERE name = $1";
        let row = tx.query_opt(READ, &[self.name().into()]).await?;
        Ok(row.map(|row| row.uint(0)).transpose()?)
    }

    /// Sets it, unless it is later already.
    pub(crate) async fn advance(self, tx: &mut Tx, at_ms: u64) -> Result<(), AccountsError> {
        const SET: &str = "INSERT INTO usage_mark (name, at_ms) VALUES ($1, $2)
            ON CONFLICT (name) DO UPDATE SET at_ms = excluded.at_ms WHERE usage_mark.at_ms < excluded.at_ms";
        tx.execute(SET, &[self.name().into(), at_ms.into()]).await?;
        Ok(())
    }
}

/// A time in which nothing was metered, between two in which something was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnmeteredSpan {
    /// Milliseconds since 1970.
    pub from_ms: u64,
    /// Milliseconds since 1970.
    pub until_ms: u64,
}

impl UnmeteredSpan {
    /// The last one that is over.
    pub(super) async fn last(tx: &mut Tx) -> Result<Option<Self>, AccountsError> {
        let (ended, began) = (Mark::Ended.read(tx).await?, Mark::Began.read(tx).await?);
        let span = ended.zip(began).map(|(from_ms, until_ms)| Self { from_ms, until_ms });
        Ok(span.filter(|span| span.from_ms < span.until_ms))
    }
}

/// Which way metering changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Begin,
    End,
}

impl Turn {
    /// The source of the events of this turn; their sequence numbers are their buckets'. It is told apart by the turn
    /// before it, at `after_ms`, so that gateways that turn at once write the same events.
    fn source(self, after_ms: u64) -> [u8; 16] {
        let mut source = [0; 16];
        source[0] = u8::from(self == Self::End);
        source[8..].copy_from_slice(&after_ms.to_be_bytes());
        source
    }

    const fn mark(self) -> Mark {
        match self {
            Self::Begin => Mark::Began,
            Self::End => Mark::Ended,
        }
    }

    /// When the turn before it was made, if this one has not been made since.
    async fn due_after(self, tx: &mut Tx) -> Result<Option<u64>, AccountsError> {
        let (began, ended) = (Mark::Began.read(tx).await?, Mark::Ended.read(tx).await?);
        let is_metering = began.is_some_and(|began| ended.is_none_or(|ended| ended < began));
        Ok(match self {
            Self::Begin => (!is_metering).then_some(ended.unwrap_or(0)),
            Self::End => began.filter(|_| is_metering),
        })
    }
}

/// What is stored as far as anybody is to know while nothing is metered.
struct Nothing;

impl StoredCount for Nothing {
    fn count<'t>(&'t self, _tx: &'t mut Tx, _bucket: Option<i64>) -> TxFuture<'t, Vec<StoredUsage>, DbError> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

impl Accounts {
    /// Begins to meter, unless that has begun: what is stored and in no event is taken for stored from now on.
    /// Commits under way don't matter, as long as they record their events. `count` counts what every bucket stores.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn begin_metering(&self, count: Arc<dyn StoredCount>) -> Result<(), AccountsError> {
        self.turn(Turn::Begin, count).await
    }

    /// Ends metering, if it had begun: what is stored counts for nothing from now on. It may begin again.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn end_metering(&self) -> Result<(), AccountsError> {
        self.turn(Turn::End, Arc::new(Nothing)).await
    }

    async fn turn(&self, turn: Turn, count: Arc<dyn StoredCount>) -> Result<(), AccountsError> {
        let due = self
            .db()
            .scan::<_, AccountsError, _>(move |tx| {
                let count = Arc::clone(&count);
                Box::pin(async move {
                    let Some(after_ms) = turn.due_after(tx).await? else { return Ok(None) };
                    Ok(Some((verify::differences(tx, &*count).await?, after_ms)))
                })
            })
            .await?;
        let Some((differences, after_ms)) = due else { return Ok(()) };
        let differences = Arc::new(differences);
        let at_ms = self.now_ms().max(after_ms + 1);
        self.db()
            .write(move |tx| {
                let differences = Arc::clone(&differences);
                Box::pin(async move {
                    enter(tx, &differences, turn.source(after_ms), at_ms).await?;
                    turn.mark().advance(tx, at_ms).await
                })
            })
            .await
    }

    /// # Errors
    /// [`AccountsError::NotMetered`].
    pub(crate) fn require_metering(&self) -> Result<(), AccountsError> {
        if self.config().metering { Ok(()) } else { Err(AccountsError::NotMetered) }
    }
}

/// Records that from `at_ms` on there is stored what was found to be.
async fn enter(
    tx: &mut Tx,
    differences: &[Difference],
    source: [u8; 16],
    at_ms: u64,
) -> Result<(), AccountsError> {
    for Difference { account, bucket, stored, metered } in differences {
        let event = Event {
            metered: Metered { account: *account, bucket: *bucket, key: "".into() },
            at_ms,
            bytes: stored[0] - metered[0],
            objects: stored[1] - metered[1],
            traffic: Traffic::default(),
        };
        event.deliver(tx, &source, bucket.unsigned_abs()).await?;
    }
    Ok(())
}

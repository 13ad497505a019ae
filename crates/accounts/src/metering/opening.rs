//! The opening: what was stored before anything was metered enters the books once.

use std::sync::Arc;

use datamesh_db::{StoredCount, Tx};

use super::event::{Event, Metered};
use super::measures::Traffic;
use super::verify::{self, Difference};
use crate::{Accounts, AccountsError};

/// The source of opening events; their sequence numbers are their buckets'.
const SOURCE: [u8; 16] = [0; 16];

/// What is known of the metering itself, by name.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mark {
    /// When metering began.
    Began,
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

impl Accounts {
    /// Begins to meter, once in a database's life: what is stored and in no event is taken for stored from now on.
    /// Commits under way don't matter, as long as they record their events. `count` counts what every bucket stores.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn begin_metering(&self, count: Arc<dyn StoredCount>) -> Result<(), AccountsError> {
        let missing = self
            .db()
            .scan::<_, AccountsError, _>(move |tx| {
                let count = Arc::clone(&count);
                Box::pin(async move {
                    if Mark::Began.read(tx).await?.is_some() {
                        return Ok(None);
                    }
                    Ok(Some(verify::differences(tx, &*count).await?))
                })
            })
            .await?;
        let Some(missing) = missing else { return Ok(()) };
        let (missing, now_ms) = (Arc::new(missing), self.now_ms());
        self.db()
            .write(move |tx| {
                let missing = Arc::clone(&missing);
                Box::pin(async move { open(tx, &missing, now_ms).await })
            })
            .await
    }
}

async fn open(tx: &mut Tx, missing: &[Difference], now_ms: u64) -> Result<(), AccountsError> {
    for Difference { account, bucket, stored, metered } in missing {
        let event = Event {
            metered: Metered { account: *account, bucket: *bucket, key: "".into() },
            at_ms: now_ms,
            bytes: stored[0] - metered[0],
            objects: stored[1] - metered[1],
            traffic: Traffic::default(),
        };
        event.deliver(tx, &SOURCE, bucket.unsigned_abs()).await?;
    }
    Mark::Began.advance(tx, now_ms).await
}

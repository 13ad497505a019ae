//! Rolling up: events leave the outbox for the history and are added to the sums, in one transaction.
//!
//! The history's key makes it exactly once: an event that is in it already is not added again, however often it was
//! delivered and however many gateways roll up at once.

use std::collections::BTreeMap;
use std::time::Duration;

use datamesh_db::{Tx, Value};

use super::event::{Event, Metered, event_columns};
use super::measures::{Measures, measure_columns};
use super::span::Grain;
use crate::meter::FLUSH_EVERY;
use crate::{Accounts, AccountsError};

/// Events per transaction: SQLite's writer is busy for a few milliseconds.
const STEP: usize = 500;

/// How new an answer about usage has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// All that has happened is in it.
    Current,
    /// What happened in the last seconds ([`FLUSH_EVERY`]) may be missing. This is for those who may ask as often as they
    /// like: a roll-up is everybody's, and its lock, too.
    Recent,
}

/// When this gateway rolled up last because somebody asked. It is locked while it does.
#[derive(Default)]
pub(crate) struct LastRollup(tokio::sync::Mutex<Option<Duration>>);

/// What a transaction did.
struct Step {
    rolled: u64,
    removed: u64,
}

impl Accounts {
    /// Rolls up what an answer needs. Of all who ask for recent ones at once, one rolls up.
    ///
    /// # Errors
    /// Those of the database.
    pub(super) async fn roll_up_for(&self, freshness: Freshness) -> Result<(), AccountsError> {
        let mut last = self.last_rollup().0.lock().await;
        let now = self.elapsed();
        let is_recent = last.is_some_and(|at| now.saturating_sub(at) < FLUSH_EVERY);
        if freshness == Freshness::Recent && is_recent {
            return Ok(());
        }
        self.deliver_traffic().await?;
        self.roll_up().await?;
        *last = Some(now);
        Ok(())
    }

    /// Rolls up all events that there are; how many. Cancelling it, or dying in it, leaves no event half rolled up.
    ///
    /// # Errors
    /// Those of the database; what was rolled up before stays.
    pub async fn roll_up(&self) -> Result<u64, AccountsError> {
        let mut rolled = 0;
        loop {
            let step = self.db().write(|tx| Box::pin(step(tx))).await?;
            rolled += step.rolled;
            if step.rolled == 0 && step.removed == 0 {
                return Ok(rolled);
            }
        }
    }
}

async fn step(tx: &mut Tx) -> Result<Step, AccountsError> {
    const MOVE: &str = concat!(
        "INSERT INTO usage_history (source, sequence, ",
        event_columns!(),
        ") SELECT source, sequence, ",
        event_columns!(),
        " FROM usage_event WHERE sequence >= 0 ORDER BY source, sequence LIMIT $1
         ON CONFLICT (source, sequence) DO NOTHING
         RETURNING source, sequence, ",
        event_columns!()
    );
    // Only what is in the history: others may have been delivered meanwhile, in between.
    macro_rules! remove {
        ($and:literal) => {
            concat!(
                "DELETE FROM usage_event WHERE EXISTS (SELECT 1 FROM usage_history h
                   WHERE h.source = usage_event.source AND h.sequence = usage_event.sequence)",
                $and
            )
        };
    }
    const REMOVE_UP_TO: &str = remove!(" AND (source, sequence) <= ($1, $2)");
    const REMOVE: &str = remove!("");
    // Gateways that roll up at once would only wait for each other's rows.
    tx.lock(b"usage rollup").await?;
    let rows = tx.query(MOVE, &[STEP.into()]).await?;
    let mut sums = BTreeMap::<(Grain, u64, Metered), Measures>::new();
    let mut last = None;
    for row in &rows {
        let event = Event::from_row(row, 2)?;
        for grain in Grain::ALL {
            let (start, measured) = event.measured(grain);
            *sums.entry((grain, start, event.metered.clone())).or_default() += measured;
        }
        last = last.max(Some((row.blob(0)?, row.uint(1)?)));
    }
    let removed = match last {
        Some((source, sequence)) => tx.execute(REMOVE_UP_TO, &[source.into(), sequence.into()]).await?,
        None => tx.execute(REMOVE, &[]).await?,
    };
    for ((grain, start, metered), measures) in &sums {
        add(tx, (*grain, *start, metered), measures).await?;
    }
    Ok(Step { rolled: rows.len() as u64, removed })
}

/// Adds to a sum.
async fn add(
    tx: &mut Tx,
    (grain, start, metered): (Grain, u64, &Metered),
    measures: &Measures,
) -> Result<(), AccountsError> {
    const ADD: &str = concat!(
        "INSERT INTO usage_rollup (grain, start_ms, account, bucket, access_key, ",
        measure_columns!(),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
         ON CONFLICT (grain, account, start_ms, bucket, access_key) DO UPDATE SET
            bytes = usage_rollup.bytes + excluded.bytes,
            objects = usage_rollup.objects + excluded.objects,
            byte_ms_high = usage_rollup.byte_ms_high + excluded.byte_ms_high,
            byte_ms_low = usage_rollup.byte_ms_low + excluded.byte_ms_low,
            object_ms_high = usage_rollup.object_ms_high + excluded.object_ms_high,
            object_ms_low = usage_rollup.object_ms_low + excluded.object_ms_low,
            ingress = usage_rollup.ingress + excluded.ingress,
            egress = usage_rollup.egress + excluded.egress,
            class_a = usage_rollup.class_a + excluded.class_a,
            class_b = usage_rollup.class_b + excluded.class_b,
            free = usage_rollup.free + excluded.free"
    );
    let mut params: Vec<Value> = vec![grain.number().into(), start.into()];
    params.extend(metered.params());
    params.extend(measures.params());
    tx.execute(ADD, &params).await?;
    Ok(())
}

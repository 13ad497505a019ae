//! The outbox: events that are not rolled up yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datamesh_db::{DbError, Row, Tx, UsageChange, Value};
use datamesh_types::AccountId;

use super::measures::{Measures, Traffic};
use super::span::Grain;

/// Who usage is metered for. Nobody's bucket has number 0, and no access key has an empty id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Metered {
    pub(crate) account: AccountId,
    /// The bucket's number in the catalog, or 0.
    pub(crate) bucket: i64,
    /// The access key of the account that signed, or empty. What is stored is metered without.
    pub(crate) key: Arc<str>,
}

impl Metered {
    /// Reads `account, bucket, access_key`.
    pub(crate) fn from_row(row: &Row, at: usize) -> Result<Self, DbError> {
        Ok(Self {
            account: AccountId(row.bytes(at)?),
            bucket: row.int(at + 1)?,
            key: row.text(at + 2)?.into(),
        })
    }

    /// Its columns, in their order.
    pub(crate) fn params(&self) -> [Value; 3] {
        [self.account.into(), self.bucket.into(), (&*self.key).into()]
    }
}

/// Names the events of one gateway, from its start to its end.
pub(crate) struct EventSource {
    id: [u8; 16],
    next: AtomicU64,
}

impl EventSource {
    pub(crate) fn new(id: [u8; 16]) -> Self {
        Self { id, next: AtomicU64::new(1) }
    }

    pub(crate) fn id(&self) -> [u8; 16] {
        self.id
    }

    pub(crate) fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// A change of what is stored, to be recorded in the transaction that makes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StorageEvent {
    pub(crate) source: [u8; 16],
    pub(crate) sequence: u64,
    pub(crate) at_ms: u64,
}

/// The statement that records a change of what is stored, from its parameter `$n` on.
macro_rules! insert_storage_event {
    ($source:literal, $sequence:literal, $account:literal, $bucket:literal, $at:literal, $bytes:literal,
     $objects:literal) => {
        concat!(
            "INSERT INTO usage_event (source, sequence, account, bucket, at_ms, bytes, objects) VALUES (",
            $source,
            ", ",
            $sequence,
            ", ",
            $account,
            ", ",
            $bucket,
            ", ",
            $at,
            ", ",
            $bytes,
            ", ",
            $objects,
            ")"
        )
    };
}
pub(crate) use insert_storage_event;

impl StorageEvent {
    /// The parameters of `insert_storage_event!`.
    pub(crate) fn params(&self, change: &UsageChange) -> [Value; 7] {
        [
            (&self.source).into(),
            self.sequence.into(),
            change.account.into(),
            change.bucket.into(),
            self.at_ms.into(),
            change.bytes.into(),
            change.objects.into(),
        ]
    }

    pub(crate) async fn insert(&self, tx: &mut Tx, change: &UsageChange) -> Result<(), DbError> {
        const INSERT: &str = insert_storage_event!("$1", "$2", "$3", "$4", "$5", "$6", "$7");
        tx.execute(INSERT, &self.params(change)).await.map(drop)
    }
}

/// The columns of an [`Event`] after its name.
macro_rules! event_columns {
    () => {
        "account, bucket, access_key, at_ms, bytes, objects, ingress, egress, class_a, class_b, free"
    };
}
pub(crate) use event_columns;

/// What an event says.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) metered: Metered,
    pub(crate) at_ms: u64,
    pub(crate) bytes: i64,
    pub(crate) objects: i64,
    pub(crate) traffic: Traffic,
}

impl Event {
    /// Reads `event_columns!`.
    pub(crate) fn from_row(row: &Row, at: usize) -> Result<Self, DbError> {
        Ok(Self {
            metered: Metered::from_row(row, at)?,
            at_ms: row.uint(at + 3)?,
            bytes: row.int(at + 4)?,
            objects: row.int(at + 5)?,
            traffic: Traffic::from_row(row, at + 6)?,
        })
    }

    /// What it adds to the span that it falls into, and where that begins.
    pub(crate) fn measured(&self, grain: Grain) -> (u64, Measures) {
        let (start, end) = grain.span(self.at_ms);
        let left = i128::from(end) - i128::from(self.at_ms);
        (start, Measures { traffic: self.traffic, ..Measures::change(self.bytes, self.objects, left) })
    }

    /// Delivers it; a second delivery under the same name changes nothing.
    pub(crate) async fn deliver(&self, tx: &mut Tx, source: &[u8; 16], sequence: u64) -> Result<(), DbError> {
        const DELIVER: &str = concat!(
            "INSERT INTO usage_event (source, sequence, ",
            event_columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
             ON CONFLICT (source, sequence) DO NOTHING"
        );
        let [account, bucket, key] = self.metered.params();
        let [ingress, egress, class_a, class_b, free] = self.traffic.params();
        let params = [
            source.into(),
            sequence.into(),
            account,
            bucket,
            key,
            self.at_ms.into(),
            self.bytes.into(),
            self.objects.into(),
            ingress,
            egress,
            class_a,
            class_b,
            free,
        ];
        tx.execute(DELIVER, &params).await.map(drop)
    }
}

//! The outbox: messages about changes, stored in the transaction of the change, so that one that was committed is
//! never forgotten and one that was not is never told.
//!
//! The catalog does not know what a message says or to whom. It adds what only the commit knows: the version.

use std::sync::Arc;

use datamesh_db::{Row, Tx, Value};

use crate::replace::LockedKey;
use crate::rows::delete_by_id;
use crate::{BucketId, Catalog, CatalogError, Version, VersionId};

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// A version was written.
    Written,
    /// A version was removed for good.
    Removed,
    /// A delete marker was added.
    Marked,
    /// A version has other tags, another access control list or storage class, or was restored.
    Amended,
}

/// A message that is stored if the change it is about is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The key that must change.
    pub key: Vec<u8>,
    /// How it must change.
    pub kind: ChangeKind,
    /// Where the message goes; opaque.
    pub destination: String,
    /// What it says; opaque.
    pub document: String,
    /// Now.
    pub now_ms: u64,
}

/// A stored message's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub i64);

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its number.
    pub id: MessageId,
    /// The bucket it is about.
    pub bucket: BucketId,
    /// The key.
    pub key: Vec<u8>,
    /// The version.
    pub version: VersionId,
    /// That version's place in the order of commits.
    pub sequence: u64,
    /// The size in bytes of the version that was written.
    pub size: Option<u64>,
    /// [`Message::destination`].
    pub destination: String,
    /// [`Message::document`].
    pub document: String,
    /// When it was stored.
    pub created_at_ms: u64,
    /// How often its delivery has failed.
    pub attempts: u32,
}

impl Catalog {
    /// The same catalog, whose changes to versions store those of the messages that are about them.
    #[must_use]
    pub fn announcing(&self, messages: Vec<Message>) -> Self {
        Self { messages: messages.into(), ..self.clone() }
    }

    /// Up to `limit` messages that may be delivered now, oldest first.
    pub async fn due_messages(&self, now_ms: u64, limit: usize) -> Result<Vec<StoredMessage>, CatalogError> {
        const SELECT: &str =
            "SELECT id, bucket, key, version, sequence, destination, document, created_at_ms,
             attempts, size FROM outbox WHERE not_before_ms <= $1 ORDER BY not_before_ms, id LIMIT $2";
        let rows = self.db.rows(SELECT, [now_ms.into(), limit.into()].into()).await?;
        let message = |mut row: Row| {
            let version = row.text(3)?.parse();
            Ok(StoredMessage {
                id: MessageId(row.int(0)?),
                bucket: BucketId(row.int(1)?),
                key: row.take_blob(2)?,
                version: version.map_err(|_| CatalogError::Corrupt { what: "message" })?,
                sequence: row.uint(4)?,
                destination: row.take_text(5)?,
                document: row.take_text(6)?,
                created_at_ms: row.uint(7)?,
                attempts: row.uint(8)? as u32,
                size: row.opt_int(9)?.map(i64::cast_unsigned),
            })
        };
        rows.into_iter().map(message).collect()
    }

    /// Forgets messages: they were delivered, or given up.
    pub async fn forget_messages(&self, messages: &[MessageId]) -> Result<(), CatalogError> {
        self.delete_rows(delete_by_id!("outbox"), messages.iter().map(|id| id.0)).await
    }

    /// Puts a message off after its delivery failed.
    pub async fn postpone_message(&self, message: MessageId, not_before_ms: u64) -> Result<(), CatalogError> {
        const UPDATE: &str = "UPDATE outbox SET attempts = attempts + 1, not_before_ms = $2 WHERE id = $1";
        self.db.execute(UPDATE, [message.0.into(), not_before_ms.into()].into()).await?;
        Ok(())
    }
}

/// Stores the messages about a change of `key`, within its transaction.
pub(crate) async fn announce(
    tx: &mut Tx,
    messages: &Arc<[Message]>,
    key: &LockedKey<'_>,
    kind: ChangeKind,
    version: (VersionId, i64),
    size: Option<u64>,
) -> Result<(), CatalogError> {
    store(tx, messages, (key.bucket, key.key), kind, version, size).await
}

/// Stores the messages about a change of what is beside a version, within its transaction.
pub(crate) async fn announce_amended(
    tx: &mut Tx,
    messages: &Arc<[Message]>,
    version: &Version,
) -> Result<(), CatalogError> {
    let place = (version.bucket, version.key.as_slice());
    let (id, sequence) = (version.id, version.sequence.cast_signed());
    store(tx, messages, place, ChangeKind::Amended, (id, sequence), None).await
}

async fn store(
    tx: &mut Tx,
    messages: &Arc<[Message]>,
    (bucket, key): (BucketId, &[u8]),
    kind: ChangeKind,
    (version, sequence): (VersionId, i64),
    size: Option<u64>,
) -> Result<(), CatalogError> {
    const INSERT: &str = "INSERT INTO outbox
         (bucket, key, version, sequence, size, destination, document, created_at_ms, not_before_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)";
    let about = |message: &&Message| message.kind == kind && message.key == key;
    for message in messages.iter().filter(about) {
        let params: [Value; 8] = [
            bucket.0.into(),
            key.into(),
            version.to_string().into(),
            sequence.into(),
            size.into(),
            (&message.destination).into(),
            (&message.document).into(),
            message.now_ms.into(),
        ];
        tx.execute(INSERT, &params).await?;
    }
    Ok(())
}

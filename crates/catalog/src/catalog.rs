//! [`Catalog`]: the handle that all operations hang on.

use std::sync::Arc;

use datamesh_db::Db;

use crate::bucket_memory::BucketMemory;
use crate::schema::MIGRATIONS;
use crate::{CatalogError, Message};

/// The catalog of one cluster. Clones share it; any number of processes may use the same PostgreSQL database.
///
/// Each method that changes something is one transaction: when it returns `Ok` the change is durable, on an error
/// nothing of it happened (but see [`datamesh_db::DbError::OutcomeUnknown`]). Dropping a future leaves the outcome
/// open, never half done.
#[derive(Clone)]
pub struct Catalog {
    pub(crate) db: Db,
    /// What the changes that are made through this handle store in the outbox.
    pub(crate) messages: Arc<[Message]>,
    pub(crate) buckets: Arc<BucketMemory>,
}

impl Catalog {
    /// Brings the schema up to date and opens the catalog.
    ///
    /// # Errors
    /// [`datamesh_db::DbError::SchemaTooNew`] when a newer release has migrated the database.
    pub async fn open(db: Db) -> Result<Self, CatalogError> {
        db.migrate("catalog", MIGRATIONS).await?;
        let buckets = Arc::new(BucketMemory::new(db.watch("bucket").await?));
        Ok(Self { db, messages: Arc::new([]), buckets })
    }
}

//! What another crate may do inside a commit that it does not know.

use datamesh_types::AccountId;

use crate::{DbError, Tx, TxFuture};

/// By how much a commit changes what an account stores: new minus old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsageChange {
    /// Whose usage changes.
    pub account: AccountId,
    /// In which of its buckets, by its number in the catalog.
    pub bucket: i64,
    /// Logical bytes.
    pub bytes: i64,
    /// Objects: versions that hold data.
    pub objects: i64,
}

/// Work that belongs into the transaction of another crate: the settlement of a quota reservation inside the
/// catalog's commit.
///
/// It may run more than once, because its transaction may; whatever it does outside `tx` must bear that.
pub trait CommitHook: Send + Sync {
    /// Runs inside the transaction. An error, such as [`DbError::Rejected`], aborts the whole transaction.
    fn run<'t>(&'t self, tx: &'t mut Tx, change: &'t UsageChange) -> TxFuture<'t, (), DbError>;
}

/// A hook that does nothing.
impl CommitHook for () {
    fn run<'t>(&'t self, _tx: &'t mut Tx, _change: &'t UsageChange) -> TxFuture<'t, (), DbError> {
        Box::pin(async { Ok(()) })
    }
}

/// What a bucket stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredUsage {
    /// Who owns it.
    pub account: AccountId,
    /// Its number in the catalog.
    pub bucket: i64,
    /// Logical bytes, those of parts of open uploads too.
    pub bytes: u64,
    /// Objects: versions that hold data.
    pub objects: u64,
}

/// A count of what is stored, inside the transaction of another crate that does not know the tables.
pub trait StoredCount: Send + Sync {
    /// What each bucket stores. If `bucket` names one, only that, and nothing changes in it until the transaction ends.
    fn count<'t>(&'t self, tx: &'t mut Tx, bucket: Option<i64>) -> TxFuture<'t, Vec<StoredUsage>, DbError>;
}

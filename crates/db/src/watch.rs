//! Knowing that a table has not changed, so that what was read from it can be remembered.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// The state of a watched table, while it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableVersion(u64);

/// Tells whether a table has changed. Made by [`crate::Db::watch`].
#[derive(Debug, Clone)]
pub struct TableWatch(Option<Arc<Watched>>);

impl TableWatch {
    /// For an engine whose tables others change, too.
    pub(crate) const BLIND: Self = Self(None);

    /// The table's version. What is read from the table between two calls that return the same is its newest state.
    /// `None` while a change is being committed, and always on PostgreSQL, where other processes change tables.
    pub fn version(&self) -> Option<TableVersion> {
        let version = self.0.as_ref()?.version.load(Ordering::SeqCst);
        version.is_multiple_of(2).then_some(TableVersion(version))
    }
}

#[derive(Debug)]
struct Watched {
    table: &'static str,
    /// The open transaction has changed it.
    is_dirty: AtomicBool,
    /// A sequence lock: odd while a change is being committed.
    version: AtomicU64,
}

/// The watched tables of one database. Only the writer's thread changes their versions.
#[derive(Debug, Default)]
pub(crate) struct Watches(RwLock<Vec<Arc<Watched>>>);

impl Watches {
    /// A watch of `table`. It misses what transactions changed that had begun before.
    pub(crate) fn watch(&self, table: &'static str) -> TableWatch {
        let watched = Watched { table, is_dirty: AtomicBool::new(false), version: AtomicU64::new(0) };
        let watched = Arc::new(watched);
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&watched));
        TableWatch(Some(watched))
    }

    /// A row of `table` was changed in the open transaction.
    pub(crate) fn changed(&self, table: &str) {
        self.each(|watched| {
            if watched.table == table {
                watched.is_dirty.store(true, Ordering::Relaxed);
            }
        });
    }

    /// What the open transaction changed is about to be seen by others.
    pub(crate) fn begin_commit(&self) {
        self.each(|watched| {
            if watched.is_dirty.load(Ordering::Relaxed) {
                watched.version.fetch_add(1, Ordering::SeqCst);
            }
        });
    }

    /// It has been committed, or never will be.
    pub(crate) fn end_commit(&self) {
        self.each(|watched| {
            if watched.is_dirty.swap(false, Ordering::Relaxed) {
                watched.version.fetch_add(1, Ordering::SeqCst);
            }
        });
    }

    fn each(&self, act: impl Fn(&Watched)) {
        self.0.read().unwrap_or_else(PoisonError::into_inner).iter().for_each(|watched| act(watched));
    }
}

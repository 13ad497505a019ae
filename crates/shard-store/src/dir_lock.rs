//! The lock that keeps a second store out of a directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use crate::error::StoreError;

const LOCK_FILE: &str = "lock";

/// A locked directory.
#[derive(Debug)]
pub(crate) struct DirLock(File);

impl DirLock {
    /// # Errors
    ///
    /// [`StoreError::Locked`] when somebody else has it.
    pub(crate) fn acquire(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(LOCK_FILE);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|error| StoreError::io("open", &path, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(StoreError::Locked { dir: dir.to_owned() }),
            Err(TryLockError::Error(error)) => Err(StoreError::io("lock", &path, error)),
        }
    }
}

impl Drop for DirLock {
    /// Closing is not enough: a process that was being started meanwhile has a copy of the descriptor until it runs
    /// its program.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_with_its_owner_although_a_copy_of_its_descriptor_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirLock::acquire(dir.path()).unwrap();
        assert!(matches!(DirLock::acquire(dir.path()), Err(StoreError::Locked { .. })));
        let _copy = lock.0.try_clone().unwrap();
        drop(lock);
        DirLock::acquire(dir.path()).unwrap();
    }
}

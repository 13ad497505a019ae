//! The database file: creating it, and keeping a second process out.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::DbError;

/// The lock of a database file.
#[derive(Debug)]
pub(super) struct FileLock(File);

impl Drop for FileLock {
    /// Closing is not enough: a process that was being started meanwhile has a copy of the descriptor until it runs
    /// its program.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// Makes sure that the file exists and locks it for this process.
///
/// The lock is on a file beside it: SQLite uses POSIX locks on the database file itself, and closing any other
/// descriptor of that file would drop them.
pub(super) fn prepare(path: &Path, create: bool) -> Result<FileLock, DbError> {
    let failed = |source| DbError::Io { path: path.to_owned(), source };
    if create {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
            Err(source) if source.kind() != ErrorKind::AlreadyExists => return Err(failed(source)),
            _ => {}
        }
    } else if !path.is_file() {
        return Err(DbError::NoDatabase { target: path.display().to_string() });
    }
    let mut lock_path = path.as_os_str().to_owned();
    lock_path.push("-lock");
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&lock_path)
        .map_err(|source| DbError::Io { path: lock_path.clone().into(), source })?;
    match lock.try_lock() {
        Ok(()) => Ok(FileLock(lock)),
        Err(TryLockError::WouldBlock) => Err(DbError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(DbError::Io { path: lock_path.into(), source }),
    }
}

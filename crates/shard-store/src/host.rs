//! What the store asks of the machine below it: durable file operations, free space, the clock, randomness.
//!
//! Everything that changes a segment goes through [`Host`], so that tests can lose what was not fsynced, fail an
//! fsync or fill the disk. Reads go straight to the file.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use crate::format::StoreId;

/// The operating system, or a test's idea of it.
pub(crate) trait Host: Send + Sync + 'static {
    /// Creates a file that must not exist. It is there after a crash only once [`Host::sync_dir`] returned.
    fn create(&self, path: &Path) -> io::Result<File>;
    /// Writes all of `parts` at `offset`. After an error, any of it may have been written.
    fn write_all_at(
        &self,
        path: &Path,
        file: &File,
        parts: &mut [IoSlice<'_>],
        offset: u64,
    ) -> io::Result<()>;
    /// Makes the file's bytes and length survive a power loss. After an error, nothing may be assumed of what
    /// was written since the last success, and trying again proves nothing: Linux marks the pages clean.
    fn sync(&self, path: &Path, file: &File) -> io::Result<()>;
    /// Cuts the file.
    fn truncate(&self, path: &Path, file: &File, len: u64) -> io::Result<()>;
    /// Renames a file within its directory.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes creations, renames and removals in the directory survive a power loss.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Bytes that this process may still write to the file system of `dir`.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;
    /// The id of a store that is about to be created.
    fn new_store_id(&self) -> StoreId;
}

/// The real machine.
pub(crate) struct SystemHost;

impl Host for SystemHost {
    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(path)
    }

    fn write_all_at(
        &self,
        _path: &Path,
        file: &File,
        mut parts: &mut [IoSlice<'_>],
        mut offset: u64,
    ) -> io::Result<()> {
        IoSlice::advance_slices(&mut parts, 0);
        while !parts.is_empty() {
            match rustix::io::pwritev(file, &piece(parts, offset), offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut parts, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn sync(&self, _path: &Path, file: &File) -> io::Result<()> {
        // fdatasync also writes a changed length, which is all the metadata that reading the data back needs.
        file.sync_data()
    }

    fn truncate(&self, _path: &Path, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn now_ms(&self) -> i64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
    }

    fn new_store_id(&self) -> StoreId {
        StoreId(*Uuid::new_v4().as_bytes())
    }
}

/// What one call writes at most. Linux gives a larger write larger folios of page cache to copy into, which cost ext4
/// three times the CPU at 1 MiB (see the decision on the shard store).
const PIECE_BYTES: u64 = 128 << 10;

/// The beginning of `parts`, up to the next multiple of [`PIECE_BYTES`] in the file.
fn piece<'a>(parts: &'a [IoSlice<'_>], offset: u64) -> Vec<IoSlice<'a>> {
    // The most that one call takes (IOV_MAX on Linux).
    const PARTS_MAX: usize = 1024;
    let mut room = (PIECE_BYTES - offset % PIECE_BYTES) as usize;
    let mut piece = Vec::new();
    for part in parts.iter().take(PARTS_MAX) {
        if room == 0 {
            break;
        }
        let len = part.len().min(room);
        piece.push(IoSlice::new(&part[..len]));
        room -= len;
    }
    piece
}

/// Whether an error means that the disk or the quota is used up.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_in_pieces_is_what_the_file_holds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let file = SystemHost.create(&path).unwrap();
        let mut expected = Vec::new();
        // Around the boundary of a piece, more than one piece, and more parts than one call takes.
        let piece = PIECE_BYTES as usize;
        for lens in [vec![0, 1, piece - 1], vec![piece, 0, piece + 1], vec![3 * piece + 7, 64], vec![5; 3000]]
        {
            let parts: Vec<Vec<u8>> = lens
                .iter()
                .map(|len| (0..*len).map(|at| (at as u8).wrapping_mul(31) ^ *len as u8).collect())
                .collect();
            let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
            SystemHost.write_all_at(&path, &file, &mut slices, expected.len() as u64).unwrap();
            expected.extend(parts.concat());
        }
        assert!(std::fs::read(&path).unwrap() == expected);
    }
}

//! Moving the write-ahead log into the database file.
//!
//! A passive checkpoint on a thread of its own copies pages while readers and the writer go on. The log starts over
//! only when no reader uses it any more, which may never happen under constant reads; so past a second limit the
//! writer waits for the readers that are in it. New readers don't prolong that wait: with everything copied they
//! read the database file alone.

use std::path::Path;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tracing::warn;

use super::commits::Commits;
use super::connection::{Connection, Role};
use super::readers::Readers;
use crate::{DbConfig, DbError};

/// Frames (pages of 4 KiB) after which the log is copied into the database.
const COPY_FRAMES: u64 = 4_096;
/// Frames after which the writer makes the log start over: 128 MiB.
const RESTART_FRAMES: u64 = 32_768;

/// The writer's handle to the checkpoint thread.
pub(super) struct Checkpointer {
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Held by whoever checkpoints: SQLite refuses a second checkpoint at once, however long it may wait for readers.
    turn: Arc<Mutex<()>>,
    readers: Arc<Readers>,
    copied_at: u64,
    restart_at: u64,
}

impl Checkpointer {
    pub(super) fn start(path: &Path, config: &DbConfig, readers: Arc<Readers>) -> Result<Self, DbError> {
        let mut connection = Connection::open(path, config, Role::Writer)?;
        let (wake, woken) = sync_channel(1);
        let turn = Arc::new(Mutex::new(()));
        let (its_turn, its_readers) = (Arc::clone(&turn), Arc::clone(&readers));
        let thread = std::thread::Builder::new()
            .name("db-checkpoint".to_owned())
            .spawn(move || {
                while woken.recv().is_ok() {
                    let _turn = its_turn.lock().unwrap_or_else(PoisonError::into_inner);
                    its_readers.end_snapshots();
                    checkpoint(&mut connection, "PRAGMA wal_checkpoint(PASSIVE)");
                }
            })
            .map_err(|source| DbError::Io { path: path.to_owned(), source })?;
        let (copied_at, restart_at) = (0, RESTART_FRAMES);
        Ok(Self { wake: Some(wake), thread: Some(thread), turn, readers, copied_at, restart_at })
    }

    /// Called by the writer between transactions, with the frames in the log.
    pub(super) fn after_commit(&mut self, writer: &mut Connection, frames: u64, commits: &Commits) {
        if frames < self.copied_at {
            self.copied_at = 0;
            self.restart_at = RESTART_FRAMES;
        }
        if frames >= self.restart_at {
            let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            // Meanwhile nobody keeps a snapshot, or the log could not start over.
            commits.begin();
            self.readers.end_snapshots();
            checkpoint(writer, "PRAGMA wal_checkpoint(RESTART)");
            commits.end();
            self.copied_at = frames;
            // When a long reader prevented it, the next attempt comes after as much again.
            self.restart_at = frames + RESTART_FRAMES;
        } else if frames >= self.copied_at + COPY_FRAMES {
            let wake = self.wake.as_ref().map(|wake| wake.try_send(()));
            // Full: the thread is about to copy anyway.
            if let Some(Ok(()) | Err(TrySendError::Full(()))) = wake {
                self.copied_at = frames;
            }
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by its hook.
            let _ = thread.join();
        }
    }
}

fn checkpoint(connection: &mut Connection, sql: &'static str) {
    // Nothing is lost when it fails: the log keeps everything, and a later checkpoint copies it again.
    if let Err(error) = connection.query(sql, &[], 1) {
        warn!(%error, "a checkpoint of the database failed");
    }
}

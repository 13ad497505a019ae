//! The contract of a backend.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use datamesh_types::{GroupId, Location, SealedId};

pub use datamesh_cluster::{Placed, StoredChunk};

use crate::BackendError;

/// How much of a chunk a backend still has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presence {
    /// Pieces that were read back and are good.
    pub good: usize,
    /// Pieces whose node or store did not answer: nothing is known of them.
    pub unknown: usize,
    /// Pieces that the chunk has when it is complete.
    pub total: usize,
    /// Pieces that rebuild the chunk.
    pub needed: usize,
}

impl Presence {
    /// Whether every piece is there.
    pub fn complete(&self) -> bool {
        self.good == self.total
    }

    /// Whether the chunk can be read now.
    pub fn readable(&self) -> bool {
        self.good >= self.needed
    }

    /// Whether too few pieces are left even if all the unknown ones are good.
    pub fn lost(&self) -> bool {
        self.good + self.unknown < self.needed
    }
}

/// A place for sealed chunks.
///
/// # What every backend promises
///
/// - *Durability.* When [`put`](Self::put) returns, the chunk outlives a crash of this process and of the machine,
///   except in [`MemoryBackend`](crate::MemoryBackend).
/// - *Truth.* [`get`](Self::get) returns exactly the bytes that were put under that id, or an error; never other
///   bytes, never a part of them. Each backend checks its own checksum, so damage is an error here and not
///   a failure to decrypt above.
/// - *Visibility.* A chunk can be read as soon as its `put` returned, by any process over the same storage.
/// - *Immutability.* A sealed id is drawn for one write and never has two contents; a delete can therefore never
///   hit a later write of the same plaintext.
/// - *Honest errors.* [`BackendError::NotFound`] and [`BackendError::Lost`] are said only on definite answers;
///   when the storage cannot be reached the error is [`BackendError::Unavailable`], and nothing may be concluded
///   about the chunk.
/// - *Bounds.* A call ends: it waits for no peer or server longer than the backend's configured timeouts. Memory
///   per call is a small multiple of the chunk.
///
/// # Cancelling
///
/// Any call may be dropped. A dropped `put` may or may not have stored the chunk: it is an orphan then, which
/// [`list`](Self::list) shows. A dropped `delete` may have deleted some of the chunks; repeat it.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// Stores a sealed chunk under a fresh id, and says where.
    ///
    /// The location is all that is needed to find it again; the caller commits it, together with the pieces that
    /// are still missing. Putting the same id with the same bytes again is no error but need not return the same
    /// location.
    ///
    /// # Errors
    /// [`BackendError::InvalidLength`] for an empty chunk or one over 4 GiB; [`BackendError::Full`];
    /// [`BackendError::Unavailable`]. After an error nothing was acknowledged, and trying again with a fresh id is
    /// safe.
    async fn put(&self, id: SealedId, sealed: Bytes) -> Result<Placed, BackendError>;

    /// The sealed chunk at `location`: `location.sealed_len` bytes, as they were put.
    ///
    /// # Errors
    /// [`BackendError::NotFound`] when it was deleted or never there; [`BackendError::Lost`] or
    /// [`BackendError::Corrupt`] when too little of it is left; [`BackendError::Unavailable`].
    async fn get(&self, location: &Location) -> Result<Bytes, BackendError>;

    /// Deletes chunks: one result for each location, in order. Deleting what is not there succeeds.
    ///
    /// # Errors
    /// Per location, [`BackendError::Unavailable`] when some of it may still be there: keep the location as
    /// garbage and delete it again later.
    async fn delete(&self, locations: &[Location]) -> Vec<Result<(), BackendError>>;

    /// Reads the chunk's pieces back where they are and counts the good ones. A chunk that isn't there has no good
    /// piece; that is no error.
    async fn presence(&self, location: &Location) -> Result<Presence, BackendError>;

    /// Up to `limit` stored chunks in order of (group, sealed id), after `after`. An empty page is the last.
    ///
    /// This is how chunks that no catalog row names are found: page through, ask the catalog about those old
    /// enough that no upload can still be about to commit them, and delete the unknown. Chunks stored or deleted
    /// while paging may or may not be listed.
    async fn list(
        &self,
        after: Option<(GroupId, SealedId)>,
        limit: usize,
    ) -> Result<Vec<StoredChunk>, BackendError>;
}

/// The length of a chunk as a location states it.
pub(crate) fn checked_len(sealed: &Bytes) -> Result<u32, BackendError> {
    match u32::try_from(sealed.len()) {
        Ok(len @ 1..) => Ok(len),
        _ => Err(BackendError::InvalidLength { bytes: sealed.len() }),
    }
}

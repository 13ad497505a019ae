//! Where a sealed chunk is kept.

use serde::{Deserialize, Serialize};

use crate::{GroupId, SealedId};

/// Where a backend keeps one sealed chunk: all that is needed to read, repair or delete it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Location {
    /// The placement group, or [`GroupId::NONE`] in a backend without groups.
    pub group: GroupId,
    /// The sealed chunk.
    pub sealed: SealedId,
    /// Its exact length in bytes, without the padding of the last data shard.
    pub sealed_len: u32,
}

//! Identifiers, byte counts, profiles and limits: the words every other crate shares.
//!
//! This crate does no I/O and knows no library above it. An identifier is a newtype, so that a chunk id cannot
//! be passed where a sealed id is expected; the compiler then keeps the rule that nodes never see chunk ids.

mod id;
mod location;
mod profile;
mod quantity;
mod shard;
mod units;

pub use id::{AccountId, ChunkId, DomainId, GroupId, NodeId, ParseIdError, SealedId};
pub use location::Location;
pub use profile::{Profile, ProfileError};
pub use quantity::{ByteSize, ParseTimeSpanError, TimeSpan};
pub use shard::{SHARD_ID_LEN, ShardHealth, ShardId, ShardStat};
pub use units::{GIB, KIB, MIB, ParseByteSizeError, TIB, format_bytes, parse_bytes};

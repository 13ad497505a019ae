//! The bytes on disk.
//!
//! A segment file is a [`SegmentHeader`] followed by records. A record is a [`RecordHeader`], the payload, and
//! zeros up to a multiple of [`ALIGN`]. All integers are little-endian, apart from the group inside a shard id.
//!
//! Two checksums, both CRC-64/NVME, guard a record:
//!
//! - the payload's covers the shard id and the payload, so that bytes under the wrong name never verify;
//! - the header's covers the store's random id, the file id and the offset before the header itself. A header
//!   is thus valid only where it was written, and nobody who merely chooses a payload can put something into it
//!   that looks like a record. This is what lets recovery search for the next record behind a damaged one.

use crc_fast::{CrcAlgorithm, Digest};
use datamesh_types::{SHARD_ID_LEN, ShardId};

/// The newest format of segments and their records. Every older one stays readable.
pub(crate) const FORMAT_VERSION: u8 = 1;
/// Records start at multiples of this.
pub(crate) const ALIGN: u64 = 8;
/// Length of [`SegmentHeader::encode`].
pub(crate) const SEGMENT_HEADER_LEN: u64 = 80;
/// Length of [`RecordHeader::encode`].
pub(crate) const RECORD_HEADER_LEN: u64 = 80;

const SEGMENT_MAGIC: [u8; 8] = *b"DMSHARDS";
/// First bytes of each record.
pub(crate) const RECORD_MAGIC: [u8; 4] = *b"DMsr";

/// Random number of a store, drawn when it is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoreId(pub(crate) [u8; 16]);

/// Why bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FormatError {
    /// Wrong magic, length, checksum or field.
    Invalid,
    /// Written by a later version of this program.
    Newer(u8),
}

/// How a segment came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Records were appended as they arrived.
    Log,
    /// A compaction wrote what was left of one or more neighbouring segments.
    Compaction {
        /// Every delete in a segment before this log position had been applied when it began.
        through: u64,
    },
}

/// What a segment says about itself.
///
/// `first..=last` is the part of the log that the segment holds, as numbers of the segments that the log was
/// first written to. In a segment that was appended to, both are its own id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) store: StoreId,
    pub(crate) id: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) origin: Origin,
    pub(crate) created_at_ms: i64,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_LEN as usize] {
        let mut bytes = [0; SEGMENT_HEADER_LEN as usize];
        let (kind, through) = match self.origin {
            Origin::Log => (0, 0),
            Origin::Compaction { through } => (1, through),
        };
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8] = FORMAT_VERSION;
        bytes[9] = kind;
        bytes[16..32].copy_from_slice(&self.store.0);
        bytes[32..40].copy_from_slice(&self.id.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.last.to_le_bytes());
        bytes[56..64].copy_from_slice(&through.to_le_bytes());
        bytes[64..72].copy_from_slice(&self.created_at_ms.to_le_bytes());
        let crc = crc(&[&bytes[..72]]);
        bytes[72..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let bytes: &[u8; SEGMENT_HEADER_LEN as usize] = bytes.try_into().map_err(|_| FormatError::Invalid)?;
        if bytes[..8] != SEGMENT_MAGIC || crc(&[&bytes[..72]]) != u64_at(bytes, 72) {
            return Err(FormatError::Invalid);
        }
        check_version(bytes[8])?;
        let through = u64_at(bytes, 56);
        let origin = match bytes[9] {
            0 => Origin::Log,
            1 => Origin::Compaction { through },
            _ => return Err(FormatError::Invalid),
        };
        let store = StoreId(bytes[16..32].try_into().map_err(|_| FormatError::Invalid)?);
        let (id, first, last) = (u64_at(bytes, 32), u64_at(bytes, 40), u64_at(bytes, 48));
        Ok(Self { store, id, first, last, origin, created_at_ms: u64_at(bytes, 64) as i64 })
    }
}

/// What a record does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Stores the payload.
    Store,
    /// Deletes the shard that was stored by a record in the part `home` of the log.
    Delete {
        /// Number of the segment that the deleted record was first written to, or of an earlier one that was
        /// merged with it.
        home: u64,
    },
}

/// Everything about a record but its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) action: Action,
    pub(crate) id: ShardId,
    /// Length of the payload, without padding.
    pub(crate) len: u32,
    /// How much of this file had been fsynced when the record was written. All that lies before is therefore
    /// acknowledged data: if it does not verify it is damaged, not torn.
    pub(crate) synced_to: u32,
    pub(crate) stored_at_ms: i64,
    /// See [`payload_crc`].
    pub(crate) crc: u64,
}

/// Where a record lies, which its header is bound to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) store: StoreId,
    pub(crate) file: u64,
    pub(crate) offset: u64,
}

impl Place {
    fn crc(&self, header: &[u8]) -> u64 {
        crc(&[&self.store.0, &self.file.to_le_bytes(), &self.offset.to_le_bytes(), header])
    }
}

impl RecordHeader {
    /// Bytes that the record takes in its segment.
    pub(crate) fn record_len(&self) -> u64 {
        record_len(self.len)
    }

    pub(crate) fn encode(&self, place: &Place) -> [u8; RECORD_HEADER_LEN as usize] {
        let mut bytes = [0; RECORD_HEADER_LEN as usize];
        let (kind, home) = match self.action {
            Action::Store => (1, 0),
            Action::Delete { home } => (2, home),
        };
        bytes[..4].copy_from_slice(&RECORD_MAGIC);
        bytes[4] = FORMAT_VERSION;
        bytes[5] = kind;
        bytes[8..12].copy_from_slice(&self.len.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.synced_to.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.stored_at_ms.to_le_bytes());
        bytes[24..24 + SHARD_ID_LEN].copy_from_slice(&self.id.to_bytes());
        bytes[56..64].copy_from_slice(&home.to_le_bytes());
        bytes[64..72].copy_from_slice(&self.crc.to_le_bytes());
        let crc = place.crc(&bytes[..72]);
        bytes[72..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8], place: &Place) -> Result<Self, FormatError> {
        let bytes: &[u8; RECORD_HEADER_LEN as usize] = bytes.try_into().map_err(|_| FormatError::Invalid)?;
        if bytes[..4] != RECORD_MAGIC || place.crc(&bytes[..72]) != u64_at(bytes, 72) {
            return Err(FormatError::Invalid);
        }
        check_version(bytes[4])?;
        let action = match bytes[5] {
            1 => Action::Store,
            2 => Action::Delete { home: u64_at(bytes, 56) },
            _ => return Err(FormatError::Invalid),
        };
        Ok(Self {
            action,
            id: ShardId::from_slice(&bytes[24..24 + SHARD_ID_LEN]).ok_or(FormatError::Invalid)?,
            len: u32_at(bytes, 8),
            synced_to: u32_at(bytes, 12),
            stored_at_ms: u64_at(bytes, 16) as i64,
            crc: u64_at(bytes, 64),
        })
    }
}

/// Bytes that a record with a payload of `len` bytes takes: header, payload, padding.
pub(crate) fn record_len(len: u32) -> u64 {
    RECORD_HEADER_LEN + u64::from(len).next_multiple_of(ALIGN)
}

/// The checksum that ties a payload to the shard it belongs to.
pub(crate) fn payload_crc(id: &ShardId, payload: &[u8]) -> u64 {
    crc(&[&id.to_bytes(), payload])
}

fn crc(parts: &[&[u8]]) -> u64 {
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    for part in parts {
        digest.update(part);
    }
    digest.finalize()
}

fn check_version(version: u8) -> Result<(), FormatError> {
    match version {
        0 => Err(FormatError::Invalid),
        1..=FORMAT_VERSION => Ok(()),
        newer => Err(FormatError::Newer(newer)),
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes make a u64"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes make a u32"))
}

#[cfg(test)]
mod tests {
    use datamesh_types::{GroupId, SealedId};
    use proptest::prelude::*;

    use super::*;

    const STORE: StoreId = StoreId([7; 16]);

    fn shard(index: u8) -> ShardId {
        ShardId { group: GroupId(3), sealed: SealedId([0xab; 16]), index }
    }

    #[test]
    fn a_record_header_is_valid_only_where_it_was_written() {
        let header = RecordHeader {
            action: Action::Delete { home: 4 },
            id: shard(1),
            len: 9,
            synced_to: 80,
            stored_at_ms: -5,
            crc: 11,
        };
        let place = Place { store: STORE, file: 1, offset: 80 };
        let bytes = header.encode(&place);
        assert_eq!(RecordHeader::decode(&bytes, &place), Ok(header));
        for elsewhere in [
            Place { store: StoreId([8; 16]), ..place },
            Place { file: 2, ..place },
            Place { offset: 88, ..place },
        ] {
            assert_eq!(RecordHeader::decode(&bytes, &elsewhere), Err(FormatError::Invalid));
        }
    }

    #[test]
    fn a_payload_verifies_only_under_its_own_name() {
        assert_ne!(payload_crc(&shard(1), b"payload"), payload_crc(&shard(2), b"payload"));
        assert_ne!(payload_crc(&shard(1), b"payload"), payload_crc(&shard(1), b"paylaod"));
    }

    #[test]
    fn a_newer_format_is_told_apart_from_damage() {
        let header = SegmentHeader {
            store: STORE,
            id: 1,
            first: 1,
            last: 1,
            origin: Origin::Compaction { through: 9 },
            created_at_ms: 0,
        };
        let mut bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        bytes[8] = FORMAT_VERSION + 1;
        assert_eq!(SegmentHeader::decode(&bytes), Err(FormatError::Invalid));
        let crc = crc(&[&bytes[..72]]);
        bytes[72..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(FormatError::Newer(FORMAT_VERSION + 1)));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_never_a_header_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let place = Place { store: STORE, file: 1, offset: 80 };
            prop_assert!(RecordHeader::decode(&bytes, &place).is_err());
            prop_assert!(SegmentHeader::decode(&bytes).is_err());
        }

        #[test]
        fn any_flipped_bit_of_a_header_is_noticed(bit in 0..8 * 80usize) {
            let place = Place { store: STORE, file: 1, offset: 80 };
            let header = RecordHeader { action: Action::Store, id: shard(1), len: 9, synced_to: 80, stored_at_ms: 5, crc: 11 };
            let mut bytes = header.encode(&place);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(RecordHeader::decode(&bytes, &place).is_err());
        }
    }
}

//! The stored form of a manifest segment: a format byte, then 12 bytes per entry.

use crate::CatalogError;

/// One stored entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The chunk's row.
    pub(crate) row: i64,
    /// Its plaintext's length in bytes.
    pub(crate) len: u32,
}

/// The most entries in a segment: 12 KiB of them describe about 1 GiB.
pub(crate) const SEGMENT_ENTRIES_MAX: usize = 1024;

const FORMAT: u8 = 1;
const ENTRY_LEN: usize = 12;

pub(crate) fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + entries.len() * ENTRY_LEN);
    bytes.push(FORMAT);
    for entry in entries {
        bytes.extend_from_slice(&entry.row.to_le_bytes());
        bytes.extend_from_slice(&entry.len.to_le_bytes());
    }
    bytes
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<Entry>, CatalogError> {
    let corrupt = CatalogError::Corrupt { what: "manifest segment" };
    let Some((&FORMAT, body)) = bytes.split_first() else { return Err(corrupt) };
    let (entries, rest) = body.as_chunks::<ENTRY_LEN>();
    if !rest.is_empty() || entries.len() > SEGMENT_ENTRIES_MAX {
        return Err(corrupt);
    }
    Ok(entries
        .iter()
        .map(|&[r0, r1, r2, r3, r4, r5, r6, r7, l0, l1, l2, l3]| Entry {
            row: i64::from_le_bytes([r0, r1, r2, r3, r4, r5, r6, r7]),
            len: u32::from_le_bytes([l0, l1, l2, l3]),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_is_fixed() {
        let entries = [Entry { row: 0x0102, len: 0x0304_0506 }, Entry { row: i64::MAX, len: u32::MAX }];
        let bytes = encode(&entries);
        assert_eq!(bytes[..13], [1, 2, 1, 0, 0, 0, 0, 0, 0, 6, 5, 4, 3]);
        assert_eq!(bytes[13..], [255, 255, 255, 255, 255, 255, 255, 127, 255, 255, 255, 255]);
        assert_eq!(decode(&bytes).unwrap(), entries);
        assert_eq!(decode(&[1]).unwrap(), []);
    }

    #[test]
    fn malformed_segments_are_refused() {
        let too_long = vec![1; 1 + (SEGMENT_ENTRIES_MAX + 1) * ENTRY_LEN];
        for bytes in [&[][..], &[0], &[2], &[1, 0], &[1; 12], &too_long] {
            assert!(decode(bytes).is_err(), "{} bytes", bytes.len());
        }
    }
}

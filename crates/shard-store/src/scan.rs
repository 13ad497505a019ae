//! Reading a segment from front to back, past damage.

use std::fs::File;
use std::path::Path;

use crate::error::StoreError;
use crate::format::{
    ALIGN, FORMAT_VERSION, FormatError, Place, RECORD_HEADER_LEN, RECORD_MAGIC, RecordHeader, StoreId,
};
use crate::segment::read_at;

/// How much is read at once while searching for the next record.
const SEARCH_BYTES: usize = 1 << 20;

/// A stretch of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stretch {
    /// A record with a valid header. Its payload hasn't been looked at and may reach beyond the end of the file.
    Record { offset: u64, header: RecordHeader },
    /// Bytes that hold no record: torn, damaged, or never written.
    Gap { from: u64, to: u64 },
}

/// Walks over the records of one segment file. Payloads are skipped, not read.
pub(crate) struct Scanner<'a> {
    path: &'a Path,
    file: &'a File,
    store: StoreId,
    id: u64,
    offset: u64,
    end: u64,
}

impl<'a> Scanner<'a> {
    /// Starts at `offset`, where a record must start, and stops at `end`.
    pub(crate) fn new(
        path: &'a Path,
        file: &'a File,
        store: StoreId,
        id: u64,
        offset: u64,
        end: u64,
    ) -> Self {
        Self { path, file, store, id, offset: offset.next_multiple_of(ALIGN), end }
    }

    /// The next stretch, or `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Stretch>, StoreError> {
        if self.offset >= self.end {
            return Ok(None);
        }
        let from = self.offset;
        if let Some(header) = self.header_at(from, &self.read(from, RECORD_HEADER_LEN as usize)?)? {
            self.offset += header.record_len();
            return Ok(Some(Stretch::Record { offset: from, header }));
        }
        self.offset = self.find_record(from + ALIGN)?.unwrap_or(self.end);
        Ok(Some(Stretch::Gap { from, to: self.offset }))
    }

    /// Where the first record at or after `from` starts.
    fn find_record(&self, mut from: u64) -> Result<Option<u64>, StoreError> {
        while from < self.end {
            let bytes = self.read(from, SEARCH_BYTES)?;
            for at in (0..bytes.len()).step_by(ALIGN as usize) {
                if !bytes[at..].starts_with(&RECORD_MAGIC) {
                    continue;
                }
                let offset = from + at as u64;
                if self.header_at(offset, &self.read(offset, RECORD_HEADER_LEN as usize)?)?.is_some() {
                    return Ok(Some(offset));
                }
            }
            from += SEARCH_BYTES as u64;
        }
        Ok(None)
    }

    fn header_at(&self, offset: u64, bytes: &[u8]) -> Result<Option<RecordHeader>, StoreError> {
        match RecordHeader::decode(bytes, &Place { store: self.store, file: self.id, offset }) {
            Ok(header) => Ok(Some(header)),
            Err(FormatError::Invalid) => Ok(None),
            Err(FormatError::Newer(found)) => {
                Err(StoreError::NewerFormat { path: self.path.to_owned(), found, supported: FORMAT_VERSION })
            }
        }
    }

    fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, StoreError> {
        let len = len.min(self.end.saturating_sub(offset) as usize);
        read_at(self.file, offset, len).map_err(|error| StoreError::io("read", self.path, error))
    }
}

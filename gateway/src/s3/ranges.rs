//! Byte ranges of reads and of copied parts.

use std::ops::Range;

use s3s::{S3Result, s3_error};

/// The bytes that a `Range` header selects of an object of `size` bytes.
///
/// # Errors
/// `InvalidRange` when it selects none: it begins behind the end, or the object is empty.
pub fn select(range: s3s::dto::Range, size: u64) -> S3Result<Range<u64>> {
    let selected = range.check(size).map_err(|_| s3_error!(InvalidRange))?;
    if selected.is_empty() { Err(s3_error!(InvalidRange)) } else { Ok(selected) }
}

/// The `Content-Range` of an answer.
pub fn content_range(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", range.start, range.end - 1)
}

/// The bytes that `x-amz-copy-source-range` selects: `bytes=FIRST-LAST`, both within the object.
pub fn select_source(header: &str, size: u64) -> S3Result<Range<u64>> {
    let malformed = || {
        s3_error!(
            InvalidArgument,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the \
             zero-based offsets of the first and last bytes to copy"
        )
    };
    let parsed = s3s::dto::Range::parse(header).map_err(|_| malformed())?;
    let s3s::dto::Range::Int { first, last: Some(last) } = parsed else { return Err(malformed()) };
    if last >= size {
        return Err(s3_error!(
            InvalidRange,
            "Range specified is not valid for source object of size: {size}"
        ));
    }
    Ok(first..last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select_text(header: &str, size: u64) -> Option<Range<u64>> {
        select(s3s::dto::Range::parse(header).unwrap(), size).ok()
    }

    #[test]
    fn ranges_are_cut_to_the_object() {
        assert_eq!(select_text("bytes=0-0", 10), Some(0..1));
        assert_eq!(select_text("bytes=5-", 10), Some(5..10));
        assert_eq!(select_text("bytes=5-100", 10), Some(5..10));
        assert_eq!(select_text("bytes=-3", 10), Some(7..10));
        assert_eq!(select_text("bytes=-30", 10), Some(0..10));
        assert_eq!(content_range(&(7..10), 10), "bytes 7-9/10");
    }

    #[test]
    fn a_range_that_selects_nothing_is_refused() {
        for (header, size) in
            [("bytes=10-", 10), ("bytes=10-20", 10), ("bytes=-0", 10), ("bytes=0-0", 0), ("bytes=-5", 0)]
        {
            assert_eq!(select_text(header, size), None, "{header} of {size}");
        }
    }

    #[test]
    fn a_copied_range_must_lie_within_the_source() {
        assert_eq!(select_source("bytes=2-4", 5).unwrap(), 2..5);
        for header in ["bytes=2-5", "bytes=2-", "bytes=-2", "2-4", "bytes=4-2", ""] {
            assert!(select_source(header, 5).is_err(), "{header}");
        }
    }
}

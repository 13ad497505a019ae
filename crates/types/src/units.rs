//! Byte counts: binary units in code, one parser and one printer for configuration and messages.

/// 1,024 bytes.
pub const KIB: u64 = 1 << 10;
/// 1,024 KiB.
pub const MIB: u64 = 1 << 20;
/// 1,024 MiB.
pub const GIB: u64 = 1 << 30;
/// 1,024 GiB.
pub const TIB: u64 = 1 << 40;

/// A text that is no byte count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a size: expected a whole number with B, KiB, MiB, GiB, TiB, KB, MB, GB or TB")]
pub struct ParseByteSizeError {
    /// What was given.
    pub text: String,
}

const UNITS: [(&str, u64); 10] = [
    ("KiB", KIB),
    ("MiB", MIB),
    ("GiB", GIB),
    ("TiB", TIB),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
    ("", 1),
];

/// Reads `64 MiB`, `64MiB`, `5 GB` or a bare number of bytes.
pub fn parse_bytes(text: &str) -> Result<u64, ParseByteSizeError> {
    let error = || ParseByteSizeError { text: text.to_owned() };
    let trimmed = text.trim();
    let digits_len = trimmed.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = trimmed.split_at(digits_len);
    let count: u64 = digits.parse().map_err(|_| error())?;
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit.trim_start()).ok_or_else(error)?;
    count.checked_mul(*factor).ok_or_else(error)
}

/// Prints a byte count with one decimal in the largest binary unit that is at least one: `1.5 MiB`, `17 B`.
pub fn format_bytes(bytes: u64) -> String {
    let units = [("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)];
    match units.iter().find(|(_, factor)| bytes >= *factor) {
        Some((name, factor)) => format!("{:.1} {name}", bytes as f64 / *factor as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_a_space() {
        assert_eq!(parse_bytes("64 MiB"), Ok(64 * MIB));
        assert_eq!(parse_bytes("5GB"), Ok(5_000_000_000));
        assert_eq!(parse_bytes("17"), Ok(17));
        for text in ["", "MiB", "-1", "1.5 GiB", "64 mib", "99999999 TiB"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_print_in_the_largest_unit() {
        assert_eq!(format_bytes(17), "17 B");
        assert_eq!(format_bytes(1536 * KIB), "1.5 MiB");
    }
}

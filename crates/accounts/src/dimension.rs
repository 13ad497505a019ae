//! What limits count.

use crate::AccountsError;
use crate::named::named;

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// Logical bytes stored.
    Bytes,
    /// Objects: versions that hold data.
    Objects,
    /// Bytes received in a calendar month (UTC).
    Ingress,
    /// Bytes sent in a calendar month (UTC).
    Egress,
    /// Bytes of the largest object.
    ObjectSize,
    /// Requests a second, with a burst.
    Requests,
    /// Requests under way at once.
    Operations,
    /// Bytes a second of request bodies.
    Upload,
    /// Bytes a second of answers' bodies.
    Download,
}

impl Dimension {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Bytes,
        Self::Objects,
        Self::Ingress,
        Self::Egress,
        Self::ObjectSize,
        Self::Requests,
        Self::Operations,
        Self::Upload,
        Self::Download,
    ];

    /// Its number in the database. The two of a book are neighbours, the odd one first.
    pub(crate) const fn number(self) -> i64 {
        self as i64 + 1
    }

    pub(crate) fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|dimension| dimension.number() == number)
    }

    /// Whether it counts bytes.
    pub const fn is_bytes(self) -> bool {
        !matches!(self, Self::Objects | Self::Requests | Self::Operations)
    }

    /// Whether it counts what is stored, which no single access key can be charged with.
    pub const fn is_stored(self) -> bool {
        matches!(self, Self::Bytes | Self::Objects)
    }
}

named!(Dimension {
    Bytes = "bytes", Objects = "objects", Ingress = "ingress", Egress = "egress", ObjectSize = "object_size",
    Requests = "requests", Operations = "operations", Upload = "upload", Download = "download",
} name => AccountsError::UnknownDimension { name: name.to_owned() });

//! What is measured, and how it is kept in the database.

use std::ops::AddAssign;

use datamesh_db::{DbError, Row, Value};

/// What a request costs, as S3's price lists have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestClass {
    /// Writes and listings: PUT, COPY, POST, and everything that lists.
    A,
    /// Reads: GET, HEAD, and whatever else there is.
    B,
    /// Deletions and aborted uploads, which are free.
    Free,
}

/// Bytes and requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes of requests' bodies.
    pub ingress: u64,
    /// Bytes of answers' bodies.
    pub egress: u64,
    /// Requests of [`RequestClass::A`].
    pub class_a: u64,
    /// Requests of [`RequestClass::B`].
    pub class_b: u64,
    /// Requests of [`RequestClass::Free`].
    pub free: u64,
}

impl Traffic {
    /// One request, and what it moved.
    pub(crate) fn request(class: RequestClass, ingress: u64, egress: u64) -> Self {
        let mut traffic = Self { ingress, egress, ..Self::default() };
        match class {
            RequestClass::A => traffic.class_a = 1,
            RequestClass::B => traffic.class_b = 1,
            RequestClass::Free => traffic.free = 1,
        }
        traffic
    }

    /// Its five columns, in their order.
    pub(crate) fn params(&self) -> [Value; 5] {
        [self.ingress, self.egress, self.class_a, self.class_b, self.free].map(Value::from)
    }

    /// Reads five columns.
    pub(crate) fn from_row(row: &Row, at: usize) -> Result<Self, DbError> {
        Ok(Self {
            ingress: row.uint(at)?,
            egress: row.uint(at + 1)?,
            class_a: row.uint(at + 2)?,
            class_b: row.uint(at + 3)?,
            free: row.uint(at + 4)?,
        })
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.ingress += other.ingress;
        self.egress += other.egress;
        self.class_a += other.class_a;
        self.class_b += other.class_b;
        self.free += other.free;
    }
}

/// One thing that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// By how much the stored bytes changed.
    Bytes,
    /// By how much the stored objects changed.
    Objects,
    /// Bytes times milliseconds.
    ByteTime,
    /// Objects times milliseconds.
    ObjectTime,
    /// Bytes received.
    Ingress,
    /// Bytes sent.
    Egress,
    /// Requests of class A.
    ClassA,
    /// Requests of class B.
    ClassB,
    /// Requests that are free.
    Free,
}

impl Measure {
    /// What it is called in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Objects => "objects",
            Self::ByteTime => "byte_milliseconds",
            Self::ObjectTime => "object_milliseconds",
            Self::Ingress => "ingress",
            Self::Egress => "egress",
            Self::ClassA => "class_a",
            Self::ClassB => "class_b",
            Self::Free => "free",
        }
    }
}

/// The sums of an hour or a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Measures {
    /// By how much the stored bytes changed.
    pub bytes: i64,
    /// By how much the stored objects changed.
    pub objects: i64,
    /// Each change of bytes times the milliseconds that were left.
    pub byte_ms: i128,
    /// Each change of objects times the milliseconds that were left.
    pub object_ms: i128,
    /// Bytes and requests.
    pub traffic: Traffic,
}

/// The columns that [`Measures`] are kept in.
macro_rules! measure_columns {
    () => {
        "bytes, objects, byte_ms_high, byte_ms_low, object_ms_high, object_ms_low, ingress, egress, class_a, class_b, free"
    };
}
pub(crate) use measure_columns;

impl Measures {
    /// How many columns there are.
    pub(crate) const COLUMNS: usize = 11;

    /// A change of what is stored, `left_ms` before the end.
    pub(crate) fn change(bytes: i64, objects: i64, left_ms: i128) -> Self {
        Self {
            bytes,
            objects,
            byte_ms: i128::from(bytes) * left_ms,
            object_ms: i128::from(objects) * left_ms,
            traffic: Traffic::default(),
        }
    }

    /// The same within a span that ends `more_ms` later.
    pub(crate) fn extended(self, more_ms: i128) -> Self {
        Self {
            byte_ms: self.byte_ms + i128::from(self.bytes) * more_ms,
            object_ms: self.object_ms + i128::from(self.objects) * more_ms,
            ..self
        }
    }

    /// Its columns, in their order.
    pub(crate) fn params(&self) -> [Value; Self::COLUMNS] {
        let [byte_high, byte_low] = split(self.byte_ms);
        let [object_high, object_low] = split(self.object_ms);
        let [ingress, egress, class_a, class_b, free] = self.traffic.params();
        [
            self.bytes.into(),
            self.objects.into(),
            byte_high.into(),
            byte_low.into(),
            object_high.into(),
            object_low.into(),
            ingress,
            egress,
            class_a,
            class_b,
            free,
        ]
    }

    /// Reads its columns.
    pub(crate) fn from_row(row: &Row, at: usize) -> Result<Self, DbError> {
        Ok(Self {
            bytes: row.int(at)?,
            objects: row.int(at + 1)?,
            byte_ms: join(row.int(at + 2)?, row.int(at + 3)?),
            object_ms: join(row.int(at + 4)?, row.int(at + 5)?),
            traffic: Traffic::from_row(row, at + 6)?,
        })
    }

    /// All of them, by name.
    pub(crate) fn each(&self) -> [(Measure, i128); 9] {
        let traffic = &self.traffic;
        [
            (Measure::Bytes, self.bytes.into()),
            (Measure::Objects, self.objects.into()),
            (Measure::ByteTime, self.byte_ms),
            (Measure::ObjectTime, self.object_ms),
            (Measure::Ingress, traffic.ingress.into()),
            (Measure::Egress, traffic.egress.into()),
            (Measure::ClassA, traffic.class_a.into()),
            (Measure::ClassB, traffic.class_b.into()),
            (Measure::Free, traffic.free.into()),
        ]
    }
}

impl AddAssign for Measures {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.objects += other.objects;
        self.byte_ms += other.byte_ms;
        self.object_ms += other.object_ms;
        self.traffic += other.traffic;
    }
}

/// Two columns of 64 bits for one number of 128: `high * 2^32 + low`. Each of them is a sum for itself, so that the
/// database can add without carrying. A petabyte for a month is 2^81; `low` has room for two thousand million sums.
fn split(amount: i128) -> [i64; 2] {
    let high = (amount >> 32).clamp(i64::MIN.into(), i64::MAX.into()) as i64;
    [high, (amount & 0xffff_ffff) as i64]
}

/// The number of two such columns, or of their sums.
pub(crate) fn join(high: i64, low: i64) -> i128 {
    (i128::from(high) << 32) + i128::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_of_more_than_64_bits_add_up_column_by_column() {
        // An exabyte for a month, and back.
        let large = (1i128 << 60) * 2_678_400_000;
        for amounts in [[0, 0], [large, -large], [large, 1], [-1, -1], [-large, large - 1], [1 << 32, -1]] {
            let [first, second] = amounts.map(split);
            let sum = join(first[0] + second[0], first[1] + second[1]);
            assert_eq!(sum, amounts[0] + amounts[1], "{amounts:?}");
        }
    }

    #[test]
    fn a_longer_span_counts_what_was_left_anew() {
        let hour = Measures::change(10, 1, 250);
        assert_eq!(hour.extended(1_000), Measures::change(10, 1, 1_250));
    }
}

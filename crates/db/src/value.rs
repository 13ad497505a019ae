//! Parameters and rows: the four types that both engines share.

use datamesh_types::{AccountId, ChunkId, DomainId, GroupId, NodeId, SealedId};

use crate::DbError;

/// A parameter, or a column of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// SQL's NULL.
    Null,
    /// `BIGINT`. A bool is 0 or 1.
    Int(i64),
    /// `TEXT`.
    Text(String),
    /// `BYTEA` / `BLOB`.
    Blob(Vec<u8>),
}

impl Value {
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Int(_) => "an integer",
            Self::Text(_) => "a text",
            Self::Blob(_) => "bytes",
        }
    }
}

macro_rules! value_from {
    ($($from:ty, $variant:ident, $value:ident => $convert:expr;)*) => {$(
        impl From<$from> for Value {
            fn from($value: $from) -> Self {
                Self::$variant($convert)
            }
        }
    )*};
}

value_from! {
    i64, Int, value => value;
    i32, Int, value => value.into();
    u8, Int, value => value.into();
    u16, Int, value => value.into();
    u32, Int, value => value.into();
    bool, Int, value => value.into();
    &str, Text, value => value.to_owned();
    String, Text, value => value;
    &String, Text, value => value.clone();
    Vec<u8>, Blob, value => value;
    &Vec<u8>, Blob, value => value.clone();
    &[u8], Blob, value => value.to_vec();
    ChunkId, Blob, value => value.0.to_vec();
    SealedId, Blob, value => value.0.to_vec();
    NodeId, Blob, value => value.0.to_vec();
    AccountId, Blob, value => value.0.to_vec();
    DomainId, Blob, value => value.0.to_vec();
    GroupId, Int, value => value.0.cast_signed();
    u64, Int, value => value.cast_signed();
    usize, Int, value => (value as u64).cast_signed();
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(value: &[u8; N]) -> Self {
        Self::Blob(value.to_vec())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// One row of a result. Columns count from 0.
#[derive(Debug, Clone)]
pub struct Row {
    values: Vec<Value>,
}

impl Row {
    pub(crate) const fn new(values: Vec<Value>) -> Self {
        Self { values }
    }

    /// The column as it is.
    pub fn value(&self, index: usize) -> Result<&Value, DbError> {
        self.values.get(index).ok_or(DbError::NoSuchColumn { index, columns: self.values.len() })
    }

    fn mismatch(&self, index: usize, expected: &'static str) -> DbError {
        match self.value(index) {
            Ok(value) => DbError::ColumnType { index, expected, found: value.kind().to_owned() },
            Err(error) => error,
        }
    }

    /// An integer.
    pub fn int(&self, index: usize) -> Result<i64, DbError> {
        self.opt_int(index)?.ok_or_else(|| self.mismatch(index, "an integer"))
    }

    /// An integer or NULL.
    pub fn opt_int(&self, index: usize) -> Result<Option<i64>, DbError> {
        match self.value(index)? {
            Value::Int(value) => Ok(Some(*value)),
            Value::Null => Ok(None),
            _ => Err(self.mismatch(index, "an integer")),
        }
    }

    /// An integer that was stored from a `u64`.
    pub fn uint(&self, index: usize) -> Result<u64, DbError> {
        self.int(index).map(i64::cast_unsigned)
    }

    /// An integer other than 0.
    pub fn bool(&self, index: usize) -> Result<bool, DbError> {
        self.int(index).map(|value| value != 0)
    }

    /// A text.
    pub fn text(&self, index: usize) -> Result<&str, DbError> {
        self.opt_text(index)?.ok_or_else(|| self.mismatch(index, "a text"))
    }

    /// A text or NULL.
    pub fn opt_text(&self, index: usize) -> Result<Option<&str>, DbError> {
        match self.value(index)? {
            Value::Text(value) => Ok(Some(value)),
            Value::Null => Ok(None),
            _ => Err(self.mismatch(index, "a text")),
        }
    }

    /// Bytes.
    pub fn blob(&self, index: usize) -> Result<&[u8], DbError> {
        self.opt_blob(index)?.ok_or_else(|| self.mismatch(index, "bytes"))
    }

    /// Bytes or NULL.
    pub fn opt_blob(&self, index: usize) -> Result<Option<&[u8]>, DbError> {
        match self.value(index)? {
            Value::Blob(value) => Ok(Some(value)),
            Value::Null => Ok(None),
            _ => Err(self.mismatch(index, "bytes")),
        }
    }

    /// Exactly `N` bytes: an id.
    pub fn bytes<const N: usize>(&self, index: usize) -> Result<[u8; N], DbError> {
        let blob = self.blob(index)?;
        blob.try_into().map_err(|_| DbError::ColumnType {
            index,
            expected: "bytes of an id's length",
            found: format!("{} bytes", blob.len()),
        })
    }

    /// Moves bytes out of the row without copying them; the column is NULL afterwards.
    pub fn take_blob(&mut self, index: usize) -> Result<Vec<u8>, DbError> {
        self.blob(index)?;
        match std::mem::replace(&mut self.values[index], Value::Null) {
            Value::Blob(value) => Ok(value),
            _ => Err(self.mismatch(index, "bytes")),
        }
    }

    /// Moves a text out of the row without copying it; the column is NULL afterwards.
    pub fn take_text(&mut self, index: usize) -> Result<String, DbError> {
        self.text(index)?;
        match std::mem::replace(&mut self.values[index], Value::Null) {
            Value::Text(value) => Ok(value),
            _ => Err(self.mismatch(index, "a text")),
        }
    }
}

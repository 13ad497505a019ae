//! Many rows in one parameter: a JSON array of arrays, which `json_each` turns into rows on both engines.

use datamesh_db::Value;
use serde::Serialize;

use crate::CatalogError;

/// `rows` as a parameter for `json_each(CAST($n AS TEXT))`. Column `i` of a row is `value ->> i`; bytes travel as
/// hexadecimal text.
pub(crate) fn json_rows<T: Serialize>(rows: &[T]) -> Result<Value, CatalogError> {
    serde_json::to_string(rows).map(Value::Text).map_err(|_| CatalogError::Corrupt { what: "parameter" })
}

//! Many rows in one parameter: a JSON array of arrays, which `json_each` turns into rows on both engines.

use datamesh_db::Value;
use serde::Serialize;

use crate::{Catalog, CatalogError};

/// `rows` as a parameter for `json_each(CAST($n AS TEXT))`. Column `i` of a row is `value ->> i`; bytes travel as
/// hexadecimal text.
pub(crate) fn json_rows<T: Serialize>(rows: &[T]) -> Result<Value, CatalogError> {
    serde_json::to_string(rows).map(Value::Text).map_err(|_| CatalogError::Corrupt { what: "parameter" })
}

/// Deletes the rows of a table whose ids are rows of the parameter.
macro_rules! delete_by_id {
    ($table:literal) => {
        concat!(
            "DELETE FROM ",
            $table,
            " WHERE id IN (SELECT CAST(j.value ->> 0 AS BIGINT) FROM json_each(CAST($1 AS TEXT)) AS j)"
        )
    };
}
pub(crate) use delete_by_id;

impl Catalog {
    /// Runs a statement of `delete_by_id!`.
    pub(crate) async fn delete_rows(
        &self,
        delete: &'static str,
        ids: impl Iterator<Item = i64>,
    ) -> Result<(), CatalogError> {
        let params = [json_rows(&ids.map(|id| [id]).collect::<Vec<_>>())?];
        self.db.execute(delete, params.into()).await?;
        Ok(())
    }
}

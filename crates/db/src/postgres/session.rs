//! One transaction on a PostgreSQL connection.

use crate::{DbError, Row, Value};

pub(crate) struct Session {}

impl Session {
    pub(crate) async fn execute(&mut self, sql: &'static str, params: &[Value]) -> Result<u64, DbError> {
        let _ = (sql, params);
        todo!()
    }

    pub(crate) async fn query(&mut self, sql: &'static str, params: &[Value]) -> Result<Vec<Row>, DbError> {
        let _ = (sql, params);
        todo!()
    }

    pub(crate) async fn execute_batch(&mut self, sql: &'static str) -> Result<(), DbError> {
        let _ = sql;
        todo!()
    }
}

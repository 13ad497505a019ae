//! Inventories: lists of a bucket's objects, written into another bucket as CSV files with a manifest, as S3 does.
//!
//! An inventory belongs to a period, a day or a week (UTC), and its manifest's key says which. That the manifest is
//! there is what tells that the period is done; it is written last.

mod csv;
mod setting;

pub use csv::{CsvFile, Row};
pub use setting::{Field, Frequency, Included, Inventories, Inventory};

//! The files of an inventory: gzipped CSV, every field quoted, keys URL-encoded.

use std::io::{self, Write as _};

use datamesh_catalog::{AgingVersion, RetentionMode, VersionId};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::setting::{Field, Included, Inventory};
use crate::document_time::time_text;

/// A line of an inventory.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// The bucket's name.
    pub bucket: &'a str,
    /// The version.
    pub version: &'a AgingVersion,
    /// Whether it is its key's current one.
    pub latest: bool,
}

/// A file under construction.
pub struct CsvFile {
    encoder: GzEncoder<Vec<u8>>,
    rows: usize,
}

impl Default for CsvFile {
    fn default() -> Self {
        Self { encoder: GzEncoder::new(Vec::new(), Compression::default()), rows: 0 }
    }
}

impl CsvFile {
    /// How many lines it has.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// Adds a line.
    pub fn push(&mut self, inventory: &Inventory, row: Row<'_>) -> Result<(), io::Error> {
        self.rows += 1;
        self.encoder.write_all(line(inventory, row).as_bytes())
    }

    /// The file's bytes.
    pub fn finish(self) -> Result<Vec<u8>, io::Error> {
        self.encoder.finish()
    }
}

fn line(inventory: &Inventory, row: Row<'_>) -> String {
    let Row { bucket, version, latest } = row;
    let key = form_urlencoded::byte_serialize(&version.key).collect::<String>();
    let mut fields = vec![bucket.to_owned(), key];
    if inventory.included == Included::All {
        fields.push(match version.id {
            VersionId::Null => String::new(),
            numbered @ VersionId::Numbered(_) => numbered.to_string(),
        });
        fields.push(latest.to_string());
        fields.push(version.delete_marker.to_string());
    }
    fields.extend(inventory.fields.iter().map(|field| value(*field, version)));
    let quoted: Vec<String> =
        fields.into_iter().map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect();
    quoted.join(",") + "\n"
}

fn value(field: Field, version: &AgingVersion) -> String {
    if version.delete_marker && field != Field::LastModified {
        return String::new();
    }
    match field {
        Field::Size => version.size.to_string(),
        Field::LastModified => time_text(version.modified_ms),
        Field::Etag => version.etag.clone(),
        Field::StorageClass => version.storage_class.clone(),
        Field::Multipart => version.etag.contains('-').to_string(),
        Field::RetainUntil => version.retention.map(|it| time_text(it.until_ms)).unwrap_or_default(),
        Field::RetentionMode => match version.retention.map(|it| it.mode) {
            Some(RetentionMode::Governance) => "GOVERNANCE".to_owned(),
            Some(RetentionMode::Compliance) => "COMPLIANCE".to_owned(),
            None => String::new(),
        },
        Field::LegalHold => if version.legal_hold { "On" } else { "Off" }.to_owned(),
    }
}

//! Printing results: JSON for programs, tables for people.

use clap::ValueEnum;
use serde_json::Value;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns.
    Table,
    /// One JSON document.
    Json,
}

/// Where results go: standard output, in one format.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    format: Format,
}

/// Where a dry run tells what would change.
const CHANGES: &str = "/changes";

/// A column of a table: its heading, and the JSON pointer of its value in a row.
pub type Column = (&'static str, &'static str);

impl Output {
    /// Prints in `format`.
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    /// Prints the rows at `pointer` of `document` as a table, or the whole document as JSON.
    pub fn rows(self, document: &Value, pointer: &str, columns: &[Column]) {
        if self.format == Format::Json {
            return self.json(document);
        }
        if document["dry_run"] == true && pointer != CHANGES {
            return self.preview(document);
        }
        let rows = document.pointer(pointer).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let heading = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let body = rows.iter().map(|row| columns.iter().map(|(_, path)| cell(row.pointer(path))).collect());
        print!("{}", table(&std::iter::once(heading).chain(body).collect::<Vec<_>>()));
    }

    /// Prints one document: its top-level fields as a table of two columns, or as JSON.
    pub fn fields(self, document: &Value) {
        match document.as_object() {
            Some(_) if document["dry_run"] == true => self.preview(document),
            Some(fields) if self.format == Format::Table => {
                let rows: Vec<_> =
                    fields.iter().map(|(name, value)| vec![name.clone(), cell(Some(value))]).collect();
                print!("{}", table(&rows));
            }
            _ => self.json(document),
        }
    }

    /// Prints what a dry run found: what would change, and who is affected where that is told.
    fn preview(self, document: &Value) {
        self.rows(document, CHANGES, &[("PLACE", "/place"), ("NOW", "/before"), ("THEN", "/after")]);
        if self.format == Format::Table && !document["affected"].is_null() {
            println!("affected:");
            self.fields(&document["affected"]);
        }
    }

    /// Prints JSON, whatever the format: for results that scripts read.
    #[allow(clippy::unused_self, reason = "callers print through their output, like the rest")]
    pub fn json(self, document: &Value) {
        println!("{document:#}");
    }
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(","),
        Some(other) => other.to_string(),
    }
}

fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["id".to_owned(), "name".to_owned()], vec!["12345".to_owned(), "é".to_owned()]];
        assert_eq!(table(&rows), "id     name\n12345  é\n");
    }

    #[test]
    fn a_cell_shows_absence_and_lists() {
        assert_eq!(cell(None), "-");
        assert_eq!(cell(Some(&serde_json::json!([1, "a", null]))), "1,a,-");
    }
}

//! `usage`: what accounts have used.

use std::fmt::Write as _;

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::account_month::AccountMonth;
use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;

/// The verbs of `usage`.
#[derive(Subcommand)]
pub enum Verb {
    /// Shows what an account has used in a month: together, by bucket and by access key.
    Show {
        #[command(flatten)]
        month: AccountMonth,
        /// Only one of its buckets.
        #[arg(long)]
        bucket: Option<String>,
        /// Only one of its access keys.
        #[arg(long)]
        key: Option<String>,
    },
    /// Writes a month hour by hour to standard output. Hours add up to what `show` says.
    Export {
        /// The account's id or e-mail address.
        user: String,
        /// The month, such as 2026-11.
        #[arg(long)]
        period: String,
        /// What to write.
        #[arg(long, value_enum)]
        format: ExportFormat,
    },
    /// Recomputes usage from its events and from what is stored. Any difference is a bug: exit code 6.
    Verify {
        /// Only this account, by its id or e-mail address.
        user: Option<String>,
    },
}

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// A line per hour, bucket and access key, with a heading.
    Csv,
    /// An array of objects.
    Json,
}

/// The columns of an export: their names, and the JSON pointers of their values.
const COLUMNS: [(&str, &str); 13] = [
    ("start", "/start"),
    ("bucket", "/bucket"),
    ("bucket_number", "/number"),
    ("access_key_id", "/access_key_id"),
    ("bytes_stored", "/bytes_stored"),
    ("objects_stored", "/objects_stored"),
    ("byte_milliseconds", "/byte_milliseconds"),
    ("object_milliseconds", "/object_milliseconds"),
    ("ingress", "/ingress"),
    ("egress", "/egress"),
    ("class_a", "/requests/class_a"),
    ("class_b", "/requests/class_b"),
    ("free", "/requests/free"),
];

/// Runs one verb.
pub async fn run(verb: &Verb, client: &Client, output: Output) -> Result<(), Failure> {
    match verb {
        Verb::Show { month, bucket, key } => {
            let parameters = [("bucket", bucket.as_deref()), ("key", key.as_deref())];
            let shown = month.query(client, &["usage"], &parameters).await?;
            output.rows(
                &shown,
                "/buckets",
                &[
                    ("BUCKET", "/bucket"),
                    ("BYTES", "/bytes_stored"),
                    ("BYTE-HOURS", "/byte_hours"),
                    ("INGRESS", "/ingress"),
                    ("EGRESS", "/egress"),
                    ("CLASS A", "/requests/class_a"),
                    ("CLASS B", "/requests/class_b"),
                ],
            );
        }
        Verb::Export { user, period, format } => export(client, user, period, *format).await?,
        Verb::Verify { user } => {
            let found = client.post(&["usage", "verify"], &json!({ "user": user })).await?;
            output.fields(&found);
            let drift = found["drift"].as_u64().unwrap_or(u64::MAX);
            if drift > 0 {
                let message = format!("{drift} sums of usage are not what they must be");
                return Err(Failure::Broken { message });
            }
        }
    }
    Ok(())
}

/// Writes one bucket after the other, so that a large account fits into memory.
async fn export(client: &Client, user: &str, period: &str, format: ExportFormat) -> Result<(), Failure> {
    let shown = client.query(&["users", user, "usage"], &[("period", Some(period))]).await?;
    let buckets = shown["buckets"].as_array().map_or(&[][..], Vec::as_slice);
    let mut is_first = true;
    match format {
        ExportFormat::Csv => println!("{}", COLUMNS.map(|(name, _)| name).join(",")),
        ExportFormat::Json => print!("["),
    }
    for bucket in buckets {
        let number = bucket["number"].to_string();
        let parameters = [("period", Some(period)), ("bucket", Some(number.as_str()))];
        let mut answer = client.query(&["users", user, "usage", "hours"], &parameters).await?;
        for hour in answer["hours"].as_array_mut().map_or(&mut [][..], Vec::as_mut_slice) {
            hour["bucket"] = bucket["bucket"].clone();
            hour["number"] = bucket["number"].clone();
            match format {
                ExportFormat::Csv => println!("{}", line(hour)),
                ExportFormat::Json => print!("{}\n{hour}", if is_first { "" } else { "," }),
            }
            is_first = false;
        }
    }
    if format == ExportFormat::Json {
        println!("\n]");
    }
    Ok(())
}

/// Names of buckets and keys have no characters that CSV would have to quote.
fn line(hour: &Value) -> String {
    let mut line = String::new();
    for (index, (_, pointer)) in COLUMNS.iter().enumerate() {
        let separator = if index == 0 { "" } else { "," };
        let _ = match hour.pointer(pointer) {
            None | Some(Value::Null) => write!(line, "{separator}"),
            Some(Value::String(text)) => write!(line, "{separator}{text}"),
            Some(other) => write!(line, "{separator}{other}"),
        };
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_every_column_and_leaves_out_what_is_not_there() {
        let hour = json!({
            "start": "2026-11-01T00:00:00Z", "bucket": null, "number": 0, "access_key_id": "KEY",
            "bytes_stored": 0, "objects_stored": 0, "byte_milliseconds": "0", "object_milliseconds": "0",
            "ingress": 1, "egress": 2, "requests": { "class_a": 3, "class_b": 4, "free": 5 },
        });
        assert_eq!(line(&hour), "2026-11-01T00:00:00Z,,0,KEY,0,0,0,0,1,2,3,4,5");
    }
}

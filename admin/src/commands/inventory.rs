//! `inventory`: lists of buckets' objects, written into other buckets.

use clap::Subcommand;
use serde_json::json;

use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;

/// The verbs of `inventory`.
#[derive(Subcommand)]
pub enum Verb {
    /// Writes inventories now and shows how many: those that are due, or all of one bucket.
    Run {
        /// The bucket that is listed. Default: every bucket, and only what is due.
        bucket: Option<String>,
        /// Only the inventory with this id.
        #[arg(long, requires = "bucket")]
        id: Option<String>,
    },
}

/// Runs one verb.
pub async fn run(verb: &Verb, client: &Client, output: Output) -> Result<(), Failure> {
    match verb {
        Verb::Run { bucket, id } => {
            let request = json!({ "bucket": bucket, "id": id });
            output.fields(&client.post(&["inventories"], &request).await?);
        }
    }
    Ok(())
}

//! `lifecycle`: what the buckets' lifecycle rules say.

use clap::Subcommand;
use serde_json::json;

use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;

/// The verbs of `lifecycle`.
#[derive(Subcommand)]
pub enum Verb {
    /// Applies all buckets' rules now and shows what was done.
    Run,
}

/// Runs one verb.
pub async fn run(verb: &Verb, client: &Client, output: Output) -> Result<(), Failure> {
    match verb {
        Verb::Run => output.fields(&client.post(&["lifecycle"], &json!({})).await?),
    }
    Ok(())
}

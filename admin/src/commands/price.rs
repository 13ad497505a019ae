//! `price`: what plans cost, in versions that never change.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;

/// The verbs of `price`.
#[derive(Subcommand)]
pub enum Verb {
    /// Lists all versions of all prices.
    List,
    /// Makes new versions of the prices that a file changes. A dry run names who is affected, and what they pay for a month.
    Apply {
        /// A TOML file: a table for each plan, with prices in whole micro-units.
        file: PathBuf,
        /// The first month that they count in, such as 2026-12. Default: the next one.
        #[arg(long)]
        from: Option<String>,
    },
}

/// Runs one verb.
pub async fn run(verb: &Verb, client: &Client, output: Output) -> Result<(), Failure> {
    const COLUMNS: &[(&str, &str)] =
        &[("PLAN", "/plan"), ("VERSION", "/version"), ("FROM", "/from"), ("PRICES", "/prices")];
    match verb {
        Verb::List => output.rows(&client.get(&["prices"]).await?, "/prices", COLUMNS),
        Verb::Apply { file, from } => {
            let text = std::fs::read_to_string(file)
                .map_err(|error| Failure::Usage { message: format!("{}: {error}", file.display()) })?;
            let applied = client.post(&["prices"], &json!({ "prices": text, "from": from })).await?;
            output.rows(&applied, "/prices", &[&[("NEW", "/new")], COLUMNS].concat());
        }
    }
    Ok(())
}

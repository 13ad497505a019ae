//! `gc`: deleting what nothing refers to.

use clap::Subcommand;
use datamesh_types::TimeSpan;
use serde_json::json;

use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;

/// The verbs of `gc`.
#[derive(Subcommand)]
pub enum Verb {
    /// Collects garbage now and shows what was deleted.
    Run {
        /// How long something must have been unreferenced. Default: as the gateway is configured.
        #[arg(long)]
        grace: Option<TimeSpan>,
    },
}

/// Runs one verb.
pub async fn run(verb: &Verb, client: &Client, output: Output) -> Result<(), Failure> {
    match verb {
        Verb::Run { grace } => output.fields(&client.post(&["gc"], &json!({ "grace": grace })).await?),
    }
    Ok(())
}

//! `group`: placement groups.

use clap::Subcommand;

use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;

/// The verbs of `group`.
#[derive(Subcommand)]
pub enum Verb {
    /// Lists the placement groups that hold chunks.
    List,
}

/// Runs one verb.
pub async fn run(verb: &Verb, client: &Client, output: Output) -> Result<(), Failure> {
    match verb {
        Verb::List => output.rows(
            &client.get(&["groups"]).await?,
            "/groups",
            &[
                ("GROUP", "/id"),
                ("PROFILE", "/profile"),
                ("STATE", "/state"),
                ("BELOW TARGET", "/below_target"),
                ("DOWN", "/down"),
                ("SHARDS MISSING", "/shards_missing"),
            ],
        ),
    }
    Ok(())
}

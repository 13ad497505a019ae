//! `node`: storage nodes.

use clap::Subcommand;

use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;

/// The verbs of `node`.
#[derive(Subcommand)]
pub enum Verb {
    /// Lists the nodes of the network map.
    List,
}

/// Runs one verb.
pub async fn run(verb: &Verb, client: &Client, output: Output) -> Result<(), Failure> {
    match verb {
        Verb::List => output.rows(
            &client.get(&["nodes"]).await?,
            "/nodes",
            &[
                ("NODE", "/node"),
                ("OPERATOR", "/operator"),
                ("REGION", "/region"),
                ("STATE", "/state"),
                ("CONNECTED", "/connected"),
                ("SUSPECT", "/suspect"),
                ("GROUPS", "/groups"),
                ("USED", "/usage/used_bytes"),
                ("CAPACITY", "/usage/capacity_bytes"),
                ("SHARDS", "/usage/shards"),
            ],
        ),
    }
    Ok(())
}

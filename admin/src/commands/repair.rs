//! `repair`: rebuilding lost shards.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;

/// The verbs of `repair`.
#[derive(Subcommand)]
pub enum Verb {
    /// Shows what is short, the pass that is running and what the last one did.
    Status,
    /// Runs a pass now and shows what it did.
    Run(Run),
}

/// The arguments of `repair run`.
#[derive(Args)]
pub struct Run {
    /// Which chunks.
    #[arg(long, value_enum, default_value_t = Scope::Full)]
    scope: Scope,
    /// How closely a full pass looks.
    #[arg(long, value_enum, default_value_t = Depth::Verified)]
    depth: Depth,
    /// When a node that doesn't answer is replaced by another.
    #[arg(long, value_enum, default_value_t = Replace::WhenLost)]
    replace: Replace,
}

/// Which chunks a pass looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum Scope {
    /// Those recorded as short.
    Recorded,
    /// All of them.
    Full,
}

/// How closely a full pass looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum Depth {
    /// The node lists the shard.
    Listed,
    /// The node reads the shard back.
    Verified,
    /// The gateway fetches the shard and checks its keyed tag.
    Read,
}

/// When a node that doesn't answer is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum Replace {
    /// Once it has been gone for as long as the configuration says.
    WhenLost,
    /// At once.
    Now,
    /// Not at all.
    Never,
}

/// Runs one verb.
pub async fn run(verb: &Verb, client: &Client, output: Output) -> Result<(), Failure> {
    match verb {
        Verb::Status => output.fields(&client.get(&["repair"]).await?),
        Verb::Run(run) => {
            let body = json!({ "scope": run.scope, "depth": run.depth, "replace": run.replace });
            output.fields(&client.post(&["repair"], &body).await?);
        }
    }
    Ok(())
}

//! `operator`: the keys that sign network maps. Works on files.

use std::path::PathBuf;

use clap::Subcommand;
use datamesh_mesh::OperatorKey;
use serde_json::json;

use crate::exit::Failure;
use crate::output::Output;

/// The verbs of `operator`.
#[derive(Subcommand)]
pub enum Verb {
    /// Makes an operator's key when the file doesn't exist, and prints the operator's id as JSON.
    Create {
        /// Where the key is kept, with mode 0600.
        #[arg(long)]
        key: PathBuf,
    },
}

/// Runs one verb.
pub fn run(verb: &Verb, output: Output) -> Result<(), Failure> {
    match verb {
        Verb::Create { key } => {
            let operator = OperatorKey::load_or_create(key).map_err(anyhow::Error::new)?.operator_id();
            output.json(&json!({ "operator": operator }));
        }
    }
    Ok(())
}

//! `kek`: the key-encryption key and its replacement.

use clap::Subcommand;
use serde_json::json;

use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;

/// The verbs of `kek`, in the order in which a key is replaced.
#[derive(Subcommand)]
pub enum Verb {
    /// Lists the keys and how many secrets are sealed under each.
    Status,
    /// Adds a new key to the gateway's file. Copy the file to every other gateway before you go on.
    Add,
    /// Lets the added key seal, and seals every secret anew. Data is not touched. Copy the file to every other gateway,
    /// and repeat for what these sealed meanwhile.
    Rotate,
    /// Takes the old keys out of the gateway's file, once nothing is sealed under them.
    Retire,
}

/// Runs one verb.
pub async fn run(verb: &Verb, client: &Client, output: Output) -> Result<(), Failure> {
    match verb {
        Verb::Status => output.rows(
            &client.get(&["kek"]).await?,
            "/keys",
            &[("KEY", "/id"), ("ROLE", "/role"), ("SECRETS", "/secrets")],
        ),
        Verb::Add => output.fields(&client.post(&["kek", "add"], &json!({})).await?),
        Verb::Rotate => output.fields(&client.post(&["kek", "rotate"], &json!({})).await?),
        Verb::Retire => {
            client.flags().confirm("takes old keys out of the gateway's file", "kek")?;
            output.fields(&client.post(&["kek", "retire"], &json!({})).await?);
        }
    }
    Ok(())
}

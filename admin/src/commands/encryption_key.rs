//! `encryption-key`: named keys, which S3 calls KMS keys.

use clap::Subcommand;
use serde_json::json;

use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;

/// The verbs of `encryption-key`.
#[derive(Subcommand)]
pub enum Verb {
    /// Makes a key for the objects of an account. `aws/s3` is the one that requests mean which name none.
    Create {
        /// The account's id or e-mail address.
        user: String,
        /// What requests call it.
        name: String,
    },
    /// Lists the names of an account's keys.
    List {
        /// The account's id or e-mail address.
        user: String,
    },
}

/// Runs one verb.
pub async fn run(verb: &Verb, client: &Client, output: Output) -> Result<(), Failure> {
    match verb {
        Verb::Create { user, name } => {
            let path = ["users", user, "encryption-keys"];
            output.fields(&client.post(&path, &json!({ "name": name })).await?);
        }
        Verb::List { user } => {
            let path = ["users", user, "encryption-keys"];
            output.rows(&client.get(&path).await?, "/keys", &[("NAME", "/name")]);
        }
    }
    Ok(())
}

//! `key`: access keys.

use clap::Subcommand;
use serde_json::json;

use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;

/// The verbs of `key`.
#[derive(Subcommand)]
pub enum Verb {
    /// Makes a key for an account; prints JSON. The secret is not shown again.
    Create {
        /// The account's id or e-mail address.
        user: String,
        /// A key id to import, together with its secret.
        #[arg(long, requires = "secret_access_key")]
        access_key_id: Option<String>,
        /// The secret to import.
        #[arg(long, requires = "access_key_id")]
        secret_access_key: Option<String>,
    },
    /// Lists an account's keys.
    List {
        /// The account's id or e-mail address.
        user: String,
    },
    /// Revokes a key: within 5 s, no gateway accepts it any more.
    Revoke {
        /// The key.
        access_key_id: String,
    },
}

/// Runs one verb.
pub async fn run(verb: &Verb, client: &Client, output: Output) -> Result<(), Failure> {
    match verb {
        Verb::Create { user, access_key_id, secret_access_key } => {
            let body = json!({ "access_key_id": access_key_id, "secret_access_key": secret_access_key });
            output.json(&client.post(&["users", user, "keys"], &body).await?);
        }
        Verb::List { user } => output.rows(
            &client.get(&["users", user, "keys"]).await?,
            "/keys",
            &[("KEY", "/access_key_id"), ("STATUS", "/status"), ("CREATED", "/created")],
        ),
        Verb::Revoke { access_key_id } => output.fields(&client.delete(&["keys", access_key_id]).await?),
    }
    Ok(())
}

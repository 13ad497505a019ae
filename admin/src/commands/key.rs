//! `key`: access keys.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use datamesh_types::TimeSpan;
use serde_json::{Value, json};

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
        /// A file with the policy that narrows the key down, JSON. Without one the key may do what its account may.
        #[arg(long)]
        policy: Option<PathBuf>,
        /// How long the key works, such as 90d. Without it the key works until it is revoked.
        #[arg(long)]
        expires_in: Option<TimeSpan>,
    },
    /// Replaces the policy that narrows a key down, or removes it. Takes effect within 5 s.
    Policy {
        /// The key.
        access_key_id: String,
        /// A file with the policy, JSON.
        #[arg(long, required_unless_present = "none", conflicts_with = "none")]
        file: Option<PathBuf>,
        /// Removes the policy: the key may do what its account may.
        #[arg(long)]
        none: bool,
    },
    /// Lists an account's keys.
    List {
        /// The account's id or e-mail address.
        user: String,
    },
    /// Makes a key that takes another's place; prints JSON. Both work for a while. The secret is not shown again.
    Rotate {
        /// The old key.
        access_key_id: String,
        /// How long the old key works beside the new one.
        #[arg(long, default_value = "1h")]
        overlap: TimeSpan,
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
        Verb::Create { user, access_key_id, secret_access_key, policy, expires_in } => {
            let policy = policy.as_deref().map(read_policy).transpose()?;
            let body = json!({
                "access_key_id": access_key_id, "secret_access_key": secret_access_key, "policy": policy,
                "expires_at": expires_in,
            });
            output.json(&client.post(&["users", user, "keys"], &body).await?);
        }
        Verb::Policy { access_key_id, file, none: _ } => {
            let policy = file.as_deref().map(read_policy).transpose()?;
            let body = json!({ "policy": policy });
            output.fields(&client.put(&["keys", access_key_id, "policy"], &body).await?);
        }
        Verb::List { user } => output.rows(
            &client.get(&["users", user, "keys"]).await?,
            "/keys",
            &[
                ("KEY", "/access_key_id"),
                ("STATUS", "/status"),
                ("LIMITED", "/limited"),
                ("CREATED", "/created"),
                ("EXPIRES", "/expires"),
            ],
        ),
        Verb::Rotate { access_key_id, overlap } => {
            let path = ["keys", access_key_id, "rotate"];
            output.json(&client.post(&path, &json!({ "overlap": overlap })).await?);
        }
        Verb::Revoke { access_key_id } => {
            client.flags().confirm("revokes an access key", access_key_id)?;
            output.fields(&client.delete(&["keys", access_key_id]).await?);
        }
    }
    Ok(())
}

fn read_policy(path: &Path) -> Result<Value, Failure> {
    let failed = |reason: String| Failure::Usage { message: format!("{}: {reason}", path.display()) };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| failed(error.to_string()))
}

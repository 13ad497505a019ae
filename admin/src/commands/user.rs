//! `user`: accounts and their limits.

use clap::{Args, Subcommand};
use datamesh_types::ByteSize;
use serde_json::{Map, Value, json};

use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;

/// The verbs of `user`.
#[derive(Subcommand)]
pub enum Verb {
    /// Creates an account with a first access key; prints JSON. The secret is not shown again.
    Create {
        /// Its e-mail address, unique in the network.
        email: String,
        /// Its plan: free, premium, enterprise or unlimited.
        #[arg(long)]
        plan: String,
        /// A name to call it by.
        #[arg(long)]
        name: Option<String>,
    },
    /// Lists accounts with what they use and may use.
    List,
    /// Sets what an account may store. What is not named stays as it is.
    Limits(Limits),
}

/// The arguments of `user limits`.
#[derive(Args)]
pub struct Limits {
    /// Its id or e-mail address.
    user: String,
    /// Logical bytes, for example "5 GiB".
    #[arg(long)]
    bytes: Option<ByteSize>,
    /// Number of objects.
    #[arg(long)]
    objects: Option<u64>,
}

/// Runs one verb.
pub async fn run(verb: &Verb, client: &Client, output: Output) -> Result<(), Failure> {
    match verb {
        Verb::Create { email, plan, name } => {
            let body = json!({ "email": email, "plan": plan, "name": name });
            output.json(&client.post(&["users"], &body).await?);
        }
        Verb::List => output.rows(
            &client.get(&["users"]).await?,
            "/users",
            &[
                ("USER", "/user_id"),
                ("EMAIL", "/email"),
                ("NAME", "/name"),
                ("PLAN", "/plan"),
                ("BYTES", "/bytes_used"),
                ("OF", "/bytes_limit"),
                ("OBJECTS", "/objects_used"),
                ("OF", "/objects_limit"),
            ],
        ),
        Verb::Limits(limits) => {
            let mut body = Map::new();
            if let Some(bytes) = limits.bytes {
                body.insert("bytes".to_owned(), Value::from(bytes.bytes()));
            }
            if let Some(objects) = limits.objects {
                body.insert("objects".to_owned(), Value::from(objects));
            }
            if body.is_empty() {
                return Err(Failure::Usage {
                    message: "nothing to set: name --bytes, --objects or both".to_owned(),
                });
            }
            output.fields(&client.put(&["users", &limits.user, "limits"], &Value::Object(body)).await?);
        }
    }
    Ok(())
}

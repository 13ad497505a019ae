//! `user`: accounts and their limits.

use clap::{Args, Subcommand, ValueEnum};
use datamesh_types::ByteSize;
use serde_json::{Map, Value, json};

use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;

/// Accounts that a gateway tells at once.
const PAGE: u64 = 1_000;

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
    /// Shows an account: what it uses, and how it behaves.
    Show {
        /// Its id or e-mail address.
        user: String,
    },
    /// Lists accounts with what they use and may use, in the order of their ids.
    List {
        /// Only accounts whose ids follow this one.
        #[arg(long)]
        after: Option<String>,
        /// At most so many. Default: all.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        limit: Option<u64>,
    },
    /// Sets what an account may store. What is not named stays as it is.
    Limits(Limits),
    /// Moves an account to another plan, or to another version of its plan. Its own limits stay.
    Plan {
        /// Its id or e-mail address.
        user: String,
        /// The plan.
        #[arg(long)]
        plan: String,
        /// The version. Default: the newest.
        #[arg(long)]
        version: Option<u64>,
    },
    /// Suspends an account's access until the hold is lifted, or over. Takes effect within 5 s.
    Hold(Hold),
    /// Lists an account's holds, lifted ones too.
    Holds {
        /// Its id or e-mail address.
        user: String,
    },
    /// Lists people who wait for the verification that their plan needs.
    Cases,
    /// Decides that somebody is who they say: their account becomes active.
    Approve {
        /// Its id or e-mail address.
        user: String,
    },
    /// Decides that somebody is not who they say: their account stays pending.
    Reject {
        /// Its id or e-mail address.
        user: String,
    },
    /// Lifts a hold.
    Lift {
        /// The hold.
        hold_id: String,
    },
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

/// What a hold suspends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scope {
    /// Writing; deleting too, under a legal hold.
    Write,
    /// Reading; writing and deleting too, under a legal hold.
    Read,
    /// Everything.
    All,
}

/// Why an account is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// It has not paid.
    Billing,
    /// It abuses, or is abused.
    Abuse,
    /// An authority says so.
    Legal,
    /// It is in dispute.
    Dispute,
}

/// The arguments of `user hold`.
#[derive(Args)]
pub struct Hold {
    /// Its id or e-mail address.
    user: String,
    /// What is suspended.
    #[arg(long, value_enum)]
    scope: Scope,
    /// Why.
    #[arg(long, value_enum, default_value_t = Kind::Abuse)]
    kind: Kind,
    /// When it ends by itself: 2027-01-31T12:00:00Z, or 7d from now. Default: never.
    #[arg(long)]
    until: Option<String>,
}

impl Hold {
    fn body(&self, reason: Option<&str>) -> Value {
        let scope = match self.scope {
            Scope::Write => "write",
            Scope::Read => "read",
            Scope::All => "all",
        };
        let kind = match self.kind {
            Kind::Billing => "billing",
            Kind::Abuse => "abuse",
            Kind::Legal => "legal",
            Kind::Dispute => "dispute",
        };
        json!({ "scope": scope, "kind": kind, "until": self.until, "reason": reason.unwrap_or_default() })
    }
}

/// Follows the pages. What is told of the accounts is as of their page.
async fn list(client: &Client, mut after: Option<String>, limit: Option<u64>) -> Result<Value, Failure> {
    let mut users = Vec::new();
    loop {
        let rest = limit.map(|limit| limit.saturating_sub(users.len() as u64).min(PAGE).to_string());
        let query = [("after", after.as_deref()), ("limit", rest.as_deref())];
        let mut page = client.query(&["users"], &query).await?;
        if let Value::Array(more) = page["users"].take() {
            users.extend(more);
        }
        after = page["next_after"].as_str().map(str::to_owned);
        if after.is_none() || limit.is_some_and(|limit| users.len() as u64 >= limit) {
            return Ok(json!({ "users": users, "next_after": after }));
        }
    }
}

async fn decide(client: &Client, user: &str, approve: bool) -> Result<Value, Failure> {
    client.post(&["users", user, "verification"], &json!({ "approve": approve })).await
}

/// Runs one verb.
pub async fn run(verb: &Verb, client: &Client, output: Output) -> Result<(), Failure> {
    match verb {
        Verb::Create { email, plan, name } => {
            let body = json!({ "email": email, "plan": plan, "name": name });
            output.json(&client.post(&["users"], &body).await?);
        }
        Verb::List { after, limit } => output.rows(
            &list(client, after.clone(), *limit).await?,
            "/users",
            &[
                ("USER", "/user_id"),
                ("EMAIL", "/email"),
                ("NAME", "/name"),
                ("PLAN", "/plan"),
                ("STATUS", "/status"),
                ("BYTES", "/bytes_used"),
                ("OF", "/bytes_limit"),
                ("OBJECTS", "/objects_used"),
                ("OF", "/objects_limit"),
            ],
        ),
        Verb::Show { user } => output.fields(&client.get(&["users", user]).await?),
        Verb::Plan { user, plan, version } => {
            let body = json!({ "plan": plan, "version": version });
            output.fields(&client.put(&["users", user, "plan"], &body).await?);
        }
        Verb::Hold(hold) => {
            let body = hold.body(client.flags().reason.as_deref());
            output.fields(&client.post(&["users", &hold.user, "holds"], &body).await?);
        }
        Verb::Holds { user } => output.rows(
            &client.get(&["users", user, "holds"]).await?,
            "/holds",
            &[
                ("HOLD", "/hold_id"),
                ("KIND", "/kind"),
                ("SCOPE", "/scope"),
                ("SINCE", "/created"),
                ("UNTIL", "/until"),
                ("LIFTED", "/lifted"),
                ("REASON", "/reason"),
            ],
        ),
        Verb::Cases => output.rows(
            &client.get(&["verifications"]).await?,
            "/cases",
            &[("USER", "/user_id"), ("LEVEL", "/level"), ("PROVIDER", "/provider"), ("SINCE", "/opened")],
        ),
        Verb::Approve { user } => output.fields(&decide(client, user, true).await?),
        Verb::Reject { user } => output.fields(&decide(client, user, false).await?),
        Verb::Lift { hold_id } => output.fields(&client.delete(&["holds", hold_id]).await?),
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

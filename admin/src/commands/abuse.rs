//! `abuse`: reports, and what is decided about them.

use clap::{Subcommand, ValueEnum};
use serde_json::json;

use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;

/// The verbs of `abuse`.
#[derive(Subcommand)]
pub enum Verb {
    /// Opens a case against an account. It counts once it is upheld.
    Report {
        /// The account's id or e-mail address.
        user: String,
        /// What kind of abuse.
        #[arg(long, value_enum)]
        kind: Kind,
        /// What was seen, and where.
        #[arg(long)]
        evidence: String,
    },
    /// Decides a case; deciding it otherwise later reverses it. Five upheld ones keep the account from writing.
    Decide {
        /// The case.
        case_id: String,
        /// Whether it was abuse.
        #[arg(value_enum)]
        decision: Decision,
    },
    /// Lists the cases of an account, or the last of all.
    List {
        /// The account's id or e-mail address.
        user: Option<String>,
    },
}

/// What kind of abuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Unwanted mail or pages.
    Spam,
    /// Programs that do harm.
    Malware,
    /// Pages that steal secrets.
    Phishing,
    /// Works of others.
    Copyright,
    /// On the service or on others.
    Attack,
    /// Anything else.
    Other,
}

/// What becomes of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Decision {
    /// It was abuse.
    Upheld,
    /// It was none.
    Rejected,
}

fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// Runs one verb.
pub async fn run(verb: &Verb, client: &Client, output: Output) -> Result<(), Failure> {
    match verb {
        Verb::Report { user, kind, evidence } => {
            let body = json!({ "kind": name(kind), "evidence": evidence });
            output.fields(&client.post(&["users", user, "abuse"], &body).await?);
        }
        Verb::Decide { case_id, decision } => {
            let body = json!({ "decision": name(decision) });
            output.fields(&client.post(&["abuse-cases", case_id, "decision"], &body).await?);
        }
        Verb::List { user } => output.rows(
            &client.query(&["abuse-cases"], &[("user", user.as_deref())]).await?,
            "/cases",
            &[
                ("CASE", "/case_id"),
                ("USER", "/user_id"),
                ("KIND", "/kind"),
                ("STATUS", "/status"),
                ("REPORTED", "/opened"),
                ("DECIDED", "/decided"),
                ("EXPIRES", "/expires"),
                ("EVIDENCE", "/evidence"),
            ],
        ),
    }
    Ok(())
}

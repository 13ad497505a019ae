//! `sandbox`: what the payment provider to try things with is to tell.

use clap::{Subcommand, ValueEnum};
use serde_json::json;

use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;

/// The verbs of `sandbox`.
#[derive(Subcommand)]
pub enum Verb {
    /// Has the sandbox tell what became of a payment, by a signed message to the gateway.
    Answer {
        /// The payment intent's id, which `invoice charge` prints.
        intent: String,
        /// What became of it.
        #[arg(long, value_enum)]
        outcome: Outcome,
        /// Micro-units. Default: what was asked for.
        #[arg(long)]
        amount: Option<u64>,
        /// What a refund is called; the same one counts once. Default: one name for each payment.
        #[arg(long)]
        refund: Option<String>,
    },
}

/// What becomes of a payment.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Outcome {
    /// It comes in.
    Succeeded,
    /// It does not.
    Failed,
    /// It goes back.
    Refunded,
}

impl Outcome {
    const fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Refunded => "refunded",
        }
    }
}

/// Runs one verb.
pub async fn run(verb: &Verb, client: &Client, output: Output) -> Result<(), Failure> {
    let Verb::Answer { intent, outcome, amount, refund } = verb;
    let body = json!({ "intent": intent, "outcome": outcome.name(), "amount": amount, "refund": refund });
    let answered = client.post(&["sandbox", "messages"], &body).await?;
    output.fields(&answered);
    if answered["accepted"] == true {
        return Ok(());
    }
    Err(Failure::Conflict { message: "the gateway did not record it: see its answer".to_owned() })
}

//! `invoice`: what accounts owe for a month.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use datamesh_billing::Export;
use serde_json::{Value, json};

use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;

/// The verbs of `invoice`.
#[derive(Subcommand)]
pub enum Verb {
    /// Makes the invoices of a month: drafts, made anew by each run, until they are made final.
    Run {
        /// The month, such as 2026-11. For the current one the invoices go up to now.
        #[arg(long)]
        period: String,
    },
    /// Lists an account's invoices.
    List {
        /// The account's id or e-mail address.
        user: String,
    },
    /// Shows an invoice line by line. Amounts are in micro-units of its currency.
    Show {
        /// The invoice's id.
        id: String,
    },
    /// Prints an invoice with everything that it was made of, as JSON.
    Export {
        /// The invoice's id.
        id: String,
    },
    /// Recomputes an exported invoice, offline. Any difference is exit code 6.
    Verify {
        /// What `invoice export` printed.
        file: PathBuf,
    },
    /// Makes a draft final, once its month is over. From then on it never changes.
    Finalize {
        /// The invoice's id.
        id: String,
    },
    /// Records a payment that came in by hand. The same reference counts once.
    Pay {
        /// The invoice's id.
        id: String,
        /// Micro-units.
        #[arg(long)]
        amount: u64,
        /// What the payment is called, by the bank for example.
        #[arg(long)]
        reference: String,
    },
    /// Asks a payment provider for what is owed. Until it has told what became of that, asking again asks for nothing more.
    Charge {
        /// The invoice's id.
        id: String,
        /// Who is asked. Default: the only provider there is.
        #[arg(long)]
        provider: Option<String>,
    },
    /// Takes a payment for failed that was asked for, and whose provider has not answered or is no longer one here. The
    /// reason (`--reason`) says how it is known that nothing was taken. Then the invoice can be charged for again.
    FailIntent {
        /// The payment intent's id, which `invoice show --output json` has.
        intent: String,
    },
    /// Corrects a final invoice: so much of it is not owed. The reason (`--reason`) is on the credit note.
    Credit {
        /// The invoice's id.
        id: String,
        /// Micro-units.
        #[arg(long)]
        amount: u64,
    },
    /// Gives a final invoice up as uncollectible.
    WriteOff {
        /// The invoice's id.
        id: String,
    },
}

/// Runs one verb.
pub async fn run(
    verb: &Verb,
    client: impl FnOnce() -> Result<Client, Failure>,
    output: Output,
) -> Result<(), Failure> {
    const COLUMNS: &[(&str, &str)] = &[
        ("ID", "/id"),
        ("USER", "/user_id"),
        ("PERIOD", "/period"),
        ("STATUS", "/status"),
        ("CURRENCY", "/currency"),
        ("TOTAL", "/total"),
        ("DUE", "/due"),
    ];
    if let Verb::Verify { file } = verb {
        return verify(file, output);
    }
    let client = client()?;
    match verb {
        Verb::Run { period } => {
            let run = client.post(&["invoices", "run"], &json!({ "period": period })).await?;
            output.rows(&run, "/invoices", COLUMNS);
            if let Some(failed) = run["failed"].as_array().filter(|failed| !failed.is_empty()) {
                let first = failed[0]["error"].as_str().unwrap_or_default();
                let message = format!("{} invoices could not be made; the first: {first}", failed.len());
                return Err(Failure::Conflict { message });
            }
        }
        Verb::List { user } => {
            output.rows(&client.get(&["users", user, "invoices"]).await?, "/invoices", COLUMNS);
        }
        Verb::Show { id } => lines(output, &client.get(&["invoices", id]).await?),
        Verb::Export { id } => output.json(&client.get(&["invoices", id, "export"]).await?),
        Verb::Verify { .. } => {}
        Verb::Finalize { id } => {
            lines(output, &client.post(&["invoices", id, "finalize"], &json!({})).await?);
        }
        Verb::Pay { id, amount, reference } => {
            let body = json!({ "invoice": id, "amount": amount, "reference": reference });
            output.fields(&client.post(&["payments"], &body).await?);
        }
        Verb::Charge { id, provider } => {
            let body = json!({ "provider": provider });
            output.fields(&client.post(&["invoices", id, "charge"], &body).await?);
        }
        Verb::FailIntent { intent } => {
            client.flags().confirm("takes the payment for failed", intent)?;
            output.fields(&client.post(&["intents", intent, "fail"], &json!({})).await?);
        }
        Verb::Credit { id, amount } => {
            let body = json!({ "amount": amount });
            output.fields(&client.post(&["invoices", id, "credit-notes"], &body).await?);
        }
        Verb::WriteOff { id } => {
            client.flags().confirm("gives what is owed up", id)?;
            output.fields(&client.post(&["invoices", id, "write-off"], &json!({})).await?);
        }
    }
    Ok(())
}

fn lines(output: Output, invoice: &Value) {
    output.rows(
        invoice,
        "/lines",
        &[
            ("ITEM", "/item"),
            ("PLAN", "/plan"),
            ("PRICES", "/price_version"),
            ("QUANTITY", "/quantity"),
            ("INCLUDED", "/included"),
            ("UNIT", "/unit"),
            ("PRICE", "/price"),
            ("AMOUNT", "/amount"),
        ],
    );
}

fn verify(file: &Path, output: Output) -> Result<(), Failure> {
    let usage = |reason: String| Failure::Usage { message: format!("{}: {reason}", file.display()) };
    let text = std::fs::read(file).map_err(|error| usage(error.to_string()))?;
    let export = Export::parse(&text).map_err(|error| usage(error.to_string()))?;
    let differences = export.verify().map_err(|error| usage(error.to_string()))?;
    output.fields(&json!({
        "id": export.id, "total": export.invoice.total, "currency": export.invoice.currency,
        "valid": differences.is_empty(), "differences": differences,
    }));
    if differences.is_empty() {
        return Ok(());
    }
    Err(Failure::Broken { message: format!("the invoice {} is not what it must be", export.id) })
}

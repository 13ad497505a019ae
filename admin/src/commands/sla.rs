//! `sla`: how available a month was, and what is credited for it.

use clap::Subcommand;

use crate::account_month::AccountMonth;
use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;

/// The verbs of `sla`.
#[derive(Subcommand)]
pub enum Verb {
    /// Shows how available a month was for an account (in parts per million), what was promised, and what is credited.
    Show(AccountMonth),
    /// Lists the windows of five minutes in which something was wrong.
    Windows(AccountMonth),
}

/// Runs one verb.
pub async fn run(verb: &Verb, client: &Client, output: Output) -> Result<(), Failure> {
    match verb {
        Verb::Show(month) => output.fields(&month.query(client, &["sla"], &[]).await?),
        Verb::Windows(month) => {
            let listed = month.query(client, &["sla", "windows"], &[]).await?;
            output.rows(
                &listed,
                "/windows",
                &[
                    ("START", "/start"),
                    ("REQUESTS", "/requests"),
                    ("FAULTS", "/faults"),
                    ("PROBES GOOD", "/probes_good"),
                    ("BAD", "/probes_bad"),
                    ("PPM", "/availability_ppm"),
                ],
            );
        }
    }
    Ok(())
}

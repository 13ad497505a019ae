//! `sla`: how available a month was, and what is credited for it.

use clap::Subcommand;

use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;

/// The verbs of `sla`.
#[derive(Subcommand)]
pub enum Verb {
    /// Shows how available a month was for an account (in parts per million), what was promised, and what is credited.
    Show {
        /// The account's id or e-mail address.
        user: String,
        /// The month, such as 2026-11. Default: the current one, up to now.
        #[arg(long)]
        period: Option<String>,
    },
    /// Lists the windows of five minutes in which something was wrong.
    Windows {
        /// The account's id or e-mail address.
        user: String,
        /// The month, such as 2026-11. Default: the current one, up to now.
        #[arg(long)]
        period: Option<String>,
    },
}

/// Runs one verb.
pub async fn run(verb: &Verb, client: &Client, output: Output) -> Result<(), Failure> {
    match verb {
        Verb::Show { user, period } => {
            let parameters = [("period", period.as_deref())];
            output.fields(&client.query(&["users", user, "sla"], &parameters).await?);
        }
        Verb::Windows { user, period } => {
            let parameters = [("period", period.as_deref())];
            let listed = client.query(&["users", user, "sla", "windows"], &parameters).await?;
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

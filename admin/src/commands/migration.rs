//! `migration`: cohorts of accounts that move to another version of a plan, or to another plan, at a date.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;

/// The verbs of `migration`.
#[derive(Subcommand)]
pub enum Verb {
    /// Schedules a migration; `--dry-run` shows how many would move and who would be over quota. Until it is due
    /// everybody keeps the version they have. A limit goes from observe to warn to enforce by several of them, to
    /// versions that differ in its stage.
    Schedule(Schedule),
    /// Lists the migrations that there are and were.
    List,
    /// Shows a migration, how many accounts would move now, and how many of them would be over quota.
    Show {
        /// The migration.
        migration_id: String,
    },
    /// Cancels a migration that is not done. Who it has moved by then stays.
    Cancel {
        /// The migration.
        migration_id: String,
    },
    /// Carries out the migrations that are due, now instead of at the gateways' next turn.
    Run,
}

/// Who moves where, and when.
#[derive(Args)]
pub struct Schedule {
    /// The plan that the accounts subscribe to.
    #[arg(long)]
    from: String,
    /// Its version. Default: every version older than the one to move to, or every one when that is of another plan.
    #[arg(long)]
    from_version: Option<u64>,
    /// The plan to move to.
    #[arg(long)]
    to: String,
    /// Its version. Default: the newest one that there is now.
    #[arg(long)]
    to_version: Option<u64>,
    /// Only accounts that came to their version before this: 2027-01-31T12:00:00Z, or so long ago such as 30d.
    #[arg(long)]
    subscribed_before: Option<String>,
    /// When: 2027-01-31T12:00:00Z, so long from now such as 30d, or now.
    #[arg(long)]
    at: String,
}

/// Runs one verb.
pub async fn run(verb: &Verb, client: &Client, output: Output) -> Result<(), Failure> {
    match verb {
        Verb::Schedule(schedule) => {
            let body = json!({
                "from": schedule.from, "from_version": schedule.from_version, "to": schedule.to,
                "to_version": schedule.to_version, "subscribed_before": schedule.subscribed_before,
                "at": schedule.at,
            });
            output.fields(&client.post(&["migrations"], &body).await?);
        }
        Verb::List => output.rows(
            &client.get(&["migrations"]).await?,
            "/migrations",
            &[
                ("MIGRATION", "/migration_id"),
                ("FROM", "/from"),
                ("VERSION", "/from_version"),
                ("SUBSCRIBED BEFORE", "/subscribed_before"),
                ("TO", "/to"),
                ("VERSION", "/to_version"),
                ("DUE", "/due"),
                ("STATE", "/state"),
                ("MOVED", "/moved"),
                ("ENDED", "/ended"),
            ],
        ),
        Verb::Show { migration_id } => output.fields(&client.get(&["migrations", migration_id]).await?),
        Verb::Cancel { migration_id } => {
            client.flags().confirm("cancels a plan migration", migration_id)?;
            output.fields(&client.delete(&["migrations", migration_id]).await?);
        }
        Verb::Run => output.fields(&client.post(&["migrations", "run"], &json!({})).await?),
    }
    Ok(())
}

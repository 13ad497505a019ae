//! `privacy`: what is known about people, and being forgotten.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;
use serde_json::json;

use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;

/// The verbs of `privacy`.
#[derive(Subcommand)]
pub enum Verb {
    /// Writes everything that is known about an account, as a compressed tar archive of JSON files.
    Export {
        /// The account's id or e-mail address.
        user: String,
        /// The file. It must not be there yet.
        #[arg(long)]
        out: PathBuf,
    },
    /// Opens the erasure of an account: nothing can be stored from now on, and when it is due everything is deleted.
    Erase {
        /// The account's id or e-mail address.
        user: String,
        /// When: 2027-01-31T12:00:00Z, or so long from now. Default: 30d.
        #[arg(long)]
        due: Option<String>,
    },
    /// Withdraws the erasure of an account that has not begun: everything is as it was.
    Withdraw {
        /// The account's id or e-mail address.
        user: String,
    },
    /// Lists erasures, and what stands in their way.
    List,
    /// Carries out the erasures that are due, now.
    Run,
}

/// Runs one verb.
pub async fn run(verb: &Verb, client: &Client, output: Output) -> Result<(), Failure> {
    match verb {
        Verb::Export { user, out } => export(client, user, out).await?,
        Verb::Erase { user, due } => {
            client.flags().confirm("erases an account", user)?;
            let path = ["users", user, "privacy", "erasure"];
            output.fields(&client.post(&path, &json!({ "due": due })).await?);
        }
        Verb::Withdraw { user } => {
            output.fields(&client.delete(&["users", user, "privacy", "erasure"]).await?);
        }
        Verb::List => output.rows(
            &client.get(&["erasures"]).await?,
            "/erasures",
            &[
                ("USER", "/user_id"),
                ("STATUS", "/status"),
                ("OPENED", "/opened"),
                ("DUE", "/due"),
                ("BEGUN", "/begun"),
                ("ENDED", "/ended"),
                ("WAITS FOR", "/obstacle"),
            ],
        ),
        Verb::Run => {
            client.flags().confirm("erases all accounts that are due", "all")?;
            output.fields(&client.post(&["erasures", "run"], &json!({})).await?);
        }
    }
    Ok(())
}

/// The file is there only once it is complete, and only its owner may read it.
async fn export(client: &Client, user: &str, out: &Path) -> Result<(), Failure> {
    if out.exists() {
        return Err(Failure::Usage { message: format!("{}: exists already", out.display()) });
    }
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = out.with_file_name(name);
    let mut archive = client.post_for_bytes(&["users", user, "privacy", "export"]).await?;
    let cannot = || format!("cannot write {}", part.display());
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&part)
        .with_context(cannot)?;
    while let Some(piece) = archive.chunk().await.context("the gateway's answer broke off")? {
        file.write_all(&piece).with_context(cannot)?;
    }
    file.sync_all().with_context(cannot)?;
    std::fs::rename(&part, out).with_context(|| format!("cannot write {}", out.display()))?;
    Ok(())
}

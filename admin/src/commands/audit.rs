//! `audit`: what was done and denied, by whom and why.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use datamesh_accounts::{AuditCheck, AuditEntry, AuditHead, AuditPublicKey, WitnessedHead};
use futures::TryStreamExt;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;

/// The verbs of `audit`.
#[derive(Subcommand)]
pub enum Verb {
    /// Lists entries, oldest first.
    List {
        /// Only since then: a time such as 2027-01-31T12:00:00Z, or so long ago, such as 7d.
        #[arg(long)]
        since: Option<String>,
    },
    /// Checks that no entry was altered, removed or added. Otherwise exit code 6, with the number of the first bad one.
    Verify(Verify),
    /// Writes the whole log, with its signed head, as lines of JSON.
    Export {
        /// Where to. Default: standard output.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Lists the actions that are recorded.
    Actions,
}

/// The arguments of `audit verify`.
#[derive(Args)]
pub struct Verify {
    /// An export to check instead, without any gateway.
    #[arg(long)]
    file: Option<PathBuf>,
    /// The key that must have signed the export. Default: the one that it names itself.
    #[arg(long, requires = "file")]
    public_key: Option<AuditPublicKey>,
    /// A head that was kept apart, such as a gateway's audit-head.json: the export must contain it.
    #[arg(long, requires = "file")]
    seen: Option<PathBuf>,
}

/// Runs one verb.
pub async fn run(
    verb: &Verb,
    client: impl FnOnce() -> Result<Client, Failure>,
    output: Output,
) -> Result<(), Failure> {
    match verb {
        Verb::List { since } => {
            let entries = list(&client()?, since.as_deref()).await?;
            output.rows(
                &json!({ "entries": entries }),
                "/entries",
                &[
                    ("NO", "/sequence"),
                    ("AT", "/at"),
                    ("WHO", "/actor"),
                    ("ACTION", "/action"),
                    ("TARGET", "/target"),
                    ("OUTCOME", "/outcome"),
                    ("REASON", "/reason"),
                ],
            );
            Ok(())
        }
        Verb::Verify(Verify { file: Some(file), public_key, seen }) => {
            judge(&verify_export(file, *public_key, seen.as_deref())?, output)
        }
        Verb::Verify(_) => judge(&client()?.get(&["audit", "verify"]).await?, output),
        Verb::Export { out } => export(&client()?, out.as_deref()).await,
        Verb::Actions => {
            output.rows(
                &client()?.get(&["audit", "actions"]).await?,
                "/actions",
                &[
                    ("ACTION", "/action"),
                    ("EFFECT", "/effect"),
                    ("DRY RUN", "/dry_run"),
                    ("NEEDS REASON", "/needs_reason"),
                    ("METHOD", "/method"),
                    ("PATH", "/path"),
                ],
            );
            Ok(())
        }
    }
}

async fn list(client: &Client, since: Option<&str>) -> Result<Vec<Value>, Failure> {
    let (mut entries, mut after) = (Vec::new(), String::from("0"));
    loop {
        let query = [("after", Some(after.as_str())), ("since", since)];
        let mut page = client.query(&["audit"], &query).await?;
        if let Value::Array(more) = page["entries"].take() {
            entries.extend(more);
        }
        match page["next_after"].as_u64() {
            Some(next) => after = next.to_string(),
            None => return Ok(entries),
        }
    }
}

fn judge(verdict: &Value, output: Output) -> Result<(), Failure> {
    output.fields(verdict);
    if verdict["intact"].as_bool() == Some(true) {
        return Ok(());
    }
    let message =
        format!("entry {}: {}", verdict["first_bad"], verdict["fault"].as_str().unwrap_or("unknown"));
    Err(Failure::Broken { message })
}

async fn export(client: &Client, out: Option<&Path>) -> Result<(), Failure> {
    let mut to: Box<dyn Write> = match out {
        Some(path) => {
            Box::new(File::create(path).with_context(|| format!("cannot create {}", path.display()))?)
        }
        None => Box::new(std::io::stdout().lock()),
    };
    let mut lines = std::pin::pin!(client.get_streaming(&["audit", "export"]).await?);
    let (mut expected, mut entries) = (None, 0);
    while let Some(line) = lines.try_next().await? {
        writeln!(to, "{line}")?;
        match expected {
            None => expected = line["head"]["sequence"].as_u64(),
            Some(_) => entries += 1,
        }
    }
    to.flush()?;
    match expected {
        Some(expected) if expected == entries => Ok(()),
        _ => Err(Failure::Failed(anyhow!(
            "the export has {entries} entries, which are not all: verify the log"
        ))),
    }
}

/// The first line of an export.
#[derive(Deserialize)]
struct Heading {
    public_key: AuditPublicKey,
    head: AuditHead,
}

/// Every further line.
#[derive(Deserialize)]
struct Line {
    entry: AuditEntry,
}

fn verify_export(file: &Path, key: Option<AuditPublicKey>, seen: Option<&Path>) -> Result<Value, Failure> {
    let usage =
        |path: &Path, reason: String| Failure::Usage { message: format!("{}: {reason}", path.display()) };
    let opened = File::open(file).map_err(|error| usage(file, error.to_string()))?;
    let mut lines = BufReader::new(opened).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let no_export = |error: serde_json::Error| usage(file, format!("is no export: {error}"));
    let heading: Heading = serde_json::from_str(&first).map_err(no_export)?;
    let mut check = AuditCheck::new(key.unwrap_or(heading.public_key));
    if let Some(path) = seen {
        let text = std::fs::read(path).map_err(|error| usage(path, error.to_string()))?;
        let seen = serde_json::from_slice::<WitnessedHead>(&text);
        check.expect(seen.map_err(|error| usage(path, format!("is no head: {error}")))?);
    }
    for line in lines {
        let Line { entry } = serde_json::from_str(&line?).map_err(no_export)?;
        check.push(&entry);
    }
    let verdict = check.finish(&heading.head);
    let (first_bad, fault) = verdict.first_bad.unzip();
    Ok(json!({
        "intact": verdict.first_bad.is_none(), "entries": verdict.entries, "head": verdict.head,
        "public_key": verdict.public_key, "first_bad": first_bad, "fault": fault,
    }))
}

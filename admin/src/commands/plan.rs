//! `plan`: named sets of limits, in versions that never change.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;

/// The verbs of `plan`.
#[derive(Subcommand)]
pub enum Verb {
    /// Lists all versions of all plans.
    List,
    /// Shows a plan's limits: those of its newest version, unless another is named.
    Show {
        /// The plan.
        plan: String,
        /// The version.
        #[arg(long)]
        version: Option<u64>,
    },
    /// Makes new versions of the plans that a file changes. Who subscribed to an older version keeps it until they are
    /// moved; a dry run names them as affected.
    Apply {
        /// A TOML file: a table for each plan, and in it a table for each limit.
        file: PathBuf,
    },
}

/// Runs one verb.
pub async fn run(verb: &Verb, client: &Client, output: Output) -> Result<(), Failure> {
    const COLUMNS: &[(&str, &str)] =
        &[("PLAN", "/plan"), ("VERSION", "/version"), ("CREATED", "/created"), ("LIMITS", "/limits")];
    match verb {
        Verb::List => output.rows(&client.get(&["plans"]).await?, "/plans", COLUMNS),
        Verb::Show { plan, version } => {
            let all = client.get(&["plans"]).await?;
            output.fields(choose(&all, plan, *version)?);
        }
        Verb::Apply { file } => {
            let text = std::fs::read_to_string(file)
                .map_err(|error| Failure::Usage { message: format!("{}: {error}", file.display()) })?;
            let applied = client.post(&["plans"], &json!({ "plans": text })).await?;
            output.rows(&applied, "/plans", &[&[("NEW", "/new")], COLUMNS].concat());
        }
    }
    Ok(())
}

/// The versions are in ascending order.
fn choose<'a>(all: &'a Value, plan: &str, version: Option<u64>) -> Result<&'a Value, Failure> {
    let plans = all["plans"].as_array().map_or(&[][..], Vec::as_slice);
    let is_meant = |found: &&Value| {
        found["plan"] == plan && version.is_none_or(|version| found["version"].as_u64() == Some(version))
    };
    plans.iter().rfind(is_meant).ok_or_else(|| Failure::Usage {
        message: match version {
            Some(version) => format!("there is no plan {plan:?} version {version}"),
            None => format!("there is no plan {plan:?}"),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_shown_unless_another_is_named() {
        let all = json!({ "plans": [
            { "plan": "a", "version": 1 }, { "plan": "a", "version": 2 }, { "plan": "b", "version": 1 },
        ] });
        assert_eq!(choose(&all, "a", None).unwrap()["version"], 2);
        assert_eq!(choose(&all, "a", Some(1)).unwrap()["version"], 1);
        for (plan, version) in [("a", Some(3)), ("c", None)] {
            assert!(matches!(choose(&all, plan, version), Err(Failure::Usage { .. })));
        }
    }
}

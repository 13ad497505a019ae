//! `doctor`: checks the invariants, and fails when one is broken.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::client::{Client, for_each};
use crate::exit::Failure;
use crate::output::Output;

/// The arguments of `doctor`.
#[derive(Args)]
pub struct Arguments {
    /// Checks the catalog only; no shard is read back.
    #[arg(long)]
    quick: bool,
    /// How many findings are printed; all of them are counted.
    #[arg(long, default_value_t = 1000)]
    findings_max: usize,
}

/// Runs the check and prints its report as JSON.
///
/// # Errors
/// [`Failure::Broken`] when there are findings.
pub async fn run(arguments: &Arguments, client: &Client, output: Output) -> Result<(), Failure> {
    let lines = client.post_streaming(&["doctor"], &json!({ "quick": arguments.quick })).await?;
    let (mut findings, mut summary) = (Vec::new(), None);
    for_each(lines, |mut line| {
        if let Some(finding) = line.get_mut("finding") {
            if findings.len() < arguments.findings_max {
                findings.push(finding.take());
            }
        } else if let Some(Value::Object(report)) = line.get_mut("report") {
            summary = Some(std::mem::take(report));
        }
    })
    .await?;
    let Some(summary) = summary else {
        return Err(Failure::Failed(anyhow::anyhow!("the check ended before it was complete")));
    };
    let healthy = summary.get("healthy").and_then(Value::as_bool) == Some(true);
    let total = summary.get("findings_total").and_then(Value::as_u64).unwrap_or_default();
    let report: Map<_, _> = summary.into_iter().chain([("findings".to_owned(), findings.into())]).collect();
    output.json(&Value::Object(report));
    if healthy {
        return Ok(());
    }
    Err(Failure::Broken { message: format!("{total} invariants are broken") })
}

//! A load generator that speaks plain S3, so that any server can be put under it.
//!
//! It makes its own data, drives one operation over a number of connections, and prints throughput, latencies,
//! the server's CPU seconds per gigabyte, its peak memory, and the raw bytes on disk over the logical ones.

mod data;
mod process;
mod report;
mod s3;
mod workload;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use datamesh_types::{KIB, MIB, parse_bytes};

use crate::data::Kind;
use crate::report::Report;
use crate::workload::{Operation, Workload};

#[derive(Debug, Parser)]
#[command(name = "datamesh-load", about, version)]
struct Arguments {
    /// The server, as http://host:port.
    #[arg(long, env = "AWS_ENDPOINT_URL")]
    endpoint: String,
    #[arg(long, env = "AWS_ACCESS_KEY_ID")]
    access_key_id: String,
    #[arg(long, env = "AWS_SECRET_ACCESS_KEY", hide_env_values = true)]
    secret_access_key: String,
    #[arg(long, env = "AWS_REGION", default_value = "us-east-1")]
    region: String,
    /// Created when absent.
    #[arg(long, default_value = "benchmark")]
    bucket: String,
    /// Sent with every PUT; selects the backend.
    #[arg(long)]
    storage_class: Option<String>,
    /// What to measure; all of it by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    operations: Vec<Operation>,
    /// Object sizes.
    #[arg(long, value_parser = parse_bytes, value_delimiter = ',', default_values = ["4KiB", "1MiB", "64MiB"])]
    sizes: Vec<u64>,
    /// Connections at once.
    #[arg(long, value_delimiter = ',', default_values = ["1", "16", "64"])]
    connections: Vec<usize>,
    /// Objects a measurement; by default as many as fit the size.
    #[arg(long)]
    objects: Option<usize>,
    #[arg(long, value_enum, default_value_t = Kind::Unique)]
    data: Kind,
    /// Processes of the server: their CPU time and peak memory are reported.
    #[arg(long = "pid", value_delimiter = ',')]
    pids: Vec<u32>,
    /// A directory of the server: what it takes on disk is reported after PUT.
    #[arg(long)]
    disk: Option<PathBuf>,
    /// Put this many empty objects under `list/` before LIST is measured.
    #[arg(long, default_value_t = 10_000)]
    list_keys: usize,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Csv,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(arguments))
}

async fn run(arguments: Arguments) -> Result<()> {
    let server = s3::Server::new(
        &arguments.endpoint,
        &arguments.access_key_id,
        &arguments.secret_access_key,
        &arguments.region,
        &arguments.bucket,
    )?;
    server.create_bucket().await?;
    let wanted = |operation| arguments.operations.is_empty() || arguments.operations.contains(&operation);
    let report = Report::start(arguments.output == Format::Csv);
    for &size in &arguments.sizes {
        for &connections in &arguments.connections {
            let objects = arguments.objects.unwrap_or_else(|| objects_for(size, connections));
            let workload = Workload {
                server: server.clone(),
                prefix: format!("{}-{size}-{connections}", arguments.data.name()),
                storage_class: arguments.storage_class.clone(),
                data: arguments.data,
                size,
                objects,
                connections,
            };
            for operation in [Operation::Put, Operation::Get, Operation::Delete] {
                if wanted(operation) {
                    let observed = process::observe(&arguments.pids, arguments.disk.as_deref());
                    let outcome = workload.run(operation).await?;
                    report.add(operation, &workload, &outcome, &observed.finish()?);
                }
            }
        }
    }
    if wanted(Operation::List) {
        for &connections in &arguments.connections {
            let workload = Workload::list(server.clone(), arguments.list_keys, connections);
            workload.fill().await?;
            let observed = process::observe(&arguments.pids, None);
            let outcome = workload.run(Operation::List).await?;
            report.add(Operation::List, &workload, &outcome, &observed.finish()?);
        }
    }
    Ok(())
}

/// Enough objects for a few seconds, and at least two for each connection.
fn objects_for(size: u64, connections: usize) -> usize {
    let enough = match size {
        0..=65_536 => 200 * MIB / size.max(4 * KIB) / 5,
        65_537..=4_194_304 => 1_000 * MIB / size,
        _ => 2_048 * MIB / size,
    };
    (enough as usize).clamp(2, 10_000).max(connections * 2)
}

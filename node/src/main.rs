//! `datamesh-node`: runs a storage node, or prints its identity.
//!
//! Exit codes: 0 after SIGTERM or SIGINT, 1 when the node cannot start or stop, 2 for a wrong command line or
//! configuration.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use datamesh_mesh::NodeKey;
use datamesh_node::config::{NodeConfig, load};
use datamesh_node::{Node, durable_file, process, start_logging};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A DataMesh storage node.
#[derive(Parser)]
#[command(name = "datamesh-node", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves shards until SIGTERM.
    Run {
        /// The configuration file (TOML).
        #[arg(long)]
        config: PathBuf,
    },
    /// Prints the node's id as JSON; makes the identity when there is none yet.
    Identity {
        /// The configuration file (TOML).
        #[arg(long)]
        config: PathBuf,
    },
}

const PROGRAM: &str = "datamesh-node";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (Command::Run { config: file } | Command::Identity { config: file }) = &arguments.command;
    let config = match load(file, NodeConfig::validate) {
        Ok(config) => config,
        Err(error) => process::fail(PROGRAM, 2, &error),
    };
    if let Err(error) = start_logging(&config.log) {
        process::fail(PROGRAM, 2, &error);
    }
    let result = match arguments.command {
        Command::Run { .. } => run(&config),
        Command::Identity { .. } => print_identity(&config),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => process::fail(PROGRAM, 1, error.as_ref()),
    }
}

fn print_identity(config: &NodeConfig) -> anyhow::Result<()> {
    let file = config.key_file();
    durable_file::create_private_dir(file.parent().unwrap_or(Path::new(".")))
        .with_context(|| format!("cannot create the folder of {}", file.display()))?;
    let node_id = NodeKey::load_or_create(&file)?.node_id();
    println!("{}", serde_json::json!({ "node_id": node_id }));
    Ok(())
}

#[tokio::main]
async fn run(config: &NodeConfig) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let node = Node::start_configured(config).await?;
    let addresses = node.handle().listen_addresses();
    tracing::info!(node = %node.node_id(), ?addresses, "serving");
    println!("ready");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    node.stop().await?;
    Ok(())
}

//! `datamesh-gateway`: serves S3.
//!
//! Exit codes: 0 after SIGTERM or SIGINT, 1 when the gateway cannot start, 2 for a wrong command line or
//! configuration. An error is one line on standard error.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use datamesh_gateway::commands::{dev, serve};
use datamesh_gateway::config::GatewayConfig;
use datamesh_gateway::instance::StartError;
use datamesh_node::config::{ConfigError, LogSection, load};
use datamesh_node::{TelemetryError, process, start_logging};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The DataMesh S3 gateway.
#[derive(Parser)]
#[command(name = "datamesh-gateway", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A gateway and its storage nodes in one process, to try things on.
    Dev(Box<dev::Arguments>),
    /// Serves S3 until SIGTERM.
    Serve {
        /// The configuration file (TOML).
        #[arg(long)]
        config: PathBuf,
    },
    /// Prints the gateway's id for the network map as JSON; makes the identity when there is none yet.
    Identity {
        /// The configuration file (TOML).
        #[arg(long)]
        config: PathBuf,
    },
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error(transparent)]
    Start(#[from] StartError),
}

fn main() -> ExitCode {
    let failure = match run(&Arguments::parse().command) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(failure) => failure,
    };
    let code = match failure {
        Failure::Config(_) | Failure::Telemetry(_) => 2,
        Failure::Start(_) => 1,
    };
    process::fail("datamesh-gateway", code, &failure)
}

fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Dev(arguments) => {
            start_logging(&arguments.log_section())?;
            Ok(block_on(dev::run(arguments))?)
        }
        Command::Serve { config } => {
            let config = configure(config)?;
            start_logging(&config.log)?;
            Ok(block_on(serve::run(&config))?)
        }
        Command::Identity { config } => {
            let config = configure(config)?;
            start_logging(&LogSection::default())?;
            Ok(serve::print_identity(&config)?)
        }
    }
}

fn configure(file: &Path) -> Result<GatewayConfig, ConfigError> {
    load(file, GatewayConfig::validate)
}

fn block_on(work: impl Future<Output = Result<(), StartError>>) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let failed = |source| StartError::Process { what: "the async runtime", source: Box::new(source) };
    runtime.map_err(failed)?.block_on(work)
}

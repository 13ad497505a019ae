//! `datamesh-admin NOUN VERB`: the operators' command line.
//!
//! Most verbs talk to a gateway's admin listener, found through `admin.json` in the data directory. `operator` and
//! `map` work on files and need no gateway. Exit codes are in [`exit`].

mod account_month;
mod client;
mod commands;
mod exit;
mod flags;
mod output;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::client::Client;
use crate::exit::Failure;
use crate::flags::Flags;
use crate::output::{Format, Output};

/// Administers a DataMesh network.
#[derive(Parser)]
#[command(name = "datamesh-admin", version)]
struct Arguments {
    /// The gateway's data directory: its admin.json says where the gateway listens and holds the token.
    #[arg(long, global = true, env = "DATAMESH_DATA_DIR", default_value = "data")]
    data_dir: PathBuf,
    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Subcommand)]
enum Noun {
    /// Accounts and their limits.
    #[command(subcommand)]
    User(commands::user::Verb),
    /// Access keys.
    #[command(subcommand)]
    Key(commands::key::Verb),
    /// Plans: named sets of limits, in versions.
    #[command(subcommand)]
    Plan(commands::plan::Verb),
    /// Cohorts of accounts that move to another plan version at a date.
    #[command(subcommand)]
    Migration(commands::migration::Verb),
    /// Limits and what is counted against them.
    #[command(subcommand)]
    Quota(commands::quota::Verb),
    /// What accounts have used.
    #[command(subcommand)]
    Usage(commands::usage::Verb),
    /// What plans cost, in versions.
    #[command(subcommand)]
    Price(commands::price::Verb),
    /// What accounts owe for a month.
    #[command(subcommand)]
    Invoice(commands::invoice::Verb),
    /// How available a month was, and what is credited for it.
    #[command(subcommand)]
    Sla(commands::sla::Verb),
    /// The payment provider to try things with.
    #[command(subcommand)]
    Sandbox(commands::sandbox::Verb),
    /// Reports of abuse, and what is decided about them.
    #[command(subcommand)]
    Abuse(commands::abuse::Verb),
    /// Exports and erasures of what is known about people.
    #[command(subcommand)]
    Privacy(commands::privacy::Verb),
    /// Keys that objects are encrypted with by name.
    #[command(subcommand)]
    EncryptionKey(commands::encryption_key::Verb),
    /// The key-encryption key and its replacement.
    #[command(subcommand)]
    Kek(commands::kek::Verb),
    /// Storage nodes.
    #[command(subcommand)]
    Node(commands::node::Verb),
    /// Placement groups.
    #[command(subcommand)]
    Group(commands::group::Verb),
    /// Rebuilding lost shards.
    #[command(subcommand)]
    Repair(commands::repair::Verb),
    /// Deleting what nothing refers to.
    #[command(subcommand)]
    Gc(commands::gc::Verb),
    /// What buckets' lifecycle rules say.
    #[command(subcommand)]
    Lifecycle(commands::lifecycle::Verb),
    /// Lists of buckets' objects, written into other buckets.
    #[command(subcommand)]
    Inventory(commands::inventory::Verb),
    /// What was done and denied, by whom and why.
    #[command(subcommand)]
    Audit(commands::audit::Verb),
    /// Checks that every reference has its chunk, every chunk its shards, and that quotas agree with what is stored.
    Doctor(commands::doctor::Arguments),
    /// Operators' keys (offline).
    #[command(subcommand)]
    Operator(commands::operator::Verb),
    /// Network maps (offline).
    #[command(subcommand)]
    Map(commands::map::Verb),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("datamesh-admin: {failure}");
            failure.code()
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let output = Output::new(arguments.output);
    let client = || Client::for_data_dir(&arguments.data_dir, &arguments.flags);
    match &arguments.noun {
        Noun::User(verb) => commands::user::run(verb, &client()?, output).await,
        Noun::Key(verb) => commands::key::run(verb, &client()?, output).await,
        Noun::Plan(verb) => commands::plan::run(verb, &client()?, output).await,
        Noun::Migration(verb) => commands::migration::run(verb, &client()?, output).await,
        Noun::Quota(verb) => commands::quota::run(verb, &client()?, output).await,
        Noun::Usage(verb) => commands::usage::run(verb, &client()?, output).await,
        Noun::Price(verb) => commands::price::run(verb, &client()?, output).await,
        Noun::Invoice(verb) => commands::invoice::run(verb, client, output).await,
        Noun::Sla(verb) => commands::sla::run(verb, &client()?, output).await,
        Noun::Sandbox(verb) => commands::sandbox::run(verb, &client()?, output).await,
        Noun::Abuse(verb) => commands::abuse::run(verb, &client()?, output).await,
        Noun::Privacy(verb) => commands::privacy::run(verb, &client()?, output).await,
        Noun::EncryptionKey(verb) => commands::encryption_key::run(verb, &client()?, output).await,
        Noun::Kek(verb) => commands::kek::run(verb, &client()?, output).await,
        Noun::Node(verb) => commands::node::run(verb, &client()?, output).await,
        Noun::Group(verb) => commands::group::run(verb, &client()?, output).await,
        Noun::Repair(verb) => commands::repair::run(verb, &client()?, output).await,
        Noun::Gc(verb) => commands::gc::run(verb, &client()?, output).await,
        Noun::Lifecycle(verb) => commands::lifecycle::run(verb, &client()?, output).await,
        Noun::Inventory(verb) => commands::inventory::run(verb, &client()?, output).await,
        Noun::Audit(verb) => commands::audit::run(verb, client, output).await,
        Noun::Doctor(arguments) => commands::doctor::run(arguments, &client()?, output).await,
        Noun::Operator(_) | Noun::Map(_) if arguments.flags.dry_run => {
            Err(Failure::Usage { message: "--dry-run: what works on files cannot be tried out".to_owned() })
        }
        Noun::Operator(verb) => commands::operator::run(verb, output),
        Noun::Map(verb) => commands::map::run(verb, output),
    }
}

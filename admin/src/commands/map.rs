//! `map`: network maps. Works on files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Subcommand;
use datamesh_mesh::{NetworkMap, OperatorId, OperatorKey, SignedMap};
use datamesh_node::config::load;
use datamesh_node::durable_file::{Readers, replace};
use datamesh_node::one_line;
use serde_json::json;

use crate::exit::Failure;
use crate::output::Output;

/// The verbs of `map`.
#[derive(Subcommand)]
pub enum Verb {
    /// Signs a map that is written in TOML.
    Sign {
        /// The map in TOML: network, epoch and members.
        #[arg(long)]
        map: PathBuf,
        /// The operator's key.
        #[arg(long)]
        key: PathBuf,
        /// Where the signed map goes.
        #[arg(long)]
        out: PathBuf,
    },
    /// Adds another operator's signature to a signed map.
    Cosign {
        /// The signed map.
        #[arg(long)]
        map: PathBuf,
        /// The operator's key.
        #[arg(long)]
        key: PathBuf,
    },
    /// Checks a signed map and prints it as JSON.
    Show {
        /// The signed map.
        #[arg(long)]
        map: PathBuf,
        /// An operator whose signature counts.
        #[arg(long, required = true)]
        trust: Vec<OperatorId>,
    },
}

/// Runs one verb.
pub fn run(verb: &Verb, output: Output) -> Result<(), Failure> {
    match verb {
        Verb::Sign { map, key, out } => {
            let map: NetworkMap =
                load(map, |_| Ok(())).map_err(|error| Failure::Usage { message: one_line(&error) })?;
            check(&map)?;
            let signed = SignedMap::sign(&map, &existing_key(key)?);
            replace(out, signed.to_json().as_bytes(), Readers::All)?;
            output.json(&json!({ "network": map.network, "epoch": map.epoch, "members": map.members.len() }));
        }
        Verb::Cosign { map, key } => {
            let mut signed = read(map)?;
            signed.add_signature(&existing_key(key)?);
            replace(map, signed.to_json().as_bytes(), Readers::All)?;
        }
        Verb::Show { map, trust } => {
            let verified = read(map)?
                .verify(trust)
                .map_err(|error| Failure::Broken { message: format!("{}: {error}", map.display()) })?;
            output.json(&serde_json::to_value(verified).context("a map is representable as JSON")?);
        }
    }
    Ok(())
}

/// What a signature would make binding and no host would accept.
fn check(map: &NetworkMap) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    match map.members.iter().find(|member| !seen.insert(member.node)) {
        Some(member) => {
            Err(Failure::Usage { message: format!("node {} is in the map more than once", member.node) })
        }
        None => Ok(()),
    }
}

/// Signing must never make a key by accident.
fn existing_key(file: &Path) -> Result<OperatorKey, Failure> {
    if !file.exists() {
        let message = format!("{}: no such key; `operator create` makes one", file.display());
        return Err(Failure::Usage { message });
    }
    Ok(OperatorKey::load_or_create(file).map_err(anyhow::Error::new)?)
}

fn read(file: &Path) -> Result<SignedMap, Failure> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    SignedMap::from_json(&text).map_err(|error| Failure::Failed(anyhow!("{}: {error}", file.display())))
}

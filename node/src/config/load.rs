//! Reading a TOML file into a typed configuration, with errors that name file, line, key and what was expected.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// A configuration that can't be used. Prints as one line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {}", file.display())]
    Read {
        /// The configuration file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML, a key is unknown or missing, or a value has the wrong type.
    #[error("{}:{line}: {}{message}", file.display(), in_key(key))]
    Malformed {
        /// The configuration file.
        file: PathBuf,
        /// The line of the offending text, from 1.
        line: usize,
        /// The dotted path of the key; empty at the top level.
        key: String,
        /// What is wrong and what was expected.
        message: String,
    },
    /// A value is of the right type, but out of range.
    #[error("{}: key `{key}`: expected {expected}", file.display())]
    OutOfRange {
        /// The configuration file.
        file: PathBuf,
        /// The dotted path of the key.
        key: &'static str,
        /// What is allowed.
        expected: &'static str,
    },
}

fn in_key(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!("key `{key}`: ") }
}

/// A key whose value is out of range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    key: &'static str,
    expected: &'static str,
}

impl Invalid {
    /// `key` is the dotted path, `expected` says what is allowed.
    pub const fn new(key: &'static str, expected: &'static str) -> Self {
        Self { key, expected }
    }
}

/// Reads and checks the configuration in `file`.
///
/// # Errors
/// The first thing that is wrong, as a [`ConfigError`].
pub fn load<T: DeserializeOwned>(
    file: &Path,
    validate: impl FnOnce(&T) -> Result<(), Invalid>,
) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(file)
        .map_err(|source| ConfigError::Read { file: file.to_owned(), source })?;
    let config = parse(file, &text)?;
    validate(&config).map_err(|Invalid { key, expected }| ConfigError::OutOfRange {
        file: file.to_owned(),
        key,
        expected,
    })?;
    Ok(config)
}

fn parse<T: DeserializeOwned>(file: &Path, text: &str) -> Result<T, ConfigError> {
    let malformed = |error: &toml::de::Error, key: String| {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        ConfigError::Malformed {
            file: file.to_owned(),
            line: text.get(..start).unwrap_or_default().matches('\n').count() + 1,
            key,
            message: error.message().to_owned(),
        }
    };
    let deserializer = toml::Deserializer::parse(text).map_err(|error| malformed(&error, String::new()))?;
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let path = error.path().to_string();
        malformed(error.inner(), if path == "." { String::new() } else { path })
    })
}

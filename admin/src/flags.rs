//! The flags of every verb that changes something.

use std::io::{BufRead, IsTerminal, Write};

use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::exit::Failure;

const REASON: HeaderName = HeaderName::from_static("datamesh-reason");
const DRY_RUN: HeaderName = HeaderName::from_static("datamesh-dry-run");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What an operator says about a change.
#[derive(Debug, Clone, Default, Args)]
pub struct Flags {
    /// Why: kept in the audit log, so name no person. What destroys or moves money is refused without.
    #[arg(long, global = true)]
    pub reason: Option<String>,
    /// Lets the command be repeated: within 24 hours, a request with the same key is carried out once.
    #[arg(long, global = true)]
    pub idempotency_key: Option<String>,
    /// Shows what would change, and changes nothing.
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// Does not ask before something is destroyed.
    #[arg(long, global = true)]
    pub yes: bool,
}

impl Flags {
    /// The headers that carry them.
    ///
    /// # Errors
    /// [`Failure::Usage`] for a key that no header can carry.
    pub fn headers(&self) -> Result<HeaderMap, Failure> {
        let mut headers = HeaderMap::new();
        if let Some(reason) = &self.reason {
            let encoded = utf8_percent_encode(reason, NON_ALPHANUMERIC).to_string();
            let value = HeaderValue::try_from(encoded).expect("percent-encoded text is ASCII");
            headers.insert(REASON, value);
        }
        if let Some(key) = &self.idempotency_key {
            let value = HeaderValue::try_from(key).map_err(|_| Failure::Usage {
                message: "--idempotency-key: expected printable ASCII characters".to_owned(),
            })?;
            headers.insert(IDEMPOTENCY_KEY, value);
        }
        if self.dry_run {
            headers.insert(DRY_RUN, HeaderValue::from_static("true"));
        }
        Ok(headers)
    }

    /// Has the name of what is destroyed typed, unless `--yes` or `--dry-run` is given.
    ///
    /// # Errors
    /// [`Failure::Usage`] when something else is typed, or when there is nobody to ask.
    pub fn confirm(&self, what: &str, target: &str) -> Result<(), Failure> {
        if self.yes || self.dry_run {
            return Ok(());
        }
        let input = std::io::stdin();
        if !input.is_terminal() {
            return Err(Failure::Usage { message: format!("this {what} for good: add --yes to do it") });
        }
        eprint!("This {what} for good. Type {target} to do it: ");
        std::io::stderr().flush()?;
        agreed(&mut input.lock(), target)
    }
}

fn agreed(input: &mut impl BufRead, target: &str) -> Result<(), Failure> {
    let mut typed = String::new();
    input.read_line(&mut typed)?;
    if typed.trim_end_matches(['\r', '\n']) == target {
        return Ok(());
    }
    Err(Failure::Usage { message: "nothing was done: something else was typed".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_name_is_an_agreement() {
        for typed in ["AKIA1\n", "AKIA1\r\n", "AKIA1"] {
            agreed(&mut typed.as_bytes(), "AKIA1").unwrap();
        }
        for typed in ["", "\n", "y\n", "AKIA\n", "AKIA1 \n", "akia1\n"] {
            agreed(&mut typed.as_bytes(), "AKIA1").unwrap_err();
        }
    }

    #[test]
    fn flags_travel_in_headers() {
        assert_eq!(Flags::default().headers().unwrap(), HeaderMap::new());
        let flags = Flags {
            reason: Some("lost k\u{e9}y".to_owned()),
            idempotency_key: Some("a-1".to_owned()),
            dry_run: true,
            yes: true,
        };
        let headers = flags.headers().unwrap();
        assert_eq!(headers[REASON], "lost%20k%C3%A9y");
        assert_eq!(headers[IDEMPOTENCY_KEY], "a-1");
        assert_eq!(headers[DRY_RUN], "true");
        let broken = Flags { idempotency_key: Some("a\nb".to_owned()), ..Flags::default() };
        broken.headers().unwrap_err();
    }
}

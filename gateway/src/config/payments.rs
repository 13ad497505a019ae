//! `[payments]`: who can be asked for payments, and where they tell what became of them.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use datamesh_node::config::Invalid;
use serde::Deserialize;
use url::Url;

use crate::account_api::{Limiter, Pace};

/// `[payments]`: the listener for payment providers.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PaymentsSection {
    /// Where to listen for their messages, with the certificate and the limits of `[s3]`. Default: nowhere.
    pub listen: Option<SocketAddr>,
    /// How many messages that prove nothing one address, or one IPv6 network of 64 bits, may send in an hour. Default: 60.
    pub unproven_per_hour: NonZeroU32,
    /// So many of them at once. Default: 20.
    pub unproven_burst: NonZeroU32,
    /// A provider to try things with. Default: none.
    pub sandbox: Option<SandboxSection>,
}

/// `[payments.sandbox]`: a provider to try things with. Whoever knows its secret can have invoices paid.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SandboxSection {
    /// The file with the secret that its messages are signed with: at least 32 characters, mode 0600.
    pub secret_file: PathBuf,
    /// Where `datamesh-admin sandbox answer` sends its messages, such as `https://pay.example.org`. Default: `listen`, as this
    /// machine reaches it.
    pub endpoint: Option<String>,
}

impl Default for PaymentsSection {
    fn default() -> Self {
        let number = |number| NonZeroU32::new(number).expect("the defaults are positive");
        Self { listen: None, unproven_per_hour: number(60), unproven_burst: number(20), sandbox: None }
    }
}

impl PaymentsSection {
    /// How often strangers may try.
    pub fn limiter(&self) -> Limiter {
        let pace = Pace { per_hour: self.unproven_per_hour, burst: self.unproven_burst };
        // Nobody logs in here: networks are all that is bounded.
        Limiter::new(pace, pace, pace)
    }

    pub(super) fn validate(&self) -> Result<(), Invalid> {
        let Some(sandbox) = &self.sandbox else { return Ok(()) };
        if self.listen.is_none() {
            return Err(Invalid::new("payments.listen", "an address, for the messages of payments.sandbox"));
        }
        let is_web = |endpoint: &String| {
            let url = Url::parse(endpoint);
            url.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        };
        if sandbox.endpoint.as_ref().is_some_and(|endpoint| !is_web(endpoint)) {
            return Err(Invalid::new("payments.sandbox.endpoint", "an http or https address"));
        }
        Ok(())
    }
}

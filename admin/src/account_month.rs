//! The month of an account that a verb is about.

use clap::Args;
use serde_json::Value;

use crate::client::Client;
use crate::exit::Failure;

/// An account, and a month of it.
#[derive(Args)]
pub struct AccountMonth {
    /// The account's id or e-mail address.
    user: String,
    /// The month, such as 2026-11. Default: the current one, up to now.
    #[arg(long)]
    period: Option<String>,
}

impl AccountMonth {
    /// What the gateway tells of it at `/users/USER/` and `path`, with those parameters that have a value.
    pub async fn query(
        &self,
        client: &Client,
        path: &[&str],
        parameters: &[(&str, Option<&str>)],
    ) -> Result<Value, Failure> {
        let segments = [&["users", &self.user], path].concat();
        let parameters = [&[("period", self.period.as_deref())], parameters].concat();
        client.query(&segments, &parameters).await
    }
}

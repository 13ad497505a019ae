//! `quota`: limits, and what is counted against them.

use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use datamesh_types::ByteSize;
use serde_json::{Map, Value, json};

use crate::client::Client;
use crate::exit::Failure;
use crate::output::Output;

/// The verbs of `quota`.
#[derive(Subcommand)]
pub enum Verb {
    /// Sets limits of an account, a bucket or a key. What is not named stays as it is.
    Set(Box<Set>),
    /// Shows limits and what is counted against them.
    Show(Target),
    /// Shows the last warnings of an account.
    Events {
        /// The account's id or e-mail address.
        user: String,
    },
    /// Compares recorded usage with what is stored. Any difference is a bug: exit code 6.
    Reconcile {
        /// Records what is stored where something else is recorded. Nobody may store anything meanwhile.
        #[arg(long)]
        mend: bool,
    },
}

/// Whose limits.
#[derive(Args)]
pub struct Target {
    /// The account's id or e-mail address.
    user: String,
    /// One of its buckets.
    #[arg(long, conflicts_with = "key")]
    bucket: Option<String>,
    /// One of its access keys.
    #[arg(long)]
    key: Option<String>,
}

/// How strict a limit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// Operators are told.
    Observe,
    /// Clients are told, too.
    Warn,
    /// What exceeds it is refused.
    Enforce,
}

impl Stage {
    const fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Warn => "warn",
            Self::Enforce => "enforce",
        }
    }
}

/// A new limit: a number, a size such as "10 MiB", `unlimited`, or `plan` for what the plan says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NewLimit {
    Maximum(u64),
    Unlimited,
    Plan,
}

impl FromStr for NewLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "unlimited" => Ok(Self::Unlimited),
            "plan" => Ok(Self::Plan),
            text if text.trim_start().starts_with('-') => Err("a limit cannot be negative".to_owned()),
            text => match text.parse::<ByteSize>() {
                Ok(size) => Ok(Self::Maximum(size.bytes())),
                Err(error) => Err(format!("{error}; or unlimited, or plan")),
            },
        }
    }
}

/// The arguments of `quota set`.
#[derive(Args)]
pub struct Set {
    #[command(flatten)]
    target: Target,
    /// Logical bytes stored, for example "10MiB".
    #[arg(long, allow_hyphen_values = true)]
    bytes: Option<NewLimit>,
    /// Objects stored.
    #[arg(long, allow_hyphen_values = true)]
    objects: Option<NewLimit>,
    /// Bytes of the largest object.
    #[arg(long, allow_hyphen_values = true)]
    object_size: Option<NewLimit>,
    /// Bytes received in a calendar month.
    #[arg(long, allow_hyphen_values = true)]
    ingress: Option<NewLimit>,
    /// Bytes sent in a calendar month.
    #[arg(long, allow_hyphen_values = true)]
    egress: Option<NewLimit>,
    /// Requests a second.
    #[arg(long, allow_hyphen_values = true)]
    requests: Option<NewLimit>,
    /// Requests that may come at once before their rate counts.
    #[arg(long, requires = "requests")]
    burst: Option<u32>,
    /// Requests under way at once.
    #[arg(long, allow_hyphen_values = true)]
    operations: Option<NewLimit>,
    /// Bytes a second of uploads.
    #[arg(long, allow_hyphen_values = true)]
    upload: Option<NewLimit>,
    /// Bytes a second of downloads.
    #[arg(long, allow_hyphen_values = true)]
    download: Option<NewLimit>,
    /// How strict the limits named here are.
    #[arg(long, value_enum, default_value_t = Stage::Enforce)]
    stage: Stage,
}

impl Set {
    fn body(&self) -> Value {
        let limits = [
            ("bytes", self.bytes),
            ("objects", self.objects),
            ("object_size", self.object_size),
            ("ingress", self.ingress),
            ("egress", self.egress),
            ("requests", self.requests),
            ("operations", self.operations),
            ("upload", self.upload),
            ("download", self.download),
        ];
        let change = |(name, limit): (&str, Option<NewLimit>)| {
            let change = match limit? {
                NewLimit::Unlimited => json!("unlimited"),
                NewLimit::Plan => json!("plan"),
                NewLimit::Maximum(maximum) => {
                    let burst = self.burst.filter(|_| name == "requests");
                    json!({ "limit": { "maximum": maximum, "burst": burst, "stage": self.stage.name() } })
                }
            };
            Some((name.to_owned(), change))
        };
        json!({ "limits": limits.into_iter().filter_map(change).collect::<Map<_, _>>() })
    }
}

impl Target {
    fn path(&self) -> Vec<&str> {
        match (&self.bucket, &self.key) {
            (Some(bucket), _) => vec!["users", &self.user, "buckets", bucket, "quota"],
            (None, Some(key)) => vec!["users", &self.user, "keys", key, "quota"],
            (None, None) => vec!["users", &self.user, "quota"],
        }
    }
}

/// Runs one verb.
pub async fn run(verb: &Verb, client: &Client, output: Output) -> Result<(), Failure> {
    match verb {
        Verb::Set(set) => {
            let body = set.body();
            if body["limits"].as_object().is_none_or(Map::is_empty) {
                let message = "nothing to set: name a limit, such as --bytes 10MiB".to_owned();
                return Err(Failure::Usage { message });
            }
            output.fields(&client.put(&set.target.path(), &body).await?);
        }
        Verb::Show(target) => output.fields(&client.get(&target.path()).await?),
        Verb::Events { user } => output.rows(
            &client.get(&["users", user, "quota-events"]).await?,
            "/events",
            &[
                ("AT", "/at"),
                ("LIMIT", "/dimension"),
                ("PERCENT", "/percent"),
                ("USED", "/used"),
                ("OF", "/limit"),
            ],
        ),
        Verb::Reconcile { mend } => {
            let found = client.post(&["quota", "reconcile"], &json!({ "mend": mend })).await?;
            output.fields(&found);
            let drift = found["drift"].as_u64().unwrap_or(u64::MAX);
            if drift > 0 {
                let message = format!("{drift} recorded usages are not what is stored");
                return Err(Failure::Broken { message });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_a_size_or_a_word() {
        assert_eq!("10MiB".parse(), Ok(NewLimit::Maximum(10 << 20)));
        assert_eq!("7".parse(), Ok(NewLimit::Maximum(7)));
        assert_eq!("unlimited".parse(), Ok(NewLimit::Unlimited));
        assert_eq!("plan".parse(), Ok(NewLimit::Plan));
        for (wrong, reason) in
            [("-1", "negative"), ("-10MiB", "negative"), ("ten", "ten"), ("1.5 GiB", "1.5")]
        {
            let refused = wrong.parse::<NewLimit>().unwrap_err();
            assert!(refused.contains(reason), "{wrong}: {refused}");
        }
    }
}

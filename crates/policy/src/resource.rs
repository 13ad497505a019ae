//! What a statement is about.

use crate::error::PolicyError;
use crate::facts::{Facts, NoFacts};
use crate::pattern::{Case, Pattern, Syntax, Unresolved};

const ARN: &str = "arn:aws:s3:::";

/// What a request works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceName<'a> {
    /// The account.
    Account,
    /// A bucket.
    Bucket(&'a str),
    /// A key in a bucket.
    Object(&'a str, &'a str),
}

/// Names of buckets and keys, with wildcards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResourcePattern(Pattern);

impl ResourcePattern {
    pub(crate) fn parse(text: &str, variables: bool) -> Result<Self, PolicyError> {
        let invalid = || PolicyError::Resource { resource: text.to_owned() };
        let name = if text == "*" { text } else { text.strip_prefix(ARN).ok_or_else(invalid)? };
        if name.is_empty() {
            return Err(invalid());
        }
        Pattern::parse(name, Syntax { wildcards: true, variables }).map(Self)
    }

    /// Whether it can be about `bucket`, or about something in it.
    pub(crate) fn can_be_in(&self, bucket: &str) -> bool {
        self.0.before('/').matches(bucket, Case::Matters, &NoFacts) == Ok(true)
    }

    pub(crate) fn matches(&self, name: ResourceName<'_>, facts: &dyn Facts) -> Result<bool, Unresolved> {
        match name {
            ResourceName::Account => self.0.matches("", Case::Matters, facts),
            ResourceName::Bucket(bucket) => self.0.matches(bucket, Case::Matters, facts),
            ResourceName::Object(bucket, key) => {
                let mut path = String::with_capacity(bucket.len() + 1 + key.len());
                path.push_str(bucket);
                path.push('/');
                path.push_str(key);
                self.0.matches(&path, Case::Matters, facts)
            }
        }
    }
}

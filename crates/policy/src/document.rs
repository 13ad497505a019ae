//! Whole policies: parsed, and asked.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::action::Action;
use crate::error::PolicyError;
use crate::facts::Facts;
use crate::principal::Asker;
use crate::resource::ResourceName;
use crate::statement::{Effect, Place, Statement};

/// What a policy says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It denies it, whatever others say.
    Denied,
    /// It allows it.
    Allowed,
    /// It says nothing.
    Silent,
}

/// A parsed policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    statements: Vec<Statement>,
}

impl Policy {
    /// S3's limit on a bucket's policy, in bytes.
    pub const BUCKET_LEN_MAX: usize = 20 << 10;
    /// The limit on the policy of a key, in bytes.
    pub const KEY_LEN_MAX: usize = 10 << 10;
    /// The limit on the policy of a session, in bytes.
    pub const SESSION_LEN_MAX: usize = 2 << 10;

    /// A policy for a key or a session, of at most `len_max` bytes: it has no principals.
    pub fn for_identity(text: &str, len_max: usize) -> Result<Self, PolicyError> {
        Self::parse(text, Place::Identity, len_max)
    }

    fn parse(text: &str, place: Place<'_>, len_max: usize) -> Result<Self, PolicyError> {
        if text.len() > len_max {
            return Err(PolicyError::TooLong { limit: len_max });
        }
        let Ok(Value::Object(fields)) = serde_json::from_str(text) else { return Err(PolicyError::NotJson) };
        if let Some(field) = fields.keys().find(|key| !matches!(key.as_str(), "Version" | "Id" | "Statement"))
        {
            return Err(PolicyError::UnknownField { field: field.clone() });
        }
        let variables = match fields.get("Version").map(Value::as_str) {
            Some(Some("2012-10-17")) => true,
            None | Some(Some("2008-10-17")) => false,
            Some(_) => return Err(PolicyError::Version),
        };
        if fields.get("Id").is_some_and(|id| !id.is_string()) {
            return Err(PolicyError::Invalid { field: "Id" });
        }
        let statements = match fields.get("Statement") {
            Some(Value::Array(many)) if !many.is_empty() => {
                many.iter().map(|one| Statement::parse(one, place, variables)).collect::<Result<_, _>>()?
            }
            Some(one @ Value::Object(_)) => vec![Statement::parse(one, place, variables)?],
            Some(_) => return Err(PolicyError::Invalid { field: "Statement" }),
            None => return Err(PolicyError::Missing { field: "Statement" }),
        };
        Ok(Self { statements })
    }

    /// What it says. A denial wins over any permission.
    pub fn evaluate(
        &self,
        asker: Asker<'_>,
        action: Action,
        resource: ResourceName<'_>,
        facts: &dyn Facts,
    ) -> Verdict {
        let mut verdict = Verdict::Silent;
        for statement in &self.statements {
            // Once something allows, only denials matter.
            if verdict == Verdict::Allowed && statement.effect == Effect::Allow {
                continue;
            }
            if statement.applies(asker, action, resource, facts) {
                match statement.effect {
                    Effect::Deny => return Verdict::Denied,
                    Effect::Allow => verdict = Verdict::Allowed,
                }
            }
        }
        verdict
    }

    /// Whether it gives something to everybody, by S3's meaning of public.
    pub fn is_public(&self) -> bool {
        self.statements.iter().any(Statement::is_public)
    }
}

/// A bucket's policy as it is kept: the text as it came, and what it means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredPolicy", into = "StoredPolicy")]
pub struct BucketPolicy {
    text: String,
    policy: Policy,
    is_public: bool,
    binds_owner: bool,
}

/// The document in the catalog.
#[derive(Serialize, Deserialize)]
struct StoredPolicy {
    text: String,
    #[serde(default)]
    binds_owner: bool,
}

impl BucketPolicy {
    /// A policy for `bucket`. If it `binds_owner`, its denials also keep the bucket's owner from replacing it.
    pub fn parse(text: &str, bucket: &str, binds_owner: bool) -> Result<Self, PolicyError> {
        let policy = Policy::parse(text, Place::Bucket(Some(bucket)), Policy::BUCKET_LEN_MAX)?;
        Ok(Self { text: text.to_owned(), is_public: policy.is_public(), policy, binds_owner })
    }

    /// The text, unchanged.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it means.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// See [`Policy::is_public`].
    pub fn is_public(&self) -> bool {
        self.is_public
    }

    /// Whether its denials hold for the owner's work on the policy itself.
    pub fn binds_owner(&self) -> bool {
        self.binds_owner
    }
}

impl From<BucketPolicy> for StoredPolicy {
    fn from(policy: BucketPolicy) -> Self {
        Self { text: policy.text, binds_owner: policy.binds_owner }
    }
}

impl TryFrom<StoredPolicy> for BucketPolicy {
    type Error = PolicyError;

    fn try_from(stored: StoredPolicy) -> Result<Self, PolicyError> {
        let policy = Policy::parse(&stored.text, Place::Bucket(None), Policy::BUCKET_LEN_MAX)?;
        Ok(Self { is_public: policy.is_public(), text: stored.text, policy, binds_owner: stored.binds_owner })
    }
}

#[cfg(test)]
mod tests;

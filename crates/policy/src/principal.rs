//! Whom a statement is about.

use datamesh_types::AccountId;
use serde_json::Value;

use crate::error::PolicyError;

/// Who asks, as statements see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker<'a> {
    /// Nobody in particular.
    Anonymous,
    /// Somebody with an account, and the name that stands for a key or a session of it.
    Account(AccountId, &'a str),
    /// A part of this system, by its name in policies.
    Service(&'a str),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Principal {
    Everybody,
    Account(AccountId),
    /// One key or session of an account, or an account that is not here.
    Name(String),
    Service(String),
}

/// The principals of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principals(Vec<Principal>);

impl Principals {
    /// `"*"`, or an object of `AWS`, `CanonicalUser`, `Service` and `Federated`.
    pub(crate) fn parse(value: &Value) -> Result<Self, PolicyError> {
        let mut principals = Vec::new();
        match value {
            Value::String(text) if text == "*" => principals.push(Principal::Everybody),
            Value::String(text) => return Err(PolicyError::Principal { principal: text.clone() }),
            Value::Object(kinds) if !kinds.is_empty() => {
                for (kind, named) in kinds {
                    for name in texts(named)? {
                        principals.push(principal(kind, name)?);
                    }
                }
            }
            _ => return Err(PolicyError::Invalid { field: "Principal" }),
        }
        Ok(Self(principals))
    }

    pub(crate) fn contain(&self, asker: Asker<'_>) -> bool {
        self.0.iter().any(|principal| match (principal, asker) {
            (Principal::Everybody, Asker::Anonymous | Asker::Account(..)) => true,
            (Principal::Account(account), Asker::Account(own, _)) => *account == own,
            (Principal::Name(name), Asker::Account(_, own)) => name == own,
            (Principal::Service(service), Asker::Service(own)) => service == own,
            _ => false,
        })
    }

    pub(crate) fn contain_everybody(&self) -> bool {
        self.0.contains(&Principal::Everybody)
    }
}

fn texts(value: &Value) -> Result<Vec<&str>, PolicyError> {
    match value {
        Value::String(one) => Ok(vec![one]),
        Value::Array(many) if !many.is_empty() && many.iter().all(Value::is_string) => {
            Ok(many.iter().filter_map(Value::as_str).collect())
        }
        _ => Err(PolicyError::Invalid { field: "Principal" }),
    }
}

fn principal(kind: &str, name: &str) -> Result<Principal, PolicyError> {
    let unknown = || PolicyError::Principal { principal: name.to_owned() };
    match kind {
        "AWS" if name == "*" => Ok(Principal::Everybody),
        "AWS" => account_or_name(name).ok_or_else(unknown),
        "CanonicalUser" => name.parse().map(Principal::Account).map_err(|_| unknown()),
        "Service" if name.ends_with(".amazonaws.com") => Ok(Principal::Service(name.to_owned())),
        _ => Err(unknown()),
    }
}

/// An account's id, its root, or an ARN below it. Wildcards have no meaning here.
fn account_or_name(name: &str) -> Option<Principal> {
    if let Ok(account) = name.parse() {
        return Some(Principal::Account(account));
    }
    let rest = name.strip_prefix("arn:aws:")?;
    let rest = rest.strip_prefix("iam::").or_else(|| rest.strip_prefix("sts::"))?;
    let (account, what) = rest.split_once(':')?;
    if name.contains(['*', '?']) || what.is_empty() {
        return None;
    }
    match (account.parse(), what) {
        (Ok(account), "root") => Some(Principal::Account(account)),
        // Some systems name an account as a user of no account.
        _ => match what.strip_prefix("user/").map(str::parse).filter(|_| account.is_empty()) {
            Some(Ok(account)) => Some(Principal::Account(account)),
            _ => Some(Principal::Name(name.to_owned())),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ME: AccountId = AccountId([7; 16]);
    const OTHER: AccountId = AccountId([8; 16]);

    #[test]
    fn principals_mean_accounts_keys_and_everybody() {
        let me = Asker::Account(ME, "arn:aws:iam::07:user/KEY");
        let cases = [
            (json!("*"), true, true),
            (json!({"AWS": "*"}), true, true),
            (json!({"AWS": ["*"]}), true, true),
            (json!({"AWS": ME.to_string()}), true, false),
            (json!({"AWS": format!("arn:aws:iam::{ME}:root")}), true, false),
            (json!({"AWS": format!("arn:aws:iam:::user/{ME}")}), true, false),
            (json!({"AWS": ["arn:aws:iam::07:user/KEY", "arn:aws:iam::tenant:root"]}), true, false),
            (json!({"AWS": "arn:aws:iam::07:user/ANOTHER"}), false, false),
            (json!({"AWS": OTHER.to_string()}), false, false),
            (json!({"CanonicalUser": ME.to_string()}), true, false),
            (json!({"Service": "logging.s3.amazonaws.com"}), false, false),
        ];
        for (value, mine, anonymous) in cases {
            let principals = Principals::parse(&value).unwrap();
            assert_eq!(principals.contain(me), mine, "{value}");
            assert_eq!(principals.contain(Asker::Anonymous), anonymous, "{value}");
        }
        let service = Principals::parse(&json!({"Service": "logging.s3.amazonaws.com"})).unwrap();
        assert!(service.contain(Asker::Service("logging.s3.amazonaws.com")));
        assert!(!service.contain(Asker::Service("sns.amazonaws.com")));
        let everybody = Principals::parse(&json!("*")).unwrap();
        assert!(!everybody.contain(Asker::Service("logging.s3.amazonaws.com")));
    }

    #[test]
    fn principals_that_mean_nobody_are_refused() {
        for value in [
            json!("me"),
            json!({}),
            json!([]),
            json!({"AWS": []}),
            json!({"AWS": [1]}),
            json!({"AWS": "nobody"}),
            json!({"AWS": "arn:aws:iam::1:user/*"}),
            json!({"AWS": "arn:aws:s3:::bucket"}),
            json!({"Service": "example.org"}),
            json!({"Somebody": "*"}),
        ] {
            assert!(Principals::parse(&value).is_err(), "{value}");
        }
    }
}

//! Plans: what an account may store.

use std::fmt;
use std::str::FromStr;

use crate::AccountsError;

/// The most an account may store; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Logical bytes.
    pub bytes: Option<u64>,
    /// Objects: versions that hold data.
    pub objects: Option<u64>,
}

/// A plan by name. Its limits are copied to the account, where they can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// 5 GB in 1,000 objects.
    Free,
    /// 100 GB in 10,000 objects.
    Premium,
    /// What the contract says: no limit until it is set.
    Enterprise,
    /// No limit: for operators and tests.
    Unlimited,
}

impl Plan {
    const ALL: [Self; 4] = [Self::Free, Self::Premium, Self::Enterprise, Self::Unlimited];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Premium => "premium",
            Self::Enterprise => "enterprise",
            Self::Unlimited => "unlimited",
        }
    }

    /// What an account on it may store at first.
    pub const fn limits(self) -> Limits {
        match self {
            Self::Free => Limits { bytes: Some(5_000_000_000), objects: Some(1_000) },
            Self::Premium => Limits { bytes: Some(100_000_000_000), objects: Some(10_000) },
            Self::Enterprise | Self::Unlimited => Limits { bytes: None, objects: None },
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Plan {
    type Err = AccountsError;

    fn from_str(name: &str) -> Result<Self, AccountsError> {
        Self::ALL
            .into_iter()
            .find(|plan| plan.name() == name)
            .ok_or_else(|| AccountsError::UnknownPlan { name: name.to_owned() })
    }
}

//! What state an account is in, and how far its owner was verified.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::AccountsError;

/// The state of an account. It goes from pending to active to closing to erased, and from closing back to active.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountStatus {
    /// Its owner is not verified as far as its plan needs: it can store nothing.
    Pending,
    /// It works.
    Active,
    /// It will be erased on a date, and works until then.
    Closing,
    /// Only its id is left.
    Erased,
}

impl AccountStatus {
    const ALL: [Self; 4] = [Self::Pending, Self::Active, Self::Closing, Self::Erased];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Closing => "closing",
            Self::Erased => "erased",
        }
    }
}

impl fmt::Display for AccountStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for AccountStatus {
    type Err = AccountsError;

    fn from_str(name: &str) -> Result<Self, AccountsError> {
        let known = Self::ALL.into_iter().find(|status| status.name() == name);
        known.ok_or_else(|| AccountsError::Damaged { name: "account".to_owned() })
    }
}

/// How far the owner of an account was verified. Each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerificationLevel {
    /// The address belongs to them.
    Email,
    /// They are who they say.
    Identity,
    /// They act for an organisation that exists.
    Organisation,
}

impl VerificationLevel {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Identity => "identity",
            Self::Organisation => "organisation",
        }
    }

    pub(crate) const fn number(self) -> i64 {
        match self {
            Self::Email => 1,
            Self::Identity => 2,
            Self::Organisation => 3,
        }
    }

    pub(crate) fn from_number(number: i64) -> Result<Self, AccountsError> {
        match number {
            1 => Ok(Self::Email),
            2 => Ok(Self::Identity),
            3 => Ok(Self::Organisation),
            _ => Err(AccountsError::Damaged { name: "verification level".to_owned() }),
        }
    }
}

impl fmt::Display for VerificationLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

//! What state an account is in, and how far its owner was verified.

use serde::{Deserialize, Serialize};

use crate::AccountsError;
use crate::named::named;

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

named!(AccountStatus {
    Pending = "pending", Active = "active", Closing = "closing", Erased = "erased",
} name => AccountsError::Damaged { name: "account".to_owned() });

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

named!(VerificationLevel { Email = "email", Identity = "identity", Organisation = "organisation" });

impl VerificationLevel {
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

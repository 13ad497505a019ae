//! What can go wrong with registration and login.

use super::{AccountStatus, VerificationError};
use crate::AccountsError;

/// Why somebody could not register, log in, or do something with their account. None of these tells whether an address has
/// an account.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Accounts failed, or refused.
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    /// A field makes no sense.
    #[error("{field}: expected {expected}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What would.
        expected: &'static str,
    },
    /// Nobody can register for the plan by themselves.
    #[error("plan: {name:?} is not open to registration")]
    PlanNotOpen {
        /// The plan.
        name: String,
    },
    /// The token was not made here, was used, or is too old.
    #[error("the token is not good: it was used, has expired, or is none")]
    BadToken,
    /// There is no such account, or the password or the signature is wrong.
    #[error("the address, the password or the signature is wrong")]
    BadLogin,
    /// There is no such session, or it is over.
    #[error("the session is over, or never was")]
    NoSession,
    /// The account may not do that in its state.
    #[error("the account is {status}")]
    WrongStatus {
        /// Its state.
        status: AccountStatus,
    },
    /// The account has as many keys as it may have.
    #[error("the account has {maximum} access keys, as many as it may: revoke one first")]
    TooManyKeys {
        /// How many.
        maximum: usize,
    },
    /// Without its key the account would have nothing to log in with.
    #[error("the account has no password: without its key there would be nothing to log in with")]
    LastProof,
    /// Too many passwords are being checked.
    #[error("too many logins at once: try again later")]
    Busy,
    /// There is nothing to decide.
    #[error("there is no open verification of this account")]
    NoCase,
    /// A provider failed.
    #[error(transparent)]
    Provider(#[from] VerificationError),
}

impl From<datamesh_db::DbError> for IdentityError {
    fn from(error: datamesh_db::DbError) -> Self {
        Self::Accounts(error.into())
    }
}

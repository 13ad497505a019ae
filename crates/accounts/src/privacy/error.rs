//! What can go wrong with erasures.

use datamesh_types::AccountId;

use crate::AccountsError;

/// Why an erasure could not be opened, withdrawn, or go on.
#[derive(Debug, thiserror::Error)]
pub enum ErasureError {
    /// Accounts failed, or refused.
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    /// The date is not one to come.
    #[error("due: expected a time to come")]
    NotToCome,
    /// The account has one that has not ended.
    #[error("account {account} has an open erasure already")]
    AlreadyOpen {
        /// The account.
        account: AccountId,
    },
    /// The account has none that has not ended.
    #[error("account {account} has no open erasure")]
    NotOpen {
        /// The account.
        account: AccountId,
    },
    /// It has begun: what is gone can't be brought back.
    #[error("the erasure of account {account} has begun and cannot be withdrawn any more")]
    Begun {
        /// The account.
        account: AccountId,
    },
    /// Only the id of the account is left.
    #[error("account {account} is erased")]
    Erased {
        /// The account.
        account: AccountId,
    },
    /// Nothing is erased under a legal hold.
    #[error("legal hold {hold} is in force")]
    Held {
        /// The hold.
        hold: String,
    },
}

impl From<datamesh_db::DbError> for ErasureError {
    fn from(error: datamesh_db::DbError) -> Self {
        Self::Accounts(error.into())
    }
}

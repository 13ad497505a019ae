//! What the owner of a session may do with access keys: those of their own account, and no others.

use std::time::Duration;

use super::{AccountStatus, IdentityError, LoginSession};
use crate::{AccessKey, AccessKeyInfo, Accounts, AccountsError, KeyStatus, NewKey};

/// Keys of an account that work at a time.
const KEYS_MAX: usize = 16;

impl Accounts {
    /// Makes a key for the session's account, which can never do more than its account. Its id and its secret are random.
    ///
    /// # Errors
    /// Those of [`Accounts::create_limited_key`];
    /// [`IdentityError::WrongStatus`] unless the account is active, [`IdentityError::TooManyKeys`].
    pub async fn create_own_key(
        &self,
        session: &LoginSession,
        new: NewKey,
    ) -> Result<AccessKey, IdentityError> {
        self.check_room(session).await?;
        Ok(self.create_limited_key(session.account, NewKey { explicit: None, ..new }).await?)
    }

    /// The keys of the session's account.
    pub async fn list_own_keys(&self, session: &LoginSession) -> Result<Vec<AccessKeyInfo>, IdentityError> {
        Ok(self.list_keys(session.account).await?)
    }

    /// Replaces a key of the session's account by a new one with the same policy; the old one works for `overlap` more.
    ///
    /// # Errors
    /// As [`Accounts::create_own_key`]; [`AccountsError::NoSuchAccessKey`] also for another account's.
    pub async fn rotate_own_key(
        &self,
        session: &LoginSession,
        access_key_id: &str,
        overlap: Duration,
    ) -> Result<AccessKey, IdentityError> {
        self.check_room(session).await?;
        self.check_own(session, access_key_id).await?;
        Ok(self.rotate_key(access_key_id, overlap).await?)
    }

    /// Revokes a key of the session's account.
    ///
    /// # Errors
    /// [`AccountsError::NoSuchAccessKey`], also for another account's.
    pub async fn revoke_own_key(
        &self,
        session: &LoginSession,
        access_key_id: &str,
    ) -> Result<(), IdentityError> {
        self.check_own(session, access_key_id).await?;
        Ok(self.revoke_key(access_key_id).await?)
    }

    async fn check_own(&self, session: &LoginSession, access_key_id: &str) -> Result<(), IdentityError> {
        let keys = self.list_keys(session.account).await?;
        if keys.iter().any(|key| key.access_key_id == access_key_id) {
            return Ok(());
        }
        let access_key_id = access_key_id.to_owned();
        Err(AccountsError::NoSuchAccessKey { access_key_id }.into())
    }

    /// Whether the account may have one more key. Two requests at once may both find room.
    async fn check_room(&self, session: &LoginSession) -> Result<(), IdentityError> {
        if session.status != AccountStatus::Active {
            return Err(IdentityError::WrongStatus { status: session.status });
        }
        let keys = self.list_keys(session.account).await?;
        if keys.iter().filter(|key| key.status != KeyStatus::Revoked).count() >= KEYS_MAX {
            return Err(IdentityError::TooManyKeys { maximum: KEYS_MAX });
        }
        Ok(())
    }
}

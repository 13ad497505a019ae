//! What people log in with, changed by themselves: a new password by letter, or with a session and a proof.
//!
//! A session alone changes nothing here: whoever finds one must not keep the account. Every change ends all sessions.

use datamesh_db::{Tx, Value};
use datamesh_types::AccountId;

use super::login::change_text;
use super::registration::{Purpose, address};
use super::{IdentityError, LoginSession, Proof};
use crate::{Accounts, Secret};

impl Accounts {
    /// Has an address sent a letter with which its account gets a new password. Whether there is one is not looked up.
    ///
    /// # Errors
    /// [`IdentityError::Invalid`] for what is no address.
    pub async fn forget_password(&self, email: &str) -> Result<(), IdentityError> {
        let request = self.request(Purpose::Password, address(email)?).await?;
        self.keep_request(request).await
    }

    /// Sets the password of the account whose address got the token, ends its sessions, and makes its other letters
    /// worthless. It works once.
    ///
    /// # Errors
    /// [`IdentityError::BadToken`], also for an account that is to be erased by now; [`IdentityError::Invalid`] for the
    /// password, with which the token stays good.
    pub async fn reset_password(&self, token: &str, new: Secret) -> Result<AccountId, IdentityError> {
        let id = self.open_token(Purpose::Password, token).ok_or(IdentityError::BadToken)?;
        let hash = self.passwords().hash(new).await?;
        let now_ms = self.now_ms();
        self.db()
            .write(move |tx| {
                let hash = hash.clone();
                Box::pin(async move {
                    const USE: &str = "UPDATE registration SET expires_at_ms = $2, mail_at_ms = NULL
                        WHERE id = $1 AND purpose = 'password' AND expires_at_ms > $2 RETURNING email_hash";
                    const VOID: &str = "UPDATE registration SET expires_at_ms = $2, mail_at_ms = NULL
                        WHERE email_hash = $1 AND purpose = 'password' AND expires_at_ms > $2";
                    const SET: &str = "UPDATE account SET password = $2
                        WHERE email_hash = $1 AND status IN ('pending', 'active') RETURNING id";
                    let used = tx.query_opt(USE, &[(&id).into(), now_ms.into()]).await?;
                    let used = used.ok_or(IdentityError::BadToken)?;
                    let email_hash = Value::from(used.blob(0)?);
                    // The rows stay for an hour: they count the letters of the address.
                    tx.execute(VOID, &[email_hash.clone(), now_ms.into()]).await?;
                    let account = tx.query_opt(SET, &[email_hash, hash.into()]).await?;
                    let account = AccountId(account.ok_or(IdentityError::BadToken)?.bytes(0)?);
                    end_sessions(tx, account).await?;
                    Ok(account)
                })
            })
            .await
    }

    /// Replaces the password of the session's account. All its sessions end, this one too.
    ///
    /// # Errors
    /// [`IdentityError::BadLogin`] for a bad proof; [`IdentityError::Invalid`] for the password.
    pub async fn change_password(
        &self,
        session: &LoginSession,
        proof: Proof,
        new: Secret,
    ) -> Result<(), IdentityError> {
        const SET: &str = "UPDATE account SET password = $2 WHERE id = $1 AND status <> 'erased'";
        self.check_proof(session.account, proof).await?;
        let hash = self.passwords().hash(new).await?;
        self.change_login(session.account, SET, hash.into()).await
    }

    /// Sets the public key of the session's account, or removes it. All its sessions end, this one too.
    ///
    /// # Errors
    /// [`IdentityError::BadLogin`] for a bad proof; [`IdentityError::LastProof`] for the key of an account without a
    /// password.
    pub async fn change_public_key(
        &self,
        session: &LoginSession,
        proof: Proof,
        new: Option<[u8; 32]>,
    ) -> Result<(), IdentityError> {
        const SET: &str = "UPDATE account SET public_key = $2 WHERE id = $1 AND status <> 'erased'";
        const REMOVE: &str = "UPDATE account SET public_key = $2
            WHERE id = $1 AND status <> 'erased' AND password IS NOT NULL";
        self.check_proof(session.account, proof).await?;
        let sql = if new.is_some() { SET } else { REMOVE };
        self.change_login(session.account, sql, new.map(|key| key.to_vec()).into()).await
    }

    async fn check_proof(&self, account: AccountId, proof: Proof) -> Result<(), IdentityError> {
        const MEANS: &str =
            "SELECT id, password, public_key FROM account WHERE id = $1 AND status <> 'erased'";
        let row = self.db().row(MEANS, [account.into()].into()).await?;
        let text = |challenge: &str| change_text(account, challenge);
        let is_proven = self.is_proven(row.as_ref(), proof, text).await?;
        is_proven.then_some(()).ok_or(IdentityError::BadLogin)
    }

    /// Runs `sql`, which changes the account `$1`, and ends the account's sessions. When it changes nothing, that was
    /// the last means to log in.
    async fn change_login(
        &self,
        account: AccountId,
        sql: &'static str,
        value: Value,
    ) -> Result<(), IdentityError> {
        self.db()
            .write(move |tx| {
                let value = value.clone();
                Box::pin(async move {
                    if tx.execute(sql, &[account.into(), value]).await? == 0 {
                        return Err(IdentityError::LastProof);
                    }
                    Ok(end_sessions(tx, account).await?)
                })
            })
            .await
    }
}

/// Logs everybody out of an account.
pub(crate) async fn end_sessions(tx: &mut Tx, account: AccountId) -> Result<(), datamesh_db::DbError> {
    const END: &str = "DELETE FROM login_session WHERE account = $1";
    tx.execute(END, &[account.into()]).await.map(drop)
}

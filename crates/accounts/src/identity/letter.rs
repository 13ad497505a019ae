//! Letters: who asked for an account or a new password gets one, and what it says is decided when it is written.

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use datamesh_db::{Row, Tx};

use super::AccountStatus;
use super::registration::{HOUR_MS, Purpose};
use crate::{Accounts, AccountsError, Secret};

pub(super) const ID_LEN: usize = 16;
const MAC_LEN: usize = 32;
const TAKEN_FOR_MS: u64 = 60 * 1000;

/// A letter that an address may be due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountMail {
    /// Names the letter to [`Accounts::mailed`].
    pub id: [u8; ID_LEN],
    /// Where it goes.
    pub email: String,
    /// What it says.
    pub text: MailText,
    /// How often it was tried before.
    pub attempts: u32,
}

/// What a letter says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MailText {
    /// Somebody registered: the token makes the account.
    MakesAccount(Secret),
    /// Somebody registered with an address that has an account.
    HasAccount,
    /// Somebody asked for a new password: the token sets it.
    SetsPassword(Secret),
    /// Nothing: there is no account here that may get a new password, so no letter is sent.
    Nothing,
}

impl AccountMail {
    /// The token that it has.
    pub fn into_token(self) -> Option<Secret> {
        match self.text {
            MailText::MakesAccount(token) | MailText::SetsPassword(token) => Some(token),
            MailText::HasAccount | MailText::Nothing => None,
        }
    }
}

impl Accounts {
    /// Takes up to `limit` letters that are due, for whoever asks alone: one that is neither sent nor postponed is due
    /// again after a minute.
    pub async fn take_mails(&self, limit: usize) -> Result<Vec<AccountMail>, AccountsError> {
        let (now_ms, again_ms) = (self.now_ms(), self.now_ms() + TAKEN_FOR_MS);
        let rows = self
            .db()
            .write(move |tx| Box::pin(async move { take(tx, now_ms, again_ms, limit).await }))
            .await?;
        let mail = |(row, status): &(Row, Option<AccountStatus>)| {
            let id = row.bytes(0)?;
            let purpose = row.text(4)?.parse::<Purpose>()?;
            let text = match (purpose, status) {
                (Purpose::Register, None) => MailText::MakesAccount(self.letter_token(purpose, &id)),
                (Purpose::Register, Some(_)) => MailText::HasAccount,
                (Purpose::Password, Some(AccountStatus::Pending | AccountStatus::Active)) => {
                    MailText::SetsPassword(self.letter_token(purpose, &id))
                }
                (Purpose::Password, None | Some(AccountStatus::Closing | AccountStatus::Erased)) => {
                    MailText::Nothing
                }
            };
            let email = self.open_address(&id, row.blob(1)?)?;
            Ok(AccountMail { id, email, text, attempts: row.int(2)? as u32 })
        };
        rows.iter().map(mail).collect()
    }

    /// A letter was sent, or there was none to send.
    pub async fn mailed(&self, id: &[u8; ID_LEN]) -> Result<(), AccountsError> {
        const MAILED: &str = "UPDATE registration SET mail_at_ms = NULL, mails = mails + 1 WHERE id = $1";
        self.db().execute(MAILED, [id.into()].into()).await?;
        Ok(())
    }

    /// A letter could not be sent: it is due again after `delay`.
    pub async fn postpone_mail(&self, id: &[u8; ID_LEN], delay: Duration) -> Result<(), AccountsError> {
        const LATER: &str = "UPDATE registration SET mail_at_ms = $2, mails = mails + 1 WHERE id = $1";
        let at_ms = self.now_ms() + delay.as_millis() as u64;
        self.db().execute(LATER, [id.into(), at_ms.into()].into()).await?;
        Ok(())
    }

    /// Forgets requests, sessions and challenges that are over.
    pub async fn forget_logins(&self) -> Result<(), AccountsError> {
        const OVER: [&str; 3] = [
            "DELETE FROM registration WHERE expires_at_ms < $1",
            "DELETE FROM login_session WHERE expires_at_ms < $1",
            "DELETE FROM used_challenge WHERE expires_at_ms < $1",
        ];
        for sql in OVER {
            // An hour more: how many letters an address got is counted in these rows.
            let before_ms = self.now_ms().saturating_sub(HOUR_MS);
            self.db().execute(sql, [before_ms.into()].into()).await?;
        }
        Ok(())
    }

    pub(super) fn open_address(&self, id: &[u8; ID_LEN], sealed: &[u8]) -> Result<String, AccountsError> {
        let name = address_name(id);
        let text = self.keyring().kek().open(&name, sealed)?;
        String::from_utf8(text.to_vec()).map_err(|_| AccountsError::Damaged { name })
    }

    fn letter_token(&self, purpose: Purpose, id: &[u8; ID_LEN]) -> Secret {
        let mac = self.login_keys().token_mac(purpose, id);
        Secret::new(URL_SAFE_NO_PAD.encode([&id[..], &mac].concat()))
    }

    /// The row that a token names, if the token was made here and for this.
    pub(super) fn open_token(&self, purpose: Purpose, token: &str) -> Option<[u8; ID_LEN]> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok().filter(|bytes| bytes.len() == ID_LEN + MAC_LEN)?;
        let (id, mac) = bytes.split_first_chunk::<ID_LEN>()?;
        verify_slices_are_equal(&self.login_keys().token_mac(purpose, id), mac).ok()?;
        Some(*id)
    }
}

/// The rows of letters that are due, and the states of their addresses' accounts.
async fn take(
    tx: &mut Tx,
    now_ms: u64,
    again_ms: u64,
    limit: usize,
) -> Result<Vec<(Row, Option<AccountStatus>)>, AccountsError> {
    // The time is compared twice: another gateway may have taken a row since it was found.
    const TAKE: &str = "UPDATE registration SET mail_at_ms = $2 WHERE mail_at_ms <= $1 AND id IN
        (SELECT id FROM registration WHERE mail_at_ms <= $1 AND expires_at_ms > $1
         ORDER BY mail_at_ms LIMIT $3) RETURNING id, email, mails, email_hash, purpose";
    const STATUS: &str = "SELECT status FROM account WHERE email_hash = $1";
    let mut taken = Vec::new();
    for row in tx.query(TAKE, &[now_ms.into(), again_ms.into(), limit.into()]).await? {
        let account = tx.query_opt(STATUS, &[row.blob(3)?.into()]).await?;
        let status = account.map(|account| account.text(0)?.parse()).transpose()?;
        taken.push((row, status));
    }
    Ok(taken)
}

/// What the address of a request is sealed under.
pub(crate) fn address_name(id: &[u8]) -> String {
    format!("registration/{}", hex::encode(id))
}

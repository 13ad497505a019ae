//! Logging in, and the sessions that it makes.
//!
//! A challenge is a random value, the time when it ends and a code under a key of the key ring: giving one out writes
//! nothing. It is remembered only once it was used. What is signed is [`login_text`].

use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use datamesh_db::{Row, Value};
use datamesh_types::AccountId;

use super::registration::Purpose;
use super::{AccountStatus, IdentityError, VerificationLevel};
use crate::{Accounts, AccountsError, Secret};

const NONCE_LEN: usize = 16;
const CHALLENGE_LEN: usize = NONCE_LEN + 8 + 32;
const TOKEN_LEN: usize = 32;
const CHALLENGE_LIFETIME: Duration = Duration::from_mins(2);

/// The keys of registration and login.
#[derive(Clone)]
pub(crate) struct LoginKeys {
    registrations: hmac::Key,
    passwords: hmac::Key,
    challenges: hmac::Key,
    /// Nobody has the other half: what is checked where there is no key, for the same work.
    nobodys: [u8; 32],
}

impl LoginKeys {
    pub fn new(root: &[u8; 32]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, root);
        let derive =
            |label: &str| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, label.as_bytes()).as_ref());
        let nobodys = hmac::sign(&root, b"nobody's key 1");
        Self {
            registrations: derive("registration tokens 1"),
            passwords: derive("password tokens 1"),
            challenges: derive("login challenges 1"),
            nobodys: nobodys.as_ref().try_into().expect("an HMAC-SHA256 has 32 bytes"),
        }
    }

    pub(super) fn token_mac(&self, purpose: Purpose, id: &[u8]) -> [u8; 32] {
        match purpose {
            Purpose::Register => mac(&self.registrations, id),
            Purpose::Password => mac(&self.passwords, id),
        }
    }

    fn challenge(&self, nonce: [u8; NONCE_LEN], ends_at_ms: u64) -> String {
        let head = [&nonce[..], &ends_at_ms.to_le_bytes()].concat();
        let mac = mac(&self.challenges, &head);
        URL_SAFE_NO_PAD.encode([&head[..], &mac].concat())
    }

    /// The random value of a challenge and when it ends, if it was made here.
    fn open_challenge(&self, text: &str) -> Option<([u8; NONCE_LEN], u64)> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == CHALLENGE_LEN)?;
        let (head, code) = bytes.split_at(NONCE_LEN + 8);
        verify_slices_are_equal(&mac(&self.challenges, head), code).ok()?;
        let (nonce, ends_at_ms) = head.split_first_chunk::<NONCE_LEN>()?;
        Some((*nonce, u64::from_le_bytes(ends_at_ms.try_into().ok()?)))
    }
}

fn mac(key: &hmac::Key, text: &[u8]) -> [u8; 32] {
    hmac::sign(key, text).as_ref().try_into().expect("an HMAC-SHA256 has 32 bytes")
}

/// What somebody signs with their Ed25519 key to log in: `datamesh login 1`, the address or id that they log in with, and the
/// challenge, each on a line.
pub fn login_text(user: &str, challenge: &str) -> String {
    format!("datamesh login 1\n{user}\n{challenge}\n")
}

/// What somebody signs with their Ed25519 key to change what they log in with: `datamesh change 1`, their account's id and
/// the challenge, each on a line. A signature for a login is none.
pub fn change_text(account: AccountId, challenge: &str) -> String {
    format!("datamesh change 1\n{account}\n{challenge}\n")
}

/// How somebody proves who they are.
#[derive(Debug, Clone)]
pub enum Proof {
    /// They know the password.
    Password(Secret),
    /// They have the key.
    Signature {
        /// The challenge that they were given.
        challenge: String,
        /// The signature of [`login_text`], or of [`change_text`].
        signature: Vec<u8>,
    },
}

/// A session, as it is shown once.
#[derive(Debug, Clone)]
pub struct NewLogin {
    /// The account.
    pub account: AccountId,
    /// What to send with each request.
    pub token: Secret,
    /// When it is over, milliseconds since 1970.
    pub expires_at_ms: u64,
}

/// Whose session it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginSession {
    /// The account.
    pub account: AccountId,
    /// Its state.
    pub status: AccountStatus,
    /// How far its owner is verified.
    pub level: VerificationLevel,
    /// When the session is over, milliseconds since 1970.
    pub expires_at_ms: u64,
}

impl Accounts {
    /// Something to sign. It is good for two minutes, once.
    pub fn login_challenge(&self) -> Result<String, IdentityError> {
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| AccountsError::Random)?;
        let ends_at_ms = self.now_ms() + CHALLENGE_LIFETIME.as_millis() as u64;
        Ok(self.login_keys().challenge(nonce, ends_at_ms))
    }

    /// Opens a session. `user` is an address or an id. Whether there is no such account or the proof is wrong makes no
    /// difference, in time either.
    ///
    /// # Errors
    /// [`IdentityError::BadLogin`], [`IdentityError::Busy`].
    pub async fn login(&self, user: &str, proof: Proof) -> Result<NewLogin, IdentityError> {
        const BY_ID: &str =
            "SELECT id, password, public_key FROM account WHERE id = $1 AND status <> 'erased'";
        const BY_EMAIL: &str =
            "SELECT id, password, public_key FROM account WHERE email_hash = $1 AND status <> 'erased'";
        let (sql, key) = match user.parse::<AccountId>() {
            Ok(account) => (BY_ID, Value::from(account)),
            Err(_) => (BY_EMAIL, self.keyring().email_hash(user.trim()).await?.into()),
        };
        let row = self.db().row(sql, [key].into()).await?;
        let account = row.as_ref().map(|row| row.bytes(0)).transpose()?.map(AccountId);
        let proven = self.is_proven(row.as_ref(), proof, |challenge| login_text(user, challenge)).await?;
        match account {
            Some(account) if proven => self.open_login(account).await,
            _ => Err(IdentityError::BadLogin),
        }
    }

    /// Whether a proof is one of the account whose id, password and public key are in `row`. Without a row it takes as
    /// long, and is not. `text` is what must be signed.
    pub(super) async fn is_proven(
        &self,
        row: Option<&Row>,
        proof: Proof,
        text: impl FnOnce(&str) -> String,
    ) -> Result<bool, IdentityError> {
        match proof {
            Proof::Password(password) => {
                let stored = row.map(|row| row.opt_text(1)).transpose()?.flatten();
                self.passwords().verify(password, stored.map(str::to_owned)).await
            }
            Proof::Signature { challenge, signature } => {
                let key = row.map(|row| row.opt_blob(2)).transpose()?.flatten();
                self.is_signed(&text(&challenge), key, &challenge, &signature).await
            }
        }
    }

    async fn is_signed(
        &self,
        text: &str,
        key: Option<&[u8]>,
        challenge: &str,
        signature: &[u8],
    ) -> Result<bool, IdentityError> {
        const USE: &str =
            "INSERT INTO used_challenge (id, expires_at_ms) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
        let public = UnparsedPublicKey::new(&ED25519, key.unwrap_or(&self.login_keys().nobodys));
        let is_signed = public.verify(text.as_bytes(), signature).is_ok() && key.is_some();
        let opened = self.login_keys().open_challenge(challenge);
        let Some((nonce, ends_at_ms)) = opened.filter(|(_, ends_at_ms)| *ends_at_ms > self.now_ms()) else {
            return Ok(false);
        };
        if !is_signed {
            return Ok(false);
        }
        let params = [Value::from(&nonce), ends_at_ms.into()];
        Ok(self.db().execute(USE, params.into()).await? == 1)
    }

    async fn open_login(&self, account: AccountId) -> Result<NewLogin, IdentityError> {
        const OPEN: &str = "INSERT INTO login_session (id, account, created_at_ms, expires_at_ms)
            VALUES ($1, $2, $3, $4)";
        let mut token = [0; TOKEN_LEN];
        aws_lc_rs::rand::fill(&mut token).map_err(|_| AccountsError::Random)?;
        let token = Secret::new(URL_SAFE_NO_PAD.encode(token));
        let now_ms = self.now_ms();
        let expires_at_ms = now_ms + self.config().registration.session_lifetime.as_millis() as u64;
        let params =
            [Value::from(session_id(token.expose())), account.into(), now_ms.into(), expires_at_ms.into()];
        self.db().execute(OPEN, params.into()).await?;
        Ok(NewLogin { account, token, expires_at_ms })
    }

    /// Whose session a token is.
    ///
    /// # Errors
    /// [`IdentityError::NoSession`].
    pub async fn login_session(&self, token: &str) -> Result<LoginSession, IdentityError> {
        const FIND: &str = "SELECT s.account, a.status, a.level, s.expires_at_ms FROM login_session s
            JOIN account a ON a.id = s.account
            WHERE s.id = $1 AND s.expires_at_ms > $2 AND a.status <> 'erased'";
        let row = self.db().row(FIND, [session_id(token).into(), self.now_ms().into()].into()).await?;
        let row = row.ok_or(IdentityError::NoSession)?;
        Ok(LoginSession {
            account: AccountId(row.bytes(0)?),
            status: row.text(1)?.parse()?,
            level: VerificationLevel::from_number(row.int(2)?)?,
            expires_at_ms: row.uint(3)?,
        })
    }

    /// Ends a session. One that is over is ended, too.
    pub async fn logout(&self, token: &str) -> Result<(), IdentityError> {
        const END: &str = "DELETE FROM login_session WHERE id = $1";
        let params = [Value::from(session_id(token))];
        self.db().execute(END, params.into()).await?;
        Ok(())
    }
}

/// A session's token is random, so a plain hash gives nothing of it away.
fn session_id(token: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, token.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_opens_only_as_it_was_made() {
        let keys = LoginKeys::new(&[7; 32]);
        let challenge = keys.challenge([1; NONCE_LEN], 5);
        assert_eq!(keys.open_challenge(&challenge), Some(([1; NONCE_LEN], 5)));
        assert_eq!(LoginKeys::new(&[8; 32]).open_challenge(&challenge), None);
        for at in [0, 20, 30, challenge.len() - 4] {
            let mut changed = challenge.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(keys.open_challenge(std::str::from_utf8(&changed).unwrap()), None, "{at}");
        }
        for nonsense in ["", "AQ", "not base64!"] {
            assert_eq!(keys.open_challenge(nonsense), None);
        }
    }
}

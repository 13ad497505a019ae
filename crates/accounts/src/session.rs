//! Temporary credentials: a key, a secret and a token that are good for a while.
//!
//! Nothing of a session is stored. Its secret is derived from its key's id, and everything else is in the token, sealed:
//! so any gateway of the database accepts a session at once, and none has to forget it later. A session lives no
//! longer than the access key it was made with.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use datamesh_policy::Policy;
use serde::{Deserialize, Serialize};

use crate::access_key::{BASE32, random_text};
use crate::{Accounts, AccountsError, Credential, Secret};

/// What the ids of temporary keys begin with, and no others.
pub(crate) const TEMPORARY_PREFIX: &str = "ASIA";
/// Bytes of a derived secret: 40 characters in base64.
const SECRET_LEN: usize = 30;
const TOKEN_FORMAT: u8 = 1;
/// Opened tokens kept in memory, a few KiB each.
pub(crate) const SESSIONS_KEPT: usize = 4_096;

/// Temporary credentials, as they are shown once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemporaryKey {
    /// The id, sent with each request.
    pub access_key_id: String,
    /// The secret, which signs requests.
    pub secret_access_key: Secret,
    /// The token, sent with each request too.
    pub session_token: Secret,
    /// Until when they are good, milliseconds since 1970.
    pub expires_at_ms: u64,
}

/// What a session is to be.
#[derive(Debug, Clone, Default)]
pub struct NewSession {
    /// The role and the name of the session; without them it is its key's own.
    pub role: Option<(String, String)>,
    /// What narrows it down further than its key.
    pub policy: Option<String>,
    /// How long it lives.
    pub lifetime: Duration,
}

/// An opened token.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// The access key it was made with.
    pub parent: String,
    /// The role and the name of the session, if it has one.
    pub role: Option<(String, String)>,
    /// What narrows it down.
    pub policy: Option<Policy>,
    /// When it was made, milliseconds since 1970.
    pub issued_at_ms: u64,
    /// Until when it is good.
    pub expires_at_ms: u64,
}

/// What is sealed in a token.
#[derive(Serialize, Deserialize)]
struct Token {
    parent: String,
    role: Option<(String, String)>,
    policy: Option<String>,
    issued_at_ms: u64,
    expires_at_ms: u64,
}

/// The keys that sessions are made with.
#[derive(Clone)]
pub(crate) struct SessionKeys {
    secrets: hmac::Key,
    tokens: Arc<RandomizedNonceKey>,
}

impl SessionKeys {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, key);
        let derive = |label: &str| hmac::sign(&root, label.as_bytes());
        Self {
            secrets: hmac::Key::new(hmac::HMAC_SHA256, derive("session secrets 1").as_ref()),
            tokens: Arc::new(
                RandomizedNonceKey::new(&AES_256_GCM, derive("session tokens 1").as_ref())
                    .expect("an HMAC-SHA256 has the 32 bytes of an AES-256 key"),
            ),
        }
    }

    fn secret(&self, access_key_id: &str) -> Secret {
        let derived = hmac::sign(&self.secrets, access_key_id.as_bytes());
        Secret::new(STANDARD.encode(&derived.as_ref()[..SECRET_LEN]))
    }

    fn seal(&self, access_key_id: &str, token: &Token) -> Result<Secret, AccountsError> {
        let mut text = serde_json::to_vec(token).expect("texts and numbers are JSON");
        let nonce = self
            .tokens
            .seal_in_place_append_tag(Aad::from(access_key_id.as_bytes()), &mut text)
            .map_err(|_| AccountsError::Random)?;
        let sealed = [&[TOKEN_FORMAT], nonce.as_ref().as_slice(), &text].concat();
        Ok(Secret::new(STANDARD.encode(sealed)))
    }

    fn open(&self, access_key_id: &str, token: &str) -> Option<Session> {
        let sealed = STANDARD.decode(token).ok()?;
        let (&[TOKEN_FORMAT], rest) = sealed.split_first_chunk::<1>()? else { return None };
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut text = text.to_vec();
        let aad = Aad::from(access_key_id.as_bytes());
        let text = self.tokens.open_in_place(Nonce::from(nonce), aad, &mut text).ok()?;
        let token: Token = serde_json::from_slice(text).ok()?;
        let policy = token.policy.map(|text| Policy::for_identity(&text, Policy::SESSION_LEN_MAX));
        Some(Session {
            parent: token.parent,
            role: token.role,
            policy: policy.transpose().ok()?,
            issued_at_ms: token.issued_at_ms,
            expires_at_ms: token.expires_at_ms,
        })
    }
}

impl Accounts {
    /// Whether an id is that of a temporary key: then [`Accounts::lookup`] does not know it.
    pub fn is_temporary(access_key_id: &str) -> bool {
        access_key_id.starts_with(TEMPORARY_PREFIX)
    }

    /// Makes temporary credentials out of an access key.
    ///
    /// # Errors
    /// [`AccountsError::InvalidPolicy`].
    pub async fn create_session(
        &self,
        parent: &Credential,
        session: NewSession,
    ) -> Result<TemporaryKey, AccountsError> {
        if let Some(policy) = &session.policy {
            Policy::for_identity(policy, Policy::SESSION_LEN_MAX)?;
        }
        let keys = self.session_keys().await?;
        let access_key_id = format!("{TEMPORARY_PREFIX}{}", random_text::<16>(BASE32)?);
        let issued_at_ms = self.now_ms();
        let expires_at_ms = issued_at_ms.saturating_add(session.lifetime.as_millis() as u64);
        let token = Token {
            parent: parent.access_key_id.clone(),
            role: session.role,
            policy: session.policy,
            issued_at_ms,
            expires_at_ms,
        };
        Ok(TemporaryKey {
            secret_access_key: keys.secret(&access_key_id),
            session_token: keys.seal(&access_key_id, &token)?,
            access_key_id,
            expires_at_ms,
        })
    }

    /// The secret of a temporary key. There is one for every id, made here or not: only the token tells.
    pub async fn session_secret(&self, access_key_id: &str) -> Result<Secret, AccountsError> {
        Ok(self.session_keys().await?.secret(access_key_id))
    }

    /// Opens the token that came with a temporary key.
    ///
    /// # Errors
    /// [`AccountsError::InvalidToken`] for one of another key or of nobody's making, [`AccountsError::ExpiredToken`].
    pub async fn session(&self, access_key_id: &str, token: &str) -> Result<Arc<Session>, AccountsError> {
        let place = (access_key_id.to_owned(), token.to_owned());
        let session = if let Some(known) = self.sessions().get(&place, |_| true) {
            known
        } else {
            let opened = self.session_keys().await?.open(access_key_id, token);
            let opened = Arc::new(opened.ok_or(AccountsError::InvalidToken)?);
            self.sessions().insert(place, Arc::clone(&opened));
            opened
        };
        if self.now_ms() < session.expires_at_ms { Ok(session) } else { Err(AccountsError::ExpiredToken) }
    }

    async fn session_keys(&self) -> Result<&SessionKeys, AccountsError> {
        let made = self.session_key_cell().get_or_try_init(|| async {
            let key = self.keyring().session_key().await?;
            Ok::<_, AccountsError>(SessionKeys::new(&key))
        });
        made.await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        let policy = r#"{"Statement": {"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"}}"#;
        Token {
            parent: "AKIAPARENT".into(),
            role: Some(("reader".into(), "me".into())),
            policy: Some(policy.into()),
            issued_at_ms: 1,
            expires_at_ms: 2,
        }
    }

    #[test]
    fn a_token_opens_with_its_own_key_alone() {
        let keys = SessionKeys::new(&[7; 32]);
        let sealed = keys.seal("ASIAONE", &token()).unwrap();
        let opened = keys.open("ASIAONE", sealed.expose()).unwrap();
        assert_eq!((opened.parent.as_str(), opened.expires_at_ms), ("AKIAPARENT", 2));
        assert!(opened.policy.is_some());
        assert_eq!(keys.open("ASIATWO", sealed.expose()), None);
        assert_eq!(SessionKeys::new(&[8; 32]).open("ASIAONE", sealed.expose()), None);
        for at in [0, 5, 20, sealed.expose().len() - 6] {
            let mut changed = sealed.expose().to_owned().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(keys.open("ASIAONE", std::str::from_utf8(&changed).unwrap()), None, "{at}");
        }
        for nonsense in ["", "AQ==", "not base64!"] {
            assert_eq!(keys.open("ASIAONE", nonsense), None);
        }
    }

    #[test]
    fn secrets_differ_by_key_and_by_database() {
        let keys = SessionKeys::new(&[7; 32]);
        let one = keys.secret("ASIAONE");
        assert_eq!(one.expose().len(), 40);
        assert_eq!(one, keys.secret("ASIAONE"));
        assert_ne!(one, keys.secret("ASIATWO"));
        assert_ne!(one, SessionKeys::new(&[8; 32]).secret("ASIAONE"));
    }
}

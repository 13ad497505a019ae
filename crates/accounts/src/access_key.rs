//! Access keys: made, looked up, revoked.

use std::sync::Arc;
use std::time::Duration;

use datamesh_db::{Tx, Value};
use datamesh_policy::Policy;
use datamesh_types::{AccountId, DomainId};

use crate::cache::Cache;
use crate::{Accounts, AccountsError, Secret};

/// How long a gateway trusts what it knows of a key. With the time of a query it stays below the 5 s in which a
/// revocation must reach everybody.
const KNOWN_FOR: Duration = Duration::from_secs(4);
/// How long a gateway remembers that there is no such key. A key made on another gateway works after this.
const MISSING_FOR: Duration = Duration::from_secs(1);
/// No key lives beyond the years that RFC 3339 can write.
const EXPIRY_MAX_MS: u64 = 253_402_300_799_999;
const KNOWN_MAX: usize = 16_384;
/// Ids that don't exist come from anybody, so they have a small cache of their own.
const MISSING_MAX: usize = 1_024;

/// An access key with its secret: what is shown once, when it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// The id, sent with each request.
    pub access_key_id: String,
    /// The secret, which signs requests.
    pub secret_access_key: Secret,
    /// Whose key it is.
    pub account: AccountId,
    /// When it ends by itself, milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
}

/// A key to be made.
#[derive(Debug, Clone, Default)]
pub struct NewKey {
    /// An id and a secret to import; random ones otherwise.
    pub explicit: Option<(String, String)>,
    /// The text of a policy that narrows it down.
    pub policy: Option<String>,
    /// When it ends by itself, milliseconds since 1970.
    pub expires_at_ms: Option<u64>,
}

/// Whether a key may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStatus {
    /// It may.
    Active,
    /// It may for a while yet: another one has taken its place.
    Rotating,
    /// Never again: it was revoked, or its time is over. Its id stays taken.
    Revoked,
}

/// An access key without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKeyInfo {
    /// The id.
    pub access_key_id: String,
    /// Whose key it is.
    pub account: AccountId,
    /// Whether it may be used.
    pub status: KeyStatus,
    /// When it was made, milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it ends by itself.
    pub expires_at_ms: Option<u64>,
    /// The text of the policy that narrows it down.
    pub policy: Option<String>,
}

/// Who signs with a key, and with what.
#[derive(Debug, Clone, PartialEq)]
pub struct Credential {
    /// The key.
    pub access_key_id: String,
    /// The key as policies name it.
    pub arn: String,
    /// The account.
    pub account: AccountId,
    /// What the account is called; empty when it has no name.
    pub name: String,
    /// Its dedup domain.
    pub domain: DomainId,
    /// What narrows the key down, within what its account may do.
    pub policy: Option<Policy>,
    /// The secret that signs its requests.
    pub secret: Secret,
}

/// What a gateway knows of keys, and since when.
pub(crate) struct Credentials {
    known: Cache<String, (Arc<Credential>, Duration)>,
    missing: Cache<String, Duration>,
}

impl Credentials {
    pub(crate) fn new() -> Self {
        Self { known: Cache::new(KNOWN_MAX), missing: Cache::new(MISSING_MAX) }
    }

    pub(crate) fn forget(&self, id: &str) {
        self.known.remove(id);
        self.missing.remove(id);
    }
}

impl Accounts {
    /// Who signs with `access_key_id`; `None` when there is no such key, or it has been revoked.
    ///
    /// Answers from a cache, so a revocation through another gateway shows after 5 s at the latest.
    pub async fn lookup(&self, access_key_id: &str) -> Result<Option<Arc<Credential>>, AccountsError> {
        let now = self.elapsed();
        let cache = self.credentials();
        let within = |since: Duration, bound| now.saturating_sub(since) < bound;
        if let Some((credential, _)) = cache.known.get(access_key_id, |(_, since)| within(*since, KNOWN_FOR))
        {
            return Ok(Some(credential));
        }
        if !is_access_key_id(access_key_id)
            || cache.missing.get(access_key_id, |since| within(*since, MISSING_FOR)).is_some()
        {
            return Ok(None);
        }
        let found = Box::pin(self.load(access_key_id)).await?;
        // The age counts from before the query: what was revoked since then is not in its answer.
        if let Some(credential) = &found {
            cache.known.insert(access_key_id.to_owned(), (Arc::clone(credential), now));
        } else {
            cache.known.remove(access_key_id);
            cache.missing.insert(access_key_id.to_owned(), now);
        }
        Ok(found)
    }

    async fn load(&self, access_key_id: &str) -> Result<Option<Arc<Credential>>, AccountsError> {
        const FIND: &str = "SELECT k.account, a.domain, k.sealed, a.name, k.policy FROM access_key k
            JOIN account a ON a.id = k.account WHERE k.id = $1 AND k.revoked_at_ms IS NULL
            AND (k.expires_at_ms IS NULL OR k.expires_at_ms > $2) AND a.status IN ('active', 'closing')";
        let row = self.db().row(FIND, [access_key_id.into(), self.now_ms().into()].into()).await?;
        let Some(row) = row else { return Ok(None) };
        let name = secret_name(access_key_id);
        let secret = self.keyring().kek().open(&name, row.blob(2)?)?;
        let secret = std::str::from_utf8(&secret).map_err(|_| AccountsError::Damaged { name })?;
        let account = AccountId(row.bytes(0)?);
        // A key whose policy is not understood may do nothing, rather than everything.
        let policy = row.opt_text(4)?.map(|text| Policy::for_identity(text, Policy::KEY_LEN_MAX));
        Ok(Some(Arc::new(Credential {
            access_key_id: access_key_id.to_owned(),
            arn: format!("arn:aws:iam::{account}:user/{access_key_id}"),
            account,
            name: row.text(3)?.to_owned(),
            policy: policy.transpose()?,
            domain: DomainId(row.bytes(1)?),
            secret: Secret::new(secret.to_owned()),
        })))
    }

    /// Makes a key: a random one, or `explicit` id and secret.
    ///
    /// # Errors
    /// An explicit id that exists, or existed, is [`AccountsError::AccessKeyExists`].
    pub async fn create_key(
        &self,
        account: AccountId,
        explicit: Option<(String, String)>,
    ) -> Result<AccessKey, AccountsError> {
        self.create_limited_key(account, NewKey { explicit, ..NewKey::default() }).await
    }

    /// Makes a key that a policy and a time narrow down from the start.
    ///
    /// # Errors
    /// As [`Accounts::create_key`]; [`AccountsError::InvalidPolicy`]; [`AccountsError::InvalidPeriod`] for a key that would be
    /// over already.
    pub async fn create_limited_key(
        &self,
        account: AccountId,
        NewKey { explicit, policy, expires_at_ms }: NewKey,
    ) -> Result<AccessKey, AccountsError> {
        check_policy(policy.as_deref())?;
        let now_ms = self.now_ms();
        if expires_at_ms.is_some_and(|expires_at_ms| !(now_ms + 1..=EXPIRY_MAX_MS).contains(&expires_at_ms)) {
            let reason = "expires_at: expected a time to come, before the year 10000".to_owned();
            return Err(AccountsError::InvalidPeriod { reason });
        }
        let (access_key_id, secret) = match explicit {
            Some(pair) => pair,
            None => (format!("AKIA{}", random_text::<16>(BASE32)?), random_text::<40>(BASE62)?),
        };
        if !is_access_key_id(&access_key_id) || Self::is_temporary(&access_key_id) {
            return Err(AccountsError::InvalidAccessKeyId);
        }
        if !(8..=128).contains(&secret.len()) || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(AccountsError::InvalidSecret);
        }
        let sealed = self.keyring().kek().seal(&secret_name(&access_key_id), secret.as_bytes())?;
        let key = AccessKey { access_key_id, secret_access_key: Secret::new(secret), account, expires_at_ms };
        let row = KeyRow { id: key.access_key_id.clone(), account, sealed, policy, expires_at_ms, now_ms };
        self.write(move |tx| {
            let row = row.clone();
            Box::pin(async move { insert(tx, row).await })
        })
        .await?;
        self.credentials().forget(&key.access_key_id);
        Ok(key)
    }

    /// The keys of an account, in the order of their ids, the revoked ones too.
    pub async fn list_keys(&self, account: AccountId) -> Result<Vec<AccessKeyInfo>, AccountsError> {
        const LIST: &str =
            "SELECT id, created_at_ms, revoked_at_ms, policy, expires_at_ms, replaced FROM access_key
            WHERE account = $1 ORDER BY id";
        let rows = self.db().rows(LIST, [account.into()].into()).await?;
        let now_ms = self.now_ms();
        let info = |row: &datamesh_db::Row| {
            let expires_at_ms = row.opt_int(4)?.map(i64::cast_unsigned);
            let is_over = expires_at_ms.is_some_and(|expires_at_ms| expires_at_ms <= now_ms);
            let status = match (row.opt_int(2)?.is_some() || is_over, row.bool(5)?) {
                (true, _) => KeyStatus::Revoked,
                (false, true) => KeyStatus::Rotating,
                (false, false) => KeyStatus::Active,
            };
            Ok(AccessKeyInfo {
                access_key_id: row.text(0)?.to_owned(),
                account,
                status,
                created_at_ms: row.uint(1)?,
                expires_at_ms,
                policy: row.opt_text(3)?.map(str::to_owned),
            })
        };
        rows.iter().map(info).collect()
    }

    /// Replaces or removes the policy that narrows a key down: at once on this gateway, within 5 s on every other.
    ///
    /// # Errors
    /// [`AccountsError::NoSuchAccessKey`], [`AccountsError::InvalidPolicy`].
    pub async fn set_key_policy(
        &self,
        access_key_id: &str,
        policy: Option<String>,
    ) -> Result<(), AccountsError> {
        const SET: &str = "UPDATE access_key SET policy = $2 WHERE id = $1";
        check_policy(policy.as_deref())?;
        let (id, params) = (access_key_id.to_owned(), [Value::from(access_key_id), policy.into()]);
        let changed = self
            .write(move |tx| {
                let (id, params) = (id.clone(), params.clone());
                Box::pin(change_one(tx, SET, params, id))
            })
            .await;
        // Also after an error: the outcome may be unknown.
        self.credentials().forget(access_key_id);
        changed
    }

    /// Revokes a key for good: at once on this gateway, within 5 s on every other. Doing so again is no error.
    pub async fn revoke_key(&self, access_key_id: &str) -> Result<(), AccountsError> {
        const REVOKE: &str =
            "UPDATE access_key SET revoked_at_ms = COALESCE(revoked_at_ms, $2) WHERE id = $1";
        let (id, params) = (access_key_id.to_owned(), [Value::from(access_key_id), self.now_ms().into()]);
        let changed = self
            .write(move |tx| {
                let (id, params) = (id.clone(), params.clone());
                Box::pin(change_one(tx, REVOKE, params, id))
            })
            .await;
        // Also after an error: the outcome may be unknown.
        self.credentials().forget(access_key_id);
        changed
    }
}

/// A key's row.
#[derive(Clone)]
pub(crate) struct KeyRow {
    pub(crate) id: String,
    pub(crate) account: AccountId,
    pub(crate) sealed: Vec<u8>,
    pub(crate) policy: Option<String>,
    pub(crate) expires_at_ms: Option<u64>,
    pub(crate) now_ms: u64,
}

/// Makes a key.
///
/// # Errors
/// [`AccountsError::NoSuchAccount`], [`AccountsError::AccessKeyExists`].
pub(crate) async fn insert(tx: &mut Tx, row: KeyRow) -> Result<(), AccountsError> {
    const INSERT: &str = "INSERT INTO access_key (id, account, sealed, created_at_ms, policy, expires_at_ms)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
    let KeyRow { id, account, sealed, policy, expires_at_ms, now_ms } = row;
    let exists =
        tx.query_opt("SELECT 1 FROM account WHERE id = $1 AND status <> 'erased'", &[account.into()]).await?;
    if exists.is_none() {
        return Err(AccountsError::NoSuchAccount { account });
    }
    let params =
        [Value::from(&id), account.into(), sealed.into(), now_ms.into(), policy.into(), expires_at_ms.into()];
    match tx.execute(INSERT, &params).await? {
        0 => Err(AccountsError::AccessKeyExists { access_key_id: id }),
        _ => Ok(()),
    }
}

/// Runs a statement that changes the key `id`.
async fn change_one(
    tx: &mut Tx,
    sql: &'static str,
    params: [Value; 2],
    id: String,
) -> Result<(), AccountsError> {
    match tx.execute(sql, &params).await? {
        0 => Err(AccountsError::NoSuchAccessKey { access_key_id: id }),
        _ => Ok(()),
    }
}

fn check_policy(policy: Option<&str>) -> Result<(), AccountsError> {
    policy.map(|text| Policy::for_identity(text, Policy::KEY_LEN_MAX)).transpose()?;
    Ok(())
}

/// What the secret is sealed under.
pub(crate) fn secret_name(access_key_id: &str) -> String {
    format!("access-key/{access_key_id}")
}

fn is_access_key_id(id: &str) -> bool {
    (3..=128).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

pub(crate) const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Without the `+` and `/` of base64: such a secret needs no quoting anywhere. 40 characters are 238 bits.
pub(crate) const BASE62: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

pub(crate) fn random_text<const LEN: usize>(alphabet: &[u8]) -> Result<String, AccountsError> {
    // Bytes past the last whole multiple of the alphabet's length would favour its first characters.
    let fair = 256 / alphabet.len() * alphabet.len();
    let mut text = String::with_capacity(LEN);
    while text.len() < LEN {
        let mut bytes = [0; LEN];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| AccountsError::Random)?;
        let fair_bytes = bytes.into_iter().map(usize::from).filter(|byte| *byte < fair);
        let wanted = LEN - text.len();
        text.extend(fair_bytes.take(wanted).map(|byte| char::from(alphabet[byte % alphabet.len()])));
    }
    Ok(text)
}

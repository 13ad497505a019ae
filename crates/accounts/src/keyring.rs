//! The keys of the data path, in the database, sealed under the KEK.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use datamesh_db::{Db, Tx};
use datamesh_pipeline::{DomainKey, ShardAuthKey};
use datamesh_types::{AccountId, DomainId};
use zeroize::Zeroizing;

use crate::cache::Cache;
use crate::named_key::names_of;
use crate::{AccountsError, Kek, schema};

/// Present in every database, so that a wrong KEK shows when the ring is opened.
const CHECK: &str = "check";
const SHARD_AUTH: &str = "shard-auth";
const EMAIL_INDEX: &str = "email-index";
const SESSIONS: &str = "sessions";
const AUDIT: &str = "audit";
const LOGINS: &str = "logins";
const PASSWORDS: &str = "passwords";

/// How long an opened key is kept: one that was destroyed by another gateway opens nothing after this.
const OPENED_FOR: Duration = Duration::from_mins(5);
/// Domain keys kept opened: some 4 KiB each.
const DOMAINS_CACHED: usize = 4_096;
const NAMED_KEYS_CACHED: usize = 1_024;

/// The key ring. Clones share it.
#[derive(Clone)]
pub struct Keyring {
    shared: Arc<Shared>,
}

struct Shared {
    db: Db,
    kek: Kek,
    domains: Cache<DomainId, Opened>,
    named: Cache<String, Opened>,
}

/// A key that was opened, and when.
#[derive(Clone)]
pub(crate) struct Opened {
    pub key: DomainKey,
    since: Instant,
}

impl Opened {
    pub fn new(key: DomainKey) -> Self {
        Self { key, since: Instant::now() }
    }

    pub fn is_fresh(&self) -> bool {
        self.since.elapsed() < OPENED_FOR
    }
}

impl Keyring {
    /// Opens the ring of a database, creating its tables and its first keys when it is new.
    ///
    /// # Errors
    /// [`AccountsError::WrongKek`] when the database was sealed under another key.
    pub async fn open(db: Db, kek: Kek) -> Result<Self, AccountsError> {
        db.migrate(schema::COMPONENT, schema::MIGRATIONS).await?;
        let (domains, named) = (Cache::new(DOMAINS_CACHED), Cache::new(NAMED_KEYS_CACHED));
        let ring = Self { shared: Arc::new(Shared { db, kek, domains, named }) };
        match ring.key(CHECK.to_owned()).await {
            Err(AccountsError::Damaged { .. } | AccountsError::UnknownKek { .. }) => {
                Err(AccountsError::WrongKek)
            }
            other => other.map(|_| ring),
        }
    }

    /// The key that shard tags are made with.
    pub async fn shard_auth_key(&self) -> Result<ShardAuthKey, AccountsError> {
        self.key(SHARD_AUTH.to_owned()).await.map(|key| ShardAuthKey::from_bytes(*key))
    }

    /// The key of a dedup domain, created when first asked for.
    pub async fn domain_key(&self, domain: DomainId) -> Result<DomainKey, AccountsError> {
        if let Some(opened) = self.shared.domains.get(&domain, Opened::is_fresh) {
            return Ok(opened.key);
        }
        let key = DomainKey::from_bytes(*Box::pin(self.key(domain_name(domain))).await?);
        self.shared.domains.insert(domain, Opened::new(key.clone()));
        Ok(key)
    }

    /// Destroys the keys of an account: that of its domain, and those with names. They are written over first, so that the
    /// page of the database that they are on does not keep them.
    pub(crate) async fn destroy(
        &self,
        tx: &mut Tx,
        account: AccountId,
        domain: DomainId,
    ) -> Result<(), AccountsError> {
        const NAMED: &str = "SELECT name FROM sealed_key WHERE name >= $1 AND name < $2 ORDER BY name";
        const OVERWRITE: &str = "UPDATE sealed_key SET sealed = $2 WHERE name = $1";
        const DELETE: &str = "DELETE FROM sealed_key WHERE name = $1";
        let (first, end) = names_of(account);
        let mut names = vec![domain_name(domain)];
        for row in tx.query(NAMED, &[first.into(), end.into()]).await? {
            names.push(row.text(0)?.to_owned());
        }
        for name in names {
            let nothing = self.draw_key(&name)?;
            tx.execute(OVERWRITE, &[(&name).into(), nothing.into()]).await?;
            tx.execute(DELETE, &[name.into()]).await?;
        }
        Ok(())
    }

    /// Forgets opened keys of an account.
    pub(crate) fn forget(&self, account: AccountId, domain: DomainId) {
        self.shared.domains.remove(&domain);
        let (first, end) = names_of(account);
        let names = first..end;
        self.shared.named.retain(|name| !names.contains(name));
    }

    /// A keyed hash under which e-mail addresses are unique, without being readable in the database.
    pub(crate) async fn email_hash(&self, email: &str) -> Result<Vec<u8>, AccountsError> {
        let key = self.key(EMAIL_INDEX.to_owned()).await?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*key);
        Ok(hmac::sign(&key, email.to_lowercase().as_bytes()).as_ref().to_vec())
    }

    /// The key that temporary credentials are made with.
    pub(crate) async fn session_key(&self) -> Result<Zeroizing<[u8; 32]>, AccountsError> {
        self.key(SESSIONS.to_owned()).await
    }

    /// The seed of the key that the audit log's heads are signed with.
    pub(crate) async fn audit_key(&self) -> Result<Zeroizing<[u8; 32]>, AccountsError> {
        self.key(AUDIT.to_owned()).await
    }

    /// The key that tokens of letters and challenges are made with.
    pub(crate) async fn login_key(&self) -> Result<Zeroizing<[u8; 32]>, AccountsError> {
        self.key(LOGINS.to_owned()).await
    }

    /// The secret without which no password can be guessed.
    pub(crate) async fn password_key(&self) -> Result<Zeroizing<[u8; 32]>, AccountsError> {
        self.key(PASSWORDS.to_owned()).await
    }

    pub(crate) fn kek(&self) -> &Kek {
        &self.shared.kek
    }

    pub(crate) fn db(&self) -> &Db {
        &self.shared.db
    }

    pub(crate) fn named_keys(&self) -> &Cache<String, Opened> {
        &self.shared.named
    }

    /// The stored key `name`; the first caller of all creates it.
    async fn key(&self, name: String) -> Result<Zeroizing<[u8; 32]>, AccountsError> {
        if let Some(key) = self.existing_key(name.clone()).await? {
            return Ok(key);
        }
        let sealed = self.create_key(name.clone()).await?;
        self.open_key(name, &sealed)
    }

    /// The stored key `name`, if there is one.
    pub(crate) async fn existing_key(
        &self,
        name: String,
    ) -> Result<Option<Zeroizing<[u8; 32]>>, AccountsError> {
        let wanted = name.clone();
        let stored: Option<Vec<u8>> =
            self.shared.db.read(move |tx| Box::pin(stored_key(tx, wanted.clone()))).await?;
        stored.map(|sealed| self.open_key(name, &sealed)).transpose()
    }

    fn open_key(&self, name: String, sealed: &[u8]) -> Result<Zeroizing<[u8; 32]>, AccountsError> {
        let opened = self.shared.kek.open(&name, sealed)?;
        let key = <[u8; 32]>::try_from(opened.as_slice()).map_err(|_| AccountsError::Damaged { name })?;
        Ok(Zeroizing::new(key))
    }

    /// A fresh key, sealed under `name`.
    pub(crate) fn draw_key(&self, name: &str) -> Result<Vec<u8>, AccountsError> {
        let mut key = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut *key).map_err(|_| AccountsError::Random)?;
        self.shared.kek.seal(name, &*key)
    }

    async fn create_key(&self, name: String) -> Result<Vec<u8>, AccountsError> {
        let sealed = self.draw_key(&name)?;
        self.shared
            .db
            .write(move |tx| {
                let (name, sealed) = (name.clone(), sealed.clone());
                Box::pin(async move {
                    tx.execute(
                        "INSERT INTO sealed_key (name, sealed) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                        &[name.clone().into(), sealed.clone().into()],
                    )
                    .await?;
                    // Another gateway may have been faster: what is stored counts.
                    Ok(stored_key(tx, name).await?.unwrap_or(sealed))
                })
            })
            .await
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(..)")
    }
}

fn domain_name(domain: DomainId) -> String {
    format!("domain/{domain}")
}

async fn stored_key(tx: &mut Tx, name: String) -> Result<Option<Vec<u8>>, AccountsError> {
    let row = tx.query_opt("SELECT sealed FROM sealed_key WHERE name = $1", &[name.into()]).await?;
    Ok(row.map(|mut row| row.take_blob(0)).transpose()?)
}

//! Named keys: what S3 calls KMS keys. An account's objects may be sealed under one of them instead of the account's
//! own key; each is a dedup domain of its own.

use datamesh_db::Value;
use datamesh_pipeline::DomainKey;
use datamesh_types::AccountId;

use crate::keyring::Opened;
use crate::{AccountsError, Keyring};

const NAME_LEN_MAX: usize = 256;

impl Keyring {
    /// Makes a key of the account's, with random bytes that nobody gets to see.
    ///
    /// # Errors
    /// [`AccountsError::InvalidKeyName`], [`AccountsError::KeyNameTaken`].
    pub async fn create_named_key(&self, account: AccountId, name: &str) -> Result<(), AccountsError> {
        const INSERT: &str = "INSERT INTO sealed_key (name, sealed) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        if !is_name(name) {
            return Err(AccountsError::InvalidKeyName);
        }
        let stored = stored_name(account, name);
        let params = [Value::from(&stored), self.draw_key(&stored)?.into()];
        let inserted = self.db().execute(INSERT, params.into()).await?;
        if inserted == 0 { Err(AccountsError::KeyNameTaken { name: name.to_owned() }) } else { Ok(()) }
    }

    /// The account's key of this name. `None`: there is none.
    pub async fn named_key(
        &self,
        account: AccountId,
        name: &str,
    ) -> Result<Option<DomainKey>, AccountsError> {
        if !is_name(name) {
            return Ok(None);
        }
        let stored = stored_name(account, name);
        if let Some(opened) = self.named_keys().get(&stored, Opened::is_fresh) {
            return Ok(Some(opened.key));
        }
        let Some(bytes) = self.existing_key(stored.clone()).await? else { return Ok(None) };
        let key = DomainKey::from_bytes(*bytes);
        self.named_keys().insert(stored, Opened::new(key.clone()));
        Ok(Some(key))
    }

    /// The names of the account's keys, in order.
    pub async fn list_named_keys(&self, account: AccountId) -> Result<Vec<String>, AccountsError> {
        const LIST: &str = "SELECT name FROM sealed_key WHERE name >= $1 AND name < $2 ORDER BY name";
        let (prefix, end) = names_of(account);
        let rows = self.db().rows(LIST, [(&prefix).into(), (&end).into()].into()).await?;
        rows.iter().map(|row| Ok(row.text(0)?[prefix.len()..].to_owned())).collect()
    }
}

/// Where the stored names of an account's keys begin, and what follows them.
pub(crate) fn names_of(account: AccountId) -> (String, String) {
    // '0' follows '/', which ends the prefix.
    (stored_name(account, ""), format!("named/{account}0"))
}

fn stored_name(account: AccountId, name: &str) -> String {
    format!("named/{account}/{name}")
}

fn is_name(name: &str) -> bool {
    (1..=NAME_LEN_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_/:+=.@".contains(&byte))
}

//! Replacing the key-encryption key, without touching any data: only the few secrets in the database are sealed
//! anew.
//!
//! In this order, each step complete before the next, any of them repeatable:
//!
//! 1. [`Accounts::add_kek`] puts a new key into this gateway's file. It does not seal yet. Where several gateways run,
//!    give the file to all of them.
//! 2. [`Accounts::rotate_kek`] lets the new key seal, and seals anew what was not sealed under it. Give the file to
//!    all gateways again, and repeat the step for what they sealed meanwhile.
//! 3. [`Accounts::retire_kek`] takes the old key out of the file, once nothing is sealed under it.
//!
//! A crash in between leaves secrets under several keys, all of which the file has.

use datamesh_db::{Db, Row, Tx, Value};
use datamesh_types::AccountId;
use tracing::info;

use crate::access_key::secret_name;
use crate::idempotency::answer_name;
use crate::identity::address_name;
use crate::kek::{KekRole, SEALED_HEAD_LEN};
use crate::user::email_name;
use crate::{Accounts, AccountsError, KekId, Keyring};

/// Secrets sealed anew in one transaction.
const PAGE: usize = 256;

/// A column of sealed secrets.
struct SealedColumn {
    /// Key and secret of the rows whose key is greater than `$1`, at most `$2`.
    page: &'static str,
    /// Sets the secret of row `$1` to `$2` if it still is `$3`.
    replace: &'static str,
    /// How many secrets have which head.
    heads: &'static str,
    /// The name that the secret of a row was sealed under.
    name: fn(&Row) -> Result<String, AccountsError>,
    /// The key of a row.
    key: fn(&Row) -> Result<Value, AccountsError>,
    /// What sorts before every key.
    first: fn() -> Value,
}

const COLUMNS: [SealedColumn; 5] = [
    SealedColumn {
        page: "SELECT name, sealed FROM sealed_key WHERE name > $1 ORDER BY name LIMIT $2",
        replace: "UPDATE sealed_key SET sealed = $2 WHERE name = $1 AND sealed = $3",
        heads: "SELECT substr(sealed, 1, 5), COUNT(*) FROM sealed_key GROUP BY substr(sealed, 1, 5)",
        name: |row| Ok(row.text(0)?.to_owned()),
        key: |row| Ok(row.text(0)?.into()),
        first: || Value::from(""),
    },
    SealedColumn {
        page: "SELECT id, sealed FROM access_key WHERE id > $1 ORDER BY id LIMIT $2",
        replace: "UPDATE access_key SET sealed = $2 WHERE id = $1 AND sealed = $3",
        heads: "SELECT substr(sealed, 1, 5), COUNT(*) FROM access_key GROUP BY substr(sealed, 1, 5)",
        name: |row| Ok(secret_name(row.text(0)?)),
        key: |row| Ok(row.text(0)?.into()),
        first: || Value::from(""),
    },
    SealedColumn {
        page: "SELECT id, email FROM account WHERE id > $1 ORDER BY id LIMIT $2",
        replace: "UPDATE account SET email = $2 WHERE id = $1 AND email = $3",
        heads: "SELECT substr(email, 1, 5), COUNT(*) FROM account GROUP BY substr(email, 1, 5)",
        name: |row| Ok(email_name(AccountId(row.bytes(0)?))),
        key: |row| Ok(row.blob(0)?.into()),
        first: || Value::from(Vec::new()),
    },
    SealedColumn {
        page: "SELECT id, answer FROM answered_request WHERE id > $1 AND answer IS NOT NULL ORDER BY id LIMIT $2",
        replace: "UPDATE answered_request SET answer = $2 WHERE id = $1 AND answer = $3",
        heads: "SELECT substr(answer, 1, 5), COUNT(*) FROM answered_request WHERE answer IS NOT NULL
            GROUP BY substr(answer, 1, 5)",
        name: |row| Ok(answer_name(row.text(0)?)),
        key: |row| Ok(row.text(0)?.into()),
        first: || Value::from(""),
    },
    SealedColumn {
        page: "SELECT id, email FROM registration WHERE id > $1 ORDER BY id LIMIT $2",
        replace: "UPDATE registration SET email = $2 WHERE id = $1 AND email = $3",
        heads: "SELECT substr(email, 1, 5), COUNT(*) FROM registration GROUP BY substr(email, 1, 5)",
        name: |row| Ok(address_name(row.blob(0)?)),
        key: |row| Ok(row.blob(0)?.into()),
        first: || Value::from(Vec::new()),
    },
];

const _: () = assert!(SEALED_HEAD_LEN == 5, "the statements above cut heads of another length");

/// A key that secrets are sealed under, or could be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KekKey {
    /// Its id; `None` stands for secrets of an older format, which names none.
    pub id: Option<KekId>,
    /// What this gateway's file has it for; `None` when it lacks the key.
    pub role: Option<KekRole>,
    /// How many secrets are sealed under it.
    pub secrets: u64,
}

impl Accounts {
    /// The keys of this gateway's file and those that secrets are sealed under, with how many these are.
    pub async fn kek_keys(&self) -> Result<Vec<KekKey>, AccountsError> {
        let of_file = self.keyring().kek().keys().into_iter();
        let mut keys: Vec<KekKey> =
            of_file.map(|(id, role)| KekKey { id: Some(id), role: Some(role), secrets: 0 }).collect();
        for (id, secrets) in heads(self.db()).await? {
            match keys.iter_mut().find(|key| key.id == id) {
                Some(key) => key.secrets += secrets,
                None => keys.push(KekKey { id, role: None, secrets }),
            }
        }
        Ok(keys)
    }

    /// Adds a random key to this gateway's file. It does not seal yet. A key that was added before and does not seal
    /// yet either stays the next one.
    pub fn add_kek(&self) -> Result<KekId, AccountsError> {
        let id = self.keyring().kek().add()?;
        info!(%id, "added a key-encryption key");
        Ok(id)
    }

    /// Lets the added key seal, if there is one, and seals anew every secret that is sealed under another. How many
    /// these were.
    pub async fn rotate_kek(&self) -> Result<u64, AccountsError> {
        let sealing = self.keyring().kek().promote()?;
        let mut resealed = 0;
        for column in &COLUMNS {
            resealed += reseal_column(self.db(), self.keyring(), column, sealing).await?;
        }
        info!(id = %sealing, resealed, "sealed secrets under the newest key-encryption key");
        Ok(resealed)
    }

    /// Takes the keys that sealed before out of this gateway's file, and returns them.
    ///
    /// # Errors
    /// [`AccountsError::KekInUse`] while a secret is sealed under another key than the one that seals.
    pub async fn retire_kek(&self) -> Result<Vec<KekId>, AccountsError> {
        let sealing = self.keyring().kek().sealing();
        let others = heads(self.db()).await?.into_iter().filter(|(id, _)| *id != Some(sealing));
        match others.map(|(_, secrets)| secrets).sum() {
            0 => {
                let retired = self.keyring().kek().retire()?;
                info!(?retired, "retired key-encryption keys");
                Ok(retired)
            }
            secrets => Err(AccountsError::KekInUse { secrets }),
        }
    }
}

/// How many secrets are sealed under which key; keys may recur.
async fn heads(db: &Db) -> Result<Vec<(Option<KekId>, u64)>, AccountsError> {
    db.scan(|tx| {
        Box::pin(async move {
            let mut heads = Vec::new();
            for column in &COLUMNS {
                for row in tx.query(column.heads, &[]).await? {
                    heads.push((KekId::of_sealed(row.blob(0)?), row.uint(1)?));
                }
            }
            Ok(heads)
        })
    })
    .await
}

async fn reseal_column(
    db: &Db,
    keyring: &Keyring,
    column: &'static SealedColumn,
    sealing: KekId,
) -> Result<u64, AccountsError> {
    let mut after = (column.first)();
    let mut total = 0;
    loop {
        let (keyring, from) = (keyring.clone(), after.clone());
        let page = db
            .write(move |tx| {
                let (keyring, from) = (keyring.clone(), from.clone());
                Box::pin(async move { reseal_page(tx, &keyring, column, sealing, from).await })
            })
            .await?;
        total += page.resealed;
        match page.last {
            Some(last) => after = last,
            None => return Ok(total),
        }
    }
}

struct Page {
    resealed: u64,
    /// The key of its last row; `None` when there were no rows.
    last: Option<Value>,
}

async fn reseal_page(
    tx: &mut Tx,
    keyring: &Keyring,
    column: &SealedColumn,
    sealing: KekId,
    after: Value,
) -> Result<Page, AccountsError> {
    let mut page = Page { resealed: 0, last: None };
    for row in tx.query(column.page, &[after, PAGE.into()]).await? {
        let key = (column.key)(&row)?;
        page.last = Some(key.clone());
        let old = row.blob(1)?;
        if KekId::of_sealed(old) == Some(sealing) {
            continue;
        }
        let name = (column.name)(&row)?;
        let secret = keyring.kek().open(&name, old)?;
        let new = keyring.kek().seal(&name, &secret)?;
        page.resealed += tx.execute(column.replace, &[key, new.into(), old.into()]).await?;
    }
    Ok(page)
}

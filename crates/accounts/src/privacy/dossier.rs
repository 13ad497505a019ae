//! What is known about an account, as JSON: each table that has something about it is a part, read page by page.
//!
//! Secrets are not in it: neither sealed ones nor hashes that passwords could be guessed from.

mod part;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use datamesh_db::{Row, Value as Sql};
use datamesh_types::AccountId;
use serde_json::{Map, Value, json};

use crate::clock::time_text;
use crate::identity::address_name;
use crate::metering::join;
use crate::user::email_name;
use crate::{Accounts, AccountsError, AuditEntry, AuditFilter};

pub use part::{DossierCursor, DossierPart};
use part::{Kind, PARTS};

/// Rows of a page.
const PAGE: usize = 2_000;

/// What entries of the audit log name beside accounts: the part and the field with the ids, and what precedes them there.
const NAMED: [(&str, &str, &str); 4] = [
    ("access-keys", "access_key_id", "key"),
    ("holds", "hold_id", "hold"),
    ("abuse-cases", "case_id", "case"),
    ("invoices", "invoice_id", "invoice"),
];

/// Reads what is known about one account.
#[derive(Debug, Clone)]
pub struct Dossier {
    accounts: Accounts,
    account: AccountId,
}

impl Accounts {
    /// What is known about an account.
    pub fn dossier(&self, account: AccountId) -> Dossier {
        Dossier { accounts: self.clone(), account }
    }
}

impl Dossier {
    /// Its parts. What is known about what the account stores is not among them.
    pub const fn parts() -> &'static [DossierPart] {
        PARTS
    }

    /// The first page of a part, or the one after another, and where it ends if there may be more. What is there all the
    /// while is told once, whatever comes and goes meanwhile.
    ///
    /// # Errors
    /// Those of the database; [`AccountsError::Damaged`] for what cannot be opened.
    pub async fn page(
        &self,
        part: &'static DossierPart,
        after: Option<&DossierCursor>,
    ) -> Result<(Vec<Value>, Option<DossierCursor>), AccountsError> {
        let mut params: Vec<Sql> = vec![self.account.into(), PAGE.into()];
        let mut sql = part.first;
        if let Some(DossierCursor(keys)) = after {
            params.extend(keys.iter().cloned());
            sql = part.next;
        }
        let rows = self.accounts.db().rows(sql, params.into()).await?;
        let told = rows.iter().map(|row| self.tell(part, row)).collect::<Result<_, _>>()?;
        let last = rows.last().filter(|_| rows.len() == PAGE);
        Ok((told, last.map(|row| part.cursor(row)).transpose()?))
    }

    /// The names of the keys that objects are encrypted with by name.
    pub async fn encryption_keys(&self) -> Result<Vec<Value>, AccountsError> {
        let names = self.accounts.keyring().list_named_keys(self.account).await?;
        Ok(names.into_iter().map(|name| json!({ "name": name })).collect())
    }

    /// The entries of the audit log that name the account, one of its keys, holds or cases.
    pub async fn audit_entries(&self) -> Result<Vec<AuditEntry>, AccountsError> {
        let mut names = HashSet::from([format!("user:{}", self.account)]);
        for (part, field, kind) in NAMED {
            names.extend(self.all(part, field).await?.iter().map(|id| format!("{kind}:{id}")));
        }
        let (mut found, mut filter) = (Vec::new(), AuditFilter::default());
        loop {
            let entries = self.accounts.audit_entries(filter, PAGE).await?;
            let Some(last) = entries.last() else { return Ok(found) };
            filter.after = last.sequence;
            let is_named = |entry: &AuditEntry| entry.target.split('/').any(|name| names.contains(name));
            found.extend(entries.into_iter().filter(is_named));
        }
    }

    /// A field of every row of a part.
    async fn all(&self, part: &str, field: &str) -> Result<Vec<String>, AccountsError> {
        let mut all = Vec::new();
        let Some(part) = PARTS.iter().find(|known| known.name == part) else { return Ok(all) };
        let mut after = None;
        loop {
            let (rows, next) = self.page(part, after.as_ref()).await?;
            all.extend(rows.iter().filter_map(|row| row[field].as_str().map(str::to_owned)));
            if next.is_none() {
                return Ok(all);
            }
            after = next;
        }
    }

    fn tell(&self, part: &DossierPart, row: &Row) -> Result<Value, AccountsError> {
        let mut told = Map::new();
        for (index, (name, kind)) in part.columns.iter().enumerate() {
            let value = row.value(index)?;
            let value = match kind {
                Kind::Silent => continue,
                Kind::Plain => plain(value),
                Kind::Presence => Value::Bool(*value != Sql::Null),
                Kind::Time => row.opt_int(index)?.map(i64::cast_unsigned).and_then(time_text).into(),
                Kind::Bytes => row.opt_blob(index)?.map(hex::encode).into(),
                Kind::Document => row.opt_text(index)?.map_or(Value::Null, document),
                Kind::Wide => join(row.int(index)?, row.int(index + 1)?).to_string().into(),
                Kind::Email => self.open(email_name(self.account), row.blob(index)?)?.into(),
                Kind::Address => self.open(address_name(row.blob(0)?), row.blob(index)?)?.into(),
            };
            told.insert((*name).to_owned(), value);
        }
        Ok(told.into())
    }

    fn open(&self, name: String, sealed: &[u8]) -> Result<String, AccountsError> {
        let text = self.accounts.keyring().kek().open(&name, sealed)?;
        String::from_utf8(text.to_vec()).map_err(|_| AccountsError::Damaged { name })
    }
}

fn plain(value: &Sql) -> Value {
    match value {
        Sql::Null => Value::Null,
        Sql::Int(number) => (*number).into(),
        Sql::Text(text) => text.as_str().into(),
        Sql::Blob(bytes) => hex::encode(bytes).into(),
    }
}

/// What is no JSON is told as it is.
fn document(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

//! Accounts as answers show them: an id, and the name that goes with it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use datamesh_types::AccountId;
use s3s::S3Result;
use s3s::dto::Owner;

use super::{S3Gateway, errors};

/// The owners of a listing's entries, each looked up once.
pub(super) struct Owners(HashMap<AccountId, Owner>);

impl Owners {
    /// One of them.
    pub(super) fn show(&self, account: AccountId) -> Option<Owner> {
        self.0.get(&account).cloned()
    }
}

impl S3Gateway {
    /// Accounts as owners, however often each comes.
    pub(super) async fn shown_owners(&self, accounts: impl Iterator<Item = AccountId>) -> S3Result<Owners> {
        let mut shown = HashMap::new();
        for account in accounts {
            if let Entry::Vacant(place) = shown.entry(account) {
                place.insert(self.shown_owner(account).await?);
            }
        }
        Ok(Owners(shown))
    }

    /// An account as an owner.
    pub(super) async fn shown_owner(&self, account: AccountId) -> S3Result<Owner> {
        let name = self.accounts.display_name(account).await.map_err(errors::accounts)?;
        let id = account.to_string();
        let display_name = name.map_or_else(|| id.clone(), |name| name.to_string());
        Ok(Owner { display_name: Some(display_name), id: Some(id) })
    }
}

//! Replacing access keys: a new one takes an old one's place, and both work for a while.

use std::sync::Arc;
use std::time::Duration;

use datamesh_db::Tx;
use datamesh_types::AccountId;

use crate::access_key::{BASE32, BASE62, KeyRow, insert, random_text, secret_name};
use crate::{AccessKey, Accounts, AccountsError, Secret};

impl Accounts {
    /// Replaces a key by a new one of the same account with the same policy and the same end, if it has one; the old one
    /// works for `overlap` more. Doing so with a key that was replaced before is refused, so that no key lives on and on.
    ///
    /// # Errors
    /// [`AccountsError::NoSuchAccessKey`].
    pub async fn rotate_key(
        &self,
        access_key_id: &str,
        overlap: Duration,
    ) -> Result<AccessKey, AccountsError> {
        let new_id = format!("AKIA{}", random_text::<16>(BASE32)?);
        let secret = Secret::new(random_text::<40>(BASE62)?);
        let sealed = self.keyring().kek().seal(&secret_name(&new_id), secret.expose().as_bytes())?;
        let now_ms = self.now_ms();
        let replacement = Arc::new(Replacement {
            old_id: access_key_id.to_owned(),
            new_id,
            sealed,
            now_ms,
            old_ends_at_ms: now_ms.saturating_add(overlap.as_millis() as u64),
        });
        let shared = Arc::clone(&replacement);
        let replaced = self
            .write(move |tx| {
                let shared = Arc::clone(&shared);
                Box::pin(async move { replace(tx, &shared).await })
            })
            .await;
        // Also after an error: the outcome may be unknown.
        self.credentials().forget(access_key_id);
        self.credentials().forget(&replacement.new_id);
        let access_key_id = replacement.new_id.clone();
        let (account, expires_at_ms) = replaced?;
        Ok(AccessKey { access_key_id, secret_access_key: secret, account, expires_at_ms })
    }
}

/// A key that takes another's place.
struct Replacement {
    old_id: String,
    new_id: String,
    sealed: Vec<u8>,
    now_ms: u64,
    old_ends_at_ms: u64,
}

/// Ends a key and puts a new one in its place; whose they are, and when the new one ends by itself.
async fn replace(tx: &mut Tx, new: &Replacement) -> Result<(AccountId, Option<u64>), AccountsError> {
    // The statement that locks the old key reads what the new one takes over: a change that narrows it down is waited for.
    const REPLACE: &str = "UPDATE access_key SET replaced = 1
        WHERE id = $1 AND revoked_at_ms IS NULL AND replaced = 0
            AND (expires_at_ms IS NULL OR expires_at_ms > $2)
        RETURNING account, policy, expires_at_ms";
    const END: &str = "UPDATE access_key SET expires_at_ms = $2 WHERE id = $1";
    let replaced = tx.query(REPLACE, &[(&new.old_id).into(), new.now_ms.into()]).await?;
    let missing = || AccountsError::NoSuchAccessKey { access_key_id: new.old_id.clone() };
    let old = replaced.first().ok_or_else(missing)?;
    let expires_at_ms = old.opt_int(2)?.map(i64::cast_unsigned);
    let old_ends_at_ms = expires_at_ms.map_or(new.old_ends_at_ms, |own| own.min(new.old_ends_at_ms));
    tx.execute(END, &[(&new.old_id).into(), old_ends_at_ms.into()]).await?;
    let row = KeyRow {
        id: new.new_id.clone(),
        account: AccountId(old.bytes(0)?),
        sealed: new.sealed.clone(),
        policy: old.opt_text(1)?.map(str::to_owned),
        expires_at_ms,
        now_ms: new.now_ms,
    };
    let account = row.account;
    insert(tx, row).await?;
    Ok((account, expires_at_ms))
}

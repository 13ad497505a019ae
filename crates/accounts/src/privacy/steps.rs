//! The steps of an erasure that concern the account itself. What it stores is deleted by others, under
//! [`Accounts::erasure_hook`], between the first and the second.

use std::sync::Arc;

use datamesh_db::{CommitHook, DbError, Tx, TxFuture, Value};
use datamesh_types::{AccountId, DomainId};

use super::erasure::{check_no_legal_hold, unended};
use super::{Erasure, ErasureError, ErasureStatus};
use crate::access_key::secret_name;
use crate::identity::end_sessions;
use crate::owner::Owner;
use crate::user::email_name;
use crate::{Accounts, AccountsError, Keyring, plan, subscription};

/// The plan that an erased account is left on: one that ships, and costs nothing.
const LAST_PLAN: &str = "free";

/// Lets the transaction go on only while its erasure runs and nothing forbids it.
async fn check_running(tx: &mut Tx, erasure: &Erasure, now_ms: u64) -> Result<(), ErasureError> {
    let account = erasure.account;
    check_no_legal_hold(tx, account, now_ms).await?;
    match unended(tx, account).await? {
        Some(found) if found.id == erasure.id && found.status == ErasureStatus::Running => Ok(()),
        _ => Err(ErasureError::NotOpen { account }),
    }
}

/// Why the hook of an erasure refuses its commit.
fn refused(error: ErasureError) -> DbError {
    match error {
        ErasureError::Accounts(AccountsError::Db(error)) => error,
        other => DbError::Rejected { source: Box::new(other) },
    }
}

impl Accounts {
    /// A hook for commits that delete what an account stores because it is erased. It records the change, and refuses it with
    /// an [`ErasureError`] under a legal hold.
    pub fn erasure_hook(&self, erasure: &Erasure) -> Arc<dyn CommitHook> {
        let (accounts, erasure) = (self.clone(), Arc::new(erasure.clone()));
        self.guarded_release_hook(move |tx, _| {
            let (erasure, now_ms) = (Arc::clone(&erasure), accounts.now_ms());
            Box::pin(async move { check_running(tx, &erasure, now_ms).await.map_err(refused) })
        })
    }

    /// Whether an erasure that has begun may go on.
    ///
    /// # Errors
    /// [`ErasureError::Held`], [`ErasureError::NotOpen`].
    pub async fn check_erasure(&self, erasure: &Erasure) -> Result<(), ErasureError> {
        self.run_step(erasure, |_, _| Box::pin(async { Ok(()) })).await
    }

    /// Revokes the account's access keys, forgets their secrets, and logs everybody out. The keys' ids stay taken.
    ///
    /// # Errors
    /// As [`Accounts::check_erasure`].
    pub async fn erase_access(&self, erasure: &Erasure) -> Result<(), ErasureError> {
        let keys = self.list_keys(erasure.account).await?;
        let (keyring, now_ms) = (self.keyring().clone(), self.now_ms());
        self.run_step(erasure, move |tx, account| {
            let keyring = keyring.clone();
            Box::pin(async move {
                end_sessions(tx, account).await?;
                erase_access_keys(tx, &keyring, account, now_ms).await
            })
        })
        .await?;
        for key in keys {
            self.credentials().forget(&key.access_key_id);
        }
        Ok(())
    }

    /// Destroys the keys that everything of the account is sealed with: that of its dedup domain, and the named ones. No
    /// backup of a node, and no node, can be read with what is left. Gateways that have one of them opened forget it within
    /// minutes.
    ///
    /// # Errors
    /// As [`Accounts::check_erasure`].
    pub async fn erase_keys(&self, erasure: &Erasure) -> Result<(), ErasureError> {
        let domain = self.domain_of(erasure.account).await?;
        let keyring = self.keyring().clone();
        self.run_step(erasure, move |tx, account| {
            let keyring = keyring.clone();
            Box::pin(async move { Ok(keyring.destroy(tx, account, domain).await?) })
        })
        .await?;
        self.keyring().forget(erasure.account, domain);
        Ok(())
    }

    /// The last step: forgets who the account belonged to. Its address may register again.
    ///
    /// # Errors
    /// As [`Accounts::check_erasure`].
    pub async fn bury(&self, erasure: &Erasure) -> Result<(), ErasureError> {
        let account = erasure.account;
        let mut nobody = [0; 32];
        aws_lc_rs::rand::fill(&mut nobody).map_err(|_| AccountsError::Random)?;
        let email = self.keyring().kek().seal(&email_name(account), b"")?;
        let (id, now_ms) = (erasure.id.clone(), self.now_ms());
        self.run_step(erasure, move |tx, account| {
            let (id, email) = (id.clone(), email.clone());
            Box::pin(async move {
                forget_person(tx, account, nobody.to_vec(), email).await?;
                // From now on nothing is owed for it.
                let plan = plan::newest(tx, LAST_PLAN).await?;
                subscription::move_to(tx, account, &plan, now_ms).await?;
                end(tx, &id, now_ms).await
            })
        })
        .await?;
        self.names().remove(&account);
        self.limits_changed(&Owner::Account(account));
        Ok(())
    }

    async fn domain_of(&self, account: AccountId) -> Result<DomainId, AccountsError> {
        let user = self.user(account).await?;
        user.map(|user| user.domain).ok_or(AccountsError::NoSuchAccount { account })
    }

    async fn run_step<F>(&self, erasure: &Erasure, step: F) -> Result<(), ErasureError>
    where
        F: for<'t> Fn(&'t mut Tx, AccountId) -> TxFuture<'t, (), ErasureError> + Send + Sync + 'static,
    {
        let (shared, now_ms) = (Arc::new((erasure.clone(), step)), self.now_ms());
        self.write(move |tx| {
            let shared = Arc::clone(&shared);
            Box::pin(async move {
                let (erasure, step) = &*shared;
                check_running(tx, erasure, now_ms).await?;
                step(tx, erasure.account).await
            })
        })
        .await
    }
}

async fn erase_access_keys(
    tx: &mut Tx,
    keyring: &Keyring,
    account: AccountId,
    now_ms: u64,
) -> Result<(), ErasureError> {
    const IDS: &str = "SELECT id FROM access_key WHERE account = $1 ORDER BY id";
    const ERASE: &str = "UPDATE access_key SET sealed = $2, policy = NULL,
        revoked_at_ms = COALESCE(revoked_at_ms, $3) WHERE id = $1";
    for row in tx.query(IDS, &[account.into()]).await? {
        let id = row.text(0)?;
        let sealed = keyring.kek().seal(&secret_name(id), b"")?;
        tx.execute(ERASE, &[id.into(), sealed.into(), now_ms.into()]).await?;
    }
    Ok(())
}

/// `nobody` takes the place of the hash that the address is found by.
async fn forget_person(
    tx: &mut Tx,
    account: AccountId,
    nobody: Vec<u8>,
    email: Vec<u8>,
) -> Result<(), ErasureError> {
    // What would name them again; the rows that others count on stay.
    const FORGET: [&str; 5] = [
        "DELETE FROM registration WHERE email_hash = (SELECT email_hash FROM account WHERE id = $1)",
        "DELETE FROM verification_case WHERE account = $1",
        "DELETE FROM login_session WHERE account = $1",
        "UPDATE hold SET reason = '' WHERE account = $1",
        "UPDATE abuse_case SET evidence = '' WHERE account = $1",
    ];
    const BURY: &str = "UPDATE account SET email_hash = $2, email = $3, name = '', password = NULL,
        public_key = NULL, status = 'erased' WHERE id = $1";
    for sql in FORGET {
        tx.execute(sql, &[account.into()]).await?;
    }
    tx.execute(BURY, &[account.into(), nobody.into(), email.into()]).await?;
    Ok(())
}

/// The hold stays: it keeps what is left from being written to.
async fn end(tx: &mut Tx, id: &str, now_ms: u64) -> Result<(), ErasureError> {
    const END: &str = "UPDATE erasure SET status = 'done', ended_at_ms = $2, obstacle = NULL WHERE id = $1";
    tx.execute(END, &[Value::from(id), now_ms.into()]).await?;
    Ok(())
}

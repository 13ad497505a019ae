//! Accounts and who they belong to.

use std::sync::Arc;
use std::time::Duration;

use datamesh_db::{Row, Tx, Value};
use datamesh_types::{AccountId, DomainId};

use crate::{AccountStatus, Accounts, AccountsError, Keyring, subscription};

/// How long a gateway believes what an account is called.
const NAMED_FOR: Duration = Duration::from_mins(1);
/// The longest address that SMTP carries (RFC 5321, 4.5.3.1.3, less its brackets), in bytes.
const EMAIL_LEN_MAX: usize = 254;

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The account.
    pub id: AccountId,
    /// The dedup domain of its buckets.
    pub domain: DomainId,
    /// Its e-mail address.
    pub email: String,
    /// What it is called.
    pub name: String,
    /// Its plan.
    pub plan: String,
    /// Its state.
    pub status: AccountStatus,
    /// When it was created, milliseconds since 1970.
    pub created_at_ms: u64,
}

/// An account to insert.
pub(crate) struct NewUser {
    pub user: User,
    pub email_hash: Vec<u8>,
    pub email_sealed: Vec<u8>,
}

/// The address without what surrounds it, if a letter can be sent to it.
///
/// # Errors
/// [`AccountsError::InvalidEmail`].
pub(crate) fn valid_email(email: &str) -> Result<&str, AccountsError> {
    let email = email.trim();
    // A quoted local part may have spaces; no mailbox that anybody uses has.
    let is_plain = email.len() <= EMAIL_LEN_MAX
        && !email.chars().any(|character| character.is_whitespace() || character.is_control());
    if is_plain && email.parse::<lettre::Address>().is_ok() {
        Ok(email)
    } else {
        Err(AccountsError::InvalidEmail { email: email.to_owned() })
    }
}

impl Accounts {
    /// Creates an account with its own dedup domain, on the newest version of `plan`.
    ///
    /// # Errors
    /// [`AccountsError::UnknownPlan`];
    /// [`AccountsError::EmailTaken`]: addresses are unique whatever their case.
    pub async fn create_user(&self, email: &str, name: &str, plan: &str) -> Result<User, AccountsError> {
        let new = Arc::new(self.new_user(valid_email(email)?, name, plan).await?);
        let user = new.user.clone();
        if let Some(act) = self.act() {
            act.set_target(format!("user:{}", user.id));
        }
        self.write(move |tx| {
            let new = Arc::clone(&new);
            Box::pin(async move { insert(tx, &new).await })
        })
        .await?;
        Ok(user)
    }

    /// An active account that is not there yet.
    pub(crate) async fn new_user(
        &self,
        email: &str,
        name: &str,
        plan: &str,
    ) -> Result<NewUser, AccountsError> {
        let user = User {
            id: AccountId::random(),
            domain: DomainId::random(),
            email: email.to_owned(),
            name: name.to_owned(),
            plan: plan.to_owned(),
            status: AccountStatus::Active,
            created_at_ms: self.now_ms(),
        };
        let email_hash = self.keyring().email_hash(email).await?;
        let email_sealed = self.keyring().kek().seal(&email_name(user.id), email.as_bytes())?;
        Ok(NewUser { user, email_hash, email_sealed })
    }

    /// Up to `limit` accounts with ids after `after`, in the order of their ids.
    pub async fn list_users(
        &self,
        after: Option<AccountId>,
        limit: usize,
    ) -> Result<Vec<User>, AccountsError> {
        const LIST: &str = "SELECT id, domain, email, name, plan, created_at_ms, status FROM account
            WHERE id > $1 ORDER BY id LIMIT $2";
        let after = after.map_or_else(Vec::new, |after| after.0.to_vec());
        let rows = self.db().rows(LIST, [after.into(), limit.into()].into()).await?;
        rows.iter().map(|row| self.user_of(row)).collect()
    }

    /// The account with this id.
    pub async fn user(&self, account: AccountId) -> Result<Option<User>, AccountsError> {
        const BY_ID: &str =
            "SELECT id, domain, email, name, plan, created_at_ms, status FROM account WHERE id = $1";
        self.one_user(BY_ID, account.into()).await
    }

    /// The account with this e-mail address, or with this id in hexadecimal digits.
    pub async fn find_user(&self, email_or_id: &str) -> Result<Option<User>, AccountsError> {
        const BY_EMAIL: &str =
            "SELECT id, domain, email, name, plan, created_at_ms, status FROM account WHERE email_hash = $1";
        if let Ok(account) = email_or_id.parse::<AccountId>() {
            return self.user(account).await;
        }
        let hash = self.keyring().email_hash(email_or_id.trim()).await?;
        self.one_user(BY_EMAIL, hash.into()).await
    }

    /// What an account is called in answers: its name, or its id when it has none. `None` when there is no such
    /// account. Answers from a cache: a new name shows within a minute.
    pub async fn display_name(&self, account: AccountId) -> Result<Option<Arc<str>>, AccountsError> {
        const NAME: &str = "SELECT name FROM account WHERE id = $1";
        let now = self.elapsed();
        let is_fresh = |(_, since): &(Arc<str>, Duration)| now.saturating_sub(*since) < NAMED_FOR;
        if let Some((name, _)) = self.names().get(&account, is_fresh) {
            return Ok(Some(name));
        }
        let row = self.db().row(NAME, [account.into()].into()).await?;
        let Some(row) = row else { return Ok(None) };
        let name: Arc<str> = match row.text(0)? {
            "" => account.to_string().into(),
            name => name.into(),
        };
        self.names().insert(account, (Arc::clone(&name), now));
        Ok(Some(name))
    }

    async fn one_user(&self, sql: &'static str, param: Value) -> Result<Option<User>, AccountsError> {
        let row = self.db().row(sql, [param].into()).await?;
        row.map(|row| self.user_of(&row)).transpose()
    }

    fn user_of(&self, row: &Row) -> Result<User, AccountsError> {
        let id = AccountId(row.bytes(0)?);
        Ok(User {
            id,
            domain: DomainId(row.bytes(1)?),
            email: open_email(self.keyring(), id, row.blob(2)?)?,
            name: row.text(3)?.to_owned(),
            plan: row.text(4)?.to_owned(),
            created_at_ms: row.uint(5)?,
            status: row.text(6)?.parse()?,
        })
    }
}

/// What the secret is sealed under.
pub(crate) fn email_name(account: AccountId) -> String {
    format!("email/{account}")
}

fn open_email(keyring: &Keyring, account: AccountId, sealed: &[u8]) -> Result<String, AccountsError> {
    let name = email_name(account);
    let text = keyring.kek().open(&name, sealed)?;
    String::from_utf8(text.to_vec()).map_err(|_| AccountsError::Damaged { name })
}

/// Inserts an account and its subscription.
///
/// # Errors
/// [`AccountsError::EmailTaken`], [`AccountsError::UnknownPlan`].
pub(crate) async fn insert(tx: &mut Tx, new: &NewUser) -> Result<(), AccountsError> {
    const INSERT: &str =
        "INSERT INTO account (id, domain, email_hash, email, name, plan, created_at_ms, status)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (email_hash) DO NOTHING";
    let user = &new.user;
    let params = [
        user.id.into(),
        user.domain.into(),
        (&new.email_hash).into(),
        (&new.email_sealed).into(),
        (&user.name).into(),
        (&user.plan).into(),
        user.created_at_ms.into(),
        user.status.name().into(),
    ];
    if tx.execute(INSERT, &params).await? == 0 {
        return Err(AccountsError::EmailTaken);
    }
    subscription::begin(tx, user.id, &user.plan, user.created_at_ms).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_letter_can_be_sent_to_is_an_address() {
        for good in
            ["a@example.org", " first.last+tag@sub.example.org\n", "o'neil@example.org", "ü@bücher.example"]
        {
            assert_eq!(valid_email(good).unwrap(), good.trim());
        }
        let long = format!("a@{}.org", "x.".repeat(130));
        for bad in [
            "",
            "a",
            "@example.org",
            "a@",
            "a@@b",
            "a@b@example.org",
            "a,b@example.org",
            "<a>@example.org",
            "a b@example.org",
            "a@exam ple.org",
            "a@example..org",
            ".a@example.org",
            "a\r\nbcc:b@example.org",
            &long,
        ] {
            assert!(matches!(valid_email(bad), Err(AccountsError::InvalidEmail { .. })), "{bad:?}");
        }
    }
}

//! Registration: a request is kept, the address gets a message, and what is in the message makes the account.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datamesh_db::Tx;
use datamesh_types::AccountId;

use super::letter::{ID_LEN, address_name};
use super::verification::open_case;
use super::{AccountStatus, IdentityError, VerificationLevel};
use crate::named::named;
use crate::user::{self, NewUser};
use crate::{Accounts, AccountsError, Secret, User};

/// Messages to one address in an hour, whoever asks for them.
const MAILS_PER_HOUR: i64 = 3;
pub(super) const HOUR_MS: u64 = 3600 * 1000;
const NAME_LEN_MAX: usize = 256;

/// Who may register, and for how long what they get is good.
#[derive(Debug, Clone)]
pub struct RegistrationSettings {
    /// The plans that are open to registration, and how far their owners must be verified.
    pub plans: BTreeMap<String, VerificationLevel>,
    /// How long the token of a message is good.
    pub token_lifetime: Duration,
    /// How long a session lasts.
    pub session_lifetime: Duration,
}

impl Default for RegistrationSettings {
    fn default() -> Self {
        let plans = [
            ("free", VerificationLevel::Email),
            ("premium", VerificationLevel::Identity),
            ("enterprise", VerificationLevel::Organisation),
        ];
        Self {
            plans: plans.map(|(plan, level)| (plan.to_owned(), level)).into(),
            token_lifetime: Duration::from_hours(24),
            session_lifetime: Duration::from_hours(1),
        }
    }
}

/// A request to register.
#[derive(Debug, Clone)]
pub struct NewRegistration {
    /// The address.
    pub email: String,
    /// A name to be called by; may be empty.
    pub name: String,
    /// The plan.
    pub plan: String,
    /// A password to log in with.
    pub password: Option<Secret>,
    /// The public half of an Ed25519 key to log in with. The other half stays with its owner.
    pub public_key: Option<[u8; 32]>,
}

/// What a row is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// An account.
    Register,
    /// A new password.
    Password,
}

named!(Purpose { Register = "register", Password = "password" } name => AccountsError::Damaged {
    name: "registration".to_owned(),
});

/// A row: a request for which its address gets a letter.
pub(super) struct Stored {
    id: [u8; ID_LEN],
    purpose: Purpose,
    email_hash: Vec<u8>,
    email: Vec<u8>,
    name: String,
    plan: String,
    password: Option<String>,
    public_key: Option<[u8; 32]>,
    created_at_ms: u64,
    expires_at_ms: u64,
}

impl Accounts {
    /// Keeps a request to register, and has the address sent a message. Whether it has an account is not looked up.
    ///
    /// # Errors
    /// [`IdentityError::Invalid`] for a field, [`IdentityError::PlanNotOpen`], [`IdentityError::Busy`].
    pub async fn register(&self, new: NewRegistration) -> Result<(), IdentityError> {
        let settings = &self.config().registration;
        let email = address(&new.email)?;
        if new.name.len() > NAME_LEN_MAX {
            return Err(IdentityError::Invalid { field: "name", expected: "at most 256 bytes" });
        }
        if !settings.plans.contains_key(&new.plan) {
            return Err(IdentityError::PlanNotOpen { name: new.plan });
        }
        if new.password.is_none() && new.public_key.is_none() {
            return Err(IdentityError::Invalid {
                field: "password",
                expected: "a password, a public_key, or both",
            });
        }
        let password = match new.password {
            Some(password) => Some(self.passwords().hash(password).await?),
            None => None,
        };
        let request = self.request(Purpose::Register, email).await?;
        let (name, plan, public_key) = (new.name, new.plan, new.public_key);
        self.keep_request(Stored { name, plan, password, public_key, ..request }).await
    }

    /// A row that nobody has asked for anything in yet.
    pub(super) async fn request(&self, purpose: Purpose, email: &str) -> Result<Stored, AccountsError> {
        let mut id = [0; ID_LEN];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| AccountsError::Random)?;
        let now_ms = self.now_ms();
        Ok(Stored {
            id,
            purpose,
            email_hash: self.keyring().email_hash(email).await?,
            email: self.keyring().kek().seal(&address_name(&id), email.as_bytes())?,
            name: String::new(),
            plan: String::new(),
            password: None,
            public_key: None,
            created_at_ms: now_ms,
            expires_at_ms: now_ms + self.config().registration.token_lifetime.as_millis() as u64,
        })
    }

    /// Keeps a row, whose letter is due unless the address got enough of them.
    pub(super) async fn keep_request(&self, stored: Stored) -> Result<(), IdentityError> {
        let stored = Arc::new(stored);
        self.db()
            .write(move |tx| {
                let stored = Arc::clone(&stored);
                Box::pin(async move { keep(tx, &stored).await })
            })
            .await
    }

    /// Makes the account that a token stands for. It works once.
    ///
    /// # Errors
    /// [`IdentityError::BadToken`], also when the address has an account by now.
    pub async fn verify_registration(&self, token: &str) -> Result<User, IdentityError> {
        const FIND: &str = "SELECT email, name, plan FROM registration WHERE id = $1";
        let id = self.open_token(Purpose::Register, token).ok_or(IdentityError::BadToken)?;
        let row = self.db().row(FIND, [(&id).into()].into()).await?;
        let row = row.ok_or(IdentityError::BadToken)?;
        let email = self.open_address(&id, row.blob(0).map_err(AccountsError::from)?)?;
        let (name, plan) =
            (row.text(1).map_err(AccountsError::from)?, row.text(2).map_err(AccountsError::from)?);
        // A plan that has been closed since then asks for the most.
        let required = self.required_level(plan).unwrap_or(VerificationLevel::Organisation);
        let mut new = self.new_user(&email, name, plan).await?;
        if required > VerificationLevel::Email {
            new.user.status = AccountStatus::Pending;
        }
        let (user, provider) = (new.user.clone(), self.verification_provider().name());
        let (new, now_ms) = (Arc::new(new), self.now_ms());
        let made = self
            .db()
            .write(move |tx| {
                let new = Arc::clone(&new);
                Box::pin(async move { make_account(tx, &id, &new, required, provider, now_ms).await })
            })
            .await;
        match made {
            Ok(()) => Ok(user),
            Err(IdentityError::Accounts(AccountsError::EmailTaken)) => Err(IdentityError::BadToken),
            Err(error) => Err(error),
        }
    }

    /// How far the owner of an account on a plan must be verified; `None` when it is not open to registration.
    pub fn required_level(&self, plan: &str) -> Option<VerificationLevel> {
        self.config().registration.plans.get(plan).copied()
    }
}

/// An address that a letter can be sent to.
pub(super) fn address(text: &str) -> Result<&str, IdentityError> {
    user::valid_email(text)
        .map_err(|_| IdentityError::Invalid { field: "email", expected: "an e-mail address" })
}

async fn keep(tx: &mut Tx, new: &Stored) -> Result<(), IdentityError> {
    const RECENT: &str = "SELECT COUNT(*) FROM registration WHERE email_hash = $1 AND created_at_ms > $2";
    const INSERT: &str = "INSERT INTO registration (id, email_hash, email, name, plan, password, public_key,
        created_at_ms, expires_at_ms, mail_at_ms, mails, purpose)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, $11)";
    let hour_ago_ms = new.created_at_ms.saturating_sub(HOUR_MS);
    let recent = tx.query_opt(RECENT, &[(&new.email_hash).into(), hour_ago_ms.into()]).await?;
    let recent = recent.map_or(Ok(0), |row| row.int(0))?;
    // Also one that gets no message is kept: the answer must not tell, and neither must the work.
    let mail_at_ms = (recent < MAILS_PER_HOUR).then_some(new.created_at_ms);
    let params = [
        (&new.id).into(),
        (&new.email_hash).into(),
        (&new.email).into(),
        (&new.name).into(),
        (&new.plan).into(),
        new.password.clone().into(),
        new.public_key.map(|key| key.to_vec()).into(),
        new.created_at_ms.into(),
        new.expires_at_ms.into(),
        mail_at_ms.into(),
        new.purpose.name().into(),
    ];
    tx.execute(INSERT, &params).await?;
    Ok(())
}

async fn make_account(
    tx: &mut Tx,
    id: &[u8; ID_LEN],
    new: &NewUser,
    required: VerificationLevel,
    provider: &'static str,
    now_ms: u64,
) -> Result<(), IdentityError> {
    const USE: &str = "DELETE FROM registration WHERE id = $1 AND purpose = 'register' AND expires_at_ms > $2
        RETURNING password, public_key";
    const LOGIN: &str = "UPDATE account SET password = $2, public_key = $3 WHERE id = $1";
    let used = tx.query_opt(USE, &[id.into(), now_ms.into()]).await?;
    let used = used.ok_or(IdentityError::BadToken)?;
    user::insert(tx, new).await?;
    let account: AccountId = new.user.id;
    let public_key = used.opt_blob(1)?.map(<[u8]>::to_vec);
    let params = [account.into(), used.opt_text(0)?.map(str::to_owned).into(), public_key.into()];
    tx.execute(LOGIN, &params).await?;
    if new.user.status == AccountStatus::Pending {
        open_case(tx, account, required, provider, now_ms).await?;
    }
    Ok(())
}

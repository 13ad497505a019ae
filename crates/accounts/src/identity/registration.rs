//! Registration: a request is kept, the address gets a message, and what is in the message makes the account.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use datamesh_db::{Row, Tx, Value};
use datamesh_types::AccountId;

use super::verification::open_case;
use super::{AccountStatus, IdentityError, VerificationLevel};
use crate::user::{self, NewUser};
use crate::{Accounts, AccountsError, Secret, User};

const ID_LEN: usize = 16;
const MAC_LEN: usize = 32;
/// Messages to one address in an hour, whoever asks for them.
const MAILS_PER_HOUR: i64 = 3;
const HOUR_MS: u64 = 3600 * 1000;
const NAME_LEN_MAX: usize = 256;
const TAKEN_FOR_MS: u64 = 60 * 1000;

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

/// A message that an address is to get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationMail {
    /// Names the message to [`Accounts::registration_mailed`].
    pub id: [u8; ID_LEN],
    /// Where it goes.
    pub email: String,
    /// The token that makes the account; `None` when there is an account already.
    pub token: Option<Secret>,
    /// How often it was tried before.
    pub attempts: u32,
}

struct Stored {
    id: [u8; ID_LEN],
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
        let email = user::plausible_email(&new.email)
            .map_err(|_| IdentityError::Invalid { field: "email", expected: "an e-mail address" })?;
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
        let mut id = [0; ID_LEN];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| AccountsError::Random)?;
        let now_ms = self.now_ms();
        let stored = Arc::new(Stored {
            id,
            email_hash: self.keyring().email_hash(email).await?,
            email: self.keyring().kek().seal(&address_name(&id), email.as_bytes())?,
            name: new.name,
            plan: new.plan,
            password,
            public_key: new.public_key,
            created_at_ms: now_ms,
            expires_at_ms: now_ms + settings.token_lifetime.as_millis() as u64,
        });
        self.db()
            .write(move |tx| {
                let stored = Arc::clone(&stored);
                Box::pin(async move { keep(tx, &stored).await })
            })
            .await
    }

    /// Takes up to `limit` messages that are due, for whoever asks alone: one that is neither sent nor postponed is due
    /// again after a minute.
    pub async fn take_registration_mails(
        &self,
        limit: usize,
    ) -> Result<Vec<RegistrationMail>, AccountsError> {
        let (now_ms, again_ms) = (self.now_ms(), self.now_ms() + TAKEN_FOR_MS);
        let rows = self
            .db()
            .write(move |tx| Box::pin(async move { take(tx, now_ms, again_ms, limit).await }))
            .await?;
        let mail = |(row, has_account): &(Row, bool)| {
            let id = row.bytes(0)?;
            Ok(RegistrationMail {
                id,
                email: self.open_address(&id, row.blob(1)?)?,
                token: (!has_account).then(|| self.token(&id)),
                attempts: row.int(2)? as u32,
            })
        };
        rows.iter().map(mail).collect()
    }

    /// A message was sent.
    pub async fn registration_mailed(&self, id: &[u8; ID_LEN]) -> Result<(), AccountsError> {
        const MAILED: &str = "UPDATE registration SET mail_at_ms = NULL, mails = mails + 1 WHERE id = $1";
        self.change_registrations(MAILED, vec![id.into()]).await
    }

    /// A message could not be sent: it is due again after `delay`.
    pub async fn postpone_registration_mail(
        &self,
        id: &[u8; ID_LEN],
        delay: Duration,
    ) -> Result<(), AccountsError> {
        const LATER: &str = "UPDATE registration SET mail_at_ms = $2, mails = mails + 1 WHERE id = $1";
        let at_ms = self.now_ms() + delay.as_millis() as u64;
        self.change_registrations(LATER, vec![id.into(), at_ms.into()]).await
    }

    /// Forgets requests, sessions and challenges that are over.
    pub async fn forget_logins(&self) -> Result<(), AccountsError> {
        const OVER: [&str; 3] = [
            "DELETE FROM registration WHERE expires_at_ms < $1",
            "DELETE FROM login_session WHERE expires_at_ms < $1",
            "DELETE FROM used_challenge WHERE expires_at_ms < $1",
        ];
        for sql in OVER {
            // An hour more: how many messages an address got is counted in these rows.
            let before_ms = self.now_ms().saturating_sub(HOUR_MS);
            self.change_registrations(sql, vec![before_ms.into()]).await?;
        }
        Ok(())
    }

    /// Makes the account that a token stands for. It works once.
    ///
    /// # Errors
    /// [`IdentityError::BadToken`], also when the address has an account by now.
    pub async fn verify_registration(&self, token: &str) -> Result<User, IdentityError> {
        const FIND: &str = "SELECT email, name, plan FROM registration WHERE id = $1";
        let id = self.open_token(token).ok_or(IdentityError::BadToken)?;
        let row = self
            .db()
            .read::<_, AccountsError, _>(move |tx| {
                Box::pin(async move { Ok(tx.query_opt(FIND, &[(&id).into()]).await?) })
            })
            .await?;
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

    async fn change_registrations(&self, sql: &'static str, params: Vec<Value>) -> Result<(), AccountsError> {
        self.db()
            .write::<_, AccountsError, _>(move |tx| {
                let params = params.clone();
                Box::pin(async move { Ok(tx.execute(sql, &params).await?) })
            })
            .await
            .map(drop)
    }

    fn open_address(&self, id: &[u8; ID_LEN], sealed: &[u8]) -> Result<String, AccountsError> {
        let name = address_name(id);
        let text = self.keyring().kek().open(&name, sealed)?;
        String::from_utf8(text.to_vec()).map_err(|_| AccountsError::Damaged { name })
    }

    fn token(&self, id: &[u8; ID_LEN]) -> Secret {
        let mac = self.login_keys().registration_mac(id);
        Secret::new(URL_SAFE_NO_PAD.encode([&id[..], &mac].concat()))
    }

    fn open_token(&self, token: &str) -> Option<[u8; ID_LEN]> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok().filter(|bytes| bytes.len() == ID_LEN + MAC_LEN)?;
        let (id, mac) = bytes.split_first_chunk::<ID_LEN>()?;
        verify_slices_are_equal(&self.login_keys().registration_mac(id), mac).ok()?;
        Some(*id)
    }
}

async fn keep(tx: &mut Tx, new: &Stored) -> Result<(), IdentityError> {
    const RECENT: &str = "SELECT COUNT(*) FROM registration WHERE email_hash = $1 AND created_at_ms > $2";
    const INSERT: &str = "INSERT INTO registration (id, email_hash, email, name, plan, password, public_key,
        created_at_ms, expires_at_ms, mail_at_ms, mails) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0)";
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
    ];
    tx.execute(INSERT, &params).await?;
    Ok(())
}

/// The rows of messages that are due, and whether their addresses have accounts.
async fn take(
    tx: &mut Tx,
    now_ms: u64,
    again_ms: u64,
    limit: usize,
) -> Result<Vec<(Row, bool)>, AccountsError> {
    // The time is compared twice: another gateway may have taken a row since it was found.
    const TAKE: &str = "UPDATE registration SET mail_at_ms = $2 WHERE mail_at_ms <= $1 AND id IN
        (SELECT id FROM registration WHERE mail_at_ms <= $1 AND expires_at_ms > $1
         ORDER BY mail_at_ms LIMIT $3) RETURNING id, email, mails, email_hash";
    const HAS_ACCOUNT: &str = "SELECT 1 FROM account WHERE email_hash = $1";
    let mut taken = Vec::new();
    for row in tx.query(TAKE, &[now_ms.into(), again_ms.into(), limit.into()]).await? {
        let account = tx.query_opt(HAS_ACCOUNT, &[row.blob(3)?.into()]).await?;
        taken.push((row, account.is_some()));
    }
    Ok(taken)
}

async fn make_account(
    tx: &mut Tx,
    id: &[u8; ID_LEN],
    new: &NewUser,
    required: VerificationLevel,
    provider: &'static str,
    now_ms: u64,
) -> Result<(), IdentityError> {
    const USE: &str =
        "DELETE FROM registration WHERE id = $1 AND expires_at_ms > $2 RETURNING password, public_key";
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

/// What the address of a request is sealed under.
pub(crate) fn address_name(id: &[u8]) -> String {
    format!("registration/{}", hex::encode(id))
}

//! Who somebody is: registration by e-mail, login, sessions, and how far an identity was verified.
//!
//! Invariants:
//! - Nothing that a stranger can call tells whether an address has an account: neither answer nor work depend on it.
//!   Registering looks up nothing; what the address is told is decided when its message is sent.
//! - A token of a message, and a challenge, work once and not for long.
//! - Passwords are stored as Argon2id under a key of the key ring, tokens of sessions as their hashes.
//! - An account with an address that is not verified does not exist; one whose plan needs more is pending and can store
//!   nothing.

mod error;
mod letter;
mod login;
mod own_keys;
mod own_login;
mod password;
mod registration;
mod status;
mod verification;

pub use error::IdentityError;
pub(crate) use letter::address_name;
pub use letter::{AccountMail, MailText};
pub(crate) use login::LoginKeys;
pub use login::{LoginSession, NewLogin, Proof, change_text, login_text};
pub(crate) use own_login::end_sessions;
pub(crate) use password::Passwords;
pub use registration::{NewRegistration, RegistrationSettings};
pub use status::{AccountStatus, VerificationLevel};
pub use verification::{
    CaseStatus, Decision, Judgement, ManualProvider, VerificationCase, VerificationError,
    VerificationProvider,
};

//! Users, access keys, the key ring and the limits on what an account stores.
//!
//! Invariants:
//! - Secrets are in the database only sealed under the key-encryption key (KEK), which is in a file outside of it and
//!   can be replaced without rewriting any data.
//! - A revoked key is refused within five seconds by every gateway.
//! - `used + reserved` of a quota never exceeds its limit, with any number of gateways; what a gateway reserved and
//!   did not use comes free when its reservation expires, whatever happened to the gateway.

mod access_key;
mod accounts;
mod cache;
mod clock;
mod error;
mod kek;
mod keyring;
mod lease;
mod named_key;
mod plan;
mod quota;
mod reservation;
mod rotation;
mod schema;
mod secret;
mod session;
mod user;

pub use access_key::{AccessKey, AccessKeyInfo, Credential, KeyStatus};
pub use accounts::{Accounts, AccountsConfig};
pub use clock::{Clock, SystemClock};
pub use error::AccountsError;
pub use kek::{Kek, KekId, KekRole};
pub use keyring::Keyring;
pub use plan::{Limits, Plan};
pub use quota::{AccountUsage, Dimension, Drift, StoredUsage};
pub use reservation::Reservation;
pub use rotation::KekKey;
pub use secret::Secret;
pub use session::{NewSession, Session, TemporaryKey};
pub use user::User;

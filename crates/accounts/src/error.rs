//! What can go wrong with accounts and keys.

use std::path::PathBuf;
use std::time::Duration;

use datamesh_billing::BillingError;
use datamesh_db::DbError;
use datamesh_policy::PolicyError;
use datamesh_types::AccountId;

use crate::{Dimension, HoldKind, HoldScope, InvoiceStatus, KekId, Owner, Reputation};

/// Why an account, a key or a reservation could not be had.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The KEK file could not be read or created.
    #[error("cannot use the key-encryption key {path}", path = path.display())]
    KekFile {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// Others than its owner may read the KEK file.
    #[error(
        "the key-encryption key {path} has mode {mode:04o}: others may read it; expected 0600 (chmod 600 {path})",
        path = path.display()
    )]
    KekExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The KEK file holds no key.
    #[error(
        "{path} holds no key-encryption key: expected lines of datamesh-kek-1: and 64 hexadecimal digits",
        path = path.display()
    )]
    KekMalformed {
        /// The file.
        path: PathBuf,
    },
    /// The database was sealed under another KEK.
    #[error("the key-encryption key is not the one this database was sealed under")]
    WrongKek,
    /// A secret was sealed under a key that the KEK file does not have (any more, or yet).
    #[error(
        "the sealed secret {name} was sealed under the key-encryption key {id}, which the file does not have"
    )]
    UnknownKek {
        /// The key.
        id: KekId,
        /// What it is the secret of.
        name: String,
    },
    /// Secrets are still sealed under a key that is to be retired.
    #[error("{secrets} secrets are not sealed under the newest key-encryption key yet: rotate first")]
    KekInUse {
        /// How many.
        secrets: u64,
    },
    /// The file with the head of the audit log could not be read.
    #[error("cannot use the head of the audit log {path}", path = path.display())]
    AuditFile {
        /// The file.
        path: PathBuf,
        /// The operating system's reason, or what is wrong with the text.
        source: std::io::Error,
    },
    /// Not the name of a named key.
    #[error("a key's name has 1 to 256 letters, digits, '-', '_', '/', ':', '+', '=', '.' or '@'")]
    InvalidKeyName,
    /// The account has a key of this name.
    #[error("there is a key {name:?} already")]
    KeyNameTaken {
        /// The name.
        name: String,
    },
    /// A sealed secret was changed, or moved from another row.
    #[error("the sealed secret {name} does not open: it is damaged")]
    Damaged {
        /// What it is the secret of.
        name: String,
    },
    /// The system has no random numbers.
    #[error("the system's random generator failed")]
    Random,
    /// Not an e-mail address.
    #[error("{email:?} is not an e-mail address")]
    InvalidEmail {
        /// What was given.
        email: String,
    },
    /// Another account has this e-mail address.
    #[error("there is an account with this e-mail address already")]
    EmailTaken,
    /// No plan has this name.
    #[error("there is no plan {name:?}")]
    UnknownPlan {
        /// What was given.
        name: String,
    },
    /// A file of plans is refused.
    #[error("plans: {reason}")]
    InvalidPlans {
        /// What is wrong, and where.
        reason: String,
    },
    /// No limit has this name.
    #[error(
        "{name:?} is not a limit: expected bytes, objects, ingress, egress, object_size, requests, operations, \
         upload or download"
    )]
    UnknownDimension {
        /// What was given.
        name: String,
    },
    /// A limit makes no sense.
    #[error("the limit of {dimension} is refused: {reason}")]
    InvalidLimit {
        /// Which limit.
        dimension: Dimension,
        /// What is wrong.
        reason: &'static str,
    },
    /// A hold makes no sense.
    #[error("hold: {reason}")]
    InvalidHold {
        /// What is wrong.
        reason: String,
    },
    /// No such hold, or it was lifted before.
    #[error("there is no hold {id} that could be lifted")]
    NoSuchHold {
        /// The id.
        id: String,
    },
    /// Not a case of abuse, or not one that could be.
    #[error("case: {reason}")]
    InvalidCase {
        /// What is wrong.
        reason: String,
    },
    /// No such case.
    #[error("there is no case {id}")]
    NoSuchCase {
        /// The id.
        id: String,
    },
    /// The account is trusted too little.
    #[error("the account's reputation is {reputation} basis points: uploading needs {minimum}")]
    Distrusted {
        /// What it is.
        reputation: Reputation,
        /// What it must be.
        minimum: Reputation,
    },
    /// The account may not do this for the time being.
    #[error("the account is on hold ({kind}): {scope} access is suspended")]
    Held {
        /// Why.
        kind: HoldKind,
        /// From what.
        scope: HoldScope,
    },
    /// Too many requests, or too many at once.
    #[error("the limit of {limit} {dimension} of the {owner} is exceeded")]
    RateExceeded {
        /// Whose limit.
        owner: Owner,
        /// Which.
        dimension: Dimension,
        /// The limit.
        limit: u64,
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// No such account.
    #[error("there is no account {account}")]
    NoSuchAccount {
        /// The account.
        account: AccountId,
    },
    /// The access key id given has not the form of one.
    #[error("an access key id has 3 to 128 letters, digits, '-', '_' or '.'")]
    InvalidAccessKeyId,
    /// The secret given has not the form of one.
    #[error("a secret access key has 8 to 128 printable ASCII characters without spaces")]
    InvalidSecret,
    /// The access key id is in use, or was.
    #[error("there is an access key {access_key_id} already")]
    AccessKeyExists {
        /// The id.
        access_key_id: String,
    },
    /// No such access key.
    #[error("there is no access key {access_key_id}")]
    NoSuchAccessKey {
        /// The id.
        access_key_id: String,
    },
    /// The policy for a key or a session is refused.
    #[error("policy: {0}")]
    InvalidPolicy(#[from] PolicyError),
    /// The session token was not made here, or not for this key.
    #[error("the session token is not one of this access key")]
    InvalidToken,
    /// The session is over.
    #[error("the session token has expired")]
    ExpiredToken,
    /// Not a month, or not one that can be told about.
    #[error("period: {reason}")]
    InvalidPeriod {
        /// What is wrong.
        reason: String,
    },
    /// Prices make no sense, or an invoice cannot be made of them.
    #[error(transparent)]
    Billing(#[from] BillingError),
    /// No such invoice.
    #[error("there is no invoice {id}")]
    NoSuchInvoice {
        /// The id.
        id: String,
    },
    /// An invoice is not in the state for that.
    #[error("the invoice {id} is {status}: {reason}")]
    InvoiceState {
        /// The invoice.
        id: String,
        /// Its state.
        status: InvoiceStatus,
        /// What it would have to be.
        reason: &'static str,
    },
    /// What is told of a payment makes no sense.
    #[error("payment: {reason}")]
    InvalidPayment {
        /// What is wrong.
        reason: String,
    },
    /// A payment's reference stands for another payment.
    #[error("the reference {reference:?} stands for another payment")]
    PaymentConflict {
        /// The reference.
        reference: String,
    },
    /// A message about payments is not proven to be its provider's.
    #[error("the message is not proven to be the provider's: {reason}")]
    UnprovenNotice {
        /// Why.
        reason: &'static str,
    },
    /// Nothing is metered here.
    #[error("usage is not metered here: accounts.metering is off in the gateway's configuration")]
    NotMetered,
    /// No payment provider has this name here.
    #[error("there is no payment provider {name:?} here")]
    UnknownProvider {
        /// The name.
        name: String,
    },
    /// No such payment intent.
    #[error("there is no payment intent {id}")]
    NoSuchIntent {
        /// The id.
        id: String,
    },
    /// A limit leaves no room.
    #[error(
        "the limit of {limit} {dimension} of the {owner} would be exceeded: {used} used, {reserved} reserved, \
         {requested} requested"
    )]
    QuotaExceeded {
        /// Whose limit.
        owner: Owner,
        /// Which limit.
        dimension: Dimension,
        /// The limit.
        limit: u64,
        /// What is used.
        used: u64,
        /// What uploads under way hold.
        reserved: u64,
        /// What was asked for.
        requested: u64,
    },
}

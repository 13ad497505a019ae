//! The audit log: a chain of entries about what operators did and were denied, with a signed head.
//!
//! Invariants:
//! - An entry is in the transaction of the change that it tells of, or is written before the change begins.
//! - Entries are numbered from 1 without gaps, each with the hash of the one before; the head, with the number and hash
//!   of the last one, is signed in the same transaction.
//! - The signing key is one of the key ring, so that who can write to the database alone can't sign a head.
//! - Nothing secret enters an entry; accounts are named by their ids.
//! - Who did something, to what and why may be forgotten after its time: an entry says so before it is, and the hashes stay.

mod act;
mod chain;
mod check;
mod entry;
mod expiry;
mod head;
mod witness;

pub use act::Act;
pub use chain::{AuditFilter, NewEntry};
pub use check::{AuditCheck, AuditFault, AuditVerdict};
pub use entry::{AuditEntry, Digest, Outcome};
pub(crate) use head::AuditKey;
pub use head::{AuditHead, AuditPublicKey};
pub(crate) use witness::Witness;
pub use witness::WitnessedHead;

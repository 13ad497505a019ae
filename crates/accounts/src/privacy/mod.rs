//! What people may ask for: a copy of what is known about them, and to be forgotten.
//!
//! Invariants:
//! - From the moment an erasure is open, nothing more is stored; until it begins, it can be withdrawn and nothing is lost.
//! - Nothing is erased under a legal hold. Placing one and each step of an erasure wait for each other, so that no step
//!   ends after the hold is placed.
//! - Every step may be repeated. An erasure that was cut off anywhere goes on at its next turn.
//! - What is left of an erased account names nobody: its id, sums of usage, invoices and the audit log.

mod dossier;
mod erasure;
mod error;
mod steps;

pub use dossier::{Dossier, DossierCursor, DossierPart};
pub use erasure::{Erasure, ErasureStatus};
pub use error::ErasureError;

//! Who may do what to a bucket or an object: the policy language, access control lists, and the one decision over both.
//!
//! Pure: no I/O, no clock, no knowledge of HTTP. Whoever asks hands in the rules that the bucket has and the [`Facts`]
//! of the request; [`decide`] answers.
//!
//! Invariants:
//! - An explicit deny wins over everything, except that a bucket's owner may always repair the bucket's policy.
//! - The policies of an access key and of a session only ever narrow what the account may do.
//! - Somebody without an account gets nothing but what a policy or an access control list gives to everybody.
//! - A policy that was accepted is understood: unknown operators, condition keys, actions and principals are refused.

mod acl;
mod action;
mod block;
mod condition;
mod decision;
mod document;
mod error;
mod facts;
mod network;
mod ownership;
mod pattern;
mod principal;
mod resource;
mod statement;

pub use acl::{Acl, CannedAcl, GRANTS_MAX, Grant, Grantee, Group, Permission};
pub use action::{Action, Level};
pub use block::PublicAccessBlock;
pub use decision::{Asked, BucketRules, Caller, Member, ObjectRules, decide};
pub use document::{BucketPolicy, Policy, Verdict};
pub use error::PolicyError;
pub use facts::{Fact, Facts, NoFacts};
pub use ownership::Ownership;
pub use principal::Asker;
pub use resource::ResourceName;

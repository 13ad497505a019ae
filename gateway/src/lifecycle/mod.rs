//! Lifecycle rules: what becomes of versions and uploads as time passes. Pure: no I/O, no clock.
//!
//! [`Lifecycle`] is a bucket's stored configuration. [`decide()`] says what is due for one version, [`abort_due`] for
//! one upload. The background job asks and acts; the S3 operations show what will happen (`x-amz-expiration`).

mod calendar;
mod decide;
mod filter;
mod rule;

pub use calendar::Calendar;
pub use decide::{Candidate, Standing, Step, abort_due, decide, expiry};
pub use filter::{Conditions, Scope, Subject, Tag, stored_tags};
pub use rule::{Expiration, Lifecycle, NoncurrentExpiration, NoncurrentTransition, Rule, Transition, When};

#[cfg(test)]
mod tests;
